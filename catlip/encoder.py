"""The image encoder: a vision transformer (Dosovitskiy et al. 2021), as the paper pre-trains it.

The blocks are timm's. What varies is the stem that turns pixels into tokens: `patchify` is ViT's one strided convolution,
`conv` the reference release's three, and `hybrid` ViT's own hybrid, a small convolutional network whose feature map is cut
into tokens: the proof-scale encoder, because a plain ViT learns too slowly from a few thousand pictures.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from timm.layers import PatchEmbed
from timm.models.resnet import BasicBlock
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from catlip.cli import InputError, choose

NORM_EPS = 1e-6  # the release's LayerNorm, and timm's default for ViT


@dataclass(frozen=True)
class Architecture:
    """Shape of an encoder: token width, transformer blocks, attention heads, pixels per token side, stem, and what is
    transferred: the class token ("token", as the paper) or the mean of all others ("avg")."""

    width: int
    depth: int
    heads: int
    patch: int = 16
    stem: str = "patchify"
    pool: Literal["token", "avg"] = "token"


ENCODERS = {
    "hybrid_tiny": Architecture(192, 2, 3, patch=8, stem="hybrid", pool="avg"),
    "vit_tiny16": Architecture(192, 12, 3),
    "vit_small16": Architecture(384, 12, 6),
    "vit_b16": Architecture(768, 12, 12),
    "vit_l16": Architecture(1024, 24, 16),
    "vit_h16": Architecture(1280, 32, 20),
    "vit_b16_conv": Architecture(768, 12, 12, stem="conv"),
    "vit_l16_conv": Architecture(1024, 24, 16, stem="conv"),
    "vit_h16_conv": Architecture(1280, 32, 20, stem="conv"),
}


class ImageEncoder(VisionTransformer):
    """timm's ViT without a head: pictures in [0, 1], with no mean or deviation taken off, to one vector each."""

    def forward(self, images: Tensor) -> Tensor:  # type: ignore[override]
        """[B, 3, H, W] uint8, or float in [0, 1], to [B, num_features]: the class token after the last norm."""
        if images.dtype == torch.uint8:
            images = images.float() / 255
        return super().forward(images)


class StemEmbed(PatchEmbed):
    """timm's patch embedding with a stack of convolutions, of the same total stride, in place of its single one."""

    def __init__(self, stem: Callable[[int], nn.Module], *, embed_dim: int, **patch_embed: Any):
        super().__init__(embed_dim=embed_dim, **patch_embed)
        self.proj = stem(embed_dim)  # type: ignore[assignment]


def conv_stem(width: int) -> nn.Sequential:
    """The release's stem, stride 16: strides 4, 2 and 2, with batch norm and GELU after the first two."""
    hidden = max(32, width // 4)
    return nn.Sequential(
        nn.Conv2d(3, hidden, 4, stride=4, padding=1, bias=False),
        nn.BatchNorm2d(hidden),
        nn.GELU(),
        nn.Conv2d(hidden, hidden, 2, stride=2, bias=False),
        nn.BatchNorm2d(hidden),
        nn.GELU(),
        nn.Conv2d(hidden, width, 2, stride=2),
    )


def hybrid_stem(width: int) -> nn.Sequential:
    """A convolution and two residual blocks, stride 8; with batch norm, like the release's stem."""
    return nn.Sequential(
        nn.Conv2d(3, 32, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        _residual_block(32, 64),
        _residual_block(64, 128),
        nn.Conv2d(128, width, 1),
    )


def _residual_block(channels: int, wider: int) -> BasicBlock:
    shortcut = nn.Sequential(nn.Conv2d(channels, wider, 1, stride=2, bias=False), nn.BatchNorm2d(wider))
    return BasicBlock(channels, wider, stride=2, downsample=shortcut)


STEMS: dict[str, Callable[..., nn.Module]] = {
    "patchify": PatchEmbed,
    "conv": partial(StemEmbed, conv_stem),
    "hybrid": partial(StemEmbed, hybrid_stem),
}


def build_encoder(name: str, resolution: int) -> ImageEncoder:
    """The encoder `name`, freshly initialised, with position embeddings for `resolution` (others are resampled in 2-D).

    Raises: InputError for a name that is not in ENCODERS, or a resolution that is not a whole number of patches.
    """
    shape = choose("encoder", name, ENCODERS)
    if resolution % shape.patch:
        raise InputError(f"resolution {resolution} is not a multiple of {name}'s patch, {shape.patch} pixels")
    return ImageEncoder(
        img_size=resolution,
        patch_size=shape.patch,
        embed_layer=STEMS[shape.stem],
        embed_dim=shape.width,
        depth=shape.depth,
        num_heads=shape.heads,
        norm_layer=partial(nn.LayerNorm, eps=NORM_EPS),
        num_classes=0,
        global_pool=shape.pool,
        class_token=shape.pool == "token",
        dynamic_img_size=True,
        no_embed_class=shape.stem == "conv",  # the release adds no position to its class token
    )
