"""The record of a retrieval, and its table; captions and images are counted, not kept."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Literal

from bench.downstream.probe.result import (
    Transferred,
    accuracy_of,
    check_fractions,
    method_cell,
    methods_of,
)
from catlip.records.blocks import Section
from catlip.records.run import Records, Run, Setting
from catlip.records.select import MAX_SHOWN, group_by_scale, scale_in_words, suffix
from catlip.records.table import Cell, Table, clipped, format_number

ComparedBy = Literal["embeddings", "nouns", "subwords"]
IN_WORDS: dict[ComparedBy, str] = {
    "embeddings": "by the cosine of embeddings",
    "nouns": "by its classes' scores of a caption's nouns, not embeddings",
    "subwords": "by its classes' scores of a caption's subwords, not embeddings",
}
CUTS = (1, 5, 10)
WAYS = {"image_to_text": "image to text", "text_to_image": "text to image"}


@dataclass(frozen=True)
class Recall:
    """Fractions of the queries that have a right answer among their first 1, 5 and 10."""

    r1: float
    r5: float
    r10: float

    def __post_init__(self) -> None:
        check_fractions(**asdict(self))


@dataclass(frozen=True, kw_only=True)
class Retrieval(Transferred):
    """An encoder on held-out captions; `data` is the name of the data set. Chance is what an order
    drawn at random gives on the same images and captions.
    """

    kind = "retrieval"

    data: str
    compared_by: ComparedBy
    num_images: int
    num_captions: int
    captions_without_class: int | None = None  # None where captions are embedded
    image_to_text: Recall
    text_to_image: Recall
    image_to_text_chance: Recall
    text_to_image_chance: Recall

    def accuracies(self) -> dict[str, float | None]:
        """`image_to_text.r1` and so on, as in the table of results."""
        return {
            f"{way}.{cut}": value
            for way in WAYS
            for cut, value in asdict(getattr(self, way)).items()
        }

    def is_published(self, name: str) -> bool:
        return False

    def sizes(self, task: str = "") -> dict[str, int | None]:
        return {"num_images": self.num_images, "num_captions": self.num_captions}


def section(main: Setting | None, records: Records) -> list[Section]:
    """One section, folded because the page has room for few open tables; none without a record."""
    by_scales = enumerate(group_by_scale(records, main, Retrieval))
    tables = [retrieval_table(runs, suffix(i)) for i, runs in by_scales]
    return [Section("retrieval", "Retrieval", tables)] if tables else []


def retrieval_table(records: Sequence[Run[Retrieval]], suffix: str = "") -> Table:
    """Under a heading for each data set, a row for each method and one for chance."""
    groups: dict[tuple[str, int, int], list[Run[Retrieval]]] = {}
    for record in records:
        one = record.metrics
        groups.setdefault((one.data, one.num_images, one.num_captions), []).append(record)
    rows: list[list[Cell]] = []
    for (data, images, captions), of_data in [*groups.items()][:MAX_SHOWN]:
        each = format_number(captions / images, 0 if captions % images == 0 else 1)
        counts = f"{format_number(images, 0)} images, {format_number(captions, 0)} captions"
        rows.append([Cell(f"{clipped(data, 40)}: {counts}, {each} an image")])
        for method in methods_of(of_data):
            of_method = [record for record in of_data if record.method == method]
            names = of_method[0].metrics.accuracies()
            cells = [accuracy_of(of_method, name) for name in names]
            rows.append([_method(of_method[0], captions), *cells])
        chances = [getattr(of_data[0].metrics, f"{way}_chance") for way in WAYS]
        values = [value for chance in chances for value in asdict(chance).values()]
        rows.append([Cell("Chance"), *(Cell(format_number(100 * value, 1)) for value in values)])
    scale = records[0].scale
    title = "Captions of images, and images of captions" + (
        f", {scale_in_words(scale)}" if scale else ""
    )
    columns = ["Method", *(f"{way}, R@{cut} (%)" for way in WAYS.values() for cut in CUTS)]
    caption = (
        "Held-out images and captions look for each other: CLIP by the cosine of its embeddings, "
        "CatLIP, which has no text tower, by its classes' scores of a caption's nouns. "
        "R@k: of the k best answers one is right; for an image any of its captions, for a caption "
        "its image, as CLIP_benchmark counts. Mean ± sample standard deviation over n seeds of "
        "pre-training. Equal scores are put in an order drawn at random."
    )
    name = f"retrieval{suffix}"
    return Table(name, title, columns, rows=rows, caption=caption, folded=True)


def _method(record: Run[Retrieval], captions: int) -> Cell:
    """The method and how it compares; of captions without a class, how many there are."""
    one = record.metrics
    cell = replace(method_cell(record.method), small=IN_WORDS[one.compared_by])
    if not one.captions_without_class:
        return cell
    without = (
        f"{format_number(one.captions_without_class, 0)} of {format_number(captions, 0)} captions"
    )
    return replace(cell, remarks=(f"{without} name none of its classes: their order is chance.",))
