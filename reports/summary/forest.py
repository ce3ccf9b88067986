"""Every difference between CatLIP and another method: a row an experiment, a panel a task, and one
kind of interval.

An experiment is what both methods share, such as the length of training, the encoder and the
condition of the data. Experiments are found in the columns of the table of results, so that a new
length or condition is a new row; only the groups and their order stand here.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import fmean
from typing import TYPE_CHECKING, Any, NamedTuple

from bench.downstream.dense.result import SLIDING, TASKS
from bench.downstream.probe.result import (
    PART,
    LinearProbe,
    by_importance,
    score_of,
    task_title,
)
from bench.study.lengths_result import COSTS, LENGTHS, Scaling, at_equal_cost, curves
from bench.study.result import NONE, in_words
from catlip.claims import least_pairs
from catlip.method_style import PAIR, colour_of, is_ours, name_of, ordered
from catlip.results.blocks import Block, Section, Text, side_by_side, to_fill
from catlip.results.estimate import Estimate, Score, mean_difference, mean_of
from catlip.results.figures import (
    MUTED,
    PAPER,
    Figure,
    hide_rows,
    panels_of,
)
from catlip.results.run import Records, Run, of_kind
from catlip.results.select import MAX_SHOWN, link, suffix
from catlip.table import Cell, Table, clipped, listed, shown, signed
from reports.paper.evidence import score_of_row
from reports.read.measured import Setting
from reports.results import frame_of

if TYPE_CHECKING:  # pandas and matplotlib take a while to import
    import pandas as pd
    from matplotlib.axes import Axes

CATLIP, CLIP = PAIR
DENSE = {task.kind: task.measures for task in TASKS}
MEASURES = {  # metric of an accuracy -> its name; the usual one has none
    "top1": "",
    "knn_top1": "nearest neighbours",
    "zero_shot_top1": "zero-shot",
    **{metric: name for of in DENSE.values() for name, metric in of.items() if name != SLIDING},
}
PROBE, OTHERS = "Linear probe", "Linear probe, over other methods"
COST, LENGTH = "Equal cost of training", "Length of training"
ENCODER, DATA, CONDITION = "Encoder", "Fraction of the data", "Condition of the data"
LABELS, FINETUNED, UNTRAINED = "Few labels", "Fine-tuned", "No classifier trained"
DENSE_TASKS = "Labels, masks and boxes"
HEADINGS = (
    *(PROBE, OTHERS, COST, LENGTH, ENCODER, DATA, CONDITION),
    *(LABELS, UNTRAINED, FINETUNED, DENSE_TASKS),
)
HEADING_OF = {  # kind -> the group of its experiments, if nothing in them is unusual
    "linear_probe": PROBE,
    "finetune": FINETUNED,
    "readout": UNTRAINED,
    "scaling": LENGTH,
    "robustness": CONDITION,
    **dict.fromkeys(DENSE, DENSE_TASKS),
}
MAX_PANELS, MAX_TASKS = 2, 4  # tasks of a figure, and of all; the table has every task
OVER = "They cover seeds and, where records have a bit for each test image, images; else seeds."
ROW = 0.185  # inches


class Experiment(NamedTuple):
    """What both methods share; `fraction` is that of the data of a study, else that of labels."""

    kind: str
    metric: str
    encoder: str
    images: float
    fraction: float
    noise: str
    task: str


@dataclass(frozen=True)
class Difference:
    """CatLIP - another method on one task.

    Attributes:
        heading, name: its row; the same experiment on other tasks has the same.
        images: that each training saw, to three digits; 0 if unknown or of several lengths.
        points: of each pair.
        accuracies: of both methods, means in %.
        apart: pairs whose sides ran on different processors or versions of torch.
        records: paths.
    """

    heading: str
    name: str
    images: float
    task: str
    points: Sequence[float]
    estimate: Estimate
    accuracies: tuple[float, float] | None
    records: frozenset[str]
    apart: int = 0


def scores_of(rows: "pd.DataFrame", runs: Mapping[str, Run[Any]]) -> dict[float, float]:
    """Seed -> mean accuracy in %; `runs` by path."""
    return {
        seed: mean_of([_score(runs[row.record], row) for row in of_seed.itertuples()])
        for seed, of_seed in rows.groupby("seed")
    }


def _score(run: Run[Any], row: Any) -> Score:
    return score_of(run, row.task) if PART in row.task else 100 * score_of_row(row, run)


def _machines(rows: "pd.DataFrame", runs: Mapping[str, Run[Any]]) -> dict[float, set[Any]]:
    """Seed -> processors and versions of torch."""
    machines: dict[float, set[Any]] = {}
    for row in rows.itertuples():
        machine = runs[row.record].machine
        machines.setdefault(row.seed, set()).add((machine.cpu, machine.packages.get("torch")))
    return machines


def differences(frame: "pd.DataFrame", runs: Sequence[Run[Any]]) -> list[Difference]:
    """All differences of one scale, in the order of the page."""
    rows = frame[
        frame.kind.isin(HEADING_OF)
        & frame.metric.isin(MEASURES)
        & frame.seed.notna()
        & ~frame.init.isin(["transfer", "names"])  # starts that only one of the methods has
    ]
    if rows.empty:
        return []
    rows = rows.fillna({"encoder": "", "images": 0, "fraction": 1, "noise": "", "task": ""})
    rows = rows.assign(images=rows.images.map(lambda images: float(f"{images:.3g}")))
    usual = rows.encoder.mode()[0]
    sizes = (frame.flops / frame.images_seen).groupby(frame.encoder).mean()
    cells: dict[Experiment, dict[str, pd.DataFrame]] = {}
    for (*same, method), cell in rows.groupby([*Experiment._fields, "method"], sort=False):
        recipe = cell.groupby("settings", sort=False).seed.nunique().idxmax()
        cells.setdefault(Experiment(*same), {})[method] = cell[cell.settings == recipe]
    found, by_path = [], {run.path: run for run in runs}
    for same, methods in cells.items():
        # A condition of one method alone, such as another text tower, leaves CatLIP as it was.
        one = methods.get(CATLIP, cells.get(same._replace(noise=NONE), {}).get(CATLIP))
        for method in ordered(methods):
            sides = (one, methods[method])
            difference = one is not None and _difference(same, method, sides, usual, by_path)
            if difference:
                found.append((_sort_key(same, sizes), difference))
    ranked = [difference for _, difference in sorted(found, key=lambda pair: pair[0])]
    ranked += _at_equal_cost(of_kind(runs, Scaling))
    return sorted(ranked, key=lambda one: HEADINGS.index(one.heading))


def _difference(
    same: Experiment,
    method: str,
    sides: Sequence["pd.DataFrame"],
    usual: str,
    runs: Mapping[str, Run[Any]],
) -> Difference | None:
    """None for methods that are not compared in such an experiment, or without a shared seed."""
    heading = HEADING_OF[same.kind]
    is_other = method != CLIP
    if method in (CATLIP, "random") or not is_ours(method):
        return None
    if is_other and (heading not in (PROBE, CONDITION) or same.fraction < 1):
        return None
    one, other = (scores_of(side, runs) for side in sides)
    seeds = sorted(one.keys() & other.keys())
    points = [one[seed] - other[seed] for seed in seeds]
    if not points:
        return None
    machines = [_machines(side, runs) for side in sides]
    task, _, part = same.task.partition(PART)
    words = [name_of(method)] if is_other else []
    if heading == LENGTH and same.encoder != usual:
        heading, words = ENCODER, [clipped(same.encoder, 24)]
    elif heading == LENGTH and same.fraction < 1:
        heading, words = DATA, [f"{100 * same.fraction:.3g} %"]
    elif heading == CONDITION:
        words = words if is_other and same.noise == NONE else [in_words(same.noise), *words]
    elif heading == PROBE and is_other:
        heading = OTHERS
    elif heading in (PROBE, FINETUNED):
        heading = LABELS if heading == PROBE and same.fraction < 1 else heading
        words = ["all labels" if same.fraction == 1 else f"{100 * same.fraction:.3g} %"]
    words += [word for word in (MEASURES[same.metric],) if word]
    if part:  # below the row of the whole task
        words = [f"\N{EN DASH} {part}", *([name_of(method)] if is_other else [])]
    return Difference(
        heading,
        PART.join(words),
        same.images,
        task=task,
        points=points,
        estimate=mean_difference(points) or Estimate(fmean(points), pairs=len(points)),
        accuracies=(fmean(one[seed] for seed in seeds), fmean(other[seed] for seed in seeds)),
        records=frozenset(path for side in sides for path in side.record),
        apart=sum(machines[0][seed] != machines[1][seed] for seed in seeds),
    )


def _sort_key(same: Experiment, sizes: "pd.Series[float]") -> tuple[Any, ...]:
    at = (sizes.get(same.encoder, 0.0), same.fraction, same.images)
    condition = (same.noise != NONE, same.noise, same.task.partition(PART)[2])
    return ([*HEADING_OF].index(same.kind), *at, condition, [*MEASURES].index(same.metric))


def _at_equal_cost(runs: Sequence[Run[Scaling]]) -> Iterator[Difference]:
    """At the lower cost of the two longest trainings, interpolated between lengths."""
    by_method = {curve.method: curve for curve in curves(runs)}
    if not by_method.keys() >= {*PAIR}:
        return
    catlip, clip = (by_method[method] for method in PAIR)
    paths = [run.path for curve in (catlip, clip) for row in curve.rows.values() for run in row]
    for cost, unit in COSTS.items():
        for task in catlip.top1:
            points = at_equal_cost(catlip, clip, task, cost)
            if estimate := mean_difference(points):
                yield Difference(
                    COST,
                    f"equal {unit}",
                    0.0,
                    task=task,
                    points=points,
                    estimate=estimate,
                    accuracies=None,
                    records=frozenset(paths),
                )


# The figure


@dataclass(frozen=True)
class Row:
    """A row of the forest: a heading, or an experiment with its difference on each task."""

    name: str
    of_task: Mapping[str, Difference]


def rows_of(every: Sequence[Difference], usual: float) -> list[Row]:
    """The rows, each group below its heading; a length that a whole group shares stands there,
    unless it is the usual one. Conditions are a group for each length.
    """
    rows: list[Row] = []
    of_group: dict[tuple[str, float], list[Difference]] = {}
    for one in every:
        shared = one.images if one.heading == CONDITION else 0.0
        of_group.setdefault((one.heading, shared), []).append(one)
    for (heading, _), group in of_group.items():
        lengths = {one.images for one in group}
        is_shared = len(lengths) == 1 and heading != LENGTH
        words = _images(group[0].images) if is_shared and not lengths <= {0, usual} else ""
        rows.append(Row(PART.join(filter(None, (heading, words))), {}))
        by_name: dict[str, dict[str, Difference]] = {}
        for one in group:
            length = _images(one.images) if one.images and not is_shared else ""
            name = PART.join(filter(None, (one.name, length))) or "alike"
            by_name.setdefault(name, {})[one.task] = one
        rows += [Row(name, of_task) for name, of_task in by_name.items()]
    return rows


def _images(images: float) -> str:
    return f"{images:,.0f} images"


def sign(estimate: Estimate) -> int | None:
    """1 or -1 if the interval lies above or below 0, 0 if it contains 0; None without one."""
    if estimate.low is None or estimate.high is None:
        return None
    return (estimate.low > 0) - (estimate.high < 0)


KEY = {
    1: ("CatLIP above: interval beyond 0", CATLIP, "o"),
    -1: ("CatLIP below: interval beyond 0", CLIP, "s"),
    0: ("cannot tell: interval holds 0", "random", "D"),
    None: ("fewer than {} pairs: their range", "random", "o"),
}


def forest_figure(
    name: str, every: Sequence[Difference], titles: Mapping[str, str], scale: str, usual: float
) -> Figure:
    """The differences on these tasks, a panel for each; `usual` is the usual length of training."""
    rows = rows_of(every, usual)
    signs = [sign(one.estimate) for one in every]
    words = {1: "above 0", -1: "below 0", 0: "on both sides of 0"}
    counts = [f"{signs.count(key)} {where}" for key, where in words.items() if key in signs]
    apart, pairs = sum(one.apart for one in every), sum(len(one.points) for one in every)
    sentences = [
        f"CatLIP minus CLIP, or minus the method that is named, in points, {scale} scale: "
        f"{len(every)} differences.",
        f"Trainings saw {_images(usual)} where no other number stands." if usual else "",
        f"95 % intervals: {listed(counts)}." if counts else "",
        f"Of fewer than {least_pairs()} pairs, the range is drawn." if None in signs else "",
        OVER if counts else "",
        f"In {apart} of {pairs} pairs the two sides ran on different processors." if apart else "",
        "Right: the mean, and the number n of seeds.",
    ]
    caption = " ".join(filter(None, sentences))
    said = []
    for row in rows:
        if row.of_task:
            each = [
                f"{clipped(task or 'mean', 24)} {_said(one)}" for task, one in row.of_task.items()
            ]
            said.append(f"{row.name}: {', '.join(each)}")
    alt = f"Forest plot of differences. {'; '.join(said)}."
    draw = partial(_draw, rows=rows, titles=titles)
    height = 1.15 + ROW * len(rows)
    width = 4.6 + 2.4 * (len(titles) - 1)
    return Figure(name, caption, alt, draw=draw, height=height, width=width)


def _said(one: Difference) -> str:
    return f"{signed(one.estimate.value, 1)} ({ends_of(one)})"


def ends_of(one: Difference) -> str:
    """`8.2 to 11.9, n = 10`: the interval, or the range of fewer pairs."""
    low, high = _ends(one)
    seeds = f"n = {len(one.points)}"
    return f"{shown(low, 1)} to {shown(high, 1)}, {seeds}" if len(one.points) > 1 else seeds


def _ends(one: Difference) -> tuple[float, float]:
    low, high = one.estimate.low, one.estimate.high
    return (min(one.points), max(one.points)) if low is None or high is None else (low, high)


def _draw(axes: "Axes", rows: Sequence[Row], titles: Mapping[str, str]) -> None:
    panels = panels_of(axes, len(titles), sharey=True)
    every = [one for row in rows for one in row.of_task.values()]
    low, high = min(0, *(_ends(one)[0] for one in every)), max(0, *(_ends(one)[1] for one in every))
    wide = high - low or 1.0
    for panel, (task, title) in zip(panels, titles.items(), strict=True):
        panel.axvline(0, color=MUTED, linewidth=1)
        for y, row in enumerate(rows):
            if one := row.of_task.get(task):
                _draw_row(panel, y, one)
        panel.set_title(title, fontsize=10, weight="bold", loc="left")
        panel.set_xlabel("points")
        panel.locator_params(axis="x", nbins=6)
        hide_rows(panel)
    panels[0].set_xlim(low - 0.05 * wide, high + 0.3 * wide)
    panels[0].set_ylim(len(rows) - 0.4, -0.8)
    panels[0].set_yticks(range(len(rows)), [row.name for row in rows], fontsize=8.5)
    for row, label in zip(rows, panels[0].get_yticklabels(), strict=True):
        label.set_fontweight("normal" if row.of_task else "bold")
    _write(panels[-1], 1.12, -0.7, "n", MUTED)
    for y, row in enumerate(rows):
        n = "/".join(dict.fromkeys(str(len(one.points)) for one in row.of_task.values()))
        _write(panels[-1], 1.12, y, n, MUTED)
    _draw_key(panels[0], {sign(one.estimate) for one in every})


def _style(key: int | None) -> dict[str, Any]:
    _, method, marker = KEY[key]
    colour = colour_of(method)
    face = PAPER if key is None else colour
    return {"marker": marker, "color": colour, "markerfacecolor": face, "markersize": 5}


def _draw_row(panel: "Axes", y: float, one: Difference) -> None:
    style = _style(sign(one.estimate))
    line = ":" if sign(one.estimate) is None else "-"
    panel.plot(_ends(one), [y, y], line, color=style["color"], linewidth=1.6)
    panel.plot(one.estimate.value, y, linestyle="", **style)
    _write(panel, 0.99, y, signed(one.estimate.value, 1), style["color"])


def _write(panel: "Axes", x: float, y: float, words: str, colour: str) -> None:
    """Words that end at x, a fraction of the panel's width."""
    where = panel.get_yaxis_transform()
    panel.text(x, y, words, transform=where, ha="right", va="center", fontsize=8.5, color=colour)


def _draw_key(panel: "Axes", keys: set[int | None]) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], linestyle=":" if key is None else "-", **_style(key), label=words)
        for key, (words, _, _) in KEY.items()
        if key in keys
        for words in [words.format(least_pairs())]
    ]
    canvas = panel.get_figure()
    assert canvas
    canvas.legend(handles=handles, loc="outside lower right", ncols=2, fontsize=8.5, frameon=False)


# The table below it


def forest_table(
    name: str, every: Sequence[Difference], titles: Mapping[str, str], runs: Sequence[Run[Any]]
) -> Table:
    """The numbers of the figures; `runs` are all of the scale."""
    rows, by_path = [], {run.path: run for run in runs}
    for row in rows_of(every, every[0].images):
        cells = [Cell(row.name)]
        for task in titles if row.of_task else ():
            if one := row.of_task.get(task):
                records = [by_path[path] for path in sorted(one.records)]
                of_catlip = [run for run in records if run.method == CATLIP]
                means = [shown(mean, 1) for mean in one.accuracies or ()]
                points = signed(one.estimate.value, 1)
                cells += [Cell(", ".join(means)) if means else Cell()]
                cells += [Cell(points, ends_of(one), link(of_catlip or records))]
            else:
                cells += [Cell(), Cell()]
        rows.append(cells)
    columns = ["Experiment"]
    for title in titles.values():
        columns += [f"{title}: CatLIP, other (%)", "Difference (points)"]
    caption = (
        "Top-1 unless another measure is named. Below each difference its 95 % interval and the "
        f"number n of seeds; of fewer than {least_pairs()} seeds, their range. At equal cost: at "
        "the lower of both longest trainings' costs, interpolated linearly between lengths on a "
        "logarithmic axis."
    )
    title = "The numbers of the differences"
    return Table(name, title, columns, rows=rows, caption=caption, folded=True)


# The section


def forest_section(main: Setting | None, records: Records) -> Section:
    words = (
        "Each row compares CatLIP with CLIP, or with the method that it names, in one experiment: "
        "trainings and tests that differ in nothing else, paired by seed."
    )
    frame, blocks, count = frame_of(records), list[Block](), 0
    scales = dict.fromkeys((run.root, run.scale) for run in records.every)
    if main:
        scales = dict.fromkeys([(main.root, main.scale), *scales])
    for root, scale in scales:
        of_scale = frame[(frame.root == root) & (frame.scale == scale)]
        paths = {*of_scale.record}
        runs = [run for run in records.every if run.path in paths]
        if count < MAX_SHOWN and (every := differences(of_scale, runs)):
            blocks += _blocks(every, runs, scale, suffix(count))
            count += 1
    blocks = blocks or to_fill("CatLIP and CLIP have no seed in common.", LENGTHS)
    return Section("differences", "Every difference", [Text(words), *blocks])


def _blocks(
    every: Sequence[Difference], runs: Sequence[Run[Any]], scale: str, suffix: str
) -> list[Block]:
    """The figures of one scale, and a table of their numbers."""
    probes = of_kind(runs, LinearProbe)
    tasks = by_importance((one.task for one in every if one.task), probes)
    titles = {task: task_title(probes, task) for task in tasks}
    if any(not one.task for one in every):
        titles[""] = "Measure of each row"
    figures, names = [], [*titles]
    drawn = len(tasks[:MAX_TASKS])
    groups = [names[i : i + MAX_PANELS] for i in range(0, drawn, MAX_PANELS)]
    for i, group in enumerate([*groups, *([[""]] if "" in titles else [])], 1):
        of_group = [one for one in every if one.task in group]
        panels = {task: titles[task] for task in group}
        name = f"differences_{i}{suffix}"
        figures.append(forest_figure(name, of_group, panels, scale, usual=every[0].images))
    table = forest_table(f"differences{suffix}", every, titles, runs)
    return [*side_by_side(figures[:1]), *side_by_side(figures[1:]), table]
