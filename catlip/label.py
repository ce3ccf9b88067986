"""Labels for shards: the synsets of every caption, written beside the shards or into a folder.

    python -m catlip.label 'cc3m/{00000..00331}.tar' --rule paper --labels-dir runs/cc3m/labels
    python -m catlip.label explain "Two bikes and a golden retriever on a couch"

A shard is one unit of work and depends on nothing else, so any number of processes may share the shards. What is already
labelled stays; a run that was stopped goes on where it was.
"""

import functools
import itertools
import multiprocessing
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from tqdm import tqdm

from catlip.captions import MAX_CHARACTERS, Labeller
from catlip.cli import InputError, run
from catlip.data.shards import expand, open_shard
from catlip.record import Record
from catlip.sidecar import Labels, add_caption, captions_digest, read_labels, read_sidecar, sidecar_path, write_sidecar

BATCH_CAPTIONS = 512


@dataclass(frozen=True)
class Label:
    """Label the captions of shards by WordNet synsets; a second run does only what is missing or has changed.

    python -m catlip.label 'cc3m/{00000..00331}.tar' --rule paper --labels-dir runs/cc3m/labels

    To see what becomes of each word of one caption:

    python -m catlip.label explain "Two bikes and a golden retriever on a couch"
    """

    shards: tyro.conf.Positional[tuple[str, ...]]
    """Shards: paths, folders, globs, braces."""
    rule: str = "paper"
    """"paper": part-of-speech nouns by their first sense; "corenet": the released code's rule."""
    labels_dir: Path | None = None
    """Where the labels go; beside the shards when not given."""
    workers: int = 0
    """Processes; 0 is one a core."""
    quiet: bool = False
    """No progress bar."""


@dataclass(frozen=True)
class Explain:
    """Show each word of a caption: its tag, base form and synset, and why it is no label where it is none.

    python -m catlip.label explain "Two bikes and a golden retriever on a couch" --rule corenet
    """

    caption: tyro.conf.Positional[str]
    """The caption."""
    rule: str = "paper"
    """"paper" or "corenet"."""


def label_shard(path: Path, labels_dir: Path | None, rule: str) -> None:
    """Label one shard and write its sidecar; the same bytes in whatever process and order.

    Raises: InputError when the shard cannot be read.
    """
    shard = open_shard(path)
    labels = label_captions(((shard.keys[number], shard.caption(number)) for number in range(len(shard))), _labeller(rule))
    labels.meta.update(shard=path.name, size=path.stat().st_size)
    write_sidecar(sidecar_path(path, labels_dir, rule), labels)


def label_captions(samples: Iterable[tuple[str, str | None]], labeller: Labeller) -> Labels:
    """The labels of (key, caption) pairs, wherever they come from; the meta lacks only the name and size of their file."""
    digest, unlabelled, cut = sha256(), Counter[str](), 0
    values: list[int] = []
    counts: list[int] = []
    samples = iter(samples)
    while batch := list(itertools.islice(samples, BATCH_CAPTIONS)):
        for (key, caption), synsets in zip(batch, labeller.batch([caption for _, caption in batch]), strict=True):
            add_caption(digest, key, caption)
            cut += len(caption or "") > MAX_CHARACTERS
            if not synsets:
                unlabelled[labeller.why_none(caption)] += 1
            values += synsets
            counts.append(len(synsets))
    meta: dict[str, Any] = {"rule": labeller.rule, "tagger": labeller.tagger, "wordnet": labeller.wordnet}
    meta |= {"captions_sha256": digest.hexdigest(), "unlabelled": dict(unlabelled), "cut": cut}
    return Labels(np.array(values, dtype=np.uint32), np.cumsum([0, *counts], dtype=np.uint32), meta)


def is_labelled(path: Path, labels_dir: Path | None, rule: str) -> bool:
    """Whether the shard has labels made by this rule, with these tagger weights, from these very captions."""
    if not sidecar_path(path, labels_dir, rule).exists():
        return False
    shard = open_shard(path)
    try:
        meta = read_labels(shard, labels_dir, rule).meta
    except InputError:
        return False
    return meta["tagger"] == _labeller(rule).tagger and meta["captions_sha256"] == captions_digest(shard)


@functools.cache
def _labeller(rule: str) -> Labeller:
    return Labeller(rule)


def main(config: Label) -> None:
    """Label what is not labelled yet, then sum up all sidecars in a record."""
    paths = expand(config.shards)
    _check_names(paths, config.labels_dir)
    _labeller(config.rule)  # fetches the words once, before the workers start, and refuses an unknown rule
    folder = config.labels_dir or paths[0].parent
    record_path = folder.parent / "labelling" / f"{config.rule}.json"
    with _mapper(config.workers or len(os.sched_getaffinity(0)), len(paths)) as apply:
        labelled = dict(_each(apply, is_labelled, paths, config, "checking"))
        todo = [path for path in paths if labelled[path] is not True]
        if not todo and record_path.exists():
            print(f"nothing to do: all {len(paths)} shards are labelled in {folder} ({record_path})")
            return
        with Record(record_path, "labelling", config) as record:
            start = time.perf_counter()
            failures = [result for _, result in _each(apply, label_shard, todo, config, "labelling") if result is not None]
            seconds = time.perf_counter() - start
            if failures:
                raise InputError(
                    f"{len(failures)} of {len(paths)} shards are not labelled, the others are; first: {failures[0]}"
                )
            record.metrics |= _summary(paths, todo, config, seconds)
    _report(record.metrics, len(paths) - len(todo), folder, record_path)


def _check_names(paths: Sequence[Path], labels_dir: Path | None) -> None:
    """Refuse shards of one name whose labels would share a file of `labels_dir`."""
    name, times = Counter(path.stem for path in paths).most_common(1)[0]
    if labels_dir and times > 1:
        raise InputError(f"{times} shards are named {name}: their labels would share a file; give each folder its --labels-dir")


Apply = Callable[..., Iterator[Any]]


@contextmanager
def _mapper(workers: int, num_shards: int) -> Iterator[Apply]:
    """`map`, in this process or over several; leaving early waits only for the shards being worked on."""
    if min(workers, num_shards) <= 1:
        yield map
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, num_shards), context, _leave_interrupts_to_the_parent) as pool:
        try:
            yield pool.map
        except BrokenProcessPool:
            raise InputError("a worker died, perhaps for lack of memory; run the command again with fewer --workers") from None
        finally:
            pool.shutdown(cancel_futures=True)


def _leave_interrupts_to_the_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _each(
    apply: Apply, function: Callable[..., Any], paths: Sequence[Path], config: Label, doing: str
) -> Iterator[tuple[Path, Any]]:
    """Each path with the function's result, or with the InputError it ended in."""
    work = functools.partial(_attempt, function, config.labels_dir, config.rule)
    yield from zip(paths, tqdm(apply(work, paths), doing, len(paths), disable=config.quiet, unit=" shards"), strict=True)


def _attempt(function: Callable[..., Any], labels_dir: Path | None, rule: str, path: Path) -> Any:
    try:
        return function(path, labels_dir, rule)
    except InputError as error:
        return error


def _summary(paths: Sequence[Path], todo: Sequence[Path], config: Label, seconds: float) -> dict[str, Any]:
    """What the sidecars hold together, and how fast those of `todo` were made."""
    captions = labels = size = cut = new_captions = 0
    causes, new = Counter[str](), set(todo)
    for path in paths:
        sidecar = sidecar_path(path, config.labels_dir, config.rule)
        found = read_sidecar(sidecar)
        captions, labels, cut = captions + len(found), labels + len(found.values), cut + found.meta["cut"]
        size += sidecar.stat().st_size
        new_captions += len(found) * (path in new)
        causes.update(found.meta["unlabelled"])
    return {
        **{
            "shards": len(paths),
            "captions": captions,
            "labels_per_caption": labels / captions,
            "bytes_per_caption": size / captions,
        },
        **{"unlabelled": dict(causes), "cut": cut},
        **{"captions_labelled_now": new_captions, "captions_per_s": new_captions / seconds if new_captions else None},
    }


def _report(metrics: dict[str, Any], unchanged: int, folder: Path, record_path: Path) -> None:
    rate = f" at {metrics['captions_per_s']:,.0f} captions/s" if metrics["captions_per_s"] else ""
    now, labels, size = metrics["captions_labelled_now"], metrics["labels_per_caption"], metrics["bytes_per_caption"]
    print(f"labelled {now:,} captions{rate}; {unchanged} of {metrics['shards']} shards were done before")
    print(f"{metrics['captions']:,} captions, {labels:.2f} labels and {size:.1f} bytes each")
    for cause, count in metrics["unlabelled"].items():
        print(f"  {count:,} without a label: {cause}")
    if metrics["cut"]:
        print(f"  {metrics['cut']:,} read only to {MAX_CHARACTERS} characters")
    print(f"labels: {folder}\nrecord: {record_path}")


def explain(config: Explain) -> None:
    """Print a line for each word of the caption."""
    words = Labeller(config.rule).explain(config.caption)
    width = max((len(word.token) for word in words), default=0)
    for word in words:
        verdict = f"label {word.synset}" if word.kept else word.reason
        print(f"{word.token:{width}}  {word.tag:4}  {word.lemma:{width}}  {verdict}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["explain"]:
        del sys.argv[1]
        run(Explain, explain)
    else:
        run(Label, main)
