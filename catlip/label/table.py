"""Labels as one table, for those who train elsewhere: a row for each caption, in the order of the
sources.

    source    file name of the shard or table
    key       of the sample; of a table's row its number, from 0
    caption   as it stands there; null where there is none
    words     the words that gave a label, in their order
    synsets   the synset of each of these words, such as dog.n.01
    classes   with a vocabulary: the class ids of those synsets that are classes
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

from catlip.captions import LabelVersion, labeller_of
from catlip.cli import InputError
from catlip.label.sidecar import Labels, read_sidecar
from catlip.label.sources import PARQUET, Source
from catlip.program.identity import refuse_foreign
from catlip.program.progress import progress
from catlip.system.files import replacing
from catlip.vocabulary import Vocabulary
from catlip.words.wordnet import nouns

COLUMNS = ["source", "key", "caption", "words", "synsets"]  # how every table of ours begins
ROWS = 16_384  # of a row group


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
    out: Path, sidecars: Mapping[Source, Path], vocabulary: Path | None = None, quiet: bool = True
) -> int:
    """Write the table of sources and their labels files, atomically, as Parquet with a row group or
    more for each source. Returns: the number of its rows. Raises: InputError, OSError.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    synsets = Vocabulary.load(vocabulary).synsets if vocabulary else ()
    classes = {synset.offset: class_id for class_id, synset in enumerate(synsets)}
    schema, count = _schema(vocabulary), 0
    bar = progress(sidecars.items(), "tabulating", disable=quiet, unit=" units", leave=False)
    with replacing(out) as file, pq.ParquetWriter(file, schema) as writer:
        for source, sidecar in bar:
            rows = _rows(source, read_sidecar(sidecar), classes)
            # Few at a time are Python's values, which are large.
            while some := [*islice(rows, ROWS)]:
                writer.write_table(pa.Table.from_pylist(some, schema))
                count += len(some)
    return count


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


def _rows(source: Source, labels: Labels, classes: Mapping[int, int]) -> Iterator[dict[str, Any]]:
    version = LabelVersion.from_meta(labels.meta)
    labeller = labeller_of(version.rule, version.words)
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
