"""The image encoder: a vision transformer (Dosovitskiy et al. 2021), as the paper pre-trains it.

The blocks are timm's. The stem turns pixels into tokens: `patchify` is ViT's strided convolution,
`conv` the three convolutions of the reference release, and `hybrid` a small convolutional network,
for small encoders: a plain ViT learns too slowly from a few thousand images.
"""

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any, Literal

import torch
import torch.nn.functional as F
from timm.layers import Attention, PatchEmbed
from timm.models.resnet import BasicBlock
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from catlip.architectures import ENCODERS as ENCODERS
from catlip.architectures import Architecture as Architecture
from catlip.architectures import Pool as Pool
from catlip.cli import InputError, choose

CLASS_TOKEN_STD = 0.02
NORM_EPS = 1e-6  # the release's LayerNorm, and timm's default for ViT


class ImageEncoder(VisionTransformer):
    """timm's ViT without a head: a vector for each image of pixels in [0, 1], not normalised."""

    def forward(self, images: Tensor) -> Tensor:  # type: ignore[override]
        """The features [B, num_features] of images [B, 3, H, W], uint8 or float in [0, 1]."""
        return self.forward_head(self.forward_features(unit_range(images)))


class ReleaseEncoder(ImageEncoder):
    """An encoder that resizes its position embeddings as the release does: along the row of tokens,
    while timm interpolates them on their 2-D grid. They are added in the precision of the tokens.
    """

    def _pos_embed(self, x: Tensor) -> Tensor:
        assert self.pos_embed is not None, "timm's default is learnt positions"
        tokens = x.flatten(1, 2)
        tokens = tokens + resize_along_tokens(self.pos_embed, tokens.shape[1]).to(tokens.dtype)
        if self.cls_token is None:
            return tokens
        return torch.cat([self.cls_token.expand(len(tokens), -1, -1), tokens], dim=1)


def unit_range(images: Tensor) -> Tensor:
    """Pixels in [0, 1]: uint8 is divided by 255 in float32, any other type is unchanged."""
    return images.float() / 255 if images.dtype == torch.uint8 else images


def resize_along_tokens(positions: Tensor, count: int) -> Tensor:
    """Position embeddings [1, N, D] for `count` tokens, interpolated in flattened order, which
    mixes neighbours of different columns: so the released weights were trained.
    """
    if positions.shape[1] == count:
        return positions
    by_channel = positions.transpose(1, 2)
    resized = F.interpolate(by_channel, size=count, mode="linear", align_corners=False)
    return resized.transpose(1, 2)


class StemEmbed(PatchEmbed):
    """timm's patch embedding with a stack of convolutions in place of its single one."""

    def __init__(self, stem: Callable[[int], nn.Module], *, embed_dim: int, **patch_embed: Any):
        super().__init__(embed_dim=embed_dim, **patch_embed)
        self.proj = stem(embed_dim)  # type: ignore[assignment]


def conv_stem(width: int) -> nn.Sequential:
    """The release's stem: strides 4, 2 and 2, with batch norm and GELU after the first two."""
    hidden = conv_width(width)
    return nn.Sequential(
        nn.Conv2d(3, hidden, 4, stride=4, padding=1, bias=False),
        nn.BatchNorm2d(hidden),
        nn.GELU(),
        nn.Conv2d(hidden, hidden, 2, stride=2, bias=False),
        nn.BatchNorm2d(hidden),
        nn.GELU(),
        nn.Conv2d(hidden, width, 2, stride=2),
    )


def conv_width(width: int) -> int:
    return max(32, width // 4)


def hybrid_stem(width: int) -> nn.Sequential:
    """A convolution and three residual blocks, each of stride 2, with batch norm."""
    widths = hybrid_widths(width)
    return nn.Sequential(
        nn.Conv2d(3, widths[0], 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(widths[0]),
        nn.ReLU(),
        *(_residual_block(channels, wider) for channels, wider in pairwise(widths)),
    )


def hybrid_widths(width: int) -> list[int]:
    return [width // 8, width // 4, width // 2, width]


class Shortcut(nn.Conv2d):
    """A 1x1 convolution of stride 2."""

    def __init__(self, channels: int, wider: int):
        super().__init__(channels, wider, 1, stride=2, bias=False)

    def forward(self, images: Tensor) -> Tensor:
        # With fewer channels than AVX-512 takes at once, oneDNN's gradient of the strided one
        # writes past its memory (uxlfoundation/oneDNN, issue 6035).
        if self.in_channels < 16:
            return F.conv2d(images[..., ::2, ::2], self.weight)
        return super().forward(images)


def _residual_block(channels: int, wider: int) -> BasicBlock:
    shortcut = nn.Sequential(Shortcut(channels, wider), nn.BatchNorm2d(wider))
    return BasicBlock(channels, wider, stride=2, downsample=shortcut)


STEMS: dict[str, Callable[..., nn.Module]] = {
    "patchify": PatchEmbed,
    "conv": partial(StemEmbed, conv_stem),
    "hybrid": partial(StemEmbed, hybrid_stem),
}


def build_encoder(
    name: str,
    resolution: int,
    *,
    pool: Pool | None = None,
    attention: Literal["sdpa", "naive"] = "sdpa",
    drop_path: float = 0.0,
    patch_drop_rate: float = 0.0,
    checkpointing: bool = False,
) -> ImageEncoder:
    """The encoder `name`, freshly initialised, with position embeddings for `resolution` pixels,
    which are resampled for images of another size in whole patches.

    Args:
        pool: what is transferred, if not the architecture's `pool`; "avg" has no class token.
        attention: "sdpa" (PyTorch's fused kernels), or "naive", which writes out every attention
            matrix (its softmax is float32 under autocast on a GPU, bfloat16 on a CPU).
        drop_path: probability that the last block is skipped for an image in training; it rises
            linearly from 0 at the first block.
        patch_drop_rate: fraction of the patch tokens that are removed before the blocks in
            training, at random for each image, as in FLIP (Li et al. 2023); the class token stays.
        checkpointing: keep only the input of each block, and compute the rest again in the backward
            pass.
    """
    shape = choose("encoder", name, ENCODERS)
    if resolution % shape.patch:
        raise InputError(
            f"resolution {resolution} is not a multiple of {name}'s patch, {shape.patch} pixels"
        )
    pool = pool or shape.pool
    family = ReleaseEncoder if shape.stem == "conv" else ImageEncoder
    encoder = family(
        img_size=resolution,
        patch_size=shape.patch,
        embed_layer=STEMS[shape.stem],
        embed_dim=shape.width,
        depth=shape.depth,
        num_heads=shape.heads,
        norm_layer=partial(nn.LayerNorm, eps=NORM_EPS),
        drop_path_rate=drop_path,
        patch_drop_rate=patch_drop_rate,
        num_classes=0,
        global_pool=pool,
        class_token=pool == "token",
        # The last norm stays where the architecture has it, also if `pool` differs.
        fc_norm=shape.pool == "avg",
        pos_embed="learn" if shape.depth else "none",
        dynamic_img_size=True,
        no_embed_class=shape.stem == "conv",  # the release adds no position to its class token
    )
    encoder.set_grad_checkpointing(checkpointing)
    for module in encoder.modules():
        if isinstance(module, Attention):
            # timm's switch; it is declared Final only for TorchScript.
            module.fused_attn = attention == "sdpa"  # type: ignore[misc]
    return encoder


def init_encoder_as_release(encoder: ImageEncoder) -> None:
    """Initialise an encoder as the release does: by Xavier's uniform rule with zero biases, and
    class token and positions normally. Its configurations name rules that its code does not apply.
    """
    init_linear_as_release(encoder)
    if encoder.cls_token is not None:
        nn.init.trunc_normal_(encoder.cls_token, std=CLASS_TOKEN_STD)
    if encoder.pos_embed is not None:
        nn.init.trunc_normal_(encoder.pos_embed, std=encoder.num_features**-0.5)


def init_linear_as_release(module: nn.Module) -> None:
    for part in module.modules():
        if isinstance(part, nn.Linear):
            nn.init.xavier_uniform_(part.weight)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
