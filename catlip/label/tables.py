"""Captions in tables: Parquet, CSV, TSV, JSON lines, and text with one caption a line; all but
Parquet may be gzipped.

A *part* is a fixed number of rows. For labelling it is like a shard: any process can read it
without the other parts, a few rows at a time. So one large file keeps all cores busy, and memory
does not grow with its rows. Cutting reads a text table once, to find the byte at which each part
begins; in a gzipped file, everything before that byte is unzipped again to reach it. Bytes that are
not UTF-8 become U+FFFD.
"""

import codecs
import csv
import gzip
import json
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedIOBase
from itertools import islice
from pathlib import Path
from typing import Any

from catlip.cli import InputError

PART_ROWS = 50_000  # some seconds of work under the rules that tag
TEXT_COLUMNS = ("caption", "text", "TEXT", "texts")  # tried when no column is named
PARQUET = ".parquet"
DELIMITERS = {".csv": ",", ".tsv": "\t"}
TEXT_KINDS = (*DELIMITERS, ".jsonl", ".ndjson", ".txt")
TABLE_KINDS = (PARQUET, *TEXT_KINDS)
LOOK_ROWS = 1000  # rows of a JSON lines file that are searched for the names of columns
BATCH_ROWS = 8192
READ_BYTES = 1 << 20  # of a Parquet column at a time; that of a whole row group may be large
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
class Part:
    """Consecutive rows of a table.

    Attributes:
        number, first_row: of the part, and of its first row, in the table, from 0; headers, and
            empty lines of CSV or JSON, do not count as rows.
        offset: position of its first byte in the (unzipped) text; 0 in Parquet.
        column: the column of captions: its number in CSV and TSV, else its name; unused in .txt.
    """

    path: Path
    number: int
    first_row: int
    num_rows: int
    offset: int
    column: str | int

    @property
    def name(self) -> str:
        return f"{_unzipped(self.path).stem}-{self.number:05d}"

    def origin(self) -> dict[str, Any]:
        with _reading(self.path):
            return {"shard": self.path.name, "size": self.path.stat().st_size, "part": self.number}

    def samples(self) -> Iterator[tuple[str, Caption]]:
        """(row number, caption) of each row."""
        is_parquet = table_kind(self.path) == PARQUET
        captions = _parquet_captions(self) if is_parquet else _text_captions(self)
        with _reading(self.path):
            for row, caption in enumerate(captions, self.first_row):
                yield str(row), caption


def table_kind(path: Path) -> str:
    """Which of `TABLE_KINDS` the file is by its name; "" when it is no table."""
    unzipped = _unzipped(path)
    kinds = TABLE_KINDS if unzipped == path else TEXT_KINDS
    kind = unzipped.suffix.lower()
    return kind if kind in kinds else ""


def cut(path: Path, text_column: str | None = None, part_rows: int = PART_ROWS) -> list[Part]:
    """The parts of a table.

    Args:
        text_column: the name of the captions' column; for a CSV or TSV file without a header row,
            its number, from 0. When None, the first of `TEXT_COLUMNS` that the table has.
    """
    with _reading(path):
        if not path.stat().st_size:
            raise InputError(f"{path} is empty")
        cut_kind = _cut_parquet if table_kind(path) == PARQUET else _cut_text
        column, pieces = cut_kind(path, text_column, part_rows)
    if not pieces:
        raise InputError(f"{path} holds no rows")
    return [
        Part(path, n, n * part_rows, num_rows=num_rows, offset=offset, column=column)
        for n, (num_rows, offset) in enumerate(pieces)
    ]


def _choose_column(where: str, columns: Sequence[str], text_column: str | None) -> str:
    wanted = TEXT_COLUMNS if text_column is None else (text_column,)
    for name in wanted:
        if name in columns:
            return name
    raise InputError(
        f"{where} has no column {' or '.join(wanted)}; there are: {', '.join(columns)[:500]}; give "
        "--text-column, for CSV and TSV without a header row a number from 0"
    )


def _unzipped(path: Path) -> Path:
    return path.with_suffix("") if path.suffix.lower() == ".gz" else path


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except csv.Error as error:
        raise InputError(f"{path} cannot be read: {error}; is a quote never closed?") from None
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{path} cannot be read: {reason}") from None


# Text tables: a few lines are in memory at a time.


def _cut_text(
    path: Path, text_column: str | None, part_rows: int
) -> tuple[str | int, list[tuple[int, int]]]:
    """The captions' column (its number in CSV and TSV), and (rows, byte offset) of each part."""
    kind, parts = table_kind(path), []
    numbered = text_column is not None and text_column.isdecimal()
    with _open_text(path) as file:
        if file.read(len(codecs.BOM_UTF8)) != codecs.BOM_UTF8:
            file.seek(0)
        start = file.tell()
        rows = _rows(kind, _Lines(file))
        column: str | int = 0
        if kind in DELIMITERS:
            header: list[str] = next(rows, [])
            if not numbered:
                column = header.index(_choose_column(str(path), header, text_column))
            elif (column := int(text_column or 0)) >= len(header):
                raise InputError(f"{path} has {len(header)} columns; count from 0")
        elif kind != ".txt":
            # One row at a time: a thousand long ones would fill the memory.
            objects = map(_json, islice(rows, LOOK_ROWS))
            names = dict.fromkeys(name for row in objects if isinstance(row, dict) for name in row)
            column = _choose_column(f"{path} (its first {LOOK_ROWS} rows)", [*names], text_column)
        file.seek(start)
        lines = _Lines(file)
        rows = _rows(kind, lines)
        if kind in DELIMITERS and not numbered:
            next(rows, None)  # the header
        offset = lines.offset
        while num_rows := sum(1 for _ in islice(rows, part_rows)):
            parts.append((num_rows, offset))
            offset = lines.offset
    return column, parts


def _text_captions(part: Part) -> Iterator[Caption]:
    kind, column = table_kind(part.path), part.column
    with _open_text(part.path) as file:
        file.seek(part.offset)
        for row in islice(_rows(kind, _Lines(file)), part.num_rows):
            if kind == ".txt":
                yield row.rstrip("\r\n")
            elif kind in DELIMITERS:
                is_there = int(column) < len(row)
                yield row[column] if is_there else Unusable("a row that ends before its caption")
            else:
                caption = _json(row)
                if isinstance(caption, dict):
                    caption = caption.get(column, Unusable(f"a row without {column}"))
                    is_text = isinstance(caption, str | Unusable | None)
                    yield caption if is_text else Unusable("not text")
                else:
                    is_json = not isinstance(caption, Unusable)
                    yield Unusable("not a JSON object") if is_json else caption


def _json(line: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return Unusable("not JSON")


def _open_text(path: Path) -> BufferedIOBase:
    return gzip.GzipFile(path) if path.suffix.lower() == ".gz" else open(path, "rb")


def _rows(kind: str, lines: Iterable[str]) -> Iterator[Any]:
    """The rows: lists of fields in CSV and TSV, else lines.

    Empty lines count as rows only in .txt, where they are empty captions.
    """
    if kind in DELIMITERS:
        return filter(None, csv.reader(lines, delimiter=DELIMITERS[kind]))
    return iter(lines) if kind == ".txt" else filter(str.strip, lines)


class _Lines:
    """The lines of an open file as text; `offset` is the byte at which the next line begins."""

    def __init__(self, file: BufferedIOBase):
        self.offset = file.tell()
        self._lines = self._read(file)

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        self.offset += len(line)
        return line.decode("utf-8", "replace")

    def _read(self, file: BufferedIOBase) -> Iterator[bytes]:
        while lines := file.readline(MAX_LINE_BYTES):
            if len(lines) == MAX_LINE_BYTES:
                raise OSError(
                    f"a line of over {MAX_LINE_BYTES / 2**20:g} MiB begins at byte {self.offset:,}"
                )
            yield from lines.splitlines(keepends=True)  # a lone "\r" ends a line, too


# Parquet. pyarrow takes long to load: only a Parquet table loads it.


def _cut_parquet(
    path: Path, text_column: str | None, part_rows: int
) -> tuple[str, list[tuple[int, int]]]:
    with _open_parquet(path) as file:
        schema, num_rows = file.schema_arrow, file.metadata.num_rows
    column = _choose_column(str(path), schema.names, text_column)
    if not _is_text(schema.field(column).type):
        raise InputError(f"column {column} of {path} holds {schema.field(column).type}, not text")
    starts = range(0, num_rows, part_rows)
    return column, [(min(part_rows, num_rows - first), 0) for first in starts]


def _parquet_captions(part: Part) -> Iterator[Caption]:
    import pyarrow as pa

    with _open_parquet(part.path) as file:
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
def _open_parquet(path: Path) -> Iterator[Any]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path, buffer_size=READ_BYTES, pre_buffer=False) as file:
            yield file
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path} is not a whole Parquet file: {error}") from None


def _is_text(kind: Any) -> bool:
    import pyarrow as pa

    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    text = (pa.string(), pa.large_string(), pa.string_view(), pa.null())
    binary = (pa.binary(), pa.large_binary(), pa.binary_view())
    return kind in (*text, *binary)
