"""Figures of what longer pre-training is worth, in Figure 4(a)'s form: accuracy against epochs.

If runs of several lengths were trained to their end, as in the paper, a line goes through those;
otherwise it goes through the snapshots along a run.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

from matplotlib.axes import Axes

from bench.downstream.probe.result import methods_of, task_title, tasks_of
from bench.studies.longer_training_result import LongerTraining, Snapshot
from catlip.results.figures import Figure
from catlip.results.lines import (
    MOST_LINES,
    Line,
    Point,
    brief,
    draw_lines,
    height_for,
    how_drawn,
    line_of,
    said,
)
from catlip.results.run import Run
from catlip.table import clipped

ASIDE = 0.008  # of the axis: how far each line is moved aside from the line before it
SNAPSHOTS = (
    "Hollow marks are snapshots of one run, taken before its learning rate had reached its end. "
    "The paper trains once for each length, so its points are annealed: our snapshots understate "
    "what a training of that length would give."
)


@dataclass(frozen=True)
class Probed:
    """A snapshot and the training that it is from.

    Attributes:
        run: which training it is from.
        epochs: rounded to four digits, so that snapshots of several runs can be averaged.
        top1: in %.
    """

    record: Run[LongerTraining]
    row: Snapshot
    run: str
    epochs: float
    top1: float

    @property
    def device(self) -> str:
        """The device that the training ran on."""
        return clipped(self.row.device or self.record.where)


def snapshots_of(record: Run[LongerTraining]) -> list[Probed]:
    """The snapshots of a record, without those whose accuracy is NaN: a figure cannot show it."""
    return [
        Probed(
            record,
            row,
            f"{record.path} {row.run}",
            epochs=float(f"{row.epochs:.4g}"),
            top1=100 * row.top1,
        )
        for row in record.rows("runs", Snapshot)
        if not math.isnan(row.top1)
    ]


def longer_figures(records: Sequence[Run[LongerTraining]], suffix: str = "") -> list[Figure]:
    """One figure for each task: accuracy against epochs.

    Args:
        records: of one root and scale.
    """
    snapshots = [snapshot for record in records for snapshot in snapshots_of(record)]
    figures = []
    tasks = tasks_of((snapshot.row.task for snapshot in snapshots), records)
    for i, task in enumerate(tasks):
        of_task = [snapshot for snapshot in snapshots if snapshot.row.task == task]
        figures += _figure(of_task, task_title(records, task), f"longer_epochs_{i + 1}{suffix}")
    return figures


def _figure(of: Sequence[Probed], title: str, name: str) -> list[Figure]:
    """Accuracy against epochs; none if no line has two points."""
    every = lines_of(of)
    lines = every[:MOST_LINES]
    if not any(len(line.means) > 1 for line in lines):
        return []
    what = f"on {title} at {of[0].record.scale} scale"
    caption = (
        f"Accuracy {what} against epochs of pre-training, in Figure 4(a)'s form. {_told(of)} "
        f"{how_drawn(every)}"
    )
    alt = f"Accuracy {what} by epochs. {said(lines, ' epochs', brief)}."
    draw = partial(_draw, lines=lines, title=title)
    return [Figure(name, caption.strip(), alt, draw=draw, height=height_for(lines))]


def _told(of: Sequence[Probed]) -> str:
    """What a mark is and, if there are snapshots, how they differ from the paper's points."""
    runs = Counter(
        (method, at) for _, method, at in {(s.run, s.record.method, s.epochs) for s in of}
    )
    n = " to ".join(map(str, dict.fromkeys((min(runs.values()), max(runs.values())))))
    words = f"Every mark is a probe of one training; means are over {n} per method and length."
    return words if all(snapshot.row.annealed for snapshot in of) else f"{words} {SNAPSHOTS}"


def lines_of(of: Sequence[Probed]) -> list[Line]:
    """One line for each method through its means. The means are of the runs that were trained to
    their end if those have several lengths, otherwise also of the snapshots.
    """
    lines = []
    for method in methods_of(snapshot.record for snapshot in of):
        own = [snapshot for snapshot in of if snapshot.record.method == method]
        ended = {snapshot.epochs for snapshot in own if snapshot.row.annealed}
        kept = [s for s in own if s.row.annealed or (len(ended) < 2 and s.epochs not in ended)]
        line = line_of(method, [(s.epochs, s.run, s.top1) for s in kept])
        marks = [(s.epochs, s.top1) for s in own if s.row.annealed]
        hollow = [(s.epochs, s.top1) for s in own if not s.row.annealed]
        lines.append(replace(line, marks=marks, hollow=hollow))
    return lines


def _draw(axes: Axes, lines: Sequence[Line], title: str) -> None:
    points: list[Point] = [point for line in lines for point in (*line.marks, *line.hollow)]
    high = max(y for _, y in points)
    last = max(x for x, _ in points)
    axes.set_xlim(0, 1.05 * last)
    axes.set_ylim(0, 1.08 * high or 1.0)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,g}")
    axes.set_xlabel("epochs of pre-training")
    axes.set_ylabel(f"{title}, top-1 (%)")
    draw_lines(axes, lines, lambda x, steps: x + ASIDE * last * steps, leader=":")
