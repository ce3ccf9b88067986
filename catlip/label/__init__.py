"""Labels captions: finds the synsets of every caption of shards and tables, and writes them beside
the captions, or into a folder or to a URL.

    python -m catlip.label 'cc3m/{00000..00331}.tar' --rule paper --labels-dir runs/cc3m/labels
    python -m catlip.label captions.parquet --text-column caption

A shard, or a part of a table, is a unit of work that depends on nothing else, so any number of
processes, on one machine or on many, may share the work. What is already labelled is kept; a
labelling that was stopped continues where it stopped.
"""

import functools
import os
import time
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tyro

from catlip.captions import MAX_CHARACTERS, Labeller
from catlip.cli import InputError
from catlip.data.remote import CACHE_SIZE
from catlip.label.plan import (
    counted,
    delete_stale,
    failure,
    keep_plan,
    sidecars_of,
    split_all,
    with_sidecar,
)
from catlip.label.result import Labelling
from catlip.label.sidecar import (
    Labels,
    UnwritableError,
    add_caption,
    captions_digest,
    read_sidecar,
    sidecar_path,
    write_sidecar,
)
from catlip.label.sources import Source, find
from catlip.label.summary import report, summarise
from catlip.label.tables.columns import Caption, Unusable
from catlip.label.tables.parts import PART_ROWS
from catlip.program.progress import progress
from catlip.program.ranges import Count, Natural
from catlip.record import Record
from catlip.system.engines import Apply, local, on_ray
from catlip.system.foreign import printable
from catlip.system.urls import is_remote

BATCH_CAPTIONS = 512


@dataclass(frozen=True)
class Label:
    """Label captions with WordNet synsets; run the same command again to go on where it stopped, or
    to label what has changed.

    python -m catlip.label 'cc3m/{00000..00331}.tar' --rule paper --labels-dir runs/cc3m/labels

    python -m catlip.label captions.parquet --text-column caption

    python -m catlip.label Train_GCC-training.tsv --text-column 0

    To see what becomes of each word of one caption, or which words a rule drops or may mistake most
    often:

    python -m catlip.label explain "Two bikes and a golden retriever on a couch"

    python -m catlip.label audit captions.parquet --rule corenet
    """

    sources: tyro.conf.Positional[tuple[str, ...]]
    """Paths, folders, globs or braces of shards (.tar, also URLs of these) or tables (.parquet .csv
    .tsv .jsonl .ndjson .txt, also .csv.gz ...).
    """
    rule: str = "paper"
    """"paper": the tagger's nouns by first sense; "paper_multiword": also nouns of several words;
    "corenet": as released.
    """
    labels_dir: Path | None = None
    """Folder of the labels, or its URL (s3://bucket/labels); by default the folder of the captions.
    The record goes to labelling/ beside a local folder given here, otherwise to runs/labelling/.
    """
    text_column: str | None = None
    """A table's column of captions (by default caption, text, TEXT or texts); its number, from 0,
    if there is no header row.
    """
    part_rows: Count = PART_ROWS
    """Rows of a table in one unit of work; give fewer for a small table on many cores."""
    engine: Literal["local", "ray"] = "local"
    """"local": processes of this machine; "ray": a cluster, whose machines must all see captions
    and labels at the same paths.
    """
    ray_address: str = "auto"
    """The Ray cluster; "auto" is the one that this machine belongs to. This project must be
    installed on all its machines.
    """
    workers: Natural = 0
    """Processes of the local engine; 0 is one per core."""
    quiet: bool = False
    """No progress bar."""


@dataclass(frozen=True)
class Explain:
    """Show each word of a caption: its tag, base form and synset and, if the word gave no label,
    why not.

    python -m catlip.label explain "Two bikes and a golden retriever on a couch" --rule corenet
    """

    caption: tyro.conf.Positional[str]
    """The caption."""
    rule: str = "paper"
    """"paper", "corenet" or "paper_multiword"."""


def label_source(source: Source, labels_dir: Path | None, rule: str) -> None:
    """Label one source and write its sidecar; its bytes do not depend on the process or the order.

    Raises: InputError when the source cannot be read, OSError or UnwritableError when the sidecar
        cannot be written.
    """
    labels = label_captions(source.samples(), _labeller(rule))
    labels.meta.update(source.origin())
    write_sidecar(sidecar_path(source, labels_dir, rule), labels)


def label_captions(samples: Iterable[tuple[str, Caption]], labeller: Labeller) -> Labels:
    """The labels of (key, caption) pairs from any source; only the origin is not in their meta."""
    digest, unlabelled, cut = sha256(), Counter[str](), 0
    first: dict[str, str] = {}
    values, counts = array("I"), array("I")
    fed = _fed(digest, samples)
    while batch := list(islice(fed, BATCH_CAPTIONS)):
        texts = [caption if isinstance(caption, str) else None for _, caption in batch]
        for (key, caption), text, synsets in zip(batch, texts, labeller.batch(texts), strict=True):
            cut += len(text or "") > MAX_CHARACTERS
            if not synsets:
                cause = caption.cause if isinstance(caption, Unusable) else labeller.why_none(text)
                unlabelled[cause] += 1
                first.setdefault(cause, key)
            values.extend(synsets)
            counts.append(len(synsets))
    meta = {**_making(labeller), "captions_sha256": digest.hexdigest()}
    meta |= {"unlabelled": dict(unlabelled), "first_unlabelled": first, "cut": cut}
    return Labels(np.array(values, dtype=np.uint32), np.cumsum([0, *counts], dtype=np.uint32), meta)


def is_labelled(source: Source, labels_dir: Path | None, rule: str) -> bool:
    """Whether the source has labels that the same rule and words made from the same captions.

    The captions of a shard are compared by its digest; those of a table are read.
    """
    try:
        meta = read_sidecar(sidecar_path(source, labels_dir, rule)).meta
    except (InputError, FileNotFoundError):
        return False
    now = {**_making(_labeller(rule)), **source.origin()}
    if any(meta.get(name) != value for name, value in now.items()):
        return False
    return "content" in now or meta["captions_sha256"] == captions_digest(source.samples())


def _fed(digest: Any, samples: Iterable[tuple[str, Caption]]) -> Iterator[tuple[str, Caption]]:
    """The samples, each of which is added to the digest.

    A caption is cut to one character more than is read, so that a batch takes little memory.
    """
    for key, caption in samples:
        add_caption(digest, key, caption)
        yield key, caption[: MAX_CHARACTERS + 1] if isinstance(caption, str) else caption


def _making(labeller: Labeller) -> dict[str, Any]:
    names = ("rule", "edition", "tagger", "wordnet")
    return {name: getattr(labeller, name) for name in names}


@functools.cache
def _labeller(rule: str) -> Labeller:
    return Labeller(rule)


def main(config: Label) -> None:
    """Label what is not labelled yet, then sum up all labels in a record."""
    # A cluster's workers have working folders of their own.
    root = Path.cwd() if config.engine == "ray" else Path()
    paths = [_placed(path, root) for path in find(config.sources)]
    labels_dir = config.labels_dir and _placed(config.labels_dir, root)
    if labels_dir is None and any(map(is_remote, paths)):
        raise InputError("the labels of remote shards need a folder; give --labels-dir FOLDER")
    folder = labels_dir or paths[0].parent
    record_path = labelling_record(paths, labels_dir, config.rule)
    # Fetches the words once, before the workers start; refuses an unknown rule.
    making = _making(_labeller(config.rule))
    check = functools.partial(is_labelled, labels_dir=labels_dir, rule=config.rule)
    label = functools.partial(label_source, labels_dir=labels_dir, rule=config.rule)
    with _engine(config) as apply:
        each = functools.partial(_each, apply, config.quiet)
        sources, errors = split_all(
            paths, functools.partial(each, "cutting"), config.text_column, rows=config.part_rows
        )
        sidecars = sidecars_of(sources, labels_dir, config.rule)
        if labels_dir:
            keep_plan(sidecars, labels_dir, config.rule)
        delete_stale(sources, labels_dir, config.rule)
        checked = each("checking", check, with_sidecar(sidecars, labels_dir))
        done = {source for source, state in checked if state is True}
        todo = [source for source in sidecars if source not in done]
        if changed := bool(todo or errors or not record_path.exists()):
            with Record(record_path, Labelling, config) as record:
                start = time.perf_counter()
                bad = [error for _, error in each("labelling", label, todo) if error]
                seconds = time.perf_counter() - start
                if errors or bad:
                    record.save()  # the others are labelled
                    raise failure([*errors, *bad], len(sources) - len(bad))
                measured = record.measured(summarise(sidecars, set(todo), making, seconds))
    if changed:
        report(measured, len(sources) - len(todo), folder, record_path)
    else:
        print(f"nothing to do: all {counted(sources)} are labelled in {folder} ({record_path})")


def _placed(path: Path, root: Path) -> Path:
    return path if is_remote(path) else root / path


def labelling_record(paths: Sequence[Path], labels_dir: Path | None, name: str) -> Path:
    """Where the record of a labelling goes: into labelling/ beside `labels_dir`. If `labels_dir` is
    None or remote, into runs/labelling/, under a name that differs from folder to folder.
    """
    if labels_dir is None or is_remote(labels_dir):
        folder = labels_dir or paths[0].resolve().parent
        place = sha256(str(folder).encode()).hexdigest()[:6]  # two folders may have the same name
        return Path("runs") / "labelling" / f"{folder.name}-{place}-{name}.json"
    prefix = "" if labels_dir.name == "labels" else f"{labels_dir.name}-"
    return labels_dir.parent / "labelling" / f"{prefix}{name}.json"


def _engine(config: Label) -> AbstractContextManager[Apply]:
    if config.engine == "local":
        return local(config.workers or len(os.sched_getaffinity(0)))
    return on_ray(
        config.ray_address,
        {name: os.environ[name] for name in ("CATLIP_CACHE", CACHE_SIZE) if name in os.environ},
    )


def _each(
    apply: Apply, quiet: bool, doing: str, function: Callable[..., Any], items: Sequence[Any]
) -> Iterator[tuple[Any, Any]]:
    """Each item with the function's result or InputError, under a progress bar.

    Raises: OSError and UnwritableError at once.
    """
    results = apply(function, items)
    hidden = quiet or not items
    for item, result in progress(
        results, doing, len(items), disable=hidden, unit=" units", leave=False
    ):
        # For example a full disk, which would stop the next item as well.
        if isinstance(result, OSError | UnwritableError):
            raise result
        yield item, result


def explain(config: Explain) -> None:
    """Print a line for each word of the caption."""
    words = Labeller(config.rule).explain(config.caption)
    width = max((len(word.token) for word in words), default=0)
    for word in words:
        verdict = f"label {word.synset}" if word.kept else word.reason
        print(printable(f"{word.token:{width}}  {word.tag:4}  {word.lemma:{width}}  {verdict}"))
