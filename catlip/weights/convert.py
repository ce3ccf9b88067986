"""Writes a checkpoint for timm, as a file or as a model repository for the Hugging Face hub."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from catlip.cli import InputError
from catlip.encoder import ENCODERS
from catlip.range_augment import RangeAugment
from catlip.records.record import read_record
from catlip.system.files import write_atomically
from catlip.training.checkpoint import save_weights
from catlip.weights.checkpoint import Checkpoint, read_checkpoint, weights_file
from catlip.weights.files import shorten
from catlip.weights.released import RESOLUTION

if TYPE_CHECKING:
    from catlip.weights.__main__ import Convert, Show

RANGE_AUGMENT = "RangeAugment is used in training only"
PROJECTION = "CLIP's projection is not part of the encoder's features"
REST = "not part of an image encoder"
TOP1 = "_top1"  # how the accuracy of a task ends in a record of a probe

# timm's models of the same shape, by (width, depth, heads, patch). Any other encoder is TIMM_BASE
# with its own width, depth and heads.
TIMM_NAMES = {
    (192, 12, 3, 16): "vit_tiny_patch16_224",
    (768, 12, 12, 16): "vit_base_patch16_224",
    (384, 12, 6, 16): "vit_small_patch16_224",
    (1024, 24, 16, 16): "vit_large_patch16_224",
}
TIMM_BASE = "vit_base_patch16_224"


def convert(config: "Convert") -> None:
    """Read, convert and write a file for timm or a folder for the hub; print what was dropped."""
    file, out, for_hub = weights_file(config.file), config.out, config.to == "huggingface"
    if not for_hub and out.suffix != ".safetensors":
        raise InputError(f"--out {out} does not end in .safetensors, as --to timm needs")
    target = out / "model.safetensors" if for_hub else out
    if target.exists() and target.samefile(file):
        raise InputError(f"--out {out} is the input file; give another name")
    checkpoint = read_checkpoint(file)
    tensors, dropped = to_timm(checkpoint)
    # With the config, this project can read the file again.
    save_weights(target, tensors, {**checkpoint.config, "layout": "timm", "dropped": dropped})
    if for_hub:
        hub_config = json.dumps(_timm_config(checkpoint), indent=2).encode() + b"\n"
        write_atomically(out / "config.json", hub_config)
        write_atomically(out / "README.md", _card(checkpoint, config.file).encode())
    print(f"{checkpoint.encoder_name}: {parameter_count(tensors):,} parameters")
    for reason, names in dropped.items():
        print(f"dropped {len(names)}, {reason}: {shorten(names, most=6)}")
    print(f"wrote {out}")
    if for_hub:
        print(f"open it by {_call(checkpoint, f'local-dir:{out}')}")


def show(config: "Show") -> None:
    checkpoint = read_checkpoint(weights_file(config.file))
    origin, classifier = checkpoint.config, checkpoint.classifier
    lines = {
        "layout": checkpoint.kind,
        "encoder": f"{checkpoint.encoder_name} at {checkpoint.resolution} pixels, pool "
        f"{checkpoint.pool}, {parameter_count(checkpoint.encoder):,} parameters",
        "method": f"{origin.get('method')}, seed {origin.get('seed')}",
        "classifier": ", ".join(f"{name} {list(t.shape)}" for name, t in classifier.items()),
        "other weights": f"{len(checkpoint.rest)}",
    }
    if checkpoint.range_augment:  # the magnitudes that it learnt, which the paper does not give
        learnt = RangeAugment()
        learnt.load_state_dict(dict(checkpoint.range_augment))
        for name, ends in learnt.ranges().items():
            lines[name] = f"{ends['low'].item():.3g} to {ends['high'].item():.3g}"
    for name, value in lines.items():
        print(f"{name:14} {value or '-'}")


def to_timm(checkpoint: Checkpoint) -> tuple[dict[str, Tensor], dict[str, list[str]]]:
    """The state dict of timm's model with its head; and reason -> names that are not in it."""
    tensors, dropped = dict(checkpoint.encoder), {}
    if "weight" in checkpoint.classifier:
        tensors |= {f"head.{name}": tensor for name, tensor in checkpoint.classifier.items()}
    elif checkpoint.classifier:
        dropped[PROJECTION] = [f"classifier.{name}" for name in checkpoint.classifier]
    if checkpoint.range_augment:
        dropped[RANGE_AUGMENT] = [f"range_augment.{name}" for name in checkpoint.range_augment]
    if checkpoint.rest:
        dropped[REST] = list(checkpoint.rest)
    return tensors, dropped


def timm_model(checkpoint: Checkpoint) -> tuple[str, dict[str, Any]]:
    """timm's model of this shape, and arguments for it; other stems also need `embed_layer`."""
    shape = ENCODERS[checkpoint.encoder_name]
    arguments: dict[str, Any] = {}
    name = TIMM_NAMES.get((shape.width, shape.depth, shape.heads, shape.patch))
    if name is None:
        name = TIMM_BASE
        arguments |= {"patch_size": shape.patch, "embed_dim": shape.width}
        arguments |= {"depth": shape.depth, "num_heads": shape.heads}
    if checkpoint.resolution != RESOLUTION:
        arguments["img_size"] = checkpoint.resolution
    if not shape.depth:
        arguments["pos_embed"] = "none"
    if shape.stem == "conv":
        arguments["no_embed_class"] = True
    if checkpoint.pool == "avg":
        arguments |= {"global_pool": "avg", "class_token": False, "fc_norm": shape.pool == "avg"}
    return name, arguments


def _timm_config(checkpoint: Checkpoint) -> dict[str, Any]:
    """timm's config.json: architecture, arguments, and how images are prepared."""
    name, arguments = timm_model(checkpoint)
    shape, side = ENCODERS[checkpoint.encoder_name], checkpoint.resolution
    classes = len(checkpoint.classifier.get("bias", ()))
    return {
        "architecture": name,
        "num_classes": classes,
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
            "num_classes": classes,
            "first_conv": "patch_embed.proj" + ("" if shape.stem == "patchify" else ".0"),
            "classifier": "head",
        },
    }


def _call(checkpoint: Checkpoint, source: str) -> str:
    """The call that opens it by timm; it names the stem, if no model of timm has that."""
    stem = ENCODERS[checkpoint.encoder_name].stem
    layer = "" if stem == "patchify" else f', embed_layer=catlip.encoder.STEMS["{stem}"]'
    return f'timm.create_model("{source}", pretrained=True, num_classes=0{layer})'


def _card(checkpoint: Checkpoint, source: Path) -> str:
    """A model card, with what the records beside a run say of its training and its accuracies."""
    config, folder = checkpoint.config, source if source.is_dir() else source.parent
    method, side = config.get("method", "unknown"), checkpoint.resolution
    lines = [
        "---\nlibrary_name: timm\ntags:\n- image-feature-extraction\n---",
        f"# {checkpoint.encoder_name}, pre-trained by {method}",
        f"An image encoder of {parameter_count(checkpoint.encoder) / 1e6:.3g} M parameters for "
        f"RGB images of {side} pixels with values in [0, 1], not normalised. Seed "
        f"{config.get('seed')}.",
    ]
    imports = ["import timm"]
    if ENCODERS[checkpoint.encoder_name].stem != "patchify":
        imports.append("import catlip.encoder  # CatLIP Bench, for a stem that timm has not")
    call = f"model = {_call(checkpoint, 'hf-hub:OWNER/NAME')}"
    lines.append("\n".join(["```python", *imports, call, "```"]))
    if (record := folder.with_name(f"{folder.name}.json")).is_file():
        run = read_record(record)
        data = run["environment"].get("data", {}).get("pretrain", {})
        lines.append(
            f"Trained on {int(run['metrics']['images_seen']):,} images, of "
            f"{data.get('samples', 0):,}: {', '.join(run['config'].get('shards', ()))} (digest "
            f"{data.get('digest')}), by `{run['command']}`, revision "
            f"{run['environment'].get('revision')}."
        )
    rows = []
    for probe in sorted(folder.parent.parent.glob(f"linear_probe/{folder.name}*.json")):
        numbers = read_record(probe)["metrics"]
        for task in (name.removesuffix(TOP1) for name in numbers if name.endswith(TOP1)):
            top1, count = numbers[f"{task}{TOP1}"], numbers.get(f"{task}_num_test")
            rows.append(f"| {task} | {100 * top1:.1f} | {count} |")
    if rows:
        head = ["| Linear probe | Top-1, % | Test images |", "| --- | --- | --- |"]
        lines.append("\n".join([*head, *rows]))
    lines.append("Say here under which licence its images and captions may be used.")
    return "\n\n".join(lines) + "\n"


def parameter_count(tensors: Mapping[str, Tensor]) -> int:
    """The number of learnt parameters; statistics of batch norm are not."""
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    return sum(t.numel() for name, t in tensors.items() if not name.endswith(statistics))
