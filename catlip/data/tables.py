"""Rows of tables, for labels and for images alike: CSV, TSV and JSON lines, a few lines in memory
at a time, and Parquet.

A row is never lost or cut without a word. In TSV a line is a row, whatever quotation marks it has.
In CSV a quoted field may have line breaks, so one that is never closed would swallow what follows:
the table is refused with the line. A row with more fields than columns has separators that nobody
quoted: they belong to the caption if that is the last column, else the row counts as broken. Lines
that are not UTF-8 are read as Windows-1252.
"""

import codecs
import csv
import json
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from catlip.cli import InputError
from catlip.data.layout import CAPTION_COLUMNS
from catlip.system.foreign import printable

PARQUET, JSON_LINES = ".parquet", ".jsonl"
DELIMITERS = ",;|\t"  # that are looked for in a header without the usual one
LOOK_ROWS = 1000  # rows of JSON lines that are searched for the names of columns
HEAD_ROWS = 100  # in which columns are told by what is in their cells
# Cells, in lower case, that stand for no caption: what pandas and others write.
NO_CAPTION = frozenset(("nan", "none", "null", "na", "n/a", "#n/a", "<na>"))
# Enough for any caption, but a line that does not end, or a quote that is never closed, does not
# read the whole file.
MAX_LINE_BYTES = 1 << 24
READ_BYTES = 1 << 20  # of a Parquet column at a time; a whole row group may be large
csv.field_size_limit(MAX_LINE_BYTES)
# Of a line that goes on in a quoted field, what is inside, and what follows the mark that ends it.
INSIDE = re.compile(r'((?:[^"]++|"")*+)(?:"(.?))?')

Cells = dict[str, Any]  # by the names of their columns; a cell that a row lacks is not there


@dataclass(frozen=True)
class Unusable:
    """Stands for a row, or for the caption of one; the cause is a phrase that can be counted."""

    cause: str


class Row(NamedTuple):
    cells: Cells | Unusable
    line: int = 0  # of a text table its last, from 1 on


@dataclass(frozen=True)
class TextTable:
    """A CSV, TSV or JSON lines file.

    Attributes:
        delimiter: between its fields; "" for JSON lines.
        names: of its columns; their numbers, from 0, if it has no header row.
        separator: finds a delimiter as the header has them: with or without a space after each.
    """

    path: Path
    delimiter: str
    names: Sequence[str] = ()
    has_header: bool = True
    separator: re.Pattern[str] = re.compile("$^")

    def rows(self, text_column: str | None = None) -> Iterator[Row]:
        """The rows. They may have surplus fields if the last column is that of captions, or if that
        is not known yet. Raises: InputError.
        """
        with reading(self.path), open(self.path, "rb") as file:
            lines = _Lines(self.path, file)
            rows: Iterator[Cells | Unusable] = map(_json, filter(str.strip, lines))
            if self.delimiter:
                fields = self.fields(lines)
                if self.has_header:
                    next(fields, None)
                is_last = text_column in (None, *self.names[-1:])
                rows = (self._cells(row, is_last) for row in fields)
            for cells in rows:
                yield Row(cells, lines.number)

    def fields(self, lines: "_Lines") -> Iterator[list[str]]:
        if self.delimiter == "\t":
            return (self._split(line.rstrip("\r\n")) for line in lines if line.strip("\r\n"))
        return filter(None, self._csv(lines))

    def _cells(self, fields: list[str], is_last: bool) -> Cells | Unusable:
        width = len(self.names)
        if any(fields[width:]):  # not only separators at the end of the line
            if not is_last:
                return Unusable("a row of more fields than columns")
            fields[width - 1 :] = [self.delimiter.join(fields[width - 1 :])]
        return dict(zip(self.names, fields, strict=False))

    def _split(self, line: str) -> list[str]:
        """The fields of a line; quotation marks are marks of the text, unless they all fit."""
        if '"' in line:
            with suppress(csv.Error):
                fields = next(csv.reader([line], delimiter="\t", strict=True))
                if len(fields) == (len(self.names) or len(fields)):
                    return fields
        return line.split("\t")

    def _csv(self, lines: "_Lines") -> Iterator[list[str]]:
        begin = 0  # the line in which an unfinished row began

        def watched() -> Iterator[str]:
            nonlocal begin
            for line in lines:
                if begin and self._is_swallowed(line):
                    break
                begin = begin or lines.number
                yield line
            if begin:
                raise InputError(
                    f"{self.path}, line {begin}: a quotation mark opens a field that is not closed "
                    "before the next row begins; remove the mark, or write it as two in a quoted "
                    "field"
                )

        for fields in csv.reader(watched(), delimiter=self.delimiter):
            begin = 0
            yield fields

    def _is_swallowed(self, line: str) -> bool:
        """Whether a line that goes on inside a quoted field looks like a row, or ends the field
        with a mark after which text follows.
        """
        inside, after = INSIDE.match(line).groups()  # type: ignore[union-attr]  # it always matches
        separators = len(self.names) - 1
        is_row = 0 < separators <= len(self.separator.findall(inside))
        return is_row or after not in (None, "", self.delimiter, "\r")


class _Lines:
    """The lines of a file, and their number so far."""

    def __init__(self, path: Path, file: BinaryIO):
        mark = file.read(len(codecs.BOM_UTF8))
        if mark.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            raise InputError(f"{path} is in UTF-16; save it in UTF-8")
        self.file, self.number = file, 0
        file.seek(len(mark) if mark == codecs.BOM_UTF8 else 0)

    def __iter__(self) -> Iterator[str]:
        while lines := self.file.readline(MAX_LINE_BYTES):
            if len(lines) == MAX_LINE_BYTES:
                size = MAX_LINE_BYTES >> 20
                raise OSError(f"a line of over {size} MiB begins after line {self.number:,}")
            for line in lines.splitlines(keepends=True):  # a lone "\r" ends a line, too
                self.number += 1
                yield decode_text(line)


def open_text(path: Path, text_column: str | None = None) -> TextTable:
    """A text table with the names of its columns; if that of captions is given as a number, it has
    no header row. Raises: InputError.
    """
    if path.suffix.lower() == JSON_LINES:
        head = (row.cells for row in islice(TextTable(path, "").rows(), LOOK_ROWS))
        found = dict.fromkeys(name for row in head if isinstance(row, dict) for name in row)
        return TextTable(path, "", [*found])
    with reading(path), open(path, "rb") as file:
        first = file.readline(MAX_LINE_BYTES).decode("latin-1")
        others = [other for other in DELIMITERS if other in first]
        usual = "\t" if path.suffix.lower() == ".tsv" else ","
        delimiter = usual if usual in first or not others else max(others, key=first.count)
        header = next(TextTable(path, delimiter).fields(_Lines(path, file)), [])
    names = [name.strip() for name in header]
    while names and not names[-1]:
        names.pop()
    has_header = not (text_column or "").isdecimal()
    names = names if has_header else [*map(str, range(len(header)))]
    separator = re.compile(re.escape(delimiter) + ("" if f"{delimiter} " in first else "(?! )"))
    return TextTable(path, delimiter, names, has_header, separator)


def decode_text(content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError:
        return content.decode("cp1252", "replace")


def caption_in(cell: Any) -> str | None:
    """A cell as a caption, None if it stands for none. Bytes that are not UTF-8 become U+FFFD."""
    text = cell.decode("utf-8", "replace") if isinstance(cell, bytes) else str(cell)
    return None if text.strip().lower() in NO_CAPTION else text


def caption_column(
    path: Path, names: Sequence[str], head: Iterable[Cells | Unusable], given: str | None = None
) -> str:
    """The column of captions: the one given, or the first of the usual ones whose cells are words.
    Raises: InputError.
    """
    if not given and (usual := usual_columns(names, CAPTION_COLUMNS)):
        rows = [row for row in islice(head, HEAD_ROWS) if isinstance(row, dict)]
        words = [name for name in usual if _are_words(row.get(name) for row in rows)]
        given = (words or usual)[0]
    given = given or f"of captions ({', '.join(CAPTION_COLUMNS)})"
    check_column(path, names, given, "--text-column; if there is no header row, its number from 0")
    return given


def check_column(path: Path, names: Sequence[str], column: str, option: str) -> None:
    """Raises InputError unless a table has one column of this name."""
    if (count := names.count(column)) != 1:
        known = ", ".join(map(printable, names))[:500]
        raise InputError(
            f"{path} has {count or 'no'} column {column}; there are: {known}; give {option}"
        )


def usual_columns(names: Collection[str], usual: Sequence[str]) -> list[str]:
    """The columns whose names, in lower case, are among the usual ones, in the order of these."""
    return sorted((n for n in names if n.lower() in usual), key=lambda n: usual.index(n.lower()))


def _are_words(cells: Iterable[Any]) -> bool:
    """Whether most cells that are not empty have a word, and not only numbers or codes."""
    texts = [text for cell in cells if cell and (text := caption_in(cell))]
    found = (any(len(w) > 1 and w.strip(".,;:!?'\"()").isalpha() for w in t.split()) for t in texts)
    return 2 * sum(found) > len(texts)


def _json(line: str) -> Cells | Unusable:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return Unusable("not JSON")
    return value if isinstance(value, dict) else Unusable("not a JSON object")


@contextmanager
def reading(path: Path) -> Iterator[None]:
    try:
        yield
    except csv.Error as error:
        raise InputError(f"{path} cannot be read: {error}; is a quote never closed?") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from None


@contextmanager
def open_parquet(path: Path) -> Iterator[Any]:
    # pyarrow takes long to load: only a Parquet table loads it.
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path, buffer_size=READ_BYTES, pre_buffer=False) as file:
            yield file
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read as Parquet: {error}") from None
