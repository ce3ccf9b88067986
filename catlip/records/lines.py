"""Draws lines of means through marks, each line named where it ends, in the form of Figures 4, 5
and 7.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from statistics import fmean

from catlip.records.claims import min_pairs
from catlip.records.estimate import Estimate, Score, mean_difference, mean_of, value_of
from catlip.records.figures import Axes, label_points
from catlip.records.styles import colour_of, marker_of, name_of
from catlip.records.table import clipped, format_number

NAME_HEIGHT = 0.54  # inches between the names of two lines
Point = tuple[float, float]

GroupedPoint = tuple[float, str, Score | float]  # x, group, y


@dataclass(frozen=True)
class Line:
    """One line of a figure: its name and style, the marks, and their means.

    Attributes:
        how: what distinguishes it from another line of the same name; may be empty.
        dashed: whether it is the second line in its method's colour.
    """

    name: str
    how: str
    colour: str
    marker: str
    means: Sequence[tuple[float, Estimate]]
    marks: Sequence[Point]
    dashed: bool = False

    @property
    def points(self) -> list[Point]:
        return [(x, mean.value) for x, mean in self.means]


def line_of(method: str, points: Sequence[GroupedPoint]) -> Line:
    """A method's line through the means of its points (x, group, y); each point is a mark."""
    return Line(
        clipped(name_of(method), 24),
        "",
        colour_of(method),
        marker=marker_of(method),
        means=means_of(points),
        marks=[(x, value_of(y)) for x, _, y in points],
    )


def means_of(points: Sequence[GroupedPoint]) -> list[tuple[float, Estimate]]:
    """The mean at each x of the points (x, group, y)."""
    means = []
    for x, at in groupby(sorted(points, key=lambda p: p[:2]), key=lambda point: point[0]):
        groups = [
            mean_of(y for _, _, y in points)
            for _, points in groupby(at, key=lambda point: point[1])
        ]
        means.append((x, mean_difference(groups) or Estimate(fmean(map(value_of, groups)))))
    return means


def draw_lines(
    axes: Axes, lines: Sequence[Line], moved: Callable[[float, float], float], leader: str = "-"
) -> None:
    """Draw the lines; the axes' scales and limits must be set already."""
    names = []
    for i, line in enumerate(lines):
        steps = i - (len(lines) - 1) / 2
        means, marks = (
            [(moved(x, steps), y) for x, y in points] for points in (line.points, line.marks)
        )
        between = "--" if line.dashed else "-"
        style = between if len(means) > 2 else "_"  # two points do not make a line
        axes.plot(*zip(*means, strict=True), style, color=line.colour, linewidth=1.8, markersize=12)
        for x, mean in line.means:
            if mean.low is not None and mean.high is not None:
                ends = [[mean.value - mean.low], [mean.high - mean.value]]
                axes.errorbar(
                    [moved(x, steps)], [mean.value], ends, ecolor=line.colour, capsize=5, zorder=3
                )
        axes.plot(
            *zip(*marks, strict=True), line.marker, color=line.colour, alpha=0.35, markersize=5
        )
        x, y = means[-1]
        how = f"{line.how} " if line.how else ""
        names.append((x, y, f"{line.name}\n{how}{format_number(y, 1)} %", line.colour))
    label_points(axes, names, gap=NAME_HEIGHT / height_for(lines), leader=leader)


def bars_in_words(lines: Sequence[Line]) -> str:
    """What the bars of a figure of these lines are, for its caption."""
    if all(mean.low is None for line in lines for _, mean in line.means):
        return ""
    return f"Bars: 95 % intervals, of {min_pairs()} values or more."


def height_for(lines: Sequence[Line]) -> float:
    """Height in inches of a figure that has room for the names of all lines."""
    return max(3.2, 1.0 + NAME_HEIGHT * len(lines))


def means_in_words(lines: Sequence[Line], unit: str, shorten: Callable[[float], str]) -> str:
    """The means in words: `CatLIP: 3.0 % at 5 %, 6.3 % at 100 %`."""
    sentences = []
    for line in lines:
        name = f"{line.name}, {line.how}" if line.how else line.name
        points = ", ".join(f"{format_number(y, 1)} % at {shorten(x)}{unit}" for x, y in line.points)
        sentences.append(f"{name}: {points}")
    return "; ".join(sentences)


def brief(x: float, digits: int = 3) -> str:
    """A fraction, an epoch or a time with no more digits than it needs: 5, 50.3, 1,234."""
    return f"{x:,.0f}" if x >= 10 ** (digits - 1) - 0.5 else f"{x:.{digits}g}"


brief_fraction = partial(brief, digits=2)  # of the data, in %: 0.5, 5, 50, 100
