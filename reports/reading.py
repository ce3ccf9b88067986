"""Reads records from disk, and keeps the reason for each file that is not a record.

A record describes one run of anything: `ROOT/<scale>/<kind>/<name>.json`. A file may come from an
interrupted run, another program or another machine, so nothing is trusted: a file that is not a
record becomes a `Problem`, a metric that is missing or not a number becomes None, and a NaN stays
NaN so that the page can say so.
"""

import json
import os
import re
import sys
from collections import Counter, deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from bench.study.result import Studied, Trial
from catlip.cli import InputError
from catlip.records.kind import Kind
from catlip.records.run import Problem, Records, Run, read_run, slug
from catlip.system.foreign import UnreadableError, printable, read_regular
from reports.kinds import KINDS
from reports.numbers import numbers


class _Parts(msgspec.Struct):
    """What every record has."""

    kind: str
    name: str
    command: str
    config: dict[str, Any]
    environment: dict[str, Any]
    metrics: dict[str, Any]
    samples: dict[str, Any]
    notes: list[Any]


LEADS_OUT = "a link out of the folder, not followed; name its target, too, to read it"


class NotARecordError(Exception):
    """A file is not a record; the message is the reason that the page shows."""


def read_records(roots: Sequence[Path]) -> Records:
    """Read every record below `roots`, which are folders or single files; never raises for what a
    file contains.

    A record's scale is the folder two levels above it, and its root the folder above that:
    ROOT/<scale>/<kind>/<name>.json. A record nearer to a given folder has that folder as its scale.
    """
    found: list[Run] = []
    problems: list[Problem] = []
    seen: set[str] = set()
    for source in roots:
        if not os.path.lexists(source):
            raise InputError(f"no such file or folder: {source}")
        for path in _files(source):
            if (same := os.path.abspath(path)) in seen:
                continue
            seen.add(same)
            if not source.is_dir():
                root = path.parent / "../.."
            elif len(path.relative_to(source).parts) > 2:
                root = path.parents[2]
            else:
                root = source / ".."
            try:
                if _leads_out(path, source):
                    raise NotARecordError(LEADS_OUT)
                found.append(read_record(Path(os.path.normpath(root)), path))
            except NotARecordError as reason:
                problems.append(Problem(str(path), str(reason)))
    kept, other_probes = _keep_usual_probe(found)
    return Records(tuple(map(str, roots)), tuple(kept), (*problems, *other_probes))


def print_problems(records: Records) -> None:
    """Name the first file that was left out, and say how many more there are."""
    if records.problems:
        first, more = records.problems[0], len(records.problems) - 1
        words = f"left out: {first.path}: {first.reason}" + (f"; and {more:,} more" if more else "")
        print(printable(words), file=sys.stderr)


def _files(source: Path) -> list[Path]:
    """The file itself, or the files at any depth of a folder that may be records, also of
    unfinished runs. Hidden files, such as the state of the steps of `run_all.sh`, are left out. A
    folder behind a link that leads out is not entered, but named.
    """
    if not source.is_dir():
        return [source]
    paths: list[Path] = []
    entered: set[str] = set()  # a link may lead back to a folder above it
    for folder, folders, names in os.walk(source, followlinks=True):
        if (real := os.path.realpath(folder)) in entered:
            folders.clear()
            continue
        entered.add(real)
        depth = len(Path(folder).relative_to(source).parts)
        # A folder with the name of a record holds the files of that run. NAME.old-DATE is out of
        # date. `vocabulary/` has the records of `vocabulary.json`, which is not a record.
        folders[:] = [
            name
            for name in folders
            if not (name.startswith(".") or ".old-" in name)
            and not Path(folder, f"{name}.json.partial").exists()
            and not _looks_like_a_record(Path(folder, f"{name}.json"))
        ]
        leading_out = [name for name in folders if _leads_out(Path(folder, name), source)]
        folders[:] = [name for name in folders if name not in leading_out]
        paths += (Path(folder, name) for name in leading_out)
        for name in names:
            path = Path(folder, name)
            if name.endswith((".json", ".json.partial")) and not name.startswith("."):
                is_usual = depth == 2 or path.parent.name in KINDS
                if is_usual or _looks_like_a_record(path):
                    paths.append(path)
    return sorted(paths, key=_natural)


def _leads_out(path: Path, source: Path) -> bool:
    """Whether the path is a link out of the given folder, for example to a secret file."""
    if not (source.is_dir() and path.is_symlink()):
        return False
    return not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(source))


def _looks_like_a_record(path: Path) -> bool:
    with suppress(OSError, UnreadableError):
        head = read_regular(path, most=1024)
        return b'"schema"' in head and b'"kind"' in head
    return False


def _natural(path: Path) -> list[tuple[int, int, str]]:
    parts = re.split(r"(\d+)", str(path))
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts]


def _keep_usual_probe(records: Sequence[Run[Kind]]) -> tuple[list[Run[Kind]], list[Problem]]:
    """Drop the records of a study that share no task with most records of their kind and scale, as
    their accuracies have no common table; and trials of other tasks, whose means say nothing.
    """

    def probe(record: Run[Kind]) -> tuple[tuple[str, str, str], frozenset[str]]:
        names = record.metrics.accuracies if isinstance(record.metrics, Studied) else ()
        tasks = frozenset(names)
        return (record.root, record.scale, record.kind), tasks

    by_frequency = Counter(map(probe, records)).most_common()
    usual = dict(found for found, _ in reversed(by_frequency) if found[1])
    kept, problems = [], []
    for record in records:
        study, tasks = probe(record)
        is_trial = isinstance(record.metrics, Trial)
        if not tasks or tasks == usual[study] or (tasks & usual[study] and not is_trial):
            kept.append(record)  # without tasks if it diverged, or is of no study
        else:
            reason = (
                f"another probe than that of most {record.kind} records of {record.root}/"
                f"{record.scale}: put it below another scale"
            )
            problems.append(Problem(record.path, reason))
    return kept, problems


def read_record(root: Path, path: Path) -> Run:
    """Read one record. Raises: NotARecordError with the reason if the file is no record."""
    if path.name.endswith(".json.partial"):
        raise NotARecordError("incomplete: the run goes on, or was cut short before its end")
    content = _parse(path)
    if not isinstance(content, dict) or "schema" not in content:
        raise NotARecordError("foreign: JSON without `schema`, so not a record")
    if content["schema"] != 1:
        raise NotARecordError(f"schema {str(content['schema'])[:20]}: only schema 1 is understood")
    try:
        msgspec.convert(content, _Parts)
    except msgspec.ValidationError as reason:
        raise NotARecordError(str(reason)) from reason
    kind = KINDS.get(content["kind"], Kind)
    try:
        record = replace(
            read_run(content, kind, is_foreign=True),
            anchor="record-" + slug(str(path).removesuffix(".json")),
            root=str(root),
            scale=Path(os.path.relpath(path, root)).parts[0],
            path=str(path),
        )
        for start, row_type in kind.rows.items():
            for name in record.samples:
                if name.startswith(start):
                    record.rows(name, row_type)
        # So that no record can end a program later, when all records are in one table.
        deque(numbers(record), maxlen=0)
    except Exception as reason:  # a record of others can make any line fail
        raise NotARecordError(f"not of kind {content['kind'][:40]}: {reason}") from reason
    return record


def _parse(path: Path) -> Any:
    try:
        content = read_regular(path)
        with suppress(ValueError, RecursionError):
            return msgspec.json.decode(content)
        decoded = json.loads(content)  # it also reads NaN, and says where an error is
        json.dumps(decoded, ensure_ascii=False).encode()  # a lone surrogate cannot be written
        return decoded
    except UnreadableError as reason:
        raise NotARecordError(str(reason)) from reason
    except OSError as error:
        raise NotARecordError(f"cannot be read: {error.strerror}") from error
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise NotARecordError(f"corrupt: not JSON from {where}") from error
    except (ValueError, RecursionError) as error:
        raise NotARecordError(f"corrupt: {type(error).__name__}") from error
