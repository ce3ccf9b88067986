"""The shapes of the image encoders, by name; `catlip.encoder` builds them. Needs no torch."""

from dataclasses import dataclass
from typing import Literal

Pool = Literal["token", "avg"]


@dataclass(frozen=True)
class Architecture:
    """Shape of an encoder: the class token is transferred (`pool`), or the mean of all other tokens
    ("avg"). Without blocks, a plain convolutional network is left.
    """

    width: int
    depth: int
    heads: int
    patch: int = 16
    stem: str = "patchify"
    pool: Pool = "token"


ENCODERS = {
    "hybrid_micro": Architecture(64, 1, 1, stem="hybrid", pool="avg"),
    "hybrid_mini": Architecture(128, 1, 2, stem="hybrid", pool="avg"),
    "hybrid_small": Architecture(256, 1, 4, stem="hybrid", pool="avg"),
    "cnn": Architecture(256, 0, 4, stem="hybrid", pool="avg"),
    "vit_tiny16": Architecture(192, 12, 3),
    "vit_small16": Architecture(384, 12, 6),
    "vit_b16": Architecture(768, 12, 12),
    "vit_l16": Architecture(1024, 24, 16),
    "vit_h16": Architecture(1280, 32, 20),
    "vit_b16_conv": Architecture(768, 12, 12, stem="conv"),
    "vit_l16_conv": Architecture(1024, 24, 16, stem="conv"),
    "vit_h16_conv": Architecture(1280, 32, 20, stem="conv"),
}
