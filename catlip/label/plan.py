"""Plans what to label: the sources in all files, and where the labels of each go.

The plan of a folder of labels is kept in it, as `RULE.plan`: the names of the labels files of
the last labelling. A shard that has since left the data set keeps its labels there, but a
vocabulary does not count them.
"""

import functools
import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from catlip.cli import InputError
from catlip.data.remote import names_in, read_file, remove_file
from catlip.label.sidecar import BUCKET, read_sidecar, sidecar_path, write_beside_labels
from catlip.label.sources import Source, split
from catlip.label.tables.parts import Part, table_kind
from catlip.system.urls import is_remote

PLAN = ".plan"
Each = Callable[[Callable[..., Any], Sequence[Any]], Iterator[tuple[Any, Any]]]


def split_all(
    paths: Sequence[Path], each: Each, text_column: str | None, rows: int
) -> tuple[list[Source], list[InputError]]:
    """The sources in all files, in order, and the errors of the tables that cannot be cut.

    Args:
        each: applies a function to each table; cutting a text table reads all of it.
    Raises: InputError when there is nothing to label.
    """
    cut = functools.partial(split, text_column=text_column, part_rows=rows)
    pieces: dict[Path, Any] = dict(each(cut, [path for path in paths if table_kind(path)]))
    plans = [pieces[path] if path in pieces else cut(path) for path in paths]
    errors = [piece for piece in plans if isinstance(piece, InputError)]
    sources = [source for piece in plans if not isinstance(piece, InputError) for source in piece]
    if not sources:
        raise failure(errors, 0)
    return sources, errors


def sidecars_of(
    sources: Sequence[Source], labels_dir: Path | None, rule: str
) -> dict[Source, Path]:
    """Where the labels of each source go. Raises: InputError when two would share a file."""
    sidecars: dict[Source, Path] = {}
    taken: dict[Path, Source] = {}
    for source in sources:
        sidecar = sidecar_path(source, labels_dir, rule)
        if sidecar in taken:
            one, two = taken[sidecar].path, source.path
            raise InputError(
                f"{one} and {two} would share the labels file {sidecar}; give each a --labels-dir "
                "of its own"
            )
        sidecars[source], taken[sidecar] = sidecar, source
    return sidecars


def keep_plan(sidecars: Mapping[Source, Path], labels_dir: Path, rule: str) -> None:
    """Write the names of the labels files, unless they are those of the last labelling."""
    names = sorted(sidecar.name for sidecar in sidecars.values())
    if planned(labels_dir, rule) != set(names):
        write_beside_labels(labels_dir / f"{rule}{PLAN}", json.dumps(names, indent=0).encode())


def planned(labels_dir: Path, rule: str) -> set[str] | None:
    """The names of the labels files of the last labelling; None of a folder without a plan.

    Raises: InputError when the folder cannot be listed, or the plan is damaged.
    """
    path = labels_dir / f"{rule}{PLAN}"
    if path.name not in names_in(labels_dir) if is_remote(path) else not path.exists():
        return None
    try:
        return set(json.loads(read_file(path)))
    except (ValueError, TypeError):
        raise InputError(f"{path} is damaged; run `python -m catlip.label` again") from None


def with_sidecar(sidecars: Mapping[Source, Path], labels_dir: Path | None) -> list[Source]:
    """The sources whose labels file exists; a remote folder is listed once.

    Raises: InputError when it cannot be listed.
    """
    if labels_dir is None or not is_remote(labels_dir):
        return [source for source, sidecar in sidecars.items() if sidecar.exists()]
    try:
        names = names_in(labels_dir)
    except InputError as error:
        raise InputError(f"{error}; {BUCKET}") from None
    return [source for source, sidecar in sidecars.items() if sidecar.name in names]


def delete_stale(sources: Sequence[Source], labels_dir: Path | None, rule: str) -> None:
    """Delete the labels of parts that a table no longer has: it shrank, or its parts grew."""
    last_parts = {source.path: source for source in sources if isinstance(source, Part)}
    for part in last_parts.values():
        for number in itertools.count(part.number + 1):
            stale = sidecar_path(replace(part, number=number), labels_dir, rule)
            if not _is_of(stale, part.path.name):
                break
            if is_remote(stale):
                remove_file(stale)
            else:
                stale.unlink()


def counted(sources: Sequence[Source]) -> str:
    """The number of sources, such as "332 shards", or "3 parts" if any is of a table."""
    kind = "parts" if any(isinstance(source, Part) for source in sources) else "shards"
    return f"{len(sources)} {kind}"


def failure(errors: Sequence[InputError], num_others: int) -> InputError:
    """One error for all sources that could not be labelled; `num_others` sources were labelled."""
    if num_others == 0 and len(errors) == 1:
        return errors[0]
    others = f"{num_others} others are" if num_others else "nothing else is"
    return InputError(f"{len(errors)} not labelled, {others}; first error: {errors[0]}")


def _is_of(sidecar: Path, name: str) -> bool:
    try:
        return bool(read_sidecar(sidecar).meta["shard"] == name)
    except (InputError, FileNotFoundError):
        return False
