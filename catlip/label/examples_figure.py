"""A figure of images with their captions and the classes that the captions become; images and
captions are untrusted.
"""

import textwrap
from collections.abc import Iterable
from itertools import islice

from catlip.label.examples_result import Example, Examples
from catlip.label.result import rule_of
from catlip.results.figures import Figure
from catlip.results.panels import Panel, Row, decoded, panels_figure
from catlip.results.run import Run
from catlip.table import clipped

COLUMNS, MOST_ROWS = 4, 3
CHARACTERS = 22  # of a line below a picture
CAPTION_LINES, MOST_CLASSES = 3, 4


def example_figure(record: Run[Examples], suffix: str = "") -> list[Figure]:
    """The samples of a record in rows of `COLUMNS`; no figure if no sample has an image."""
    every = filter(None, map(_panel, record.rows("pictures", Example)))
    panels = list(islice(every, COLUMNS * MOST_ROWS))
    rows: list[Row] = [("", panels[i : i + COLUMNS]) for i in range(0, len(panels), COLUMNS)]
    caption = (
        f"Samples of the pre-training data, {record.scale} scale, evenly spread and not selected: "
        f"each image, its caption, and the classes that rule {rule_of(record)} makes of it; in "
        "brackets, labels too rare to be classes."
    )
    return [panels_figure(f"examples{suffix}", caption, rows)] if rows else []


def _panel(picture: Example) -> Panel | None:
    image = decoded(picture.image, "RGB")
    if image is None:
        return None
    caption = clipped(picture.caption, 200)
    lines = textwrap.wrap(
        f"\N{LEFT DOUBLE QUOTATION MARK}{caption}\N{RIGHT DOUBLE QUOTATION MARK}", CHARACTERS
    )
    if len(lines) > CAPTION_LINES:
        *whole, last = lines[:CAPTION_LINES]
        lines = [*whole, last[: CHARACTERS - 1] + "\N{HORIZONTAL ELLIPSIS}"]
    labels = [*_names(picture.classes), *(f"({name})" for name in _names(picture.too_rare))]
    return Panel(image, words=[*lines, *(labels[:MOST_CLASSES] or ["no label"])])


def _names(names: Iterable[str]) -> list[str]:
    return [clipped(name, CHARACTERS) for name in names]
