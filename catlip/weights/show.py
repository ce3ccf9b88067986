"""What a file of weights is, without converting it."""

from pathlib import Path

from catlip.cli import InputError
from catlip.range_augment import RangeAugment
from catlip.weights.checkpoint import checkpoint_of, open_weights, weights_file
from catlip.weights.convert import parameter_count
from catlip.weights.files import listed
from catlip.weights.released import faults, find_layout


def summary(path: Path) -> dict[str, str]:
    """The description of a file or run: name -> text of each line; `faults` says what is wrong."""
    path = weights_file(path)
    tensors, config = open_weights(path)
    about = {"weights": f"{len(tensors):,}", "parameters": f"{parameter_count(tensors):,}"}
    try:
        if not config and (layout := find_layout(tensors)):
            about = {"layout": "released", "encoder": layout.encoder, "task": layout.task, **about}
            if layout.task == "clip":
                about["joint width"] = str(layout.num_classes)
            else:
                about["classes"] = f"{layout.num_classes:,}"
            if problems := faults(tensors, layout):
                return about | {"faults": "; ".join(problems)}
        checkpoint = checkpoint_of(tensors, config, path)
    except InputError as error:
        return {"layout": "unknown", **about, "holds": listed(list(tensors)), "faults": str(error)}
    if config:
        pixels = f"{checkpoint.resolution} pixels, pool {checkpoint.pool}"
        classes = len(checkpoint.classifier.get("bias", ()))
        about = {
            "layout": checkpoint.kind,
            "encoder": f"{checkpoint.encoder_name} at {pixels}",
            "method": f"{config.get('method')}, seed {config.get('seed')}",
            "classes": f"{classes:,}" if classes else "no classifier",
            **about,
        }
    if checkpoint.range_augment:  # the magnitudes that it learnt, which the paper does not give
        learnt = RangeAugment()
        learnt.load_state_dict(dict(checkpoint.range_augment))
        for name, ends in learnt.ranges().items():
            about[name] = f"{ends['low'].item():.3g} to {ends['high'].item():.3g}"
    return about | {"faults": "none"}
