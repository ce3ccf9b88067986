"""Samples as training sees them."""

from dataclasses import dataclass
from typing import ClassVar

from catlip.label.result import ByRule


@dataclass(frozen=True, kw_only=True)
class Example:
    """A sample: its caption, the classes that the caption names, the synsets in it that are too
    rare to be classes, and its image in base64 (None if it cannot be read).
    """

    key: str
    caption: str
    classes: list[str]
    too_rare: list[str]
    image: str | None = None


@dataclass(frozen=True, kw_only=True)
class Examples(ByRule):
    """Samples with their labels by a vocabulary of `num_classes` classes."""

    kind = "examples"
    rows: ClassVar = {"pictures": Example}

    num_classes: int
