"""`python -m catlip.vocabulary`: builds a vocabulary from labels, or shows the statistics of
one: the synsets in the captions, and how near the classes are to the labels of other
data sets (Figures 2(b), 2(c), 3(a), 3(b)).

A label of a target data set *matches* the class of highest path similarity to any of its synsets;
Figure 2(b) counts the labels that match with at least a given similarity; Figure 2(c) shows how
often the classes occur that match exactly.
"""

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from catlip.cli import InputError, Program, run
from catlip.data.remote import find_remote
from catlip.label.sidecar import SUFFIX, planned_names
from catlip.program.identity import refuse_foreign
from catlip.program.progress import progress
from catlip.program.ranges import Count, Natural
from catlip.records.record import Record
from catlip.records.table import print_tables
from catlip.system.urls import is_remote, show_urls
from catlip.transfer_init import find_origins, origins_sentence, origins_table
from catlip.vocabulary import Synset, Vocabulary, build, count, result
from catlip.vocabulary.label_sets import LabelSet, imagenet_synsets, label_set
from catlip.vocabulary.result import LABEL_SETS, SIMILARITIES, LabelCounts, VocabularyCounts

TAIL_POINTS = 500  # of the long tail, evenly spaced on a logarithmic axis


@dataclass(frozen=True)
class BuildVocabulary:
    """Count the synsets in labels made by `python -m catlip.label` and keep the frequent ones as
    classes.

    python -m catlip.vocabulary runs/cc3m/labels --threshold 500 --out runs/cc3m/vocabulary.json

    `stats` compares a vocabulary with the labels of other data sets.
    """

    labels: tyro.conf.Positional[tuple[Path, ...]]
    """Folders of labels, or labels files. The labels in a folder must be finished; those of shards
    that the last labelling of the others did not name do not count.
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
class VocabularyStatistics:
    """Show a vocabulary's statistics, and write the record from which the report draws them.

    python -m catlip.vocabulary stats runs/cc3m/vocabulary.json \\
        --against imagenet coco places365:/data/places365

    python -m catlip.vocabulary stats runs/cc3m/vocabulary.json --against my_classes.txt
    """

    vocabulary: tyro.conf.Positional[Path]
    """A vocabulary, made by `python -m catlip.vocabulary`."""
    against: tuple[str, ...] = ("imagenet", "coco", "ade20k")
    """The label sets to compare with: imagenet, coco, ade20k, fashion_mnist, places365:DIR, or a
    text file of your own class names, one a line.
    """


def build_from_labels(config: BuildVocabulary) -> None:
    """Build, save, record, and print the ten most frequent classes."""
    if config.out.suffix != ".json":
        raise InputError(f"--out {config.out} does not end in .json")
    refuse_foreign(config.out, lambda path: path.read_bytes().startswith(b'{\n "schema": '))
    files = _label_files(config.labels, config.rule)
    counts = count(progress(files, "counting", disable=config.quiet, unit=" files"))
    vocabulary = build(counts, config.threshold, config.top_k)
    vocabulary.save(config.out)
    with Record(_record_path(config.out), VocabularyCounts, config) as record:
        run = record.finish(describe(vocabulary))
    print_tables([result.LABELS.fill([run])])
    print("The most frequent classes, and the captions that name them")
    for synset in vocabulary.synsets[:10]:
        print(f"  {synset.count:>12,}  {synset.name}")
    print(f"vocabulary: {config.out}\nrecord: {record.path}")


def _record_path(vocabulary: Path, suffix: str = "") -> Path:
    """Where the record of a vocabulary goes: into the folder vocabulary/ beside it."""
    return vocabulary.parent / "vocabulary" / f"{vocabulary.stem}{suffix}.json"


def _label_files(labels: Sequence[Path], rule: str | None) -> list[Path]:
    """The labels files in files and folders, of `rule` if given; a folder's are sorted, and files
    that its last labelling did not name are left out.
    """
    pattern = f"*.{rule}{SUFFIX}" if rule else f"*{SUFFIX}"
    files: list[Path] = []
    for source in labels:
        if is_remote(source) and source.suffix != ".npz":
            listing = find_remote(str(source / pattern))
        elif source.is_dir():
            listing = sorted(source.glob(pattern))
        else:
            files.append(source)
            continue
        rules = {path: path.name.removesuffix(SUFFIX).rpartition(".")[2] for path in listing}
        plans = {rule: planned_names(source, rule) for rule in set(rules.values())}
        if missing := sorted(set().union(*plans.values()) - {path.name for path in listing}):
            raise InputError(
                f"{show_urls(str(source))}: the labelling is not finished, {len(missing)} labels "
                f"files are missing, first {missing[0]}; run its `python -m catlip.label` command "
                "again"
            )
        kept = [path for path, rule in rules.items() if path.name in (plans[rule] or {path.name})]
        if left := len(listing) - len(kept):
            print(
                f"{show_urls(str(source))}: {left} of {len(listing)} labels files are left out: "
                "the last labelling there did not name their shards",
                file=sys.stderr,
            )
        files += kept
    if not files:
        raise InputError(
            f"no {pattern} in {', '.join(map(str, labels))}; run `python -m catlip.label` first"
        )
    return files


def show_statistics(config: VocabularyStatistics) -> None:
    label_sets = [label_set(spec) for spec in config.against]
    if len({labels.name for labels in label_sets}) < len(label_sets):
        raise InputError(f"--against {' '.join(config.against)} names a label set twice")
    vocabulary = Vocabulary.load(config.vocabulary)
    metrics, samples = statistics(vocabulary, label_sets)
    path = _record_path(config.vocabulary, "-statistics")
    with Record(path, result.VocabularyStatistics, config) as record:
        record.samples |= samples
        measured = record.finish(metrics)
    print_tables(spec.fill([measured]) for spec in (result.LABELS, result.OVERLAP))
    for labels in label_sets:
        if labels.name not in LABEL_SETS:
            origins = find_origins(labels, vocabulary)
            print_tables([origins_table(labels.name, origins, vocabulary)])
            print(f"{origins_sentence(labels.name, origins)}\n")
    print(f"record: {path}")
    print(f"page and figures: python -m reports --records {path} --out {path.parent / 'report'}")


def statistics(
    vocabulary: Vocabulary, label_sets: Sequence[LabelSet]
) -> tuple[result.VocabularyStatistics, dict[str, list[int]]]:
    """The metrics; and as samples, points of the long tail."""
    matches = {labels.name: match(labels, vocabulary) for labels in label_sets}
    counted = {}
    for name, nearest in matches.items():
        exact = [synset.count for similarity, synset in nearest if similarity == 1 and synset]
        counted[name] = LabelCounts(
            labels=len(nearest),
            without_synset=sum(synset is None for _, synset in nearest),
            exact=len(exact),
            median=float(np.median(exact)) if exact else None,
        )
    metrics = result.VocabularyStatistics(
        **vars(describe(vocabulary)),
        overlap={
            name: {
                least: sum(similarity >= float(least) for similarity, _ in nearest)
                for least in SIMILARITIES
            }
            for name, nearest in matches.items()
        },
        labels=counted,
    )
    counts = [synset.count for synset in (*vocabulary.synsets, *vocabulary.pruned)]
    ranks = np.unique(np.geomspace(1, len(counts), TAIL_POINTS).round().astype(int)).tolist()
    return metrics, {"tail_rank": ranks, "tail_count": [counts[rank - 1] for rank in ranks]}


def describe(vocabulary: Vocabulary) -> VocabularyCounts:
    occurring, captions = (*vocabulary.synsets, *vocabulary.pruned), vocabulary.source.captions
    imagenet = set(imagenet_synsets())

    def num_imagenet(synsets: Iterable[Any]) -> int:
        return len(imagenet & {synset.offset for synset in synsets})

    return VocabularyCounts(
        rule=vocabulary.rule,
        threshold=vocabulary.threshold,
        top_k=vocabulary.top_k,
        num_classes=len(vocabulary),
        num_captions=captions,
        captions_without_label=vocabulary.source.without_label,
        labels_per_caption=sum(s.count for s in occurring) / captions if captions else None,
        unique_synsets=len(occurring),
        imagenet_classes_occurring=num_imagenet(occurring),
        imagenet_classes=num_imagenet(vocabulary.synsets),
    )


def match(labels: LabelSet, vocabulary: Vocabulary) -> list[tuple[float, Synset | None]]:
    """The similarity of each label, or of any of its synsets, to its nearest class, and the class;
    ties go to the lowest id. A label without a synset has none, at similarity 0.
    """
    matches: list[tuple[float, Synset | None]] = []
    for origin in find_origins(labels, vocabulary, alpha=0):
        ranked = [(-part.similarity, part.class_id or 0) for part in origin.parts]
        similarity, class_id = min(ranked, default=(0.0, None))
        best = None if class_id is None else vocabulary.synsets[class_id]
        matches.append((abs(similarity), best))
    return matches


if __name__ == "__main__":
    subcommands: dict[str, Program] = {"stats": (VocabularyStatistics, show_statistics)}
    run(BuildVocabulary, build_from_labels, subcommands=subcommands)
