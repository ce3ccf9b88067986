"""What Transfer Init adds: pairs of classifiers with and without it, from the same encoder, images
and seed.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bench.downstream.probe.result import OnTasks
from bench.downstream.probe.runs import (
    SweepRun,
    methods_of,
    runs_of,
    tasks_of,
)
from bench.downstream.probe.tasks import task_title, without_classes
from catlip.method_style import name_of
from catlip.results.likeness import alike
from catlip.results.lines import brief_fraction
from catlip.results.run import Run
from catlip.results.seeds import link, means_by
from catlip.table import Cell, Table, clipped, quantity_cell, quantity_of, shown, sign_of, signed

WAYS = {"linear_probe": "Linear probe", "finetune": "Fine-tuning"}
MOST_FRACTIONS = 20


@dataclass(frozen=True)
class Gain:
    """One pair of classifiers: one starts from rows of the pre-training classifier, the other at
    random.

    Attributes:
        fraction: fraction of the training data, in %.
        images: how many these are.
        points: difference in top-1 accuracy, transfer - random; NaN if either accuracy is NaN.
    """

    record: Run[OnTasks]
    task: str
    fraction: float
    images: int
    points: float


def gains_of(records: Sequence[Run[OnTasks]], kind: str) -> list[Gain]:
    """Every pair in the records of a kind; both have the same encoder, task, fraction of the data
    and classifier seed.
    """
    gains = []
    own = [record for record in records if record.kind == kind]
    for method in methods_of(own):
        of_method = [record for record in own if record.method == method]
        for record in alike(of_method, of_method).records:
            runs = runs_of(record)
            at_random = {_place(run): run.top1 for run in runs if run.init == "random"}
            for run in runs:
                if run.init == "transfer" and _place(run) in at_random:
                    points = run.top1 - at_random[_place(run)]
                    gain = Gain(record, run.task, run.fraction, images=run.images, points=points)
                    gains.append(gain)
    return gains


def encoder_means(gains: Iterable[Gain]) -> dict[int | None, float]:
    """Seed of the encoder -> the mean gain of its pairs, in points, because pairs of one encoder
    are not independent of each other.
    """
    return means_by((gain.record.seed, gain.points) for gain in gains)


def _place(run: SweepRun) -> tuple[str, float, int]:
    return (run.task, run.fraction, run.seed)


def gain_sentences(records: Sequence[Run[OnTasks]]) -> list[str]:
    """Whether Transfer Init gains with the fewest images: one sentence for linear probes and one
    for fine-tuning.
    """
    return [sentence for kind in WAYS if (sentence := _sentence(records, kind))]


def _sentence(records: Sequence[Run[OnTasks]], kind: str) -> str:
    gains = gains_of(records, kind)
    method = next(iter(methods_of(gain.record for gain in gains)), "")
    own = [gain for gain in gains if gain.record.method == method]
    said = []
    for task in tasks_of((gain.task for gain in own), records):
        of = [gain for gain in own if gain.task == task]
        least = min(gain.fraction for gain in of)
        fewest = [gain for gain in of if gain.fraction == least]
        title = without_classes([gain.record for gain in of], task)
        said.append(f"on {title} ({_data(fewest[0])}) {verdict([*encoder_means(fewest).values()])}")
    if not said:
        return ""
    return (
        f"{WAYS[kind]} with the fewest images, Transfer Init against a random start: "
        f"{'; '.join(said)}."
    )


def _data(gain: Gain) -> str:
    """`43 images, 5 % of the data`."""
    return f"{shown(gain.images, 0)} images, {brief_fraction(gain.fraction)} % of the data"


def verdict(points: Sequence[float]) -> str:
    """What the mean gains of encoders say in words: whether all, some or none of them are above
    zero as they are shown.
    """
    if any(map(math.isnan, points)):
        return "no answer, because an accuracy is NaN"
    helped = sum(sign_of(gain) > 0 for gain in points)
    mean = signed(sum(points) / len(points), 1)
    if len(points) == 1:
        gains = "gains" if helped else "does not gain"
        return f"it {gains} ({mean} points) with one encoder, which is too few to tell"
    if helped == len(points):
        return f"it gains with each of {helped} encoders ({mean} points on average)"
    if not helped:
        return f"it does not gain with any of {len(points)} encoders ({mean} points on average)"
    return (
        f"the encoders disagree: it gains with {helped} of {len(points)} ({mean} points on average)"
    )


def gain_table(records: Sequence[Run[OnTasks]], suffix: str = "") -> list[Table]:
    """The mean gain by fraction of the training data, a group of rows for each method and task."""
    gains = {kind: of_kind for kind in WAYS if (of_kind := gains_of(records, kind))}
    rows: list[list[Cell]] = []
    for method in methods_of(gain.record for of_kind in gains.values() for gain in of_kind):
        own = {
            kind: [gain for gain in of_kind if gain.record.method == method]
            for kind, of_kind in gains.items()
        }
        tasks = (gain.task for of_kind in own.values() for gain in of_kind)
        for task in tasks_of(tasks, records):
            rows.append([Cell(f"{clipped(name_of(method), 48)}, {task_title(records, task)}")])
            of_task = [gain for of_kind in own.values() for gain in of_kind if gain.task == task]
            fractions = {gain.fraction: gain for gain in of_task}
            for fraction in sorted(fractions)[:MOST_FRACTIONS]:
                rows.append(_row(own, fractions[fraction]))
    if not rows:
        return []
    columns = ["Fraction of the training data"]
    for kind in gains:
        columns += [f"{WAYS[kind]}: gain (points)", f"{WAYS[kind]}: encoders that gained"]
    caption = (
        "Top-1 accuracy with Transfer Init minus that with a random start, from the same encoder, "
        "images and seed of the classifier. The pairs of an encoder are averaged first; then mean "
        "± sample standard deviation over n encoders."
    )
    title = f"What Transfer Init adds, {records[0].scale} scale"
    return [Table(f"transfer_gain{suffix}", title, columns, rows=rows, caption=caption)]


def _row(gains: dict[str, list[Gain]], at: Gain) -> list[Cell]:
    """A row with the mean gain of each way, at the task and fraction of `at`."""
    row = [Cell(f"{brief_fraction(at.fraction)} %", f"{shown(at.images, 0)} images")]
    for of_kind in gains.values():
        own = [gain for gain in of_kind if (gain.task, gain.fraction) == (at.task, at.fraction)]
        anchor = link(list({gain.record.path: gain.record for gain in own}.values()))
        means = [*encoder_means(own).values()]
        gained = sum(sign_of(mean, 2) > 0 for mean in means)
        row.append(quantity_cell(quantity_of(means), 2, anchor))
        row.append(Cell(f"{gained} of {len(means)}", anchor=anchor) if own else Cell())
    return row
