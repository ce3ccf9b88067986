"""Writes a checkpoint for timm, as a model repository for the Hugging Face hub."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Template
from torch import Tensor

from catlip.cli import InputError
from catlip.encoder import ENCODERS
from catlip.range_augment import RangeAugment
from catlip.records.record import read_record
from catlip.system.files import write_atomically
from catlip.training.checkpoint import save_weights
from catlip.weights.checkpoint import Checkpoint, read_checkpoint, vocabulary_of, weights_file
from catlip.weights.files import shorten
from catlip.weights.released import RESOLUTION
from catlip.words.wordnet import nouns

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
    """Read, convert and write the folder; print what was dropped."""
    file, out = weights_file(config.file), config.out
    target = out / "model.safetensors"
    if target.exists() and target.samefile(file):
        raise InputError(f"--out {out} is the input file; give another name")
    checkpoint = read_checkpoint(file)
    hub_config = _timm_config(checkpoint) | _class_names(checkpoint, config)
    tensors, dropped = to_timm(checkpoint)
    # With the config, this project can read the file again.
    save_weights(target, tensors, {**checkpoint.config, "layout": "timm", "dropped": dropped})
    write_atomically(out / "config.json", json.dumps(hub_config, indent=2).encode() + b"\n")
    write_atomically(out / "README.md", _card(checkpoint, config.file).encode())
    print(f"{checkpoint.encoder_name}: {parameter_count(tensors):,} parameters")
    for reason, names in dropped.items():
        print(f"dropped {len(names)}, {reason}: {shorten(names, most=6)}")
    print(f"wrote {out}")
    print(f"open it by\n{_code(checkpoint, f'local-dir:{out}')}")


def show(config: "Show") -> None:
    checkpoint = read_checkpoint(weights_file(config.file))
    origin, classifier = checkpoint.config, checkpoint.classifier
    lines = {
        "layout": origin.get("layout") or ("released" if checkpoint.layout else "ours"),
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


def _class_names(checkpoint: Checkpoint, config: "Convert") -> dict[str, Any]:
    """timm's names of the classes, by class id, and what each means; without a vocabulary, none."""
    if not config.vocabulary and not checkpoint.has_nouns:
        return {}
    try:
        vocabulary = vocabulary_of(checkpoint, str(config.file), config.vocabulary)
    except InputError as error:
        if config.vocabulary:
            raise
        print(f"its classes get no names: {error}")
        return {}
    glosses = {synset.name: nouns().gloss(synset.offset) for synset in vocabulary.synsets}
    return {"label_names": [*glosses], "label_descriptions": glosses}


def _code(checkpoint: Checkpoint, source: str) -> str:
    """What opens it by timm; it brings the stem, if no model of timm has that."""
    stem = ENCODERS[checkpoint.encoder_name].stem
    imports, options = "import timm", "pretrained=True, num_classes=0"
    if stem != "patchify":
        imports += "\nimport catlip.encoder  # CatLIP Bench, for a stem that timm has not"
        options += f', embed_layer=catlip.encoder.STEMS["{stem}"]'
    return f'{imports}\n\nmodel = timm.create_model("{source}", {options})'


def _card(checkpoint: Checkpoint, source: Path) -> str:
    """A model card, with what the records beside a run say of its training and its accuracies."""
    folder = source if source.is_dir() else source.parent
    record, probes = folder.with_name(f"{folder.name}.json"), []
    for path in sorted(folder.parent.parent.glob(f"linear_probe/{folder.name}*.json")):
        numbers = read_record(path)["metrics"]
        for task in (name.removesuffix(TOP1) for name in numbers if name.endswith(TOP1)):
            probes.append((task, numbers[f"{task}{TOP1}"], numbers.get(f"{task}_num_test")))
    template = Path(__file__).with_name("card.md").read_text()
    return Template(template, trim_blocks=True, lstrip_blocks=True).render(
        checkpoint=checkpoint,
        parameters=parameter_count(checkpoint.encoder),
        code=_code(checkpoint, "hf-hub:OWNER/NAME"),
        run=read_record(record) if record.is_file() else None,
        probes=probes,
    )


def parameter_count(tensors: Mapping[str, Tensor]) -> int:
    """The number of learnt parameters; statistics of batch norm are not."""
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    return sum(t.numel() for name, t in tensors.items() if not name.endswith(statistics))
