"""Cuts tables of captions into parts: Parquet, CSV, TSV, JSON lines, and text with one caption per
line; all but Parquet may be gzipped.

A *part* is a fixed number of rows. For labelling, it is like a shard: any process can read it
without the other parts, a few rows at a time. So one large file keeps all cores busy, and memory
does not grow with its rows. Cutting reads a text table once, to find the byte at which each part
begins.

    for part in cut(Path("captions.csv"), "caption"):
        print(part.name, part.num_rows)
"""

import csv
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from catlip.cli import InputError
from catlip.label.tables.columns import Caption
from catlip.label.tables.text import TEXT_KINDS, cut_text, text_captions

PART_ROWS = 50_000  # some seconds of work under the rules that tag
PARQUET = ".parquet"
TABLE_KINDS = (PARQUET, *TEXT_KINDS)


@dataclass(frozen=True)
class Part:
    """Consecutive rows of a table.

    Attributes:
        path: the table's file.
        number: the part's number in the table, from 0.
        first_row: number of its first row in the table, from 0; headers, and empty lines of CSV or
            JSON, do not count as rows.
        num_rows: number of its rows.
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
        """How the name of its labels file begins, such as "captions-00003"."""
        return f"{_unzipped(self.path).stem}-{self.number:05d}"

    def origin(self) -> dict[str, Any]:
        """What its labels belong to: the table's name, its size in bytes, and the part's number."""
        with _reading(self.path):
            return {"shard": self.path.name, "size": self.path.stat().st_size, "part": self.number}

    def samples(self) -> Iterator[tuple[str, Caption]]:
        """(row number, caption) of each row. Raises: InputError when the table cannot be read."""
        with _reading(self.path):
            for row, caption in enumerate(self._captions(), self.first_row):
                yield str(row), caption

    def _captions(self) -> Iterator[Caption]:
        kind = table_kind(self.path)
        if kind == PARQUET:
            # Late: pyarrow takes long to load.
            from catlip.label.tables.parquet import parquet_captions

            return parquet_captions(
                self.path, self.first_row, self.num_rows, column=str(self.column)
            )
        return text_captions(
            self.path, kind, self.offset, num_rows=self.num_rows, column=self.column
        )


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
        part_rows: rows in every part but the last, at least 1.
    Raises: InputError when the table cannot be read, is empty or lacks the column; the message
        lists the columns that it has.
    """
    with _reading(path):
        column: str | int
        if not path.stat().st_size:
            raise InputError(f"{path} is empty")
        if (kind := table_kind(path)) == PARQUET:
            from catlip.label.tables.parquet import cut_parquet

            column, pieces = cut_parquet(path, text_column, part_rows)
        else:
            column, pieces = cut_text(path, kind, text_column, part_rows=part_rows)
    if not pieces:
        raise InputError(f"{path} holds no rows")
    return [
        Part(path, n, n * part_rows, num_rows=num_rows, offset=offset, column=column)
        for n, (num_rows, offset) in enumerate(pieces)
    ]


def _unzipped(path: Path) -> Path:
    return path.with_suffix("") if path.suffix.lower() == ".gz" else path


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turn what a damaged or missing file raises into an InputError that names it."""
    try:
        yield
    except csv.Error as error:
        raise InputError(f"{path} cannot be read: {error}; is a quote never closed?") from None
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(
            f"{path} cannot be read: {getattr(error, 'strerror', None) or error}"
        ) from None
