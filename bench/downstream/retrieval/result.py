"""The record of a retrieval, and its table; captions and images are counted, not kept."""

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Literal

from bench.downstream.probe.result import Transferred, check_fractions
from catlip.records.run import Run
from catlip.records.styles import name_of, ordered
from catlip.records.table import NOTE, RECORDS, Column, Row, Spec, clipped, quantity_of

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
        if self.r1 > self.r5 or self.r5 > self.r10:
            raise ValueError(f"r1, r5 and r10 fall: {self.r1:g}, {self.r5:g}, {self.r10:g}")


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


def retrieval_rows(runs: Iterable[Run[Retrieval]]) -> Iterator[Row]:
    """A row for each method and direction, means over seeds of pre-training, and one for chance."""
    groups: dict[str, dict[str, list[Run[Retrieval]]]] = {}
    for run in runs:
        data, one = clipped(run.metrics.data, 40), run.metrics
        searched = f"{data}: {one.num_images:,} images, {one.num_captions:,} captions"
        groups.setdefault(searched, {}).setdefault(run.method, []).append(run)
    for searched, by_method in groups.items():
        for method in ordered(by_method):
            alike = by_method[method]
            first = alike[0].metrics
            for way, words in WAYS.items():
                recalls = [asdict(getattr(run.metrics, way)) for run in alike]
                yield {
                    "data": searched,
                    "method": name_of(method),
                    "by": IN_WORDS[first.compared_by],
                    "way": words,
                    **{cut: quantity_of(recall[cut] for recall in recalls) for cut in recalls[0]},
                    NOTE: f"{without} captions name none of its classes: their order is chance."
                    if (without := first.captions_without_class)
                    else "",
                    RECORDS: tuple(run.path for run in alike),
                }
        for way, words in WAYS.items():
            chance = asdict(getattr(first, f"{way}_chance"))
            yield {"data": searched, "method": "Chance", "way": words, **chance}


RETRIEVAL = Spec(
    "retrieval",
    "Captions of images, and images of captions",
    "Held-out images and captions look for each other; R@k: of the k best answers one is right. "
    "Equal scores are put in an order drawn at random.",
    [
        Column("Data", "data", head=True),
        Column("Method", "method", head=True),
        Column("Compared", "by", head=True),
        Column("Search", "way"),
        *(Column(f"R@{cut} (%)", f"r{cut}", 1, factor=100) for cut in CUTS),
    ],
    retrieval_rows,
    "python -m bench.downstream.retrieval --encoder runs/starter/pretrain/clip-seed0 --data "
    "data/starter/probe-test",
    [Retrieval],
)
