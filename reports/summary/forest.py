"""A forest plot of every difference between CatLIP and another method: a row an experiment, a panel
a task; and its numbers as a table.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from bench.downstream.probe.result import (
    TASK_PART_SEPARATOR,
    LinearProbe,
    task_title,
    tasks_by_importance,
)
from bench.study.lengths_result import LENGTHS
from catlip.records.blocks import Block, Section, Text, command_to_fill, side_by_side
from catlip.records.claims import min_pairs
from catlip.records.estimate import Estimate
from catlip.records.figures import MUTED, PAPER, Figure, hide_rows, panels_of
from catlip.records.run import Run
from catlip.records.select import MAX_SHOWN, images_of, link, suffix
from catlip.records.styles import CATLIP, CLIPS, colour_of, name_of
from catlip.records.table import Cell, Table, clipped, format_number, listed, signed
from reports.read.differences import CONDITION, LENGTH, Difference, sign
from reports.read.setting import Setting

if TYPE_CHECKING:  # matplotlib takes a while to import
    from matplotlib.axes import Axes

MAX_PANELS, MAX_TASKS = 2, 4  # tasks of a figure, and of all; the table has every task
ROW, HEIGHT = 0.185, 1.15  # inches: of a row, and of all else


# The figure


class Drawn(Protocol):
    """A difference: of each pair, and what these estimate."""

    @property
    def points(self) -> Sequence[float]: ...

    @property
    def estimate(self) -> Estimate: ...


D = TypeVar("D", bound=Drawn)


@dataclass(frozen=True)
class Row(Generic[D]):
    """A row of the forest: a heading, or an experiment with its difference on each task."""

    name: str
    of_task: Mapping[str, D]


def rows_of(every: Sequence[Difference], usual: float) -> list[Row[Difference]]:
    """The rows, each group below its heading; a length that a whole group shares stands there,
    unless it is the usual one. Conditions are a group for each length.
    """
    rows: list[Row[Difference]] = []
    of_group: dict[tuple[str, float], list[Difference]] = {}
    for one in every:
        shared = one.same.images if one.heading == CONDITION else 0.0
        of_group.setdefault((one.heading, shared), []).append(one)
    for (heading, _), group in of_group.items():
        lengths = {one.same.images for one in group}
        is_shared = len(lengths) == 1 and heading != LENGTH
        words = _images(group[0].same.images) if is_shared and not lengths <= {0, usual} else ""
        rows.append(Row(TASK_PART_SEPARATOR.join(filter(None, (heading, words))), {}))
        by_name: dict[str, dict[str, Difference]] = {}
        for one in group:
            length = _images(one.same.images) if one.same.images and not is_shared else ""
            name = TASK_PART_SEPARATOR.join(filter(None, (one.name, length))) or "as usual"
            by_name.setdefault(name, {})[one.task] = one
        rows += [Row(name, of_task) for name, of_task in by_name.items()]
    return rows


def _images(images: float) -> str:
    return f"{images:,.0f} images"


KEY = {
    1: ("better: interval above 0", CATLIP, "o"),
    -1: ("worse: interval below 0", CLIPS[-1], "s"),
    0: ("undecided: interval includes 0", "random", "D"),
    None: ("fewer than {} pairs: their range", "random", "o"),
}


def forest_figure(
    name: str,
    every: Sequence[Difference],
    titles: Mapping[str, str],
    setting: Setting,
    usual: float,
) -> Figure:
    """The differences on these tasks, a panel for each; `usual` is the usual length of training."""
    rows = rows_of(every, usual)
    signs = [sign(one.estimate) for one in every]
    words = {1: "above 0", -1: "below 0", 0: "on both sides of 0"}
    counts = [f"{signs.count(key)} {where}" for key, where in words.items() if key in signs]
    apart, pairs = sum(one.apart for one in every), sum(len(one.points) for one in every)
    sentences = [
        f"CatLIP minus {name_of(setting.clip)}, or the method named, in points, trained on "
        f"{images_of(setting.root, setting.scale)}: {len(every)} differences.",
        f"Trainings saw {_images(usual)} unless stated." if usual else "",
        f"95 % intervals: {listed(counts)}." if counts else "",
        f"Of fewer than {min_pairs()} pairs, the range is drawn." if None in signs else "",
        f"In {apart} of {pairs} pairs the two sides ran on different processors." if apart else "",
    ]
    caption = " ".join(filter(None, sentences))
    said = []
    for row in rows:
        if row.of_task:
            each = [
                f"{clipped(task or 'mean', 24)} {in_words(one)}"
                for task, one in row.of_task.items()
            ]
            said.append(f"{row.name}: {', '.join(each)}")
    alt = f"Forest plot of differences. {'; '.join(said)}."
    draw = partial(draw_rows, rows=rows, titles=titles)
    height = HEIGHT + ROW * len(rows)
    width = 4.6 + 2.4 * (len(titles) - 1)
    return Figure(name, caption, alt, draw=draw, height=height, width=width)


def in_words(one: Drawn) -> str:
    return f"{signed(one.estimate.value, 1)} ({ends_of(one)})"


def ends_of(one: Drawn) -> str:
    """`8.2 to 11.9, n = 10`: the interval, or the range of fewer pairs."""
    low, high = _ends(one)
    seeds = f"n = {len(one.points)}"
    return (
        f"{format_number(low, 1)} to {format_number(high, 1)}, {seeds}"
        if len(one.points) > 1
        else seeds
    )


def _ends(one: Drawn) -> tuple[float, float]:
    low, high = one.estimate.low, one.estimate.high
    return (min(one.points), max(one.points)) if low is None or high is None else (low, high)


def draw_rows(
    axes: "Axes",
    rows: Sequence[Row[D]],
    titles: Mapping[str, str],
    unit: str = "points",
    with_n: bool = True,
) -> None:
    """A panel for each task of `titles`."""
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
        panel.set_xlabel(unit)
        panel.locator_params(axis="x", nbins=5, integer=True)
        hide_rows(panel)
    panels[0].set_xlim(low - 0.05 * wide, high + 0.45 * wide)
    panels[0].set_ylim(len(rows) - 0.4, -0.8)
    named = [y for y, row in enumerate(rows) if row.of_task]
    panels[0].set_yticks(named, [rows[y].name for y in named])
    for y in {*range(len(rows))} - {*named}:
        _write_heading(panels[0], y, rows[y].name)
    if with_n:
        _write(panels[-1], 1.12, -0.7, "n", MUTED)
        for y, row in enumerate(rows):
            n = "/".join(dict.fromkeys(str(len(one.points)) for one in row.of_task.values()))
            _write(panels[-1], 1.12, y, n, MUTED)
    _draw_key(panels[0], {sign(one.estimate) for one in every}, columns=min(2, len(titles)))


def _style(key: int | None) -> dict[str, Any]:
    _, method, marker = KEY[key]
    colour = colour_of(method)
    face = PAPER if key is None else colour
    return {"marker": marker, "color": colour, "markerfacecolor": face, "markersize": 5}


def _draw_row(panel: "Axes", y: float, one: Drawn) -> None:
    style = _style(sign(one.estimate))
    line = ":" if sign(one.estimate) is None else "-"
    panel.plot(_ends(one), [y, y], line, color=style["color"], linewidth=1.6)
    panel.plot(one.estimate.value, y, linestyle="", **style)
    _write(panel, 0.99, y, signed(one.estimate.value, 1), style["color"])


def _write(panel: "Axes", x: float, y: float, words: str, colour: str) -> None:
    """Words that end at x, a fraction of the panel's width."""
    where = panel.get_yaxis_transform()
    panel.text(x, y, words, transform=where, ha="right", va="center", color=colour)


def _write_heading(panel: "Axes", y: float, words: str) -> None:
    """Bold words from the left edge of the figure on, over names and panel."""
    behind = {"facecolor": PAPER, "edgecolor": "none", "pad": 1}
    how: dict[str, Any] = {"va": "center", "weight": "bold", "bbox": behind}
    where = ("figure fraction", "data")
    panel.annotate(words, (0.01, y), xycoords=where, annotation_clip=False, **how).set_in_layout(
        False
    )


def _draw_key(panel: "Axes", keys: set[int | None], columns: int) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], linestyle=":" if key is None else "-", **_style(key), label=words)
        for key, (words, _, _) in KEY.items()
        if key in keys
        for words in [words.format(min_pairs())]
    ]
    canvas = panel.get_figure()
    assert canvas
    canvas.legend(handles=handles, loc="outside lower right", ncols=columns, frameon=False)


# The table below it


def forest_table(
    name: str, every: Sequence[Difference], titles: Mapping[str, str], runs: Sequence[Run[Any]]
) -> Table:
    """The numbers of the figures; `runs` are all of the scale."""
    rows, by_path = [], {run.path: run for run in runs}
    for row in rows_of(every, every[0].same.images):
        cells = [Cell(row.name)]
        for task in titles if row.of_task else ():
            if one := row.of_task.get(task):
                records = [by_path[path] for path in sorted(one.records)]
                of_catlip = [run for run in records if run.method == CATLIP]
                means = [format_number(mean, 1) for mean in one.accuracies or ()]
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
        f"number n of seeds; of fewer than {min_pairs()} seeds, their range. At equal cost: at "
        "the lower of both longest trainings' costs, interpolated linearly between lengths on a "
        "logarithmic axis."
    )
    title = "The numbers of the differences"
    return Table(name, title, columns, rows=rows, caption=caption, folded=True)


# The section


def forest_section(settings: Sequence[Setting]) -> Section:
    words = (
        "Each row compares CatLIP with CLIP, or with the method that it names, in trainings and "
        "tests that differ in nothing else, paired by seed; n: seeds. Intervals are over seeds "
        "and test images."
    )
    compared = islice((setting for setting in settings if setting.differences), MAX_SHOWN)
    blocks = [block for i, one in enumerate(compared) for block in _blocks(one, suffix(i))]
    blocks = blocks or command_to_fill("CatLIP and CLIP have no seed in common.", LENGTHS)
    return Section("differences", "Every difference", [Text(words), *blocks])


def _blocks(setting: Setting, suffix: str) -> list[Block]:
    """The figures of one scale, and a table of their numbers."""
    every, probes = setting.differences, setting.of(LinearProbe)
    tasks = tasks_by_importance((one.task for one in every if one.task), probes)
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
        usual = every[0].same.images
        figures.append(forest_figure(name, of_group, panels, setting, usual))
    table = forest_table(f"differences{suffix}", every, titles, setting.records)
    return [*side_by_side(figures[:1]), *side_by_side(figures[1:]), table]
