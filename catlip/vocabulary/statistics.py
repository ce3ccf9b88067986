"""Statistics of a vocabulary: the synsets in the captions, and how near the classes are to the
labels of other data sets (Figures 2(b), 2(c), 3(a), 3(b)).

A label of a target data set *matches* the class of highest path similarity to any of its synsets;
Figure 2(b) counts the labels that match with at least a given similarity; Figure 2(c) shows how
often the classes occur that match exactly.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from catlip.cli import InputError
from catlip.record import Record
from catlip.table import as_text
from catlip.vocabulary import Vocabulary, build
from catlip.vocabulary.counts import Counts
from catlip.vocabulary.label_sets import LabelSet, imagenet_synsets, label_set
from catlip.vocabulary.result import (
    SIMILARITIES,
    THRESHOLDS,
    LabelCounts,
    Match,
    VocabularyCounts,
    VocabularyStatistics,
    labels_table,
    overlap_table,
)
from catlip.words.similarity import all_nearest

if TYPE_CHECKING:
    from catlip.vocabulary import __main__ as program

TAIL_POINTS = 500  # of the long tail, evenly spaced on a logarithmic axis


def write_vocabulary(
    counts: Counts, config: "program.BuildVocabulary | program.MergeVocabularies"
) -> None:
    """Build, save, record, and print the ten most frequent classes."""
    vocabulary = build(counts, config.threshold, config.top_k)
    vocabulary.save(config.out)
    with Record(record_path(config.out), VocabularyCounts, config) as record:
        measured = record.measured(describe(vocabulary))
    print(as_text(labels_table({}, {vocabulary.rule: measured}, scale="")))
    print("\nThe most frequent classes, and the captions that name them")
    for synset in vocabulary.synsets[:10]:
        print(f"  {synset.count:>12,}  {synset.name}")
    print(f"vocabulary: {config.out}\nrecord: {record.path}")


def show_statistics(config: "program.VocabularyStatistics") -> None:
    """Compute, record and print."""
    label_sets = [label_set(spec) for spec in config.against]
    if len({labels.name for labels in label_sets}) < len(label_sets):
        raise InputError(f"--against {' '.join(config.against)} names a label set twice")
    vocabulary = Vocabulary.load(config.vocabulary)
    metrics, samples = statistics(vocabulary, label_sets)
    path = record_path(config.vocabulary, "-statistics")
    with Record(path, VocabularyStatistics, config) as record:
        record.samples |= samples
        measured = record.measured(metrics)
    runs = {vocabulary.rule: measured}
    for table in (labels_table({}, runs, scale=""), *overlap_table(runs, scale="")):
        print(f"{as_text(table)}\n")
    print(f"record: {path}")
    print(f"page and figures: python -m reports --records {path} --out {path.parent / 'report'}")


def record_path(vocabulary: Path, suffix: str = "") -> Path:
    """Where the record of a vocabulary goes: into the folder vocabulary/ beside it."""
    return vocabulary.parent / "vocabulary" / f"{vocabulary.stem}{suffix}.json"


def statistics(
    vocabulary: Vocabulary, label_sets: Sequence[LabelSet]
) -> tuple[VocabularyStatistics, dict[str, list[Any]]]:
    """The metrics and samples of a record: the samples are points of the long tail (rank 1 is the
    most frequent synset), and the `Match` of each label of a set.
    """
    matches = {labels.name: match(labels, vocabulary) for labels in label_sets}
    metrics = VocabularyStatistics(
        **vars(describe(vocabulary)),
        overlap={
            name: {
                least: sum(one.similarity >= float(least) for one in rows) for least in SIMILARITIES
            }
            for name, rows in matches.items()
        },
        labels={name: _summed_up(rows) for name, rows in matches.items()},
    )
    counts = [synset.count for synset in vocabulary.counts().ranked()]
    ranks = np.unique(np.geomspace(1, len(counts), TAIL_POINTS).round().astype(int)).tolist()
    samples = {
        "tail_rank": ranks,
        "tail_count": [counts[rank - 1] for rank in ranks],
        **{f"matches_{name}": [asdict(row) for row in rows] for name, rows in matches.items()},
    }
    return metrics, samples


def describe(vocabulary: Vocabulary) -> VocabularyCounts:
    """The metrics of a record of kind `vocabulary`."""
    counts = vocabulary.counts()
    captions, histogram = counts.source.captions, counts.captions_by_labels
    imagenet = set(imagenet_synsets())

    def num_imagenet(synsets: Iterable[Any]) -> int:
        return len(imagenet & {synset.offset for synset in synsets})

    return VocabularyCounts(
        rule=vocabulary.rule,
        threshold=vocabulary.threshold,
        top_k=vocabulary.top_k,
        num_classes=len(vocabulary),
        num_captions=captions,
        captions_without_label=histogram[0] if histogram else None,
        labels_per_caption=int(counts.by_synset.sum()) / captions if captions else None,
        unique_synsets=counts.num_above(0),
        unique_synsets_above={least: counts.num_above(least) for least in THRESHOLDS},
        imagenet_classes_occurring=num_imagenet(counts.ranked()),
        imagenet_classes=num_imagenet(vocabulary.synsets),
    )


def match(labels: LabelSet, vocabulary: Vocabulary) -> list[Match]:
    """The class that is nearest to each label.

    For a label of several synsets, the best match of any of them; ties go to the lowest class id.
    """
    flat = [synset for synsets in labels.synsets for synset in synsets]
    nearest = iter(all_nearest(flat, [synset.offset for synset in vocabulary.synsets]))
    matches = []
    for name, synsets in zip(labels.names, labels.synsets, strict=True):
        if not synsets:
            matches.append(Match(name, None, "", similarity=0.0, samples=0))
            continue
        candidates = [next(nearest) for _ in synsets]
        similarity = max(each.similarity for each in candidates)
        class_id = min(min(each.class_ids) for each in candidates if each.similarity == similarity)
        best = vocabulary.synsets[class_id]
        matches.append(Match(name, class_id, best.name, similarity=similarity, samples=best.count))
    return matches


def _summed_up(matches: Sequence[Match]) -> LabelCounts:
    exact = [one.samples for one in matches if one.similarity == 1]
    return LabelCounts(
        labels=len(matches),
        without_synset=sum(one.class_id is None for one in matches),
        exact=len(exact),
        median=float(np.median(exact)) if exact else None,
    )
