"""Little data: figures of accuracy against the fraction of the training data, in the form of
Figure 5 (linear probe) and Figure 7 (fine-tuning).
"""

import math
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from bench.downstream.probe.result import (
    Finetune,
    LinearProbe,
    OnTasks,
    SweepRun,
    agreed,
    chance_of,
    encoder_key,
    methods_of,
    runs_of,
    task_title,
    tasks_of,
)
from bench.downstream.probe.worth import FINETUNE, PROBE
from catlip.method_style import is_ceiling
from catlip.results.blocks import Block, Section, Text, side_by_side, to_fill
from catlip.results.figures import MUTED, Figure, thinned
from catlip.results.lines import (
    MOST_LINES,
    Line,
    brief_fraction,
    draw_lines,
    height_for,
    how_drawn,
    line_of,
    said,
)
from catlip.results.run import Records, Run, Setting
from catlip.results.select import alike, by_scale, suffix
from catlip.table import paper_name, shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAX_TICKS = 6
TRANSFER_MARKER = "*"
ASIDE = 1.025  # each line is moved aside by this factor from the line before it
MIN_DOTTED = 0.015  # of the highest accuracy; a line for guessing below it would lie on the axis
MORE = 1.1  # times the fraction that was asked for; above it, the caption says so
# Kind -> the paper's figure, and what ours shows.
FORMS = {
    "linear_probe": ("figure_5", "Linear-probe accuracy"),
    "finetune": ("figure_7", "Fine-tuned accuracy"),
}


def section(main: Setting | None, records: Records) -> Section:
    """Accuracy with a fraction of the training data, for each scale."""
    words = (
        "How much of a task's training data does an encoder save? Each point trains on a fraction "
        "of it, with the encoder frozen (linear probe) or trained too (fine-tuning), and is tested "
        "on all test images. A classifier starts at random or from the rows that CatLIP's "
        "pre-training learnt for the same nouns (Transfer Init), which CLIP does not have."
    )
    blocks: list[Block] = [Text(words)]
    ways: tuple[tuple[type[OnTasks], str, str], ...] = (
        (LinearProbe, "No probe with less than all data was recorded.", PROBE),
        (Finetune, "Nothing was fine-tuned with less than all data.", FINETUNE),
    )
    for kind, missing, command in ways:
        figures: list[Figure] = []
        for i, of_scale in enumerate(by_scale(records, main, kind)):
            figures += fraction_figures(of_scale, suffix(i))
        blocks += side_by_side(figures) or to_fill(missing, command)
    return Section("few-labels", "Little data", blocks)


def fraction_figures(records: Sequence[Run[OnTasks]], suffix: str = "") -> list[Figure]:
    """One figure for each task: accuracy against the fraction of the training data, one line for
    each method and start of its classifier.

    Args:
        records: of one kind, root and scale; sanity ceilings are left out.
    """
    kept: list[Run[OnTasks]] = []
    for method in methods_of(records):
        if not is_ceiling(method):
            of_method = [record for record in records if record.method == method]
            kept += alike(of_method, of_method).records
    runs = [run for record in kept for run in runs_of(record) if not math.isnan(run.top1)]
    figures: list[Figure] = []
    for task in tasks_of((run.task for run in runs), kept):
        of_task = [run for run in runs if run.task == task]
        if len({run.fraction for run in of_task}) > 1:
            figures.append(_figure(kept, len(figures), task, runs=of_task, suffix=suffix))
    return figures


def _figure(
    records: Sequence[Run[OnTasks]], i: int, task: str, *, runs: Sequence[SweepRun], suffix: str
) -> Figure:
    form, accuracy = FORMS[records[0].kind]
    title = task_title(records, task)
    every = lines_of(runs)
    lines = every[:MOST_LINES]
    sentences = [
        f"{accuracy} on {title} against the fraction of the training data, "
        f"{records[0].scale} scale, in {paper_name(form)}'s form.",
        _counted(runs),
        how_drawn(every),
    ]
    if epochs := agreed(run.record.setup.recipe.epochs for run in runs):
        sentences.append(f"Each trains for {shown(epochs, 0)} epochs on its fraction.")
    chance = chance_of(records, task)
    dotted = chance if chance is not None and chance > MIN_DOTTED * _highest(lines) else None
    if chance is not None:
        sentences.append(f"Guessing gives {shown(chance, 1)} %{', dotted' if dotted else ''}.")
    caption = " ".join(filter(None, sentences))
    name = f"{accuracy.split()[0].lower().replace('-', '_')}_by_share_{i + 1}{suffix}"
    alt = (
        f"Lines of accuracy by fraction of the training data. {said(lines, ' %', brief_fraction)}."
    )
    images = {run.fraction: run.images for run in runs}
    draw = partial(_draw, lines=lines, title=title, images=images, chance=dotted)
    return Figure(name, caption, alt, draw=draw, height=height_for(lines))


def lines_of(runs: Sequence[SweepRun]) -> list[Line]:
    """One line for each method and start, through the means over encoders; every classifier is a
    mark.
    """
    lines = []
    for method in methods_of(run.record for run in runs):
        of_method = [run for run in runs if run.record.method == method]
        inits = {run.init for run in of_method}
        for init in sorted(inits):  # random before transfer
            of_init = [run for run in of_method if run.init == init]
            points = [(run.fraction, encoder_key(run.record), run.top1) for run in of_init]
            line = line_of(method, points)
            if init == "transfer":
                line = replace(line, how="Transfer Init", marker=TRANSFER_MARKER, dashed=True)
            elif "transfer" in inits:
                line = replace(line, how="random head")
            lines.append(line)
    return lines


def _counted(runs: Sequence[SweepRun]) -> str:
    """A sentence on how many encoders each line has, and how many classifiers each point."""
    encoders = {(encoder_key(run.record), run.record.method, run.init) for run in runs}
    of_lines = Counter((method, init) for _, method, init in encoders)
    of_points = Counter(
        (run.record.method, encoder_key(run.record), run.init, run.fraction) for run in runs
    )
    words = (
        f"Means are over {_range(of_lines.values(), 'encoder')}, with "
        f"{_range(of_points.values(), 'classifier')} each; every classifier is a mark, moved aside "
        "a little to be seen."
    )
    if any(run.fraction > MORE * run.asked for run in runs):
        words += (
            " Every class keeps at least one image, so small fractions hold more than was asked "
            "for."
        )
    return words


def _range(counts: Collection[int], word: str) -> str:
    low, high = min(counts), max(counts)
    return f"{low if low == high else f'{low} to {high}'} {word}{'s' * (high > 1)}"


def _draw(
    axes: "Axes", lines: Sequence[Line], title: str, images: dict[float, int], chance: float | None
) -> None:
    from matplotlib.ticker import NullLocator

    fractions = sorted({x for line in lines for x, _ in line.points})
    axes.set_xscale("log")
    axes.set_xlim(fractions[0] / 1.2, fractions[-1] * 1.2)
    axes.set_ylim(0, 1.08 * _highest(lines) or 1.0)
    ticks = [fractions[i] for i in thinned(len(fractions), MAX_TICKS)]
    labels = [f"{brief_fraction(tick)}\n{_short(images[tick])}" for tick in ticks]
    axes.set_xticks(ticks, labels)
    axes.xaxis.set_minor_locator(NullLocator())
    if chance is not None:
        axes.axhline(chance, color=MUTED, linestyle=":", linewidth=1.2)
    axes.set_xlabel("fraction of the training data (%),\nbelow it the number of images")
    axes.set_ylabel(f"{title}, top-1 (%)")
    draw_lines(axes, lines, lambda fraction, steps: fraction * ASIDE**steps)


def _highest(lines: Sequence[Line]) -> float:
    return max(y for line in lines for _, y in line.marks)


def _short(images: int) -> str:
    """A number of images in few letters: 865, 13k, 1.3M."""
    if images < 10_000:
        return shown(images, 0)
    return f"{images / 1e3:.0f}k" if images < 999_500 else f"{images / 1e6:.1f}M"
