"""`python -m catlip.vocabulary`: builds a vocabulary from labels, merges several, or shows the
statistics of one.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from catlip.cli import InputError, Program, run
from catlip.program.ranges import Count, Natural


@dataclass(frozen=True)
class BuildVocabulary:
    """Count the synsets in labels made by `python -m catlip.label` and keep the frequent ones as
    classes.

    python -m catlip.vocabulary runs/cc3m/labels --threshold 500 --out runs/cc3m/vocabulary.json

    `merge` adds up vocabularies or chooses another threshold; `stats` compares one with the labels
    of other data sets.
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
    """Keep the synsets that occur more often than this, as in building."""
    top_k: Count | None = None
    """Keep this many of the most frequent instead."""


@dataclass(frozen=True)
class VocabularyStatistics:
    """Show a vocabulary's statistics, and write the record from which the report draws them.

    python -m catlip.vocabulary stats runs/cc3m/vocabulary.json \\
        --against imagenet coco places365:/data/places365
    """

    vocabulary: tyro.conf.Positional[Path]
    """A vocabulary, made by `python -m catlip.vocabulary`."""
    against: tuple[str, ...] = ("imagenet", "coco", "ade20k")
    """The label sets to compare with: imagenet, coco, ade20k, fashion_mnist, places365:DIR."""


def build_from_labels(config: BuildVocabulary) -> None:
    """Count, build, save, record, and print the ten most frequent classes."""
    from catlip.program.progress import progress
    from catlip.vocabulary.counts import count
    from catlip.vocabulary.statistics import write_vocabulary

    _check_suffix(config.out)
    files = _label_files(config.labels, config.rule)
    counts = count(progress(files, "counting", disable=config.quiet, unit=" files"))
    write_vocabulary(counts, config)


def merge_vocabularies(config: MergeVocabularies) -> None:
    """Add up, build, save, record, and print the ten most frequent classes."""
    from catlip.vocabulary import Vocabulary
    from catlip.vocabulary.counts import merge
    from catlip.vocabulary.statistics import write_vocabulary

    _check_suffix(config.out)
    counted = merge((path, Vocabulary.load(path).counts()) for path in config.vocabularies)
    write_vocabulary(counted, config)


def show_statistics(config: VocabularyStatistics) -> None:
    from catlip.vocabulary.statistics import show_statistics

    show_statistics(config)


def _check_suffix(out: Path) -> None:
    if out.suffix != ".json":
        raise InputError(f"--out {out} does not end in .json")


def _label_files(places: Sequence[Path], rule: str | None) -> list[Path]:
    """The labels files in `places`, which are files and folders; only those of `rule` if given.

    The files of a folder are sorted; those that its last labelling did not name are left out.
    """
    from catlip.data.remote import find_remote
    from catlip.label.sidecar import SUFFIX, planned
    from catlip.system.urls import is_remote, with_urls

    pattern = f"*.{rule}{SUFFIX}" if rule else f"*{SUFFIX}"
    files: list[Path] = []
    for place in places:
        if is_remote(place) and place.suffix != ".npz":
            in_folder = find_remote(str(place / pattern))
        elif place.is_dir():
            in_folder = sorted(place.glob(pattern))
        else:
            files.append(place)
            continue
        rules = {path: path.name.removesuffix(SUFFIX).rpartition(".")[2] for path in in_folder}
        plans = {rule: planned(place, rule) for rule in set(rules.values())}
        kept = [path for path, rule in rules.items() if path.name in (plans[rule] or {path.name})]
        if left := len(in_folder) - len(kept):
            print(
                f"{with_urls(str(place))}: {left} of {len(in_folder)} labels files are left out: "
                "the last labelling with this --labels-dir did not name their shards",
                file=sys.stderr,
            )
        files += kept
    if not files:
        raise InputError(
            f"no {pattern} in {', '.join(map(str, places))}; run `python -m catlip.label` first"
        )
    return files


if __name__ == "__main__":
    subcommands: dict[str, Program] = {
        "merge": (MergeVocabularies, merge_vocabularies),
        "stats": (VocabularyStatistics, show_statistics),
    }
    run(BuildVocabulary, build_from_labels, subcommands=subcommands)
