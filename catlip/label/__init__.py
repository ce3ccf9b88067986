"""Labels captions: finds the synsets of every caption of shards and tables, and writes them into a
folder or to a URL.

A shard, or a table, is a unit of work that depends on nothing else, so any number of processes, on
one machine or on many, may share the work. What is already labelled is kept; a labelling that was
stopped continues where it stopped.
"""

from array import array
from collections import Counter
from collections.abc import Iterable
from hashlib import sha256
from itertools import islice
from pathlib import Path

import numpy as np

from catlip.captions import MAX_CHARACTERS, Labeller, LabelVersion, labeller_of
from catlip.cli import InputError
from catlip.data.tables import open_text
from catlip.label.sidecar import Labels, add_caption, read_sidecar, sidecar_path, write_sidecar
from catlip.label.sources import Caption, Source, Unusable
from catlip.words.wordnet import nouns

BATCH_CAPTIONS = 512


def label_source(source: Source, labels_dir: Path, version: LabelVersion) -> None:
    """Write the sidecar of a source by the rule and words of a version; its bytes do not depend on
    the process or the order.
    """
    labels = label_captions(source.samples(), labeller_of(version.rule, version.words))
    labels.meta.update(source.origin())
    write_sidecar(sidecar_path(source, labels_dir, version.rule), labels)


def label_captions(samples: Iterable[tuple[str, Caption]], labeller: Labeller) -> Labels:
    """The labels of (key, caption) pairs from any source; only the origin is not in their meta."""
    digest, unlabelled = sha256(), Counter[str]()
    first: dict[str, str] = {}
    values, counts, met = array("I"), array("I"), set[str]()

    def hashed() -> Iterable[tuple[str, Caption]]:
        for key, caption in samples:
            add_caption(digest, key, caption)
            # The rest is not read: so a batch takes little memory.
            yield key, caption[:MAX_CHARACTERS] if isinstance(caption, str) else caption

    stream = iter(hashed())
    while batch := list(islice(stream, BATCH_CAPTIONS)):
        texts = [caption if isinstance(caption, str) else None for _, caption in batch]
        for (key, caption), text, synsets in zip(batch, texts, labeller.batch(texts), strict=True):
            if not synsets:
                cause = caption.cause if isinstance(caption, Unusable) else labeller.why_none(text)
                unlabelled[cause] += 1
                first.setdefault(cause, key)
            if labeller.version.words:
                met |= labeller.user_words_in(text)
            values.extend(synsets)
            counts.append(len(synsets))
    meta = {
        **labeller.version.as_meta(),
        "captions_sha256": digest.hexdigest(),
        "unlabelled": dict(unlabelled),
        "first_unlabelled": first,
        **({"words_met": sorted(met)} if labeller.version.words else {}),
    }
    return Labels(np.array(values, dtype=np.uint32), np.cumsum([0, *counts], dtype=np.uint32), meta)


def is_labelled(source: Source, labels_dir: Path, version: LabelVersion) -> bool:
    """Whether the source's labels are of this version and were made from the same captions: a shard
    is compared by its digest, a table is read.
    """
    try:
        meta = read_sidecar(sidecar_path(source, labels_dir, version.rule)).meta
    except (InputError, FileNotFoundError):
        return False
    origin = source.origin()
    if LabelVersion.from_meta(meta) != version:
        return False
    if version.words and "words_met" not in meta:  # labels of an earlier version
        return False
    if any(meta.get(name) != value for name, value in origin.items()):
        return False
    if "content" in origin:
        return True
    digest = sha256()
    for key, caption in source.samples():
        add_caption(digest, key, caption)
    return bool(meta["captions_sha256"] == digest.hexdigest())


def read_words(path: Path | None) -> dict[str, str]:
    """The words in a CSV or TSV file without a header: a word, and the WordNet synset
    ("shirt.n.01") or the noun ("shirt") that it stands for, or nothing if it is to give no label.
    None has none.

        tshirts,shirt
        tee,jersey.n.03
        color,

    Raises: InputError, with the line.
    """
    words: dict[str, str] = {}
    if path is None:
        return words
    table = open_text(path, "0")
    for row in table.rows():
        assert isinstance(row.cells, dict)
        fields = table.delimiter.join(row.cells.values()).strip(table.delimiter)
        word, noun = (field.strip().lower() for field in fields.partition(table.delimiter)[::2])
        synset = nouns().find(noun.replace(" ", "_")) if noun else None
        if noun and synset is None:
            raise InputError(f"{path}, line {row.line}: {noun!r} is neither a noun nor a synset")
        if word in words:
            raise InputError(f"{path}, line {row.line}: {word!r} has a line before")
        words[word] = "" if synset is None else nouns().name(synset)
    return words
