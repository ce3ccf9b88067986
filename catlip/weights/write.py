"""Files and folders of converted weights; each file appears whole or not at all."""

import json
import math
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor

from catlip.cli import InputError
from catlip.encoder import ENCODERS
from catlip.record import write_atomically
from catlip.training.checkpoint import save_weights
from catlip.weights.checkpoint import Checkpoint
from catlip.weights.targets import Converted, timm_model

CARD = """---
library_name: timm
pipeline_tag: image-feature-extraction
tags: [image-feature-extraction, timm]
license: other
license_name: that-of-the-source
---
# {title}

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


def write_safetensors(path: Path, converted: Converted) -> None:
    """The weights as safetensors, with their config.

    Raises: InputError when they cannot be written.
    """
    with _whole(path):
        save_weights(path, _untied(converted.tensors), converted.config)


def write_archive(path: Path, converted: Converted) -> None:
    """The weights as the release keeps them: an OrderedDict, by torch.save.

    Raises: InputError when they cannot be written.
    """
    temporary = path.with_suffix(".tmp")
    with _whole(path):
        torch.save(OrderedDict(converted.tensors), temporary)
        temporary.replace(path)


def write_folder(folder: Path, checkpoint: Checkpoint, converted: Converted) -> None:
    """Write a model repository for the Hugging Face hub: weights, timm's config.json, and a card.

    Args:
        checkpoint: at the resolution that `converted` has.
    """
    write_safetensors(folder / "model.safetensors", converted)
    config = timm_config(checkpoint, converted)
    write_atomically(folder / "config.json", json.dumps(config, indent=2).encode() + b"\n")
    write_atomically(folder / "README.md", card(checkpoint, converted).encode())


def timm_config(checkpoint: Checkpoint, converted: Converted) -> dict[str, Any]:
    """timm's config.json: architecture, arguments, and how images are prepared."""
    name, arguments = timm_model(checkpoint)
    num_classes, side = _num_classes(converted), checkpoint.resolution
    is_plain = ENCODERS[checkpoint.encoder_name].stem == "patchify"
    stem = "patch_embed.proj" if is_plain else "patch_embed.proj.0"
    # Rounded down, because timm rounds the quotient of its own division down.
    crop = math.floor(1000 * side / (checkpoint.resize or side)) / 1000
    return {
        "architecture": name,
        "num_classes": num_classes,
        "num_features": ENCODERS[checkpoint.encoder_name].width,
        "global_pool": checkpoint.pool,
        "model_args": arguments,
        "pretrained_cfg": {
            "input_size": [3, side, side],
            "fixed_input_size": True,
            "interpolation": "bilinear",
            "crop_pct": crop,
            "crop_mode": "center",
            "mean": [0.0, 0.0, 0.0],
            "std": [1.0, 1.0, 1.0],
            "num_classes": num_classes,
            "first_conv": stem,
            "classifier": "head",
        },
    }


def card(checkpoint: Checkpoint, converted: Converted) -> str:
    """The model card, in Markdown."""
    shape, config = ENCODERS[checkpoint.encoder_name], checkpoint.config
    num_classes = _num_classes(converted)
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
    origin = "a run of CatLIP Bench"
    source = config.get("source")
    if isinstance(source, dict):
        origin = f"`{source.get('file')}` of the release, sha256 `{source.get('sha256')}`"
    dropped = "; ".join(
        f"{len(names)} weights, because {reason}" for reason, names in converted.dropped.items()
    )
    return CARD.format(
        title=f"{checkpoint.encoder_name}, {method}",
        what=what,
        encoder=checkpoint.encoder_name,
        parameters=parameter_count(converted.tensors),
        features=shape.width,
        classes=f"a classifier over {num_classes:,} classes" if num_classes else "no classifier",
        resize=resize,
        resolution=checkpoint.resolution,
        source=origin,
        dropped=dropped or "nothing is left out",
        example=example(checkpoint, "local-dir:FOLDER"),
        limits=STEM_LIMITS.format(stem=shape.stem) if shape.stem != "patchify" else "",
    )


def example(checkpoint: Checkpoint, source: str) -> str:
    """Python code that loads the model with timm."""
    stem = ENCODERS[checkpoint.encoder_name].stem
    if stem == "patchify":
        return (
            f'import timm\n\nencoder = timm.create_model("{source}", pretrained=True, '
            "num_classes=0)"
        )
    return (
        "import timm\nfrom catlip.encoder import STEMS\n\n"
        f'encoder = timm.create_model("{source}", pretrained=True, num_classes=0, '
        f'embed_layer=STEMS["{stem}"])'
    )


def parameter_count(tensors: dict[str, Tensor]) -> int:
    """The number of learnt parameters; running statistics of batch norm are not counted."""
    return sum(
        t.numel()
        for n, t in tensors.items()
        if "running_" not in n and not n.endswith("num_batches_tracked")
    )


def _num_classes(converted: Converted) -> int:
    return len(converted.tensors.get("head.bias", ()))


def _untied(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights with shared memory, as in some text towers, copied: safetensors shares none."""
    addresses: set[int] = set()
    untied = {}
    for name, tensor in tensors.items():
        address = tensor.untyped_storage().data_ptr()
        untied[name] = tensor.clone() if address in addresses else tensor
        addresses.add(address)
    return untied


@contextmanager
def _whole(path: Path) -> Iterator[None]:
    """Make the folder of `path`; turn a failure to write into an InputError without leftovers."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except (SafetensorError, RuntimeError) as error:  # how either library reports a full disk
        raise InputError(f"{path} could not be written: {error}") from error
    finally:
        path.with_suffix(".tmp").unlink(missing_ok=True)
