"""Annotated scenes: how many objects they hold, and what they look like."""

from dataclasses import dataclass
from typing import Any, ClassVar, Self

from catlip.kinds.base import Kind, without_none
from catlip.kinds.transfer.dense import ObjectsPicture

SIDES = ("train", "val")


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
    rows: ClassVar[dict[str, type]] = {f"{side}_pictures": ObjectsPicture for side in SIDES}

    train: Annotated
    val: Annotated

    @classmethod
    def read(cls, metrics: dict[str, Any]) -> Self:
        return super().read({side: _of_side(metrics, f"{side}_") for side in SIDES})

    def metrics(self) -> dict[str, Any]:
        counts = {}
        for side, annotated in (("train", self.train), ("val", self.val)):
            for name, value in without_none(annotated).items():
                counts[f"{side}_{name}"] = value
        return counts


def _of_side(metrics: dict[str, Any], prefix: str) -> dict[str, Any]:
    return {
        name.removeprefix(prefix): value
        for name, value in metrics.items()
        if name.startswith(prefix)
    }
