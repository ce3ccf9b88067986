"""Where captions come from: a tar shard, or a part of a table (Parquet, CSV, TSV or JSON lines).

A *part* is a fixed number of rows. For labelling it is like a shard: any process can read it
without the other parts, a few rows at a time. So one large file keeps all cores busy, and memory
does not grow with its rows. Cutting reads a text table once, to find the byte at which each part
begins. Bytes that are not UTF-8 become U+FFFD.
"""

import codecs
import csv
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from catlip.cli import InputError
from catlip.data.layout import CAPTION_COLUMNS, TAR
from catlip.data.remote import size_in
from catlip.data.shards import expand, open_shard
from catlip.system.urls import is_remote

PART_ROWS = 50_000  # some seconds of work under the rules that tag
PARQUET, JSON_LINES = ".parquet", ".jsonl"
DELIMITERS = {".csv": ",", ".tsv": "\t", ".txt": ","}
OTHER_DELIMITERS = ",;|\t"  # of a text table whose header has none of its own
TABLE_KINDS = (PARQUET, ".csv", ".tsv", JSON_LINES)
LOOK_ROWS = 1000  # rows of a JSON lines file that are searched for the names of columns
BATCH_ROWS = 8192
READ_BYTES = 1 << 20  # of a Parquet column at a time; a whole row group may be large
# Enough for any caption, but a line that does not end, or a quote that is never closed, does not
# read the whole file.
MAX_LINE_BYTES = 1 << 24
csv.field_size_limit(MAX_LINE_BYTES)


@dataclass(frozen=True)
class Unusable:
    """Stands for the caption of a row that has none; the cause is a phrase that can be counted."""

    cause: str


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
        offset: position of its first byte in a text table; 0 in Parquet.
        column: the column of captions: its number in CSV and TSV, else its name.
    """

    path: Path
    number: int
    first_row: int
    num_rows: int
    offset: int
    column: str | int

    @property
    def name(self) -> str:
        return f"{self.path.stem}-{self.number:05d}"

    def origin(self) -> dict[str, Any]:
        with _reading(self.path):
            return {"shard": self.path.name, "size": self.path.stat().st_size, "part": self.number}

    def samples(self) -> Iterator[tuple[str, Caption]]:
        """(row number, caption) of each row."""
        captions = _parquet_captions(self) if _kind(self.path) == PARQUET else _text_captions(self)
        with _reading(self.path):
            for row, caption in enumerate(captions, self.first_row):
                yield str(row), caption


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
        files = sorted(Path(pattern).iterdir())
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
    path: Path, text_column: str | None = None, part_rows: int = PART_ROWS
) -> Sequence[Source]:
    """The sources in a file: itself if it is a tar, else its parts.

    Args:
        text_column: the name of the captions' column; for a CSV or TSV file without a header row,
            its number, from 0. When None, the first of `CAPTION_COLUMNS` that the table has.
    """
    if not is_table(path):
        return [TarShard(path)]
    with _reading(path):
        if not path.stat().st_size:
            raise InputError(f"{path} is empty")
        cut = _cut_parquet if _kind(path) == PARQUET else _cut_text
        column, pieces = cut(path, text_column, part_rows)
    if not pieces:
        raise InputError(f"{path} holds no rows")
    return [
        Part(path, n, n * part_rows, num_rows=num_rows, offset=offset, column=column)
        for n, (num_rows, offset) in enumerate(pieces)
    ]


def _kind(path: Path) -> str:
    return path.suffix.lower()


def _choose_column(path: Path, columns: Sequence[str], text_column: str | None) -> str:
    if text_column is not None and text_column in columns:
        return text_column
    if text_column is None and (usual := usual_column(columns, CAPTION_COLUMNS)):
        return usual
    wanted = CAPTION_COLUMNS if text_column is None else (text_column,)
    raise InputError(
        f"{path} has no column {' or '.join(wanted)}; there are: {', '.join(columns)[:500]}; give "
        "--text-column, for CSV and TSV without a header row a number from 0"
    )


def usual_column(columns: Sequence[str], usual: Sequence[str]) -> str | None:
    """The column whose name, in lower case, comes first among the usual ones, if any does."""
    known = [name for name in columns if name.lower() in usual]
    return min(known, key=lambda name: usual.index(name.lower()), default=None)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except csv.Error as error:
        raise InputError(f"{path} cannot be read: {error}; is a quote never closed?") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from None


# Text tables: a few lines are in memory at a time.


def _cut_text(
    path: Path, text_column: str | None, part_rows: int
) -> tuple[str | int, list[tuple[int, int]]]:
    """The captions' column (its number in CSV and TSV), and (rows, byte offset) of each part."""
    parts: list[tuple[int, int]] = []
    offset = 0
    with open(path, "rb") as file:
        column: str | int
        if _kind(path) in DELIMITERS:
            nothing: tuple[list[str], int] = ([], 0)
            header, after_header = next(_rows(file, path), nothing)
            if text_column is None or not text_column.isdecimal():
                column = header.index(_choose_column(path, header, text_column))
                offset = after_header
            elif (column := int(text_column)) >= len(header):
                raise InputError(f"{path} has {len(header)} columns; count from 0")
        else:
            # One row at a time: a thousand long ones would fill the memory.
            objects = (_json(line) for line, _ in islice(_rows(file, path), LOOK_ROWS))
            names = dict.fromkeys(name for row in objects if isinstance(row, dict) for name in row)
            column = _choose_column(path, [*names], text_column)
        rows, start, count = _rows(file, path, offset), offset, 0
        for _, end in rows:
            count += 1
            if count == part_rows:
                parts.append((count, start))
                start, count = end, 0
    return column, [*parts, (count, start)] if count else parts


def _text_captions(part: Part) -> Iterator[Caption]:
    column = part.column
    with open(part.path, "rb") as file:
        for row, _ in islice(_rows(file, part.path, part.offset), part.num_rows):
            if isinstance(column, int):
                is_there = column < len(row)
                yield row[column] if is_there else Unusable("a row that ends before its caption")
                continue
            values = _json(row)
            if isinstance(values, Unusable):
                yield values
            elif not isinstance(values, dict):
                yield Unusable("not a JSON object")
            elif column not in values:
                yield Unusable(f"a row without {column}")
            else:
                caption = values[column]
                yield caption if isinstance(caption, str | None) else Unusable("not text")


def _json(line: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return Unusable("not JSON")


def _rows(file: BinaryIO, path: Path, offset: int = 0) -> Iterator[tuple[Any, int]]:
    """The rows from a byte on, as fields or lines, each with the byte where the next begins."""
    delimiter = _delimiter(file, path)
    file.seek(0)
    if not offset and file.read(len(codecs.BOM_UTF8)) == codecs.BOM_UTF8:
        offset = len(codecs.BOM_UTF8)
    file.seek(offset)

    def read_lines() -> Iterator[str]:
        nonlocal offset
        while lines := file.readline(MAX_LINE_BYTES):
            if len(lines) == MAX_LINE_BYTES:
                raise OSError(
                    f"a line of over {MAX_LINE_BYTES >> 20} MiB begins at byte {offset:,}"
                )
            for line in lines.splitlines(keepends=True):  # a lone "\r" ends a line, too
                offset += len(line)
                try:
                    yield line.decode()
                except UnicodeDecodeError:
                    yield line.decode("latin-1")

    if delimiter:
        for fields in csv.reader(read_lines(), delimiter=delimiter):
            if fields:
                yield fields, offset
    else:
        for line in read_lines():
            if line.strip():
                yield line, offset


def _delimiter(file: BinaryIO, path: Path) -> str:
    """What separates the fields of a CSV or TSV table, "" for JSON lines: the delimiter that its
    suffix promises, unless the first line has only another.
    """
    usual = DELIMITERS.get(_kind(path), "")
    file.seek(0)
    first = file.readline(MAX_LINE_BYTES).decode("latin-1")
    others = [other for other in OTHER_DELIMITERS if other in first]
    return usual if usual in first or not others else max(others, key=first.count)


def text_rows(path: Path) -> Iterator[list[str]]:
    """The fields of each row of a CSV or TSV table, the header's first. Raises: InputError."""
    with _reading(path), open(path, "rb") as file:
        for fields, _ in _rows(file, path):
            yield fields


def object_rows(path: Path) -> Iterator[dict[str, Any]]:
    """The objects of JSON lines. Raises: InputError."""
    with _reading(path), open(path, "rb") as file:
        for number, (line, _) in enumerate(_rows(file, path), 1):
            row = _json(line)
            if not isinstance(row, dict):
                raise InputError(f"{path} holds no JSON object in row {number}")
            yield row


# Parquet. pyarrow takes long to load: only a Parquet table loads it.


def _cut_parquet(
    path: Path, text_column: str | None, part_rows: int
) -> tuple[str, list[tuple[int, int]]]:
    import pyarrow as pa

    with open_parquet(path) as file:
        schema, num_rows = file.schema_arrow, file.metadata.num_rows
    column = _choose_column(path, schema.names, text_column)
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
        # The row groups that hold the part's rows, and how many rows of the first come before.
        groups: list[int] = []
        skip, begin, left = 0, 0, part.num_rows
        for group in range(file.metadata.num_row_groups):
            end = begin + file.metadata.row_group(group).num_rows
            if begin < part.first_row + part.num_rows and part.first_row < end:
                skip = skip if groups else part.first_row - begin
                groups.append(group)
            begin = end
        for batch in file.iter_batches(BATCH_ROWS, row_groups=groups, columns=[part.column]):
            rows = batch.column(0)[skip : skip + left]
            skip, left = max(0, skip - len(batch)), left - len(rows)
            if pa.types.is_dictionary(rows.type):
                rows = rows.dictionary_decode()
            # As bytes first: Parquet does not guarantee that strings are UTF-8.
            for content in rows.cast(pa.large_binary()).to_pylist():
                yield None if content is None else content.decode("utf-8", "replace")
            if not left:
                return


@contextmanager
def open_parquet(path: Path) -> Iterator[Any]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path, buffer_size=READ_BYTES, pre_buffer=False) as file:
            yield file
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read as Parquet: {error}") from None
