"""Test images with what each encoder makes of them; names of classes are untrusted text."""

import textwrap
from dataclasses import dataclass, field
from typing import ClassVar

from catlip.records.blocks import Block, Section, Text, command_to_fill, side_by_side
from catlip.records.figures import INK, Figure
from catlip.records.kind import Kind
from catlip.records.panels import Panel, Pixels, Row, decoded, panels_figure
from catlip.records.run import Records, Run, Setting
from catlip.records.select import MAX_SHOWN, group_by_scale, suffix
from catlip.records.styles import name_of
from catlip.records.table import clipped, format_number, listed

GALLERY = (
    "python -m bench.downstream.gallery --data starter:data/starter --encoders "
    "runs/starter/pretrain/catlip-seed0 runs/starter/pretrain/clip-seed0"
)
RIGHT, WRONG, ELLIPSIS = "\N{CHECK MARK}", "\N{BALLOT X}", "\N{HORIZONTAL ELLIPSIS}"
LINE_CHARACTERS, LINES = 13, 2  # below a picture
MAX_PICTURES, COLUMNS, NEIGHBOUR_ROWS = 30, 4, 6  # rows of all encoders together


@dataclass(frozen=True)
class EncoderScore:
    """A classifier's accuracy on its features, and how many nearest images are of the class."""

    method: str
    top1: float
    neighbours_of_class: float


@dataclass(frozen=True, kw_only=True)
class Picture:
    """An image in base64, and its class; of a test image for each encoder the class that it
    predicts and, for the first ones, the nearest training images.
    """

    key: str
    image: str
    label: str
    predicted: list[str] = field(default_factory=list)
    neighbours: list[list["Picture"]] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Gallery(Kind):
    """A task, and its encoders in the order of all lists."""

    kind = "gallery"
    rows: ClassVar = {"pictures": Picture}

    task: str
    num_classes: int
    num_train: int
    num_test: int
    encoders: list[EncoderScore]


def section(main: Setting | None, records: Records) -> Section:
    words = (
        "Test images drawn at random, right and wrong alike. Pictures illustrate and prove "
        "nothing: which encoder is better, the tables say."
    )
    blocks: list[Block] = []
    galleries = [record for runs in group_by_scale(records, main, Gallery) for record in runs]
    for i, record in enumerate(galleries[:MAX_SHOWN]):
        if pictures_of(record):
            figures = [prediction_figure(record, suffix(i)), *neighbour_figure(record, suffix(i))]
            blocks += side_by_side(figures)
    missing = command_to_fill("No gallery has been made.", GALLERY)
    return Section("gallery", "What the encoders see", [Text(words), *(blocks or missing)])


def pictures_of(record: Run[Gallery]) -> list[Picture]:
    count = len(record.metrics.encoders)
    pictures = record.rows("pictures", Picture)[:MAX_PICTURES]
    return [one for one in pictures if len(one.predicted) == len(one.neighbours) == count > 0]


def prediction_figure(record: Run[Gallery], suffix: str) -> Figure:
    """Rows of test images, and below each a row of predictions by each encoder."""
    gallery, pictures, rows = record.metrics, pictures_of(record), list[Row]()
    for start in range(0, len(pictures), COLUMNS):
        row = pictures[start : start + COLUMNS]
        images = [Panel(decoded(one.image, "RGB"), words=lines(one.label)) for one in row]
        rows.append(("truth", images))
        for i, encoder in enumerate(gallery.encoders):
            predicted = [marked(None, one.predicted[i], one.label) for one in row]
            rows.append((clipped(name_of(encoder.method), 20), predicted))
    right = [
        f"{format_number(100 * one.top1, 1)} % ({name_of(one.method)})" for one in gallery.encoders
    ]
    caption = (
        f"{len(pictures)} test images drawn at random, their class of "
        f"{format_number(gallery.num_classes, 0)}, and what a linear classifier predicts: {RIGHT} "
        f"right, {WRONG} wrong. Right on all {format_number(gallery.num_test, 0)}: {listed(right)}."
    )
    return panels_figure(f"gallery_predictions{suffix}", caption, rows)


def neighbour_figure(record: Run[Gallery], suffix: str) -> list[Figure]:
    """For each image a row for each encoder: the image in a frame, and its nearest images."""
    encoders, rows = record.metrics.encoders, list[Row]()
    queries = [one for one in pictures_of(record) if any(one.neighbours)]
    for one in queries[: NEIGHBOUR_ROWS // len(encoders)]:
        image = decoded(one.image, "RGB")
        height, width = (0, 0) if image is None else image.shape[:2]
        query: Panel | None = Panel(image, [(2, 2, width - 2, height - 2, INK)], lines(one.label))
        for encoder, neighbours in zip(encoders, one.neighbours, strict=True):
            nearest = [
                marked(decoded(near.image, "RGB"), near.label, one.label)
                for near in neighbours[: COLUMNS - 1]
            ]
            rows.append((clipped(name_of(encoder.method), 20), [query, *nearest]))
            query = None
        rows.append(("", []))  # a gap
    shares = [
        f"{format_number(100 * one.neighbours_of_class, 1)} % ({name_of(one.method)})"
        for one in encoders
    ]
    caption = (
        "In a frame a test image, right of it the training images that are nearest by cosine: "
        f"{RIGHT} same class, {WRONG} another. Same class, over all: {listed(shares)}."
    )
    return [panels_figure(f"gallery_neighbours{suffix}", caption, rows)] if rows else []


def marked(image: Pixels | None, label: str, truth: str) -> Panel:
    is_right = label == truth
    return Panel(image, words=lines(f"{RIGHT if is_right else WRONG} {label}"), is_bold=is_right)


def lines(words: str) -> list[str]:
    words = clipped(words).replace("_", " ")
    return textwrap.wrap(words, LINE_CHARACTERS, max_lines=LINES, placeholder=ELLIPSIS)
