"""Rows of small pictures with words below them, as one figure.

The records hold the pictures as base64. A record may come from elsewhere, so the size of each
picture is checked, and what is not a picture is left out.
"""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from catlip.records.figures import INK, MUTED, PAPER, Axes, Figure

WIDTH = 4.1  # inches of all pictures of a row, without the gaps
LINE = 0.12  # height of a line of words, in inches
GAP = 0.07  # between pictures, as a fraction of a picture's side
LARGEST = 512  # pixels of a side; base64 may have 1,000 times as many characters
Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Panel:
    """An image or none, boxes on it (left, top, right, bottom, colour), and words below."""

    pixels: Pixels | None
    boxes: Sequence[tuple[float, float, float, float, str]] = ()
    words: Sequence[str] = ()
    is_bold: bool = False  # the words


Row = tuple[str, Sequence[Panel | None]]  # its name, and a panel for each image


def panels_figure(name: str, caption: str, rows: Sequence[Row]) -> Figure:
    """A figure of the rows, one below the other, with their pictures in columns."""
    columns = max(len(panels) for _, panels in rows)
    names = [name.replace("\n", " ") for name, _ in rows if name]
    named = f"; rows: {', '.join(names)}" if names else ", each with words below it"
    height = 0.25 + WIDTH / columns * sum(_height(panels, columns) for _, panels in rows)
    alt = f"{columns} images in columns{named}."
    return Figure(name, caption, alt, draw=partial(_draw, rows=rows), height=height)


def decoded(words: Any, mode: str) -> Pixels | None:
    """Decode a base64 picture to uint8: [H, W, 3] for mode RGB, [H, W] for mode L, and [H, W] of 0
    and 1 for mode 1. None if it is no picture, or too large.
    """
    if not isinstance(words, str) or len(words) > 1000 * LARGEST:
        return None
    try:
        content = io.BytesIO(base64.b64decode(words, validate=True))
        with Image.open(content, formats=("JPEG", "PNG")) as picture:
            if max(picture.size) > LARGEST:
                return None
            return np.asarray(picture.convert(mode)).astype(np.uint8)
    # From base64, Pillow, and its PNG reader.
    except (ValueError, OSError, SyntaxError, Image.DecompressionBombError):
        return None


def _line(columns: int) -> float:
    return LINE * columns / WIDTH


def _height(panels: Sequence[Panel | None], columns: int) -> float:
    there = [panel for panel in panels if panel]
    lines = max((len(panel.words) for panel in there), default=0)
    return float(any(panel.pixels is not None for panel in there)) + _line(columns) * lines + GAP


def _draw(axes: Axes, rows: Sequence[Row]) -> None:
    columns, top = max(len(panels) for _, panels in rows), 0.0
    for name, panels in rows:
        height = _height(panels, columns)
        middle, size = (0.5, 9) if height > 1 else ((height - GAP) / 2, 8)
        axes.text(-0.06, top - middle, name, ha="right", va="center", color=INK, fontsize=size)
        for column, panel in enumerate(panels):
            if panel:
                _draw_panel(axes, panel, column * (1 + GAP), top=top, line=_line(columns))
        top -= height
    axes.set_xlim(-0.1, (1 + GAP) * columns)
    axes.set_ylim(top, 0.02)
    axes.set_aspect("equal", anchor="NW")  # else the layout takes the names for narrower
    axes.axis("off")


def _draw_panel(axes: Axes, panel: Panel, left: float, top: float, line: float) -> None:
    from matplotlib.patches import Rectangle

    if panel.pixels is not None:
        height, width = panel.pixels.shape[:2]
        unit = 1 / max(height, width)
        extent = (left, left + width * unit, top - height * unit, top)
        axes.imshow(panel.pixels, extent=extent, interpolation="nearest", aspect="equal")
        for x0, y0, x1, y1, colour in panel.boxes:
            corner, size = (left + x0 * unit, top - y1 * unit), ((x1 - x0) * unit, (y1 - y0) * unit)
            axes.add_patch(Rectangle(corner, *size, fill=False, edgecolor=PAPER, linewidth=2.4))
            axes.add_patch(Rectangle(corner, *size, fill=False, edgecolor=colour, linewidth=1.2))
        top -= 1
    for number, words in enumerate(panel.words):
        axes.text(
            left,
            top - line * (number + 0.55),
            words,
            ha="left",
            va="center",
            color=INK if panel.is_bold else MUTED,
            fontsize=8,
            fontweight="bold" if panel.is_bold else "normal",
        )
