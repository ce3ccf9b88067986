"""A checkpoint under the names of each target; weights that it cannot hold are listed."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from catlip.cli import InputError
from catlip.encoder import ENCODERS, Architecture, resize_along_tokens
from catlip.weights.checkpoint import RESIZE, Checkpoint
from catlip.weights.released import RESOLUTION, Layout, join

RANGE_AUGMENT = "RangeAugment is used in training only"
PROJECTION = "CLIP's projection is not part of the encoder's features"
REST = "not part of an image encoder"

# timm's models of the same shape, by (width, depth, heads, patch). Any other encoder is TIMM_BASE
# with its own width, depth and heads.
TIMM_NAMES = {
    (192, 12, 3, 16): "vit_tiny_patch16_224",
    (768, 12, 12, 16): "vit_base_patch16_224",
    (384, 12, 6, 16): "vit_small_patch16_224",
    (1024, 24, 16, 16): "vit_large_patch16_224",
}
TIMM_BASE = "vit_base_patch16_224"


@dataclass(frozen=True)
class Converted:
    """What goes into a file.

    Attributes:
        tensors: by the target's names.
        config: how they were made, so that this project can read them again.
        dropped: reason -> this project's names of the weights that are not in the file.
    """

    tensors: dict[str, Tensor]
    config: dict[str, Any]
    dropped: dict[str, list[str]]


def to_ours(checkpoint: Checkpoint) -> Converted:
    """The weights of an objective, as a run writes them.

    With RangeAugment they are those of `Augmented(Categorical(...), ...)`.

    Weights that an objective does not have, such as a segmentation head, keep their released name.
    """
    objective = "objective." if checkpoint.range_augment else ""
    parts = {
        f"{objective}image_encoder.": checkpoint.encoder,
        f"{objective}classifier.": checkpoint.classifier,
        "range_augment.": checkpoint.range_augment,
        "": checkpoint.rest,
    }
    tensors: dict[str, Tensor] = {}
    for prefix, part in parts.items():
        tensors |= {prefix + name: tensor for name, tensor in part.items()}
    return Converted(tensors, {k: v for k, v in checkpoint.config.items() if k != "layout"}, {})


def to_timm(checkpoint: Checkpoint, resolution: int) -> Converted:
    """The state dict of timm's VisionTransformer, its head included.

    Args:
        resolution: pixels of the images; 0 for the resolution of the checkpoint. The release's
            positions are resized along their row, as its own encoder does; timm would resize them
            on their grid.
    Raises: InputError for another resolution than the checkpoint's if timm resizes positions as
        this project does, or if it is not a multiple of the patch.
    """
    if resolution:
        checkpoint = _at(checkpoint, resolution)
    tensors, dropped = dict(checkpoint.encoder), {}
    if "weight" in checkpoint.classifier:
        tensors |= {f"head.{name}": tensor for name, tensor in checkpoint.classifier.items()}
    elif checkpoint.classifier:
        dropped[PROJECTION] = [f"classifier.{name}" for name in checkpoint.classifier]
    if checkpoint.range_augment:
        dropped[RANGE_AUGMENT] = [f"range_augment.{name}" for name in checkpoint.range_augment]
    if checkpoint.rest:
        dropped[REST] = list(checkpoint.rest)
    return Converted(tensors, {**checkpoint.config, "layout": "timm", "dropped": dropped}, dropped)


def to_released(checkpoint: Checkpoint) -> Converted:
    """The release's names and shapes: the inverse of reading it.

    Raises: InputError when the release has no such model.
    """
    shape = ENCODERS[checkpoint.encoder_name]
    if shape.stem != "conv" or checkpoint.resolution != RESOLUTION:
        what = f"{checkpoint.encoder_name} at {checkpoint.resolution} pixels"
        raise InputError(
            f"the release has only encoders with a three-convolution stem at {RESOLUTION} pixels; "
            f"this is {what}"
        )
    layout = checkpoint.layout
    if layout is None:
        layout = Layout(
            checkpoint.encoder_name,
            "classification",
            len(checkpoint.classifier.get("weight", ())),
            augmented=bool(checkpoint.range_augment),
        )
    if layout.augmented and not checkpoint.range_augment:
        layout = replace(layout, augmented=False)
    tensors = join(checkpoint.parts(), layout)
    held = layout.entries().keys()
    rest = [name for name in checkpoint.rest if name not in held and not layout.is_carried(name)]
    return Converted(tensors, {}, {REST: rest} if rest else {})


def timm_model(checkpoint: Checkpoint) -> tuple[str, dict[str, Any]]:
    """The name of timm's model for this encoder, and its arguments for `timm.create_model`.

    An encoder with another stem than `patchify` also needs the argument `embed_layer`, which no
    file can hold.
    """
    shape = ENCODERS[checkpoint.encoder_name]
    name, arguments = _named(shape)
    if checkpoint.resolution != RESOLUTION:
        arguments["img_size"] = checkpoint.resolution
    if shape.stem == "conv":
        arguments["no_embed_class"] = True
    if checkpoint.pool == "avg":
        arguments |= {"global_pool": "avg", "class_token": False, "fc_norm": shape.pool == "avg"}
    return name, arguments


def _named(shape: Architecture) -> tuple[str, dict[str, Any]]:
    if name := TIMM_NAMES.get((shape.width, shape.depth, shape.heads, shape.patch)):
        return name, {}
    size = {
        "patch_size": shape.patch,
        "embed_dim": shape.width,
        "depth": shape.depth,
        "num_heads": shape.heads,
    }
    return TIMM_BASE, size


def _at(checkpoint: Checkpoint, resolution: int) -> Checkpoint:
    """The same encoder for images of another resolution."""
    shape = ENCODERS[checkpoint.encoder_name]
    if shape.stem != "conv":
        raise InputError(
            f"timm resizes the positions of {checkpoint.encoder_name} as this project does; leave "
            "--resolution out"
        )
    if resolution % shape.patch:
        raise InputError(
            f"resolution {resolution} is not a multiple of the patch, {shape.patch} pixels"
        )
    positions = resize_along_tokens(
        checkpoint.encoder["pos_embed"], (resolution // shape.patch) ** 2
    )
    encoder: Mapping[str, Tensor] = {**checkpoint.encoder, "pos_embed": positions}
    resize = checkpoint.resize and (RESIZE if resolution == RESOLUTION else resolution)
    config = {**checkpoint.config, "resolution": resolution, "resize": resize}
    return replace(checkpoint, encoder=encoder, resolution=resolution, config=config)
