"""Results of the studies of tuning, noise and pruning thresholds; those of lengths are in
lengths_result.py.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from bench.downstream.probe.result import check_fractions
from catlip.claims import least_pairs
from catlip.method_style import name_of
from catlip.results.blocks import Block, Section, Text, side_by_side, to_fill
from catlip.results.estimate import of_pairs, of_ratios
from catlip.results.figures import Figure, series_style, thinned
from catlip.results.kind import Kind, without_none
from catlip.results.lines import (
    MOST_LINES,
    Line,
    draw_lines,
    height_for,
    how_drawn,
    means_of,
    said,
)
from catlip.results.run import Records, Run, Setting
from catlip.results.select import MOST, by_scale, suffix
from catlip.table import Cell, Table, clipped, number_cell, quantity_cell, quantity_of, shown
from catlip.vocabulary.result import LABEL_SETS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LABELLED = (
    "--shards data/starter/pretrain --labels-dir runs/starter/labels --vocabulary "
    "runs/starter/vocabulary.json"
)
TUNING = f"python -m bench.study tuning {LABELLED} --probe starter-validation:data/starter"
NOISE = f"python -m bench.study noise {LABELLED} --probe starter:data/starter"
THRESHOLDS = (
    "python -m bench.study thresholds --shards data/starter/pretrain --labels-dir "
    "runs/starter/labels --probe starter:data/starter --seeds 0 1"
)
ENDS = f"95 % interval over n seeds; their range for fewer than {least_pairs()}"


@dataclass(frozen=True, kw_only=True)
class Studied(Kind):
    """One training of a study, and the top-1 accuracies of probes of its encoder, by task."""

    method: str
    accuracies: dict[str, float]

    def __post_init__(self) -> None:
        check_fractions(**self.accuracies)

    @property
    def outcome(self) -> str:
        return ", ".join(f"{task} {100 * top1:.1f} %" for task, top1 in self.accuracies.items())


def mean_and_ends(
    values: Sequence[float | None], decimals: int = 1, *, ratio: bool = False
) -> Cell:
    """The mean (for ratios the geometric mean) with its 95 % interval, or with the range of the
    values if they are few; a dash if one is missing.
    """
    known = [value for value in values if value is not None]
    mean = (of_ratios if ratio else of_pairs)(known) if len(known) == len(values) else None
    if mean is None:
        return Cell()
    low, high = (min(known), max(known)) if mean.low is None else (mean.low, mean.high)
    ends = f"n = {len(known)}"
    if len(known) > 1:
        ends = f"{shown(low, decimals)} to {shown(high, decimals)}, {ends}"
    return Cell(shown(mean.value, decimals), ends)


# --- Tuning ---------------------------------------------------------------------------------------

RESAMPLES = 2_000
MIN_TRIALS = 6  # fewer give no interval


@dataclass(frozen=True, kw_only=True)
class Trial(Studied):
    """One training by a recipe of which some fields were drawn, judged on validation data; if it
    diverged, `failed` says why there is no accuracy.
    """

    kind = "tuning"

    trial: int
    drawn: dict[str, float]
    images_seen: float | None = None
    train_seconds: float | None = None
    failed: str | None = None

    @property
    def outcome(self) -> str:
        return self.failed or super().outcome

    @property
    def score(self) -> float:
        """The mean accuracy over tasks, by which the best trial is chosen; 0 if it diverged."""
        values = list(self.accuracies.values())
        return sum(values) / len(values) if values else 0.0


def expected_best(scores: Sequence[float] | NDArray[np.float64], trials: int) -> float:
    """The expected score of the best of `trials` trials, each drawn from `scores` (Dodge et al.
    2019).
    """
    ordered = np.sort(np.asarray(scores, dtype=float))
    below = np.arange(len(ordered) + 1) / len(ordered)
    return float(ordered @ np.diff(below**trials))


def expected_best_interval(scores: Sequence[float], trials: int) -> tuple[float, float] | None:
    """The 95 % bootstrap interval of `expected_best`; None for fewer than MIN_TRIALS scores."""
    if len(scores) < MIN_TRIALS:
        return None
    draws = np.random.default_rng(0).choice(np.asarray(scores), (RESAMPLES, len(scores)))
    low, high = np.percentile([expected_best(draw, trials) for draw in draws], (2.5, 97.5))
    return float(low), float(high)


def tuning_table(trials: Iterable[Run[Trial]], name: str, title: str) -> Table:
    """One row per method: its trials, the best one, and what fewer trials would have found."""
    by_method: dict[str, list[Run[Trial]]] = {}
    for run in trials:
        by_method.setdefault(run.measured.method, []).append(run)
    rows = []
    for method, runs in by_method.items():
        best = max(runs, key=lambda run: run.measured.score)
        drawn = ", ".join(f"{name} {value:.3g}" for name, value in best.measured.drawn.items())
        row = [Cell(name_of(method)), Cell(str(len(runs)))]
        row.append(Cell(f"{100 * best.measured.score:.1f}", anchor=best.anchor))
        scores = [run.measured.score for run in runs]
        for budget in (max(1, len(runs) // 4), len(runs)):
            expected = f"{100 * expected_best(scores, budget):.1f}"
            if ends := expected_best_interval(scores, budget):
                expected += f" ({100 * ends[0]:.1f} to {100 * ends[1]:.1f})"
            row.append(Cell(expected))
        rows.append([*row, Cell(drawn)])
    columns = [
        "Method",
        "Trials",
        "Best, validation (%)",
        "Expected best of a quarter of them (%)",
        "Expected best of this many (%)",
        "Recipe of the best",
    ]
    return Table(name, title, columns, rows=rows)


def tuning_section(main: Setting | None, records: Records) -> Section:
    words = (
        "Which of two methods is better can depend on the learning rate. Each method gets the same "
        "trials from the same ranges: short trainings, judged on validation data that no other "
        "number of this page uses."
    )
    blocks: list[Block] = []
    for i, trials in enumerate(by_scale(records, main, Trial)):
        numbers = Counter(record.method for record in trials)
        if len(set(numbers.values())) > 1:
            each = ", ".join(f"{name_of(method)} {number}" for method, number in numbers.items())
            blocks.append(Text(f"The methods were not tuned with equally many trials: {each}."))
        title = f"Trials, {trials[0].scale} scale"
        blocks.append(tuning_table(trials, f"tuning{suffix(i)}", title))
    blocks = blocks or to_fill("No recipe was tuned.", TUNING)
    return Section("tuning", "Tuning", [Text(words), *blocks])


# --- Noise ----------------------------------------------------------------------------------------

NONE = "none"  # the name of no noise


@dataclass(frozen=True, kw_only=True)
class Robustness(Studied):
    """One training on data with one noise (KIND=FRACTION, or `none`), and the probe of its encoder:
    how many samples the noise leaves, how many classes the vocabulary made from its captions has,
    and which fraction of the clean vocabulary's classes is among these.
    """

    kind = "robustness"

    noise: str
    seed: int
    samples: int | None
    classes: int
    classes_kept: float
    images_seen: float
    final_loss: float

    def __post_init__(self) -> None:
        super().__post_init__()
        check_fractions(classes_kept=self.classes_kept)


def robustness_table(runs: Iterable[Run[Robustness]], name: str = "robustness") -> Table:
    """One row per noise and method: its accuracy, and what the noise changes, paired by seed."""
    groups: dict[tuple[str, str], dict[int, Run[Robustness]]] = {}
    tasks: dict[str, None] = {}
    for run in runs:
        one = run.measured
        groups.setdefault((one.noise, one.method), {})[one.seed] = run
        tasks |= dict.fromkeys(one.accuracies)
    rows = []
    for (noise, method), group in groups.items():
        first = next(iter(group.values()))
        clean = groups.get((NONE, method), {})
        kept = f"{shown(100 * first.measured.classes_kept, 0)} % of the clean classes"
        row = [Cell(noise), Cell(name_of(method)), Cell(shown(first.measured.samples, 0))]
        row.append(Cell(shown(first.measured.classes, 0), kept))
        for task in tasks:
            top1 = {seed: 100 * run.measured.accuracies[task] for seed, run in group.items()}
            row.append(quantity_cell(quantity_of(top1.values()), 1, first.anchor))
            changes = [
                value - 100 * clean[seed].measured.accuracies[task]
                for seed, value in top1.items()
                if seed in clean
            ]
            row.append(Cell() if noise == NONE else mean_and_ends(changes))
        rows.append(row)
    columns = ["Noise", "Method", "Samples", "Classes"]
    for task in tasks:
        columns += [f"{task}, top-1 (%)", "change from none (points)"]
    caption = (
        "Mean ± sample standard deviation over n seeds; change from none: mean difference from the "
        f"same seed without noise ({ENDS}). CLIP does not use the classes."
    )
    title = "Accuracy after training with noise"
    return Table(name, title, columns, rows=rows, caption=caption)


def robustness_section(main: Setting | None, records: Records) -> Section:
    words = (
        "Captions from the web are not lists of nouns, some belong to another image, and links "
        "break. Each method is trained on the same data with a part of it lost or made worse, and "
        "the vocabulary is built from that data too."
    )
    scales = by_scale(records, main, Robustness)
    tables = [robustness_table(runs, f"robustness{suffix(i)}") for i, runs in enumerate(scales)]
    blocks = tables or to_fill("Nothing was trained with noise.", NOISE)
    return Section("robustness", "Noise", [Text(words), *blocks])


# --- Thresholds -----------------------------------------------------------------------------------

MAX_PROBES = 4
MAX_TICKS = 6
Point = tuple[float, float]  # threshold, accuracy in %


@dataclass(frozen=True, kw_only=True)
class ThresholdTraining(Studied):
    kind = "threshold_training"

    threshold: int
    seed: int
    train_seconds: float
    images_seen: float

    def row(self) -> dict[str, float]:
        """Its numbers, named as in the samples of the summary."""
        names = ("threshold", "seed", "train_seconds", "images_seen")
        row: dict[str, float] = {name: getattr(self, name) for name in names}
        return row | {f"{task}_top1": top1 for task, top1 in self.accuracies.items()}


@dataclass(frozen=True, kw_only=True)
class AtThreshold:
    """What a threshold leaves of the classes and of the captions' labels; cost and accuracies of a
    training with these classes, means over seeds. `accuracies` are named as "concepts_top1".
    """

    classes: int
    captions: int
    labels_per_caption: float
    captions_without_label: int
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
        names = {field.name for field in fields(AtThreshold)}
        thresholds = metrics.get("thresholds")
        if isinstance(thresholds, dict):
            thresholds = {
                threshold: {**row, "accuracies": {key: row[key] for key in row if key not in names}}
                for threshold, row in thresholds.items()
                if isinstance(row, dict)
            }
        return super().read({**metrics, "thresholds": thresholds})

    def metrics(self) -> dict[str, Any]:
        thresholds = {}
        for threshold, result in self.thresholds.items():
            content = without_none(result)
            thresholds[str(threshold)] = content | content.pop("accuracies")
        return {"thresholds": thresholds}


def threshold_accuracies(run: Run[Threshold]) -> dict[str, dict[float, dict[float, float]]]:
    """Probe -> threshold -> seed -> top-1 accuracy in %. Repeated runs of a seed are averaged; if
    the record has no seeds, its rows are numbered instead.
    """
    thresholds, seeds = run.series("threshold"), run.series("seed")
    by_probe: dict[str, dict[float, dict[float, float]]] = {}
    for name in [name for name in run.samples if name.endswith("_top1")][:MAX_PROBES]:
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


def threshold_points(run: Run[Threshold]) -> dict[str, list[Point]]:
    """Probe -> the points of all seeds, for the probes that have top-1 accuracies."""
    return {
        probe: sorted((at, top1) for at, of_seed in levels.items() for top1 in of_seed.values())
        for probe, levels in threshold_accuracies(run).items()
    }


def threshold_table(run: Run[Threshold], scale: str, suffix: str = "") -> list[Table]:
    """One row per threshold: what it leaves, and the probes' accuracies."""
    if not run.measured.thresholds:
        return []
    by_probe = threshold_points(run)
    columns = [
        *("Threshold", "Classes", "Labels per caption", "Captions without a label"),
        *("Training time (s)", *(f"{probe}, top-1 (%)" for probe in by_probe)),
    ]
    rows = []
    for threshold, result in sorted(run.measured.thresholds.items()):
        row = [
            Cell(f"{threshold:,}"),
            number_cell(result.classes, 0, run.anchor),
            number_cell(result.labels_per_caption, 2, run.anchor),
            number_cell(result.captions_without_label, 0, run.anchor),
            number_cell(result.train_seconds, None, run.anchor),
        ]
        for points in by_probe.values():
            top1 = quantity_of(accuracy for at, accuracy in points if at == threshold)
            row.append(quantity_cell(top1, 1, run.anchor))
        rows.append(row)
    title = f"The pruning threshold, {scale} scale on {run.device}"
    return [Table(f"threshold{suffix}", title, columns, rows=rows)]


def threshold_figures(record: Run[Threshold], suffix: str = "") -> list[Figure]:
    """Accuracy against the pruning threshold, one line for each probe, in Figure 6's form; no
    figure without probes.
    """
    every = []
    for i, (probe, points) in enumerate(threshold_points(record).items()):
        style = series_style(i)
        means = means_of([(t, str(n), accuracy) for n, (t, accuracy) in enumerate(points)])
        name, colour, marker = clipped(probe, 24), style["color"], style["marker"]
        every.append(Line(name, "", colour, marker=marker, means=means, marks=points))
    lines = every[:MOST_LINES]
    if not lines:
        return []
    caption = (
        f"Linear-probe accuracy against the pruning threshold, at {record.scale} scale; every mark "
        f"is a seed. {how_drawn(every)}"
    )
    alt = f"Accuracy by threshold. {said(lines, '', lambda t: f'{t:,.0f}')}."
    classes = {float(t): left.classes for t, left in record.measured.thresholds.items()}
    draw = partial(_draw_thresholds, lines=lines, classes=classes)
    height = height_for(lines)
    return [Figure(f"threshold{suffix}", caption.strip(), alt, draw=draw, height=height)]


def _draw_thresholds(axes: "Axes", lines: Sequence[Line], classes: dict[float, int]) -> None:
    from matplotlib.ticker import NullLocator

    thresholds = sorted({t for line in lines for t, _ in line.points})
    smallest = min((t for t in thresholds if t > 0), default=1.0)
    if thresholds[0] == 0:
        axes.set_xscale("symlog", linthresh=smallest)
    else:
        axes.set_xscale("log")
    axes.set_ylim(0, 1.08 * max(y for line in lines for _, y in line.marks) or 1.0)
    ticks = [thresholds[i] for i in thinned(len(thresholds), MAX_TICKS)]
    axes.set_xticks(ticks, [f"{t:,.0f}\n{shown(classes.get(t), 0)}" for t in ticks])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("pruning threshold (occurrences), and below it the classes kept")
    axes.set_ylabel("top-1 accuracy (%)")
    draw_lines(axes, lines, lambda x, _: x, leader=":")


def threshold_section(main: Setting | None, records: Records) -> Section:
    words = (
        "A low threshold keeps rare synsets as classes; a high one leaves captions without labels."
    )
    blocks: list[Block] = []
    chosen = [record for scale in by_scale(records, main, Threshold) for record in scale]
    for i, record in enumerate(chosen[:MOST]):
        blocks += side_by_side(threshold_figures(record, suffix(i)))
        blocks += threshold_table(record, record.scale, suffix(i))
    blocks = blocks or to_fill("Not run.", THRESHOLDS)
    return Section("threshold", "Where to cut the vocabulary", [Text(words), *blocks])
