"""Labels as one table, for those who train elsewhere: a row for each caption, in the order of the
sources.

    source    file name of the shard or table
    key       of the sample; of a table's row its number, from 0
    caption   as it stands there; null where there is none
    words     the words that gave a label, in their order
    synsets   the synset of each of these words, such as dog.n.01
    classes   with a vocabulary: the class ids of those synsets that are classes

The rows of a source are made by any process.
"""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache, partial
from itertools import islice
from pathlib import Path
from typing import Any

from catlip.captions import Labeller, LabelVersion, labeller_of
from catlip.cli import InputError
from catlip.label.sidecar import Labels, read_sidecar
from catlip.label.sources import PARQUET, Source
from catlip.program.identity import refuse_foreign
from catlip.system.files import replacing
from catlip.vocabulary import Vocabulary
from catlip.words.wordnet import nouns

COLUMNS = ["source", "key", "caption", "words", "synsets"]  # how every table of ours begins
ROWS = 16_384  # of a row group
Each = Callable[[str, Callable[..., Any], Sequence[Any]], Iterator[tuple[Any, Any]]]


def check_table(
    out: Path, vocabulary: Path | None, label_version: LabelVersion, sources: Sequence[Path]
) -> None:
    """Raises InputError, before any work, for an `out` that no table can be, a file that is not one
    of ours, or a vocabulary of other labels.
    """
    if out.suffix != PARQUET:
        raise InputError(f"--out {out} must end in {PARQUET}")
    if out.is_dir():
        raise InputError(f"--out {out} is a folder; give the path of a file")
    refuse_foreign(out, lambda _: out.resolve() not in sources and _is_ours(out))
    if vocabulary and (needed := Vocabulary.load(vocabulary).label_version) != label_version:
        raise InputError(
            f"{vocabulary} was made by {needed}, the labels are made by {label_version}; give "
            f"--rule {needed.rule}, or a vocabulary of these labels"
        )


def write_table(
    out: Path,
    sidecars: Mapping[Source, Path],
    each: Each,
    vocabulary: Path | None = None,
) -> int:
    """Write the table of sources and their labels files, atomically, as Parquet with a row group or
    more for each source.

    Args:
        each: applies a function to many items, as a pool does, under a progress bar.

    Returns: the number of its rows. Raises: InputError, OSError.
    """
    import pyarrow.parquet as pq

    tabulate, rows = partial(_table_of, vocabulary=vocabulary), 0
    # Tables come as they are done, and are written in the order of their sources.
    tables: dict[Source, Any] = {}
    sources = deque(sidecars)
    with replacing(out) as file, pq.ParquetWriter(file, _schema(vocabulary)) as writer:
        for (source, _), table in each("tabulating", tabulate, [*sidecars.items()]):
            if isinstance(table, InputError):
                raise table
            tables[source] = table
            while sources and sources[0] in tables:
                table = tables.pop(sources.popleft())
                rows += len(table)
                writer.write_table(table, ROWS)
    return rows


def _is_ours(path: Path) -> bool:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with suppress(OSError, pa.ArrowException):
        return bool(pq.read_schema(path).names[: len(COLUMNS)] == COLUMNS)
    return False


def _schema(vocabulary: Path | None) -> Any:
    import pyarrow as pa

    columns = {name: pa.string() for name in COLUMNS[:3]}
    columns |= {name: pa.list_(pa.string()) for name in COLUMNS[3:]}
    columns |= {"classes": pa.list_(pa.int32())} if vocabulary else {}
    return pa.schema(columns)


def _table_of(item: tuple[Source, Path], vocabulary: Path | None) -> Any:
    """The rows of one source; only ROWS of them at a time are Python's values, which are large."""
    import pyarrow as pa

    source, sidecar = item
    labels, schema = read_sidecar(sidecar), _schema(vocabulary)
    version = LabelVersion.from_meta(labels.meta)
    labeller = labeller_of(version.rule, version.words)
    rows = _rows(source, labels, labeller, _class_ids(vocabulary) if vocabulary else {})
    tables = [schema.empty_table()]
    while some := [*islice(rows, ROWS)]:
        tables.append(pa.Table.from_pylist(some, schema))
    return pa.concat_tables(tables)


@cache
def _class_ids(path: Path) -> dict[int, int]:
    """Synset -> class id."""
    return {synset.offset: n for n, synset in enumerate(Vocabulary.load(path).synsets)}


def _rows(
    source: Source, labels: Labels, labeller: Labeller, classes: Mapping[int, int]
) -> Iterator[dict[str, Any]]:
    for n, (key, caption) in enumerate(source.samples()):
        text = caption if isinstance(caption, str) else None
        synsets = labels.values[labels.offsets[n] : labels.offsets[n + 1]].tolist()
        by_synset = labeller.words_of(text, synsets)
        yield {
            "source": source.path.name,
            "key": key,
            # A caption of JSON may hold half of a pair, which is no UTF-8.
            "caption": None if text is None else text.encode("utf-8", "replace").decode(),
            "words": [*by_synset.values()],
            "synsets": [*map(nouns().name, by_synset)],
            "classes": [classes[synset] for synset in by_synset if synset in classes],
        }
