"""The style of every figure, and how a figure becomes SVG, PNG, and an SVG that follows the page's
colours.

Colours are Okabe and Ito's, darkened where text has them; each method also has its own marker, and
lines are labelled where they end instead of in a legend. Output holds no date and no random ids:
the same records give the same bytes.
"""

import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from catlip.records.styles import KNOWN, OTHER, colour_of, marker_of, stated_colours

if TYPE_CHECKING:  # matplotlib takes a second to import, and programs print tables without it
    from matplotlib.axes import Axes as Axes
    from matplotlib.axis import Axis
else:
    Axes = Axis = Any

INK, MUTED, GRID, PAPER = "#1b1f24", "#59616b", "#dfe3e8", "#ffffff"
# Rules and label sets are not methods: the n-th has the colour and marker of the n-th of these.
SERIES = ("catlip", "siglip", "superclass", "clip")
COLOURS = {method: KNOWN[method].colour for method in ("random", *SERIES)}

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
PAGE_COLOURS = {
    INK: "--ink",
    MUTED: "--muted",
    GRID: "--line",
    PAPER: "--paper",
    OTHER: "--other",
} | {colour: f"--{method}" for method, colour in COLOURS.items()}
DARK = "light-dark({0}, color-mix(in srgb, {0} 50%, white))"  # for a colour from a record
FONTS = "'DejaVu Sans', Verdana, sans-serif"  # the browser takes the first that is installed
PNG_DPI = 160
MIN_TEXT = 12  # pixels of a phone
THOUSANDS = "{x:,.0f}"  # format of an axis's ticks
# A thin line from the left edge of a label to its point.
LEADER = {"arrowstyle": "-", "linewidth": 0.7, "shrinkA": 1, "shrinkB": 0, "relpos": (0, 0.5)}


@dataclass(frozen=True)
class Figure:
    """A figure: its file stem, caption, text for those who cannot see it, and how it is drawn."""

    name: str
    caption: str
    alt: str
    draw: Callable[[Axes], None]
    height: float = 3.2  # inches
    width: float = 5.2


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
        figure.draw(canvas.add_subplot())
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
    for colour in stated_colours():
        body = body.replace(colour, DARK.format(colour))
    start = f'<svg aria-hidden="true" focusable="false" style="--least: {least:.0f}px" '
    return body.replace("<svg ", start, 1).strip()


def series_style(index: int) -> dict[str, str]:
    """The colour and marker of the n-th of several things that are not methods."""
    method = SERIES[index % len(SERIES)]
    return {"color": colour_of(method), "marker": marker_of(method)}


def write_out_powers(axis: Axis) -> None:
    """Write the ticks of a logarithmic axis as 1, 2, 5, 1,000, 10 M."""
    from matplotlib.ticker import LogLocator, NullLocator

    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(
        lambda value, _: f"{value / 1e6:,g} M" if value >= 1e6 else f"{value:,g}"
    )
    axis.set_minor_locator(NullLocator())


def label_points(
    axes: Axes, points: Sequence[tuple[float, float, str, str]], gap: float, leader: str = "-"
) -> None:
    """Label points in a column at the right edge, each label with a thin line to its point."""
    points = sorted(points, key=lambda point: point[1])
    # From data units to fractions of the axes' width and height, also on a logarithmic scale.
    to_share = axes.transScale + axes.transLimits
    shares = [float(to_share.transform((x, y))[1]) for x, y, _, _ in points]
    places: list[float] = list(accumulate(shares, lambda below, share: max(share, below + gap)))
    # Centre the labels on their points, but keep the lowest above the axis.
    pushed = min(sum(places) / len(places) - sum(shares) / len(shares), places[0])
    for place, (x, y, label, colour) in zip(places, points, strict=True):
        axes.annotate(
            label,
            (x, y),
            (1.03, place - pushed),
            textcoords="axes fraction",
            va="center",
            color=colour,
            fontsize=9,
            arrowprops={**LEADER, "linestyle": leader, "color": colour},
            annotation_clip=False,
        )


def panels_of(axes: Axes, columns: int, *, sharey: bool = False) -> list[Axes]:
    """Panels side by side in place of the axes, with the same x axis."""
    canvas = axes.get_figure(root=True)
    assert canvas
    axes.remove()
    return [*canvas.subplots(1, columns, squeeze=False, sharex=True, sharey=sharey)[0]]


def hide_rows(axes: Axes) -> None:
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)


def thinned(count: int, most: int) -> list[int]:
    """At most `most` evenly spaced positions of `count`, first and last among them."""
    if count <= most:
        return list(range(count))
    return sorted({round(i * (count - 1) / (most - 1)) for i in range(most)})
