"""The captions of Parquet files: one column, a few thousand rows in memory at a time."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from catlip.cli import InputError
from catlip.label.tables.columns import Caption, choose_column

BATCH_ROWS = 8192
READ_BYTES = 1 << 20  # of a column at a time; the whole column of a row group may be large


def cut_parquet(
    path: Path, text_column: str | None, part_rows: int
) -> tuple[str, list[tuple[int, int]]]:
    """The captions' column, and (rows, 0) of each part.

    Raises: InputError when the file is not whole, or has no such column of text.
    """
    with _open(path) as file:
        schema, num_rows = file.schema_arrow, file.metadata.num_rows
    column = choose_column(str(path), schema.names, text_column)
    kind = schema.field(column).type
    if not _is_text(kind):
        text = [field.name for field in schema if _is_text(field.type)]
        raise InputError(
            f"column {column} of {path} holds {kind}, not text; columns of text: "
            f"{', '.join(text) or 'none'}"
        )
    return column, [
        (min(part_rows, num_rows - first), 0) for first in range(0, num_rows, part_rows)
    ]


def parquet_captions(path: Path, first_row: int, num_rows: int, column: str) -> Iterator[Caption]:
    """The captions of `num_rows` rows. Raises: InputError when the file is not whole."""
    with _open(path) as file:
        groups, skip = _row_groups(file.metadata, first_row, num_rows)
        for batch in file.iter_batches(BATCH_ROWS, row_groups=groups, columns=[column]):
            rows = batch.column(0)[skip : skip + num_rows]
            skip, num_rows = max(0, skip - len(batch)), num_rows - len(rows)
            if len(rows):
                yield from _texts(rows)
            if not num_rows:
                return


@contextmanager
def _open(path: Path) -> Iterator[pq.ParquetFile]:
    try:
        with pq.ParquetFile(path, buffer_size=READ_BYTES, pre_buffer=False) as file:
            yield file
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path} is not a whole Parquet file: {error}") from None


def _row_groups(metadata: pq.FileMetaData, first_row: int, num_rows: int) -> tuple[list[int], int]:
    """The row groups that hold the rows, and how many rows of the first of them come before."""
    groups: list[int] = []
    skip = begin = 0
    for group in range(metadata.num_row_groups):
        end = begin + metadata.row_group(group).num_rows
        if begin < first_row + num_rows and first_row < end:
            skip = skip if groups else first_row - begin
            groups.append(group)
        begin = end
    return groups, skip


def _texts(rows: pa.Array) -> Iterator[str | None]:
    """The rows as text, read as bytes first: Parquet does not guarantee that strings are UTF-8."""
    if pa.types.is_dictionary(rows.type):
        rows = rows.dictionary_decode()
    for content in rows.cast(pa.large_binary()).to_pylist():
        yield None if content is None else content.decode("utf-8", "replace")


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    text = (pa.string(), pa.large_string(), pa.string_view(), pa.null())
    binary = (pa.binary(), pa.large_binary(), pa.binary_view())
    return kind in (*text, *binary)
