"""Annotated scenes: how many objects they hold, and what they look like."""

from dataclasses import dataclass, field
from typing import Any, ClassVar, Self, TypedDict

from catlip.results.kind import Kind

SPLITS = ("train", "val")
# Not class statements, because a field cannot be named `class` in one. A box is left, top, right
# and bottom in pixels; a mask is a PNG in base64.
Guess = TypedDict("Guess", {"class": int, "score": float})
Object = TypedDict("Object", {"class": int, "box": tuple[float, float, float, float], "mask": str})


@dataclass(frozen=True, kw_only=True)
class ObjectsPicture:
    """An image with its objects, and the predicted objects."""

    key: str
    image: str
    truth: list[Object]
    predicted: list[Object] = field(default_factory=list)


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


def gathered(metrics: dict[str, Any], groups: tuple[str, ...]) -> dict[str, Any]:
    """The metrics, with all those named `<group>_<name>` gathered in one dictionary per group."""
    by_group: dict[str, dict[str, Any]] = {}
    others = {}
    for key, value in metrics.items():
        group, _, name = key.partition("_")
        if group in groups and name:
            by_group.setdefault(group, {})[name] = value
        else:
            others[key] = value
    return by_group | others  # so that a foreign `train` is refused, not dropped


def scattered(metrics: dict[str, Any], groups: tuple[str, ...]) -> dict[str, Any]:
    """The inverse of `gathered`."""
    flat = {key: value for key, value in metrics.items() if key not in groups}
    for group in groups:
        flat |= {f"{group}_{name}": value for name, value in metrics.get(group, {}).items()}
    return flat
