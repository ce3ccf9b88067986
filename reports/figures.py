"""Figures as data, in three forms (lines, bars, and a forest of differences), and how one becomes
SVG, PNG, and an SVG that follows the page's colours.

Colours are Okabe and Ito's, darkened where text has them; each method also has its own marker.
Output holds no date and no random ids: the same records give the same bytes.
"""

import io
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from catlip.records.estimate import Estimate
from catlip.records.kind import Interval
from catlip.records.styles import KNOWN, OTHER, name_of, stated_colours, style_of
from catlip.records.table import clipped, format_number

if TYPE_CHECKING:  # matplotlib takes a second to import
    from matplotlib.axes import Axes

INK, MUTED, GRID, PAPER = "#1b1f24", "#59616b", "#dfe3e8", "#ffffff"
# Rules and label sets are not methods: the n-th has the colour and marker of the n-th of these.
SERIES = ("catlip", "clip", "siglip", "superclass", "clip_nouns", "catlip_softmax")
SIDES = {1: KNOWN["catlip"].colour, -1: KNOWN["clip"].colour, 0: MUTED}  # of 0, in a forest

STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "text.parse_math": False,  # text from records is shown as it is
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "figure.facecolor": PAPER,
    "axes.facecolor": PAPER,
    "lines.linewidth": 2,
    "svg.fonttype": "none",  # keeps text that can be searched, read aloud and copied
    "svg.hashsalt": "catlip-bench",
    "path.simplify_threshold": 0.5,
}
# Colour in the SVG file -> variable in the page, which the light and the dark style define.
PAGE_COLOURS = {INK: "--ink", MUTED: "--muted", GRID: "--line", PAPER: "--paper"}
DARK = "light-dark({0}, color-mix(in srgb, {0} 50%, white))"  # for a colour from a record
FONTS = "'DejaVu Sans', Verdana, sans-serif"  # the browser takes the first that is installed
PNG_DPI = 160
MIN_TEXT = 12  # pixels of a phone
UNIQUE = "\N{ZERO WIDTH SPACE}"  # after a label that another row has, too
ROW = 0.27  # inches of a row of a forest or of bars


@dataclass(frozen=True)
class Mark:
    """A value, with the ends of its interval if it has one. `x` is its place on the axis, or the
    label of its row; a NaN is a heading.
    """

    x: float | str
    value: float
    low: float | None = None
    high: float | None = None

    @property
    def ends(self) -> tuple[float, float]:
        """Of its interval; without one, the value twice."""
        if self.low is None or self.high is None:
            return self.value, self.value
        return self.low, self.high

    @property
    def side(self) -> int:
        """Of 0 on which the whole interval lies, 1 or -1; 0 around it, and without one."""
        return 0 if self.low is None else (self.ends[0] > 0) - (self.ends[1] < 0)


@dataclass(frozen=True)
class Series:
    """Marks of one colour, in lines joined in the order of x."""

    name: str
    colour: str
    marker: str
    marks: Sequence[Mark]
    dashed: bool = False


@dataclass(frozen=True)
class Panel:
    """Axes of one form. `floor` is drawn dotted; of a forest, rows without a value are headings."""

    form: Literal["lines", "bars", "forest"]
    series: Sequence[Series]
    x: str = ""
    y: str = ""
    title: str = ""
    log: bool = False
    floor: float | None = None
    ticks: Sequence[tuple[float, str]] = ()


@dataclass(frozen=True)
class Figure:
    """Panels side by side. `caption` says what they show."""

    name: str
    caption: str
    panels: Sequence[Panel]
    width: float = 5.2  # inches
    height: float = 3.2

    @property
    def alt(self) -> str:
        """All values, for those who cannot see them."""
        parts = []
        for panel in self.panels:
            for series in panel.series:
                values = [_in_numbers(mark) for mark in series.marks if mark.value == mark.value]
                named = ", ".join(filter(None, (panel.title, series.name)))
                parts.append(f"{named}: {'; '.join(values)}")
        return ". ".join(parts)


def _in_numbers(mark: Mark) -> str:
    x = mark.x.strip(UNIQUE) if isinstance(mark.x, str) else format_number(mark.x)
    ends = "" if mark.low is None else " ({:.1f} to {:.1f})".format(*mark.ends)
    return f"{x} {mark.value:.1f}{ends}".replace("-", "\N{MINUS SIGN}")


@dataclass(frozen=True)
class Rendered:
    """The content of a figure's files."""

    svg: str
    png: bytes


def render(figure: Figure) -> Rendered:
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure as Canvas
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    with matplotlib.rc_context(STYLE):
        canvas = Canvas(figsize=(figure.width, figure.height))
        drawn = canvas.subplots(1, len(figure.panels), squeeze=False)[0]
        for axes, panel in zip(drawn, figure.panels, strict=True):
            FORMS[panel.form](axes, panel)
            axes.set_xlabel(panel.x)
            axes.set_ylabel(panel.y)
            axes.set_title(panel.title, fontsize=10, loc="left")
        _add_legend(canvas, drawn)
        # Laid out once for SVG and PNG.
        dpi = canvas.dpi
        FigureCanvasSVG(canvas)
        canvas.set_dpi(FigureCanvasSVG.fixed_dpi)
        ConstrainedLayoutEngine().execute(canvas)
        canvas.set_dpi(dpi)
        svg, png = io.StringIO(), io.BytesIO()
        canvas.savefig(svg, format="svg", metadata={"Date": None, "Creator": None})
        canvas.savefig(png, format="png", dpi=PNG_DPI, metadata={"Software": None})
    return Rendered(svg.getvalue().replace("'DejaVu Sans'", FONTS), png.getvalue())


def _add_legend(canvas: Any, drawn: Sequence["Axes"]) -> None:
    """One for all panels, below them, where these have the same lines; else one in each, or below
    it where it would cover the lines.
    """
    found = [axes.get_legend_handles_labels() for axes in drawn]
    names = {tuple(labels) for _, labels in found}
    style: dict[str, Any] = {"fontsize": 8.5, "frameon": False, "handlelength": 1.6}
    if len(names) == 1 and len(drawn) > 1 and max(map(len, names)) > 1:
        canvas.legend(*found[0], loc="outside lower center", ncols=len(found[0][1]), **style)
        return
    for axes, (_, labels) in zip(drawn, found, strict=True):
        if len(labels) > 4:
            axes.legend(loc="upper center", bbox_to_anchor=(0.45, -0.2), ncols=2, **style)
        elif len(labels) > 1:
            axes.legend(loc="best", **style)


def _lines(axes: "Axes", panel: Panel) -> None:
    for series in panel.series:
        marks = sorted(series.marks, key=lambda mark: float(mark.x))
        xs, values = [float(mark.x) for mark in marks], [mark.value for mark in marks]
        style = "--" if series.dashed else "-"
        axes.plot(
            xs,
            values,
            style if len(marks) > 1 else "",
            color=series.colour,
            marker=series.marker if len(marks) < 30 else "",
            markersize=5,
            linewidth=1.7,
            label=series.name,
        )
        for mark in marks:
            if mark.low is not None:
                axes.vlines(float(mark.x), *mark.ends, color=series.colour, linewidth=1.1)
    if panel.log:
        _log_axis(axes)
    if panel.ticks:
        axes.set_xticks([at for at, _ in panel.ticks], [words for _, words in panel.ticks])
    if panel.floor is not None:
        axes.axhline(panel.floor, color=MUTED, linestyle=":", linewidth=1.4)
    if any(mark.value < 0 for series in panel.series for mark in series.marks):
        axes.axhline(0, color=INK, linewidth=0.8)


def _log_axis(axes: "Axes") -> None:
    """Ticks as 1, 2, 5, 1,000."""
    from matplotlib.ticker import LogLocator, NullLocator

    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,g}")
    axes.xaxis.set_minor_locator(NullLocator())


def _rows(axes: "Axes", panel: Panel) -> dict[str, int]:
    """Label -> its row, from above; headings are labels without a value."""
    marks = [mark for series in panel.series for mark in series.marks]
    labels = list(dict.fromkeys(str(mark.x) for mark in marks))
    axes.set_yticks(range(len(labels)), [label.strip(UNIQUE) for label in labels], fontsize=9)
    headings = {str(mark.x) for mark in marks if math.isnan(mark.value)}
    for label, tick in zip(labels, axes.get_yticklabels(), strict=True):
        tick.set_fontweight("bold" if label in headings else "normal")
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)
    return {label: row for row, label in enumerate(labels)}


def _bars(axes: "Axes", panel: Panel) -> None:
    """Horizontal bars, a row a label, with their values."""
    rows = _rows(axes, panel)
    for series in panel.series:
        for mark in series.marks:
            row = rows[str(mark.x)]
            axes.barh(row, mark.value, 0.62, color=series.colour, alpha=0.85)
            axes.hlines(row, *mark.ends, color=INK, linewidth=1.2)
            words, place = format_number(mark.value), (max(mark.value, mark.ends[1]), row)
            axes.annotate(words, place, (4, 0), textcoords="offset points", va="center", fontsize=9)
    if panel.floor is not None:
        axes.axvline(panel.floor, color=MUTED, linestyle=":", linewidth=1.4)
    if panel.log:
        _log_axis(axes)
    axes.margins(x=0.12)


def _forest(axes: "Axes", panel: Panel) -> None:
    """Differences with their intervals, a row each; coloured by their side of 0."""
    rows = _rows(axes, panel)
    for series in panel.series:
        for mark in series.marks:
            if math.isnan(mark.value):
                continue
            row, colour = rows[str(mark.x)], SIDES[mark.side]
            axes.plot(mark.value, row, series.marker, color=colour, markersize=5)
            axes.hlines(row, *mark.ends, color=colour, linewidth=1.6)
    axes.axvline(0, color=INK, linewidth=0.8)


FORMS = {"lines": _lines, "bars": _bars, "forest": _forest}


def svg_for_page(svg: str, name: str) -> str:
    """The SVG as an element of the page: without prologue, with ids of its own, with colours from
    the page's light and dark styles, and with coordinates to a hundredth of a point.
    """
    body = svg[svg.index("<svg") :]
    # Text of 12 pixels or more: what is wider than a phone scrolls.
    sizes = [float(size) for size in re.findall(r"font-size: ([\d.]+)px", svg)]
    width = float(re.findall(r'viewBox="0 0 ([\d.]+)', svg)[0])
    least = MIN_TEXT * width / min(sizes, default=width)
    body = re.sub(r'\s[dxy]="[^"]*"', lambda place: re.sub(r"(\.\d\d)\d+", r"\1", place[0]), body)
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", body).replace("xlink:href", "href")
    body = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", body, count=1)
    body = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", body, count=1)
    body = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', body)
    body = re.sub(r'(url\(|href=")#', rf"\1#{name}-", body)
    for colour, variable in PAGE_COLOURS.items():
        body = body.replace(colour, f"var({variable})")
    known = {style.colour for style in KNOWN.values()}
    for colour in sorted({*known, *stated_colours(), OTHER}):
        body = body.replace(colour, DARK.format(colour))
    start = f'<svg aria-hidden="true" focusable="false" style="--least: {least:.0f}px" '
    return body.replace("<svg ", start, 1).strip()


def marks_of(estimates: Mapping[Any, Interval | Estimate | None]) -> list[Mark]:
    """Where on the axis -> the value there, with its interval; None is left out."""
    return [Mark(x, mean.value, mean.low, mean.high) for x, mean in estimates.items() if mean]


def of_method(method: str, marks: Sequence[Mark], name: str = "", dashed: bool = False) -> Series:
    style = style_of(method)
    return Series(name or name_of(method), style.colour, style.marker, marks, dashed)


def numbered(lines: Iterable[tuple[str, Sequence[Mark]]]) -> list[Series]:
    """Lines of things that are not methods: the n-th has the n-th colour and marker."""
    return [
        of_method(SERIES[number % len(SERIES)], marks, clipped(name, 32))
        for number, (name, marks) in enumerate(lines)
    ]
