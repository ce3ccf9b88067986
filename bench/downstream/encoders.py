"""Any encoder by one spelling: a run of ours, or a freshly initialised one.

runs/starter/pretrain/catlip-seed0      the averaged weights of a pre-training run
random:hybrid_tiny@48                   that architecture at 48 pixels, untrained (seeded)
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from catlip.cli import InputError
from catlip.encoder import ImageEncoder, build_encoder

PREFIX = "image_encoder."


@dataclass(frozen=True)
class LoadedEncoder:
    """An image encoder in evaluation mode, and where it came from.

    Attributes:
        module: [B, 3, H, W] uint8 to [B, num_features].
        resolution: pixels of the images that it was trained on.
        method: what pre-trained it: catlip, clip, ..., random.
        pretrain_seed: of that run.
    """

    module: ImageEncoder
    resolution: int
    method: str
    pretrain_seed: int


def load_encoder(spelling: str, seed: int, device: torch.device) -> LoadedEncoder:
    """The encoder that `spelling` names; `seed` initialises a random one.

    Raises: InputError when there is no such run, file or architecture.
    """
    kind, _, rest = spelling.partition(":")
    if kind == "random" and rest:
        name, _, pixels = rest.partition("@")
        if not pixels.isdigit():
            raise InputError(f"{spelling!r} needs its resolution, as in random:hybrid_tiny@48")
        torch.manual_seed(seed)
        return _frozen(build_encoder(name, int(pixels)), int(pixels), "random", seed, device)
    module, config = _from_run(Path(spelling))
    return _frozen(module, config["resolution"], config["method"], config["seed"], device)


def _frozen(module: ImageEncoder, resolution: int, method: str, seed: int, device: torch.device) -> LoadedEncoder:
    return LoadedEncoder(module.eval().requires_grad_(False).to(device), resolution, method, seed)


def _from_run(folder: Path) -> tuple[ImageEncoder, dict[str, Any]]:
    path = folder / "weights.safetensors"
    if not path.exists():
        raise InputError(f"no weights at {path}; give the folder of a finished run, or random:NAME@RESOLUTION")
    with safe_open(path, "pt") as file:
        config = json.loads(file.metadata()["config"])
        # what wraps the objective, say RangeAugment, comes before the prefix
        weights = {name.split(PREFIX, 1)[1]: file.get_tensor(name) for name in file.keys() if PREFIX in name}  # noqa: SIM118
    module = build_encoder(config["encoder"], config["resolution"])
    module.load_state_dict(weights)
    return module, config
