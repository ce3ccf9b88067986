"""Where captions come from: a tar shard, or a part of a table. Labelling uses both only through the
interface of `Source`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from catlip.cli import InputError
from catlip.data.shards import TAR, expand, open_shard
from catlip.label.tables import TABLE_KINDS, Caption, Unusable, cut, table_kind
from catlip.system.urls import is_remote

BAD_META = Unusable("a .json that is no object")


class Source(Protocol):
    """Captions that any process can label together; their labels are one file, whose name begins
    with `name`.
    """

    @property
    def path(self) -> Path: ...
    @property
    def name(self) -> str: ...
    def origin(self) -> dict[str, Any]:
        """What the labels belong to besides keys and captions: at least `shard`, the file's name,
        and `size`, its bytes.

        A table adds `part`, the number of the part. A shard adds `content`, its digest, which
        stands for all its captions, and `skipped`, what was left out of it (cause -> how many, and
        the first); and `samples`, their number, if any of them has several captions.
        """

    def samples(self) -> Iterator[tuple[str, Caption]]:
        """(key, caption) of each caption of each sample."""


@dataclass(frozen=True)
class TarShard:
    """All samples of a tar shard."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.stem

    def origin(self) -> dict[str, Any]:
        shard = open_shard(self.path)
        origin: dict[str, Any] = {
            "shard": self.path.name,
            "size": shard.num_bytes,
            "content": shard.digest,
            "skipped": {cause: list(members) for cause, members in shard.skipped.items()},
        }
        if shard.num_captions.max() > 1:
            origin["samples"] = len(shard)
        return origin

    def samples(self) -> Iterator[tuple[str, Caption]]:
        shard = open_shard(self.path)
        for number, key in enumerate(shard.keys):
            for caption in shard.captions(number):
                if caption is not None:
                    yield key, caption
                    continue
                try:
                    shard.metadata(number)
                    yield key, None
                except ValueError:
                    yield key, BAD_META


def find(patterns: Sequence[str]) -> list[Path]:
    """The shards and tables of paths, folders, globs and braces.

    A folder stands for its tars. If it has none, it stands for its tables of one kind, the first of
    `TABLE_KINDS` that it has. Tables beside tars are left out: often they repeat the captions of
    the tars.
    """
    paths: list[Path] = []
    for pattern in patterns:
        paths += _in_folder(Path(pattern)) if Path(pattern).is_dir() else expand(pattern)
    if not paths:
        raise InputError("no shards or tables given")
    for path in paths:
        if not _kind(path):
            raise InputError(
                f"{path} is neither a shard ({TAR}) nor a table ({', '.join(TABLE_KINDS)})"
            )
        if is_remote(path) and _kind(path) != TAR:
            raise InputError(f"{path} is a remote table; copy it here: only shards may be remote")
    return list(dict.fromkeys(paths))


def split(path: Path, text_column: str | None, part_rows: int) -> Sequence[Source]:
    """The sources in a file: itself if it is a tar, else its parts."""
    return [TarShard(path)] if _kind(path) == TAR else cut(path, text_column, part_rows)


def _kind(path: Path) -> str:
    return TAR if path.suffix.lower() == TAR else table_kind(path)


def _in_folder(folder: Path) -> list[Path]:
    files = sorted(folder.iterdir())
    for kind in (TAR, *TABLE_KINDS):
        if of_kind := [path for path in files if _kind(path) == kind]:
            return of_kind
    raise InputError(f"no shard in {folder}, and no table ({', '.join(TABLE_KINDS)})")
