"""Where captions come from: a tar shard, or a table (Parquet, CSV, TSV or JSON lines), read a few
rows at a time.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
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
class Table:
    """All rows of a table; headers and empty lines do not count as rows.

    Attributes:
        text_column: the name of the captions' column; for a CSV or TSV file without a header row,
            its number, from 0. When None, the first of `CAPTION_COLUMNS` that holds words.
        max_broken: the fraction of rows that may be broken.
    """

    path: Path
    text_column: str | None = None
    max_broken: float = MAX_BROKEN

    @property
    def name(self) -> str:
        return f"{self.path.stem}-00000"  # tables had numbered parts: labels of one part still fit

    def origin(self) -> dict[str, Any]:
        with reading(self.path):
            return {"shard": self.path.name, "size": self.path.stat().st_size, "part": 0}

    def samples(self) -> Iterator[tuple[str, Caption]]:
        """(row number, caption) of each row. Raises: InputError, also if too many are broken."""
        if not self.origin()["size"]:
            raise InputError(f"{self.path} is empty")
        number, read = -1, _parquet_captions if _kind(self.path) == PARQUET else _text_captions
        for number, caption in enumerate(read(self)):
            yield str(number), caption_in(caption) if isinstance(caption, str) else caption
        if number < 0:
            raise InputError(f"{self.path} holds no rows")


Source = TarShard | Table  # captions that any process can label together; their labels are one file


def find(
    patterns: Sequence[str], text_column: str | None = None, max_broken: float = MAX_BROKEN
) -> list[Source]:
    """The shards and tables of paths, folders, globs and braces. A folder stands for its tars or
    else for its tables of the first of `TABLE_KINDS`: those beside tars often repeat their
    captions. For the other arguments see `Table`.
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
        if is_remote(path) and _kind(path) != TAR:
            raise InputError(f"{path} is a remote table; copy it here: only shards may be remote")
    return [
        TarShard(path) if _kind(path) == TAR else Table(path, text_column, max_broken)
        for path in dict.fromkeys(paths)
    ]


def _kind(path: Path) -> str:
    return path.suffix.lower()


def _text_captions(source: Table) -> Iterator[Caption]:
    path, table = source.path, open_text(source.path, source.text_column)
    head = (row.cells for row in table.rows())
    column = caption_column(path, table.names, head, source.text_column)
    count, broken = 0, BrokenImages(what="rows")
    for row in table.rows(column):
        count += 1
        if isinstance(row.cells, Unusable):
            broken.add([BrokenImage(f"{path}, line {row.line}", row.cells.cause)])
            yield row.cells
        elif column not in row.cells:
            yield Unusable(f"a row without {column}")
        else:
            caption = row.cells[column]
            is_text = isinstance(caption, str | None)
            yield caption if is_text else Unusable("not text")
    broken.check(count, source.max_broken)


def _parquet_captions(source: Table) -> Iterator[Caption]:
    import pyarrow as pa

    path = source.path
    with open_parquet(path) as file:
        schema = file.schema_arrow
        batches = file.iter_batches(HEAD_ROWS, columns=usual_columns(schema.names, CAPTION_COLUMNS))
        head = (row for batch in batches for row in batch.to_pylist())
        column = caption_column(path, schema.names, head, source.text_column)
        stored = kind = schema.field(column).type
        is_coded = pa.types.is_dictionary(kind)
        if is_coded:
            kind = kind.value_type
        text = (pa.string(), pa.large_string(), pa.string_view(), pa.null())
        if kind not in (*text, pa.binary(), pa.large_binary(), pa.binary_view()):
            raise InputError(f"column {column} of {path} holds {stored}, not text")
        for batch in file.iter_batches(BATCH_ROWS, columns=[column]):
            rows = batch.column(0)
            if is_coded:
                rows = rows.dictionary_decode()
            # As bytes first: Parquet does not guarantee that strings are UTF-8.
            for content in rows.cast(pa.large_binary()).to_pylist():
                yield None if content is None else content.decode("utf-8", "replace")
