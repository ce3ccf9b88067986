"""What the captions hold, and how near the classes are to the labels of other data sets.  (Figures
2(b), 2(c), 3(a), 3(b))

    python -m catlip.vocabulary stats runs/cc3m/vocabulary.json \\
        --against imagenet coco places365:/data/places365

A label of a target data set *matches* the class of highest path similarity to any of its synsets;
Figure 2(b) counts the labels that match at least so well, Figure 2(c) how often the classes occur
that match exactly.
"""

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tyro

from catlip.cli import InputError
from catlip.record import Record, write_atomically
from catlip.vocabulary import Vocabulary
from catlip.vocabulary.counts import HISTOGRAM, num_imagenet_classes
from catlip.vocabulary.label_sets import LabelSet, label_set
from catlip.words.similarity import nearest

SIMILARITIES = tuple(tenths / 10 for tenths in range(1, 11))  # Figure 2(b)'s axis
TAIL_POINTS = 500  # of the long tail, evenly spaced on a logarithmic axis
EXACT = 1.0


@dataclass(frozen=True)
class VocabularyStatistics:
    """Show a vocabulary's statistics as tables, write them down and draw them.

    python -m catlip.vocabulary stats runs/cc3m/vocabulary.json \\
        --against imagenet coco places365:/data/places365
    """

    vocabulary: tyro.conf.Positional[Path]
    """A vocabulary, made by `python -m catlip.vocabulary`."""
    against: tuple[str, ...] = ("imagenet", "coco", "ade20k")
    """The label sets to compare with: imagenet, coco, ade20k, places365:DIR."""


@dataclass(frozen=True)
class Match:
    """The class nearest to a label; of a label without a synset, none with similarity 0.

    `samples` is how many captions name the class.
    """

    label: str
    class_id: int | None
    synset: str
    similarity: float
    samples: int


def match(labels: LabelSet, vocabulary: Vocabulary) -> list[Match]:
    """The class that is nearest to each label; of a label of several synsets, to the best of them,
    ties to the lowest id.
    """
    flat = [synset for synsets in labels.synsets for synset in synsets]
    found = nearest(flat, [synset.offset for synset in vocabulary.synsets])
    candidates = iter(zip(found.similarities.tolist(), (-found.class_ids).tolist(), strict=True))
    matches = []
    for name, synsets in zip(labels.names, labels.synsets, strict=True):
        if not synsets:
            matches.append(Match(name, None, "", 0.0, 0))
            continue
        similarity, minus_id = max(next(candidates) for _ in synsets)
        best = vocabulary.synsets[-minus_id]
        matches.append(Match(name, -minus_id, best.name, similarity, best.count))
    return matches


def describe(vocabulary: Vocabulary) -> dict[str, Any]:
    """The metrics that every record of a vocabulary has; None is unknown."""
    return {
        "num_classes": len(vocabulary),
        **vocabulary.counts().statistics(),
        "imagenet_classes": num_imagenet_classes(synset.offset for synset in vocabulary.synsets),
    }


def summary(metrics: dict[str, Any]) -> str:
    """What `describe` found, in a few lines."""
    captions = (
        f"{metrics['num_captions']:,} captions, {metrics['captions_without_label']:,} of them "
        "without a label, "
        f"{metrics['labels_per_caption']:.2f} labels a caption"
        if metrics["captions_without_label"] is not None
        else "how many labels a caption has is not known"
    )
    return (
        f"{metrics['num_classes']:,} classes of {metrics['unique_synsets']:,} synsets\n{captions}\n"
        f"{metrics['imagenet_classes']:,} of ImageNet-1k's 1,000 classes are among them"
    )


def statistics(
    vocabulary: Vocabulary, label_sets: Sequence[LabelSet]
) -> tuple[dict[str, Any], dict[str, list[Any]]]:
    """The metrics and samples of a record of kind `vocabulary_statistics`.

    Returns: metrics, those of `describe` and
            rule, threshold, top_k: of the vocabulary. overlap: label set -> similarity "0.1" to
            "1.0" -> number of labels whose best class is at least so similar. labels: label set ->
            `labels`, how many it has; `without_synset` of them; `exact` matches; and of these the
                `least`, `median` and `most` samples of a class, None without any.
        and samples
            tail_rank, tail_count: at most 500 points of the long tail, rank 1 being the most
            frequent synset. captions_by_labels: how many captions have 0, 1, 2, ... labels, the
            last for all with more; empty where unknown. matches_NAME: for each label set, its
            labels in order, each as the fields of `Match`.
    """
    matches = {labels.name: match(labels, vocabulary) for labels in label_sets}
    metrics = describe(vocabulary) | {
        **{name: getattr(vocabulary, name) for name in ("rule", "threshold", "top_k")},
        "overlap": {name: overlap(found) for name, found in matches.items()},
        "labels": {name: _summed_up(found) for name, found in matches.items()},
    }
    counts = [synset.count for synset in vocabulary.counts().ranked()]
    ranks = np.unique(np.geomspace(1, len(counts), TAIL_POINTS).round().astype(int)).tolist()
    samples = {
        "tail_rank": ranks,
        "tail_count": [counts[rank - 1] for rank in ranks],
        "captions_by_labels": list(vocabulary.captions_by_labels or ()),
        **{
            f"matches_{name}": [asdict(found) for found in found_matches]
            for name, found_matches in matches.items()
        },
    }
    return metrics, samples


def overlap(matches: Sequence[Match]) -> dict[str, int]:
    """For each of `SIMILARITIES`, how many labels match at least so well: Figure 2(b)."""
    return {
        f"{least:.1f}": sum(found.similarity >= least for found in matches)
        for least in SIMILARITIES
    }


def _summed_up(matches: Sequence[Match]) -> dict[str, float | None]:
    exact = sorted(found.samples for found in matches if found.similarity == EXACT)
    return {
        "labels": len(matches),
        "without_synset": sum(found.class_id is None for found in matches),
        "exact": len(exact),
        "least": exact[0] if exact else None,
        "median": float(np.median(exact)) if exact else None,
        "most": exact[-1] if exact else None,
    }


def tables(metrics: dict[str, Any], samples: dict[str, list[Any]]) -> dict[str, pd.DataFrame]:
    """What `statistics` found, as tables by name."""
    above = [
        (int(threshold), synsets) for threshold, synsets in metrics["unique_synsets_above"].items()
    ]
    numbers = [*map(str, range(HISTOGRAM - 1)), f"{HISTOGRAM - 1} or more"]
    histogram = np.trim_zeros(samples["captions_by_labels"], "b")
    found = {
        "unique_synsets": pd.DataFrame(above, columns=["threshold", "synsets"]),
        "long_tail": pd.DataFrame(
            {"rank": samples["tail_rank"], "captions": samples["tail_count"]}
        ),
        "captions_by_labels": pd.DataFrame(
            zip(numbers, histogram, strict=False), columns=["labels", "captions"]
        ),
        "overlap": pd.DataFrame(metrics["overlap"]).rename_axis("similarity").reset_index(),
        "labels": pd.DataFrame.from_dict(metrics["labels"], orient="index", dtype=object)
        .rename_axis("label set")
        .reset_index(),
    }
    return found | {
        name: pd.DataFrame(rows, dtype=object)
        for name, rows in samples.items()
        if name.startswith("matches_")
    }


PRINTED = {
    "unique_synsets": "Synsets that occur more often than a threshold",
    "captions_by_labels": "Captions by their number of labels",
    "overlap": "Labels whose nearest class is at least so similar",
    "labels": "Labels, and the captions of the classes that are exactly theirs",
}


def show_statistics(config: VocabularyStatistics) -> None:
    """Compute, record, print, write the tables and draw them."""
    vocabulary = Vocabulary.load(config.vocabulary)
    metrics, samples = statistics(vocabulary, _label_sets(config.against))
    path = record_path(config.vocabulary, "-statistics")
    with Record(path, "vocabulary_statistics", config) as record:
        record.metrics |= metrics
        record.samples |= samples
    print(summary(metrics))
    for name, table in tables(metrics, samples).items():
        write_atomically(
            path.with_name(f"{path.stem}-{name}.csv"), table.to_csv(index=False).encode()
        )
        if name in PRINTED and len(table):
            print(f"\n{PRINTED[name]}\n{_as_text(table)}")
    print(f"\nrecord: {path}\ntables: {path.with_name(path.stem)}-*.csv")
    print(f"page and figures: {_draw(path)}")


def record_path(vocabulary: Path, suffix: str = "") -> Path:
    """Where the record of a vocabulary goes: vocabulary/ beside it."""
    return vocabulary.parent / "vocabulary" / f"{vocabulary.stem}{suffix}.json"


def _label_sets(specs: Sequence[str]) -> list[LabelSet]:
    label_sets = [label_set(spec) for spec in specs]
    if len({labels.name for labels in label_sets}) < len(label_sets):
        raise InputError(f"--against {' '.join(specs)} names a label set twice")
    return label_sets


def _as_text(table: pd.DataFrame) -> str:
    """Aligned columns, thousands separated."""
    return table.map(_cell).to_string(index=False)


def _cell(value: float | str | None) -> str:
    return "-" if value is None else value if isinstance(value, str) else f"{value:,}"


def _draw(record: Path) -> Path:
    """The report's page of one record, made by the report's own program, which catlip does not
    know.
    """
    page = record.parent / "report"
    command = (
        sys.executable,
        "-m",
        "reports",
        "--records",
        str(record.resolve()),
        "--out",
        str(page),
    )
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        raise InputError(f"the tables are written but not drawn: {reason[0]}")
    return page / "index.html"
