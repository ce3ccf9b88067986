"""Writes a checkpoint for timm, as a file or as a model repository for the Hugging Face hub."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from catlip.cli import InputError
from catlip.encoder import ENCODERS, resize_along_tokens
from catlip.record import write_atomically
from catlip.training.checkpoint import save_weights
from catlip.weights.checkpoint import RESIZE, Checkpoint, read_checkpoint, weights_file
from catlip.weights.files import listed
from catlip.weights.released import RESOLUTION

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

CARD = """---
library_name: timm
pipeline_tag: image-feature-extraction
tags: [image-feature-extraction, timm]
license: other
license_name: that-of-the-source
---
# {encoder}, {method}

{what}

- Model: {encoder}, {parameters:,} parameters, {features} features, {classes}.
- Images: RGB, {resize} at {resolution} x {resolution}, pixels in [0, 1]: **no mean is subtracted,
  and pixels are not divided by a standard deviation**.
- Source: {source}.
- Not in this file: {dropped}.
- Licence: that of the source. These are its weights under other names; read its terms before you
  pass them on.

```python
{example}
```
{limits}"""

STEM_LIMITS = """
Its stem is {stem}, which no model of timm has; `embed_layer` supplies it, from CatLIP Bench. With
the release's three convolutions, positions are resized along their row and not on their grid. For
images of another resolution convert the source again with `--resolution`: timm would resize the
positions in another way than in training.
"""


@dataclass(frozen=True)
class Converted:
    """What goes into a file.

    Attributes:
        tensors: by timm's names.
        checkpoint: that the tensors are of, at their resolution.
        dropped: reason -> this project's names of the weights that are not in the file.
    """

    tensors: dict[str, Tensor]
    checkpoint: Checkpoint
    dropped: dict[str, list[str]]

    @property
    def config(self) -> dict[str, Any]:
        """How the weights were made, so that this project can read them again."""
        return {**self.checkpoint.config, "layout": "timm", "dropped": self.dropped}

    @property
    def num_classes(self) -> int:
        return len(self.tensors.get("head.bias", ()))


def convert(source: Path, to: str, out: Path, resolution: int) -> None:
    """Read, convert and write; print what was dropped.

    Args:
        to: "timm" for a file, "huggingface" for a folder.
    Raises: InputError when `source` is no checkpoint, or `out` cannot be written.
    """
    file = weights_file(source)
    if to == "timm" and out.suffix != ".safetensors":
        raise InputError(f"--out {out} does not end in .safetensors, as --to timm needs")
    if to == "huggingface" and out.is_file():
        raise InputError(f"--out {out} is a file; --to huggingface writes a folder")
    for written in (out, out / "model.safetensors"):
        if written.exists() and written.samefile(file):
            raise InputError(f"--out {out} is the input file; give another name")
    converted = to_timm(read_checkpoint(file), resolution)
    if to == "timm":
        write_safetensors(out, converted)
    else:
        write_folder(out, converted)
    print(
        f"{converted.checkpoint.encoder_name}: {len(converted.tensors)} weights, "
        f"{parameter_count(converted.tensors):,} parameters"
    )
    for reason, names in converted.dropped.items():
        print(f"dropped {len(names)}, {reason}: {listed(names, most=6)}")
    print(f"wrote {out}")


def to_timm(checkpoint: Checkpoint, resolution: int = 0) -> Converted:
    """The state dict of timm's VisionTransformer, its head included.

    Args:
        resolution: pixels of the images; 0 for the resolution of the checkpoint. The release's
            positions are resized along their row, as its own encoder does; timm would resize them
            on their grid.
    Raises: InputError for another resolution than the checkpoint's if timm resizes positions as
        this project does, or if it is not a multiple of the patch.
    """
    if resolution:
        checkpoint = _resized(checkpoint, resolution)
    tensors, dropped = dict(checkpoint.encoder), {}
    if "weight" in checkpoint.classifier:
        tensors |= {f"head.{name}": tensor for name, tensor in checkpoint.classifier.items()}
    elif checkpoint.classifier:
        dropped[PROJECTION] = [f"classifier.{name}" for name in checkpoint.classifier]
    if checkpoint.range_augment:
        dropped[RANGE_AUGMENT] = [f"range_augment.{name}" for name in checkpoint.range_augment]
    if checkpoint.rest:
        dropped[REST] = list(checkpoint.rest)
    return Converted(tensors, checkpoint, dropped)


def _resized(checkpoint: Checkpoint, resolution: int) -> Checkpoint:
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


def write_safetensors(path: Path, converted: Converted) -> None:
    """The weights as safetensors, with their config; the file appears whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_weights(path, converted.tensors, converted.config)


def write_folder(folder: Path, converted: Converted) -> None:
    """A model repository for the Hugging Face hub: weights, timm's config.json, and a card."""
    write_safetensors(folder / "model.safetensors", converted)
    config = json.dumps(_timm_config(converted), indent=2).encode() + b"\n"
    write_atomically(folder / "config.json", config)
    write_atomically(folder / "README.md", _card(converted).encode())


def timm_model(checkpoint: Checkpoint) -> tuple[str, dict[str, Any]]:
    """The name of timm's model for this encoder, and its arguments for `timm.create_model`.

    An encoder with another stem than `patchify` also needs the argument `embed_layer`, which no
    file can hold.
    """
    shape = ENCODERS[checkpoint.encoder_name]
    arguments: dict[str, Any] = {}
    name = TIMM_NAMES.get((shape.width, shape.depth, shape.heads, shape.patch))
    if name is None:
        name = TIMM_BASE
        arguments |= {"patch_size": shape.patch, "embed_dim": shape.width}
        arguments |= {"depth": shape.depth, "num_heads": shape.heads}
    if checkpoint.resolution != RESOLUTION:
        arguments["img_size"] = checkpoint.resolution
    if shape.stem == "conv":
        arguments["no_embed_class"] = True
    if checkpoint.pool == "avg":
        arguments |= {"global_pool": "avg", "class_token": False, "fc_norm": shape.pool == "avg"}
    return name, arguments


def _timm_config(converted: Converted) -> dict[str, Any]:
    """timm's config.json: architecture, arguments, and how images are prepared."""
    checkpoint = converted.checkpoint
    name, arguments = timm_model(checkpoint)
    shape, side = ENCODERS[checkpoint.encoder_name], checkpoint.resolution
    return {
        "architecture": name,
        "num_classes": converted.num_classes,
        "num_features": shape.width,
        "global_pool": checkpoint.pool,
        "model_args": arguments,
        "pretrained_cfg": {
            "input_size": [3, side, side],
            "fixed_input_size": True,
            "interpolation": "bilinear",
            # Rounded down, because timm rounds the quotient of its own division down.
            "crop_pct": math.floor(1000 * side / (checkpoint.resize or side)) / 1000,
            "crop_mode": "center",
            "mean": [0.0, 0.0, 0.0],
            "std": [1.0, 1.0, 1.0],
            "num_classes": converted.num_classes,
            "first_conv": "patch_embed.proj" + ("" if shape.stem == "patchify" else ".0"),
            "classifier": "head",
        },
    }


def _card(converted: Converted) -> str:
    """The model card, in Markdown."""
    checkpoint, num_classes = converted.checkpoint, converted.num_classes
    shape, config = ENCODERS[checkpoint.encoder_name], checkpoint.config
    method = config.get("method", "catlip")
    what = f"An image encoder, pre-trained with the method {method}."
    if method == "catlip":
        what = (
            "An image encoder, pre-trained by classifying the nouns of captions (CatLIP, arXiv "
            "2404.15653)."
        )
    resize = "central square"
    if checkpoint.resize:
        resize = f"shorter side to {checkpoint.resize} (bilinear) and central crop"
    source = "a run of CatLIP Bench"
    if "source" in config:
        file = config["source"]
        source = f"`{file['file']}` of the release, sha256 `{file['sha256']}`"
    dropped = "; ".join(
        f"{len(names)} weights, because {reason}" for reason, names in converted.dropped.items()
    )
    loading = 'timm.create_model("local-dir:FOLDER", pretrained=True, num_classes=0'
    example, limits = f"import timm\n\nencoder = {loading})", ""
    if shape.stem != "patchify":
        example = (
            "import timm\nfrom catlip.encoder import STEMS\n\n"
            f'encoder = {loading}, embed_layer=STEMS["{shape.stem}"])'
        )
        limits = STEM_LIMITS.format(stem=shape.stem)
    return CARD.format(
        method=method,
        what=what,
        encoder=checkpoint.encoder_name,
        parameters=parameter_count(converted.tensors),
        features=shape.width,
        classes=f"a classifier over {num_classes:,} classes" if num_classes else "no classifier",
        resize=resize,
        resolution=checkpoint.resolution,
        source=source,
        dropped=dropped or "nothing is left out",
        example=example,
        limits=limits,
    )


def parameter_count(tensors: Mapping[str, Tensor]) -> int:
    """The number of learnt parameters; running statistics of batch norm are not counted."""
    return sum(
        t.numel()
        for n, t in tensors.items()
        if "running_" not in n and not n.endswith("num_batches_tracked")
    )
