"""Annotated scenes: how many objects they hold, and what they look like."""

from dataclasses import dataclass
from typing import Any, ClassVar, Self

from catlip.kinds.base import Kind
from catlip.kinds.transfer.dense import SPLITS, ObjectsPicture, gathered, scattered


@dataclass(frozen=True, kw_only=True)
class Annotated:
    """Counts of the images, single objects and crowds of one split, and the median area of an
    object in pixels.
    """

    images: int
    objects: int
    crowds: int
    median_area: float


@dataclass(frozen=True, kw_only=True)
class Scenes(Kind):
    """Both splits. In a file, each count is a metric of its own, named `train_<count>` or
    `val_<count>`.
    """

    kind = "scenes"
    rows: ClassVar[dict[str, type]] = {f"{split}_pictures": ObjectsPicture for split in SPLITS}

    train: Annotated
    val: Annotated

    @classmethod
    def read(cls, metrics: dict[str, Any]) -> Self:
        return super().read(gathered(metrics, SPLITS))

    def metrics(self) -> dict[str, Any]:
        return scattered(super().metrics(), SPLITS)
