"""Rows of text tables: CSV, TSV, JSON lines, and one caption a line; plain or gzipped, a few lines
in memory at a time.

CSV and TSV are read by Python's own rules: a field that begins with a quote ends at the quote that
closes it, and may contain line breaks. Bytes that are not UTF-8 become U+FFFD. Reading cannot begin
in the middle of a gzipped file: to reach a part, everything before it is unzipped.
"""

import codecs
import csv
import gzip
import json
from collections.abc import Iterable, Iterator
from io import BufferedIOBase
from itertools import islice
from pathlib import Path
from typing import Any

from catlip.cli import InputError
from catlip.label.tables.columns import Caption, Unusable, choose_column

DELIMITERS = {".csv": ",", ".tsv": "\t"}
TEXT_KINDS = (*DELIMITERS, ".jsonl", ".ndjson", ".txt")
LOOK_ROWS = 1000  # rows of a JSON lines file that are searched for the names of columns
# Enough for any caption, but a line that does not end, or a quote that is never closed, does not
# read the whole file.
MAX_LINE_BYTES = 1 << 24
csv.field_size_limit(MAX_LINE_BYTES)


class _Lines:
    """The lines of an open file as text, one at a time.

    Attributes:
        offset: the byte at which the next line begins.
    """

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


def cut_text(
    path: Path, kind: str, text_column: str | None, part_rows: int
) -> tuple[str | int, list[tuple[int, int]]]:
    """The captions' column (its number in CSV and TSV), and (rows, byte offset) of each part.

    Raises: InputError when the table lacks the column; csv.Error when a quote is never closed;
        OSError, EOFError or zlib.error when the file cannot be read.
    """
    parts = []
    with _open(path) as file:
        if file.read(len(codecs.BOM_UTF8)) != codecs.BOM_UTF8:
            file.seek(0)
        column = _column(path, kind, file, text_column=text_column)
        lines = _Lines(file)
        rows = _rows(kind, lines)
        if kind in DELIMITERS and not _is_number(text_column):
            next(rows, None)  # the header
        offset = lines.offset
        while num_rows := sum(1 for _ in islice(rows, part_rows)):
            parts.append((num_rows, offset))
            offset = lines.offset
    return column, parts


def text_captions(
    path: Path, kind: str, offset: int, num_rows: int, column: str | int
) -> Iterator[Caption]:
    """The captions of `num_rows` rows from the byte `offset` on. Raises: as `cut_text`."""
    with _open(path) as file:
        file.seek(offset)
        for row in islice(_rows(kind, _Lines(file)), num_rows):
            yield _caption(kind, row, column)


def _open(path: Path) -> BufferedIOBase:
    return gzip.GzipFile(path) if path.suffix.lower() == ".gz" else open(path, "rb")


def _rows(kind: str, lines: Iterable[str]) -> Iterator[Any]:
    """The rows: lists of fields in CSV and TSV, else lines.

    Empty lines count as rows only in .txt, where they are empty captions.
    """
    if kind in DELIMITERS:
        return filter(None, csv.reader(lines, delimiter=DELIMITERS[kind]))
    return iter(lines) if kind == ".txt" else filter(str.strip, lines)


def _caption(kind: str, row: Any, column: str | int) -> Caption:
    if kind in DELIMITERS:
        if column < len(row):  # type: ignore[operator]
            return row[column]
        return Unusable("a row that ends before its caption")
    return row.rstrip("\r\n") if kind == ".txt" else _json_caption(row, column)


def _json_caption(line: str, column: str | int) -> Caption:
    row = _json(line)
    if isinstance(row, Unusable):
        return row
    if not isinstance(row, dict):
        return Unusable(f"not a JSON object but {_kind_of(row)}")
    if column not in row:
        return Unusable(f"a row without {column}")
    caption = row[column]
    if isinstance(caption, str | None):
        return caption
    return Unusable(f"not text but {_kind_of(caption)}")


def _json(line: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return Unusable("not JSON")


def _kind_of(value: object) -> str:
    names = {
        dict: "an object",
        list: "a list",
        str: "text",
        bool: "true or false",
        type(None): "null",
    }
    return names.get(type(value), "a number")


def _column(path: Path, kind: str, file: BufferedIOBase, text_column: str | None) -> str | int:
    """The captions' column: its number, or its name in JSON lines.

    The position in the file is the same afterwards.
    """
    start = file.tell()
    rows = _rows(kind, _Lines(file))
    if kind == ".txt":
        column: str | int = 0
    elif kind in DELIMITERS:
        column = _field(path, next(rows, []), text_column)
    else:
        # One row at a time: a thousand long ones would fill the memory.
        objects = (row for line in islice(rows, LOOK_ROWS) if isinstance(row := _json(line), dict))
        names = list(dict.fromkeys(name for row in objects for name in row))
        column = choose_column(f"{path} (its first {LOOK_ROWS} rows)", names, text_column)
    file.seek(start)
    return column


def _field(path: Path, first_row: list[str], text_column: str | None) -> int:
    """The number of the captions' column; the first row of the CSV or TSV may be its header."""
    if text_column is None or not _is_number(text_column):
        hint = ", or a number from 0 where there is no header row"
        return first_row.index(choose_column(str(path), first_row, text_column, hint=hint))
    if int(text_column) >= len(first_row):
        raise InputError(
            f"{path} has {len(first_row)} columns, so none with the number {text_column}; count "
            "from 0"
        )
    return int(text_column)


def _is_number(text_column: str | None) -> bool:
    return text_column is not None and text_column.isdecimal()
