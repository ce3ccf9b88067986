"""How many classes and labels a pruning threshold leaves, and the accuracy of probes after it."""

from collections.abc import Iterable
from dataclasses import dataclass, fields
from itertools import count
from typing import Any, Self

from catlip.results.kind import Kind, without_none
from catlip.results.run import Run
from catlip.table import Cell, Table, clipped, number_cell, quantity_cell, quantity_of
from catlip.vocabulary.result import LABEL_SETS

MOST_PROBES = 4
Point = tuple[float, float]  # threshold, accuracy in %


@dataclass(frozen=True, kw_only=True)
class Left:
    """How many classes, and how many labels of the captions, a threshold leaves."""

    classes: int
    captions: int
    labels_per_caption: float
    captions_without_label: int


@dataclass(frozen=True, kw_only=True)
class AtThreshold(Left):
    """The same, with cost and accuracy of a training with these classes; means over seeds.

    Attributes:
        accuracies: "concepts_top1" -> fraction of the probe's images.
    """

    train_seconds: float
    images_seen: float
    accuracies: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class Threshold(Kind):
    """Pruning thresholds side by side. In a file, each accuracy is a field beside the others."""

    kind = "threshold"

    thresholds: dict[int, AtThreshold]

    @classmethod
    def read(cls, metrics: dict[str, Any]) -> Self:
        thresholds = metrics.get("thresholds")
        if isinstance(thresholds, dict):
            thresholds = {key: _with_accuracies(value) for key, value in thresholds.items()}
        return super().read({**metrics, "thresholds": thresholds})

    def metrics(self) -> dict[str, Any]:
        thresholds = {}
        for threshold, reached in self.thresholds.items():
            content = without_none(reached)
            thresholds[str(threshold)] = content | content.pop("accuracies")
        return {"thresholds": thresholds}


def _with_accuracies(content: Any) -> Any:
    """The fields of one threshold, with the accuracies also gathered in a dictionary of their own;
    `content` itself if it is not a dictionary.
    """
    if not isinstance(content, dict):
        return content
    names = {field.name for field in fields(AtThreshold)}
    of_probes = {name: value for name, value in content.items() if name not in names}
    return {**content, "accuracies": of_probes}


def reached(run: Run[Threshold]) -> dict[str, dict[float, dict[float, float]]]:
    """Probe -> threshold -> seed -> top-1 accuracy in %. Repeated runs of a seed are averaged; if
    the record has no seeds, its rows are numbered instead.
    """
    thresholds, seeds = run.series("threshold"), run.series("seed")
    by_probe: dict[str, dict[float, dict[float, float]]] = {}
    for name in [name for name in run.samples if name.endswith("_top1")][:MOST_PROBES]:
        of_seed: dict[tuple[float, float], list[float]] = {}
        rows = zip(thresholds, seeds or count(), run.series(name), strict=False)
        for threshold, seed, top1 in rows:
            if (threshold == 0 or 1 <= threshold < 1e12) and 0 <= top1 <= 1:
                of_seed.setdefault((threshold, seed), []).append(100 * top1)
        probe = name.removesuffix("_top1")
        by_threshold = by_probe.setdefault(LABEL_SETS.get(probe, clipped(probe, 24)), {})
        for (at, seed), each in sorted(of_seed.items()):
            by_threshold.setdefault(at, {})[seed] = sum(each) / len(each)
    return {probe: by_threshold for probe, by_threshold in by_probe.items() if by_threshold}


def probes(run: Run[Threshold]) -> dict[str, list[Point]]:
    """Probe -> the points of all seeds, for the probes that have top-1 accuracies."""
    return {
        probe: sorted((at, top1) for at, of_seed in levels.items() for top1 in of_seed.values())
        for probe, levels in reached(run).items()
    }


def threshold_table(run: Run[Threshold], scale: str, suffix: str = "") -> list[Table]:
    """One row per threshold: what it leaves, and the probes' accuracies."""
    if not run.measured.thresholds:
        return []
    by_probe = probes(run)
    columns = [
        "Threshold",
        "Classes",
        "Labels per caption",
        "Captions without a label",
        "Training time (s)",
        *(f"{probe}, top-1 (%)" for probe in by_probe),
    ]
    rows = [
        [
            Cell(f"{threshold:,}"),
            number_cell(reached.classes, 0, run.anchor),
            number_cell(reached.labels_per_caption, 2, run.anchor),
            number_cell(reached.captions_without_label, 0, run.anchor),
            number_cell(reached.train_seconds, None, run.anchor),
            *(_accuracy_cell(points, threshold, run.anchor) for points in by_probe.values()),
        ]
        for threshold, reached in sorted(run.measured.thresholds.items())
    ]
    title = f"The pruning threshold, {scale} scale on {run.device}"
    return [Table(f"threshold{suffix}", title, columns, rows=rows)]


def _accuracy_cell(points: Iterable[Point], threshold: int, anchor: str) -> Cell:
    of_threshold = quantity_of(accuracy for at, accuracy in points if at == threshold)
    return quantity_cell(of_threshold, 1, anchor)
