"""Where captions come from: a tar shard, or a part of a table (Parquet, CSV, TSV or JSON lines).

A *part* is a fixed number of rows. For labelling it is like a shard: any process can read it
without the other parts, a few rows at a time. So one large file keeps all cores busy, and memory
does not grow with its rows. Cutting reads a text table once, to find the byte at which each part
begins.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from catlip.cli import InputError
from catlip.data.layout import CAPTION_COLUMNS, TAR, visible
from catlip.data.remote import size_in
from catlip.data.shards import expand, open_shard
from catlip.data.tables import (
    HEAD_ROWS,
    JSON_LINES,
    PARQUET,
    Unusable,
    caption_column,
    caption_in,
    open_parquet,
    open_text,
    reading,
    usual_columns,
)
from catlip.program.broken import MAX_BROKEN, BrokenImage, BrokenImages
from catlip.system.urls import is_remote

PART_ROWS = 50_000  # some seconds of work under the rules that tag
TABLE_KINDS = (PARQUET, ".csv", ".tsv", JSON_LINES)
BATCH_ROWS = 8192

Caption = str | Unusable | None  # None: the row's place for a caption is empty


@dataclass(frozen=True)
class TarShard:
    """All samples of a tar shard."""

    path: Path

    @property
    def name(self) -> str:
        """How the name of the file of its labels begins."""
        return self.path.stem

    def origin(self) -> dict[str, Any]:
        """What the labels belong to: file name, size, digest, samples skipped (cause -> how many,
        and the first) and, if some have several captions, the number of samples.
        """
        shard = open_shard(self.path)
        origin: dict[str, Any] = {
            "shard": self.path.name,
            "size": size_in(shard.identity) if is_remote(self.path) else self.path.stat().st_size,
            "content": shard.digest,
            "skipped": {cause: list(members) for cause, members in shard.skipped.items()},
        }
        if shard.num_captions.max() > 1:
            origin["samples"] = len(shard)
        return origin

    def samples(self) -> Iterator[tuple[str, Caption]]:
        """(key, caption) of each caption of each sample."""
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
                    yield key, Unusable("a .json that is no object")


@dataclass(frozen=True)
class Part:
    """Consecutive rows of a table.

    Attributes:
        number, first_row: of the part, and of its first row, in the table, from 0; headers and
            empty lines do not count as rows.
        offset: position of its first byte in a text table; 0 with the header, and in Parquet.
        column: the column of captions; of a text table without a header row its number.
    """

    path: Path
    number: int
    first_row: int
    num_rows: int
    offset: int
    column: str

    @property
    def name(self) -> str:
        return f"{self.path.stem}-{self.number:05d}"

    def origin(self) -> dict[str, Any]:
        with reading(self.path):
            return {"shard": self.path.name, "size": self.path.stat().st_size, "part": self.number}

    def samples(self) -> Iterator[tuple[str, Caption]]:
        """(row number, caption) of each row."""
        captions = _parquet_captions(self) if _kind(self.path) == PARQUET else _text_captions(self)
        for row, caption in enumerate(islice(captions, self.num_rows), self.first_row):
            yield str(row), caption_in(caption) if isinstance(caption, str) else caption


Source = TarShard | Part  # captions that any process can label together; their labels are one file


def find(patterns: Sequence[str]) -> list[Path]:
    """The shards and tables of paths, folders, globs and braces. A folder stands for its tars or
    else for its tables of the first of `TABLE_KINDS`: those beside tars often repeat their
    captions.
    """
    paths: list[Path] = []
    for pattern in patterns:
        if not Path(pattern).is_dir():
            paths += expand(pattern)
            continue
        files = visible(Path(pattern))
        by_kind = ([p for p in files if _kind(p) == kind] for kind in (TAR, *TABLE_KINDS))
        sources = next(filter(None, by_kind), None)
        if sources is None:
            raise InputError(f"no shard in {pattern}, and no table ({', '.join(TABLE_KINDS)})")
        paths += sources
    if not paths:
        raise InputError("no shards or tables given")
    for path in paths:
        if _kind(path) not in (TAR, *TABLE_KINDS):
            raise InputError(
                f"{path} is neither a shard ({TAR}) nor a table ({', '.join(TABLE_KINDS)})"
            )
        if is_remote(path) and is_table(path):
            raise InputError(f"{path} is a remote table; copy it here: only shards may be remote")
    return list(dict.fromkeys(paths))


def is_table(path: Path) -> bool:
    return _kind(path) in TABLE_KINDS


def split(
    path: Path,
    text_column: str | None = None,
    part_rows: int = PART_ROWS,
    max_broken: float = MAX_BROKEN,
) -> Sequence[Source]:
    """The sources in a file: itself if it is a tar, else its parts. Raises: InputError, also if too
    many rows are broken.

    Args:
        text_column: the name of the captions' column; for a CSV or TSV file without a header row,
            its number, from 0. When None, the first of `CAPTION_COLUMNS` that holds words.
    """
    if not is_table(path):
        return [TarShard(path)]
    with reading(path):
        if not path.stat().st_size:
            raise InputError(f"{path} is empty")
    if _kind(path) == PARQUET:
        column, pieces = _cut_parquet(path, text_column, part_rows)
    else:
        column, pieces = _cut_text(path, text_column, part_rows, max_broken)
    if not pieces:
        raise InputError(f"{path} holds no rows")
    return [
        Part(path, n, n * part_rows, num_rows=num_rows, offset=offset, column=column)
        for n, (num_rows, offset) in enumerate(pieces)
    ]


def _kind(path: Path) -> str:
    return path.suffix.lower()


def _cut_text(
    path: Path, text_column: str | None, part_rows: int, max_broken: float
) -> tuple[str, list[tuple[int, int]]]:
    """The captions' column, and (rows, byte offset) of each part."""
    table = open_text(path, text_column)
    column = caption_column(path, table.names, (row.cells for row in table.rows()), text_column)
    parts: list[tuple[int, int]] = []
    start, count, broken = 0, 0, BrokenImages(what="rows")
    for row in table.rows(column):
        if isinstance(row.cells, Unusable):
            broken.add([BrokenImage(f"{path}, line {row.line}", row.cells.cause)])
        count += 1
        if count == part_rows:
            parts.append((count, start))
            start, count = row.end, 0
    broken.check(len(parts) * part_rows + count, max_broken)
    return column, [*parts, (count, start)] if count else parts


def _text_captions(part: Part) -> Iterator[Caption]:
    table = open_text(part.path, part.column)
    for row in table.rows(part.column, part.offset):
        if isinstance(row.cells, Unusable):
            yield row.cells
        elif part.column not in row.cells:
            yield Unusable(f"a row without {part.column}")
        else:
            caption = row.cells[part.column]
            is_text = isinstance(caption, str | None)
            yield caption if is_text else Unusable("not text")


def _cut_parquet(
    path: Path, text_column: str | None, part_rows: int
) -> tuple[str, list[tuple[int, int]]]:
    import pyarrow as pa

    with open_parquet(path) as file:
        schema, num_rows = file.schema_arrow, file.metadata.num_rows
        batches = file.iter_batches(HEAD_ROWS, columns=usual_columns(schema.names, CAPTION_COLUMNS))
        head = (row for batch in batches for row in batch.to_pylist())
        column = caption_column(path, schema.names, head, text_column)
    stored = kind = schema.field(column).type
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    text = (pa.string(), pa.large_string(), pa.string_view(), pa.null())
    if kind not in (*text, pa.binary(), pa.large_binary(), pa.binary_view()):
        raise InputError(f"column {column} of {path} holds {stored}, not text")
    starts = range(0, num_rows, part_rows)
    return column, [(min(part_rows, num_rows - first), 0) for first in starts]


def _parquet_captions(part: Part) -> Iterator[Caption]:
    import pyarrow as pa

    with open_parquet(part.path) as file:
        groups, skipped = range(file.metadata.num_row_groups), part.first_row
        sizes = [file.metadata.row_group(group).num_rows for group in groups]
        # A group before the part is not read.
        while groups and skipped >= sizes[groups.start]:
            skipped, groups = skipped - sizes[groups.start], groups[1:]
        for batch in file.iter_batches(BATCH_ROWS, row_groups=[*groups], columns=[part.column]):
            rows = batch.column(0)[skipped:]
            skipped = max(0, skipped - len(batch))
            if pa.types.is_dictionary(rows.type):
                rows = rows.dictionary_decode()
            # As bytes first: Parquet does not guarantee that strings are UTF-8.
            for content in rows.cast(pa.large_binary()).to_pylist():
                yield None if content is None else content.decode("utf-8", "replace")
