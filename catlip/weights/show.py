"""What a file of weights is, without converting it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import tyro
from torch import Tensor

from catlip.cli import InputError
from catlip.range_augment import RangeAugment
from catlip.weights.checkpoint import Checkpoint, checkpoint_of, open_weights
from catlip.weights.files import listed
from catlip.weights.released import Layout, faults, find_layout
from catlip.weights.run import weights_file
from catlip.weights.write import parameter_count

DATA_SETS = {
    24_320: "CatLIP's DataComp vocabulary",
    1_000: "ImageNet-1k",
    365: "Places365",
    80: "COCO, multi-label",
}


@dataclass(frozen=True)
class Show:
    """Describe a file of weights: layout, encoder, task, classes, parameters, and what is wrong.

    python -m catlip.weights show vit_base.pt
    python -m catlip.weights show runs/starter/pretrain/catlip-seed0
    """

    file: tyro.conf.Positional[Path]
    """A checkpoint, or the folder of a finished run."""


def show(config: Show) -> None:
    """Read and print. Raises: InputError when the file holds no weights at all."""
    for name, value in summary(weights_file(config.file)).items():
        print(f"{name:14} {value}")


def summary(path: Path) -> dict[str, str]:
    """The description of a file: name -> text of each line; `faults` says what is wrong."""
    tensors, config = open_weights(path)
    counts = {"weights": f"{len(tensors):,}", "parameters": f"{parameter_count(tensors):,}"}
    try:
        layout = None if config else find_layout(tensors)
        if layout and (problems := faults(tensors, layout)):
            return {
                "layout": "released",
                **_of_release(layout),
                **counts,
                "faults": "; ".join(problems),
            }
        checkpoint = checkpoint_of(tensors, config, path)
    except InputError as error:
        return {"layout": "unknown", **counts, "holds": listed(list(tensors)), "faults": str(error)}
    described = _of_release(layout) if layout else _of_run(checkpoint)
    return {
        "layout": checkpoint.kind,
        **described,
        **counts,
        **_ranges(checkpoint.range_augment),
        "faults": "none",
    }


def _of_release(layout: Layout) -> dict[str, str]:
    if layout.task == "clip":
        return {"encoder": layout.encoder, "task": "clip", "joint width": f"{layout.num_classes}"}
    classes = f"{layout.num_classes:,}"
    if layout.task == "classification" and layout.num_classes in DATA_SETS:
        classes += f", as many as {DATA_SETS[layout.num_classes]} has"
    return {"encoder": layout.encoder, "task": layout.task, "classes": classes}


def _of_run(checkpoint: Checkpoint) -> dict[str, str]:
    classes = checkpoint.classifier["bias"].shape[0] if "bias" in checkpoint.classifier else 0
    method, seed = (checkpoint.config.get(name, "not said") for name in ("method", "seed"))
    return {
        "encoder": (
            f"{checkpoint.encoder_name} at {checkpoint.resolution} pixels, pool {checkpoint.pool}"
        ),
        "method": f"{method}, seed {seed}",
        "classes": f"{classes:,}" if classes else "no classifier",
    }


def _ranges(scalars: Mapping[str, Tensor]) -> dict[str, str]:
    """The magnitudes that RangeAugment learnt, which the paper does not give."""
    if not scalars:
        return {}
    learnt = RangeAugment()
    learnt.load_state_dict(dict(scalars))
    return {
        name: f"{ends['low'].item():.3g} to {ends['high'].item():.3g}"
        for name, ends in learnt.ranges().items()
    }
