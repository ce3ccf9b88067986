"""`python -m catlip.vocabulary`: builds a vocabulary from labels, merges several, or shows the
statistics of one.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from catlip.cli import InputError, Program, run
from catlip.data.remote import find_remote
from catlip.label.labels_table import labels_table
from catlip.label.sidecar import SUFFIX, planned
from catlip.program.progress import progress
from catlip.program.ranges import Count, Natural
from catlip.record import Record
from catlip.system.urls import is_remote, with_urls
from catlip.table import as_text
from catlip.vocabulary import Vocabulary, build
from catlip.vocabulary.counts import Counts, count, merge
from catlip.vocabulary.result import VocabularyCounts
from catlip.vocabulary.statistics import (
    VocabularyStatistics,
    describe,
    record_path,
    show_statistics,
)


@dataclass(frozen=True)
class BuildVocabulary:
    """Count the synsets in labels made by `python -m catlip.label` and keep the frequent ones as
    classes.

    python -m catlip.vocabulary runs/cc3m/labels --threshold 500 --out runs/cc3m/vocabulary.json

    To choose another threshold, or to add up vocabularies of several machines, without counting
    again:

    python -m catlip.vocabulary merge part1.json part2.json --threshold 500 --out vocabulary.json

    To see how many synsets a threshold leaves, and how near they are to the labels of other data
    sets:

    python -m catlip.vocabulary stats runs/cc3m/vocabulary.json --against imagenet coco
    """

    labels: tyro.conf.Positional[tuple[Path, ...]]
    """Folders of labels, or labels files. Of a folder made by --labels-dir, the labels of the last
    labelling count.
    """
    out: Path
    """The vocabulary to write, ending in .json; a record goes to vocabulary/ beside it."""
    threshold: Natural | None = None
    """Keep the synsets that occur more often than this; the paper takes 500 (V_tau). Without it, a
    tenth of the square root of the number of captions."""
    top_k: Count | None = None
    """Keep this many of the most frequent instead; the released code takes 24320."""
    rule: str | None = None
    """Which rule's labels to count; needed only where a folder has several."""
    quiet: bool = False
    """No progress bar."""


@dataclass(frozen=True)
class MergeVocabularies:
    """Add up the counts of vocabularies and choose the classes from the sum; with one vocabulary,
    only choose its classes again.

    python -m catlip.vocabulary merge part1.json part2.json --threshold 500 --out vocabulary.json

    The result equals a vocabulary built from all their labels at once. Their labels must have been
    made in the same way and have no captions in common.
    """

    vocabularies: tyro.conf.Positional[tuple[Path, ...]]
    """Vocabularies, made by `python -m catlip.vocabulary`."""
    out: Path
    """The vocabulary to write, ending in .json; a record goes to vocabulary/ beside it."""
    threshold: Natural | None = None
    """Keep the synsets that occur more often than this; the paper takes 500 (V_tau). Without it, a
    tenth of the square root of the number of captions."""
    top_k: Count | None = None
    """Keep this many of the most frequent instead; the released code takes 24320."""


def build_from_labels(config: BuildVocabulary) -> None:
    """Count, build, save, record, and print the ten most frequent classes."""
    _check_out(config.out)
    files = _label_files(config.labels, config.rule)
    counts = count(progress(files, "counting", disable=config.quiet, unit=" files"))
    _finish(counts, config)


def merge_vocabularies(config: MergeVocabularies) -> None:
    """Add up, build, save, record, and print the ten most frequent classes."""
    _check_out(config.out)
    if not config.vocabularies:
        raise InputError("name one or more vocabularies to merge")
    counted = [(str(path), Vocabulary.load(path).counts()) for path in config.vocabularies]
    _finish(merge(counted), config)


def _check_out(out: Path) -> None:
    if out.suffix != ".json":
        raise InputError(f"--out {out} does not end in .json")


def _finish(counts: Counts, config: BuildVocabulary | MergeVocabularies) -> None:
    vocabulary = build(counts, config.threshold, config.top_k)
    vocabulary.save(config.out)
    with Record(record_path(config.out), VocabularyCounts, config) as record:
        measured = record.measured(describe(vocabulary))
        record.samples["counts"] = [
            synset.count for synset in (*vocabulary.synsets, *vocabulary.pruned)
        ]
    print(as_text(labels_table({}, {vocabulary.rule: measured}, scale="")))
    print("\nThe most frequent classes, and the captions that name them")
    for synset in vocabulary.synsets[:10]:
        print(f"  {synset.count:>12,}  {synset.name}")
    print(f"vocabulary: {config.out}\nrecord: {record.path}")


def _label_files(places: Sequence[Path], rule: str | None) -> list[Path]:
    """The labels files in `places`, which are files and folders; only those of `rule` if given.

    The files of a folder are sorted; those that its last labelling did not name are left out.
    """
    pattern = f"*.{rule}{SUFFIX}" if rule else f"*{SUFFIX}"
    files: list[Path] = []
    for place in places:
        if is_remote(place) and place.suffix != ".npz":
            files += _of_last_labelling(place, find_remote(str(place / pattern)))
        elif place.is_dir():
            files += _of_last_labelling(place, sorted(place.glob(pattern)))
        else:
            files.append(place)
    if not files:
        raise InputError(
            f"no {pattern} in {', '.join(map(str, places))}; run `python -m catlip.label` first"
        )
    return files


def _of_last_labelling(folder: Path, files: Sequence[Path]) -> list[Path]:
    """The labels files that the last labelling into a folder named; all where that is unknown."""
    rules = {path: path.name.removesuffix(SUFFIX).rpartition(".")[2] for path in files}
    plans = {rule: planned(folder, rule) for rule in set(rules.values())}
    kept = [path for path, rule in rules.items() if path.name in (plans[rule] or {path.name})]
    if left := len(files) - len(kept):
        print(
            f"{with_urls(str(folder))}: {left} of {len(files)} labels files are left out: the last "
            "labelling with this --labels-dir did not name their shards",
            file=sys.stderr,
        )
    return kept


if __name__ == "__main__":
    subcommands: dict[str, Program] = {
        "merge": (MergeVocabularies, merge_vocabularies),
        "stats": (VocabularyStatistics, show_statistics),
    }
    run(BuildVocabulary, build_from_labels, subcommands=subcommands)
