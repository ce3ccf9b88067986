"""Any encoder by one spelling, with its own preprocessing.

runs/starter/pretrain/catlip-seed0      the averaged weights of a pre-training run; its record NAME.json says the same
runs/starter/pretrain/catlip-seed0:raw  the weights of its last checkpoint, not averaged
vit_b16.safetensors                     a file that `python -m catlip.weights` reads, .pt too
released:vit_b16                        the release's pre-trained encoder, downloaded; vit_l16 and vit_h16 likewise
released:vit_b16@512:FILE               any released checkpoint of that encoder, on images of 512 pixels (224 by default)
timm:NAME                               timm's pretrained model; timm:NAME:FILE with its weights from a file
openclip:NAME/TAG                       the image tower of an OpenCLIP model; the tag may be a file
random:hybrid_tiny@48                   that architecture at 48 pixels, untrained (seeded)
random:timm/NAME, random:openclip/NAME  the same of the two libraries
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from bench.downstream.libraries import TIMM_SOURCES, openclip_encoder, timm_encoder
from bench.downstream.preprocess import Preprocess, central_square, resize_and_crop
from catlip.cli import InputError, choose
from catlip.encoder import build_encoder
from catlip.weights import Checkpoint, read_checkpoint, read_run
from catlip.weights.released import RESOLUTION

ADDRESS = "https://docs-assets.developer.apple.com/ml-research/models/corenet/v0.1.0/catlip/pretrained_models/"
RELEASED = {  # our name of the architecture, and the release's file
    "vit_b16": ("vit_b16_conv", "vit_base.pt"),
    "vit_l16": ("vit_l16_conv", "vit_large.pt"),
    "vit_h16": ("vit_h16_conv", "vit_huge.pt"),
}


@dataclass(frozen=True)
class LoadedEncoder:
    """An image encoder in evaluation mode, and where it came from.

    Attributes:
        module: [B, 3, H, W] uint8, or float in [0, 1], to [B, num_features]; it takes its mean and deviation off itself.
        preprocess: an encoded image to the [3, H, W] uint8 that it wants.
        method: what pre-trained it: catlip, clip, ..., random, or the spelling, folders left out, where that says it.
        pretrain_seed: of that run; None when it is not known.
    """

    module: nn.Module
    preprocess: Preprocess
    method: str
    pretrain_seed: int | None

    @property
    def resolution(self) -> int:
        """Pixels of a side of the images that it is given."""
        return self.preprocess.resolution


def load_encoder(spelling: str, seed: int, device: torch.device) -> LoadedEncoder:
    """The encoder that `spelling` names, frozen, on `device`; `seed` initialises a random one. Raises: as open_encoder."""
    encoder = open_encoder(spelling, seed)
    encoder.module.requires_grad_(False).to(device)
    return encoder


def open_encoder(spelling: str, seed: int = 0) -> LoadedEncoder:
    """The encoder that `spelling` names, on the CPU; `seed` initialises a random one.

    Raises: InputError when there is no such run, file, architecture or model, or its weights cannot be fetched.
    """
    kind, _, rest = spelling.partition(":")
    if kind in OPENERS:
        if not rest:
            raise InputError(f"{spelling!r} needs a name after the colon")
        encoder = OPENERS[kind](rest, seed)
    elif spelling.endswith(".safetensors") or (Path(spelling).is_file() and not spelling.endswith(".json")):
        encoder = _checkpoint(read_checkpoint(Path(spelling)))
    else:
        folder, raw = Path(spelling.removesuffix(":raw").removesuffix(".json")), spelling.endswith(":raw")
        encoder = _checkpoint(read_run(folder, raw), ":raw" if raw else "")
    encoder.module.eval()
    return encoder


def _checkpoint(checkpoint: Checkpoint, suffix: str = "") -> LoadedEncoder:
    """An encoder of ours; `suffix` tells its method from that of the averaged weights."""
    side, resize, seed = checkpoint.resolution, checkpoint.resize, checkpoint.config.get("seed")
    preprocess = resize_and_crop(resize, side) if resize else central_square(side)
    own = checkpoint.layout is None  # what was converted from the release is no run to average with ours
    method = f"{checkpoint.config.get('method', 'unknown')}{suffix}" if own else f"released:{checkpoint.encoder_name}"
    return LoadedEncoder(checkpoint.build(), preprocess, method, seed if isinstance(seed, int) else None)


def _released(rest: str, seed: int) -> LoadedEncoder:
    spelt, _, file = rest.partition(":")
    name, pixels = _at(spelt, RESOLUTION)
    architecture, published = choose("released encoder", name, RELEASED)
    checkpoint = read_checkpoint(Path(file)) if file else _downloaded(name, published)
    if (checkpoint.encoder_name, checkpoint.resolution) != (architecture, RESOLUTION):
        raise InputError(f"{file} holds {checkpoint.encoder_name} at {checkpoint.resolution} pixels, and not {architecture}")
    module = checkpoint.build()
    if pixels % module.patch_embed.patch_size[0]:
        raise InputError(f"resolution {pixels} of released:{rest} is not a multiple of {module.patch_embed.patch_size[0]}")
    resize = checkpoint.resize or pixels
    preprocess = resize_and_crop(resize if pixels == RESOLUTION else pixels, pixels)
    return LoadedEncoder(module, preprocess, f"released:{spelt}{_stem(file)}", 0)


def _downloaded(name: str, published: str) -> Checkpoint:
    """The released pre-training checkpoint, from torch.hub's cache, or from where it is published."""
    address, path = ADDRESS + published, Path(torch.hub.get_dir()) / "checkpoints" / f"catlip_{published}"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(address, str(path))
        except OSError as error:  # a URLError is one
            raise InputError(f"cannot download {address}: {error}; give a local file as released:{name}:FILE") from error
    try:
        return read_checkpoint(path)
    except InputError as error:
        raise InputError(f"{error} (downloaded from {address}; remove it to have it downloaded again)") from None


def _timm(rest: str, seed: int) -> LoadedEncoder:
    is_source = rest.startswith(tuple(f"{source}:" for source in TIMM_SOURCES))
    name, _, file = (rest, "", "") if is_source else rest.partition(":")
    return LoadedEncoder(*timm_encoder(name, Path(file) if file else None), f"timm:{name}{_stem(file)}", None)


def _openclip(rest: str, seed: int) -> LoadedEncoder:
    name, _, tag = rest.partition("/")
    if not tag:
        raise InputError(f"openclip:{rest} needs its weights, as in openclip:ViT-B-16/datacomp_xl_s13b_b90k")
    return LoadedEncoder(*openclip_encoder(name, tag), f"openclip:{rest}", None)


def _random(rest: str, seed: int) -> LoadedEncoder:
    torch.manual_seed(seed)
    library, _, name = rest.partition("/")
    if library == "timm" and name:
        return LoadedEncoder(*timm_encoder(name, pretrained=False), f"random:{rest}", seed)
    if library == "openclip" and name:
        return LoadedEncoder(*openclip_encoder(name, ""), f"random:{rest}", seed)
    name, pixels = _at(rest)
    return LoadedEncoder(build_encoder(name, pixels), central_square(pixels), "random", seed)


def _stem(file: str) -> str:
    """What tells the method of one file's weights from that of another's."""
    return f":{Path(file).stem}" if file else ""


def _at(spelt: str, default: int | None = None) -> tuple[str, int]:
    """NAME@PIXELS, in two. Raises: InputError without pixels where there is no default."""
    name, _, pixels = spelt.partition("@")
    if default is not None and "@" not in spelt:
        return name, default
    if not pixels.isdecimal() or len(pixels) > 5 or not int(pixels):
        raise InputError(f"{spelt!r} needs its resolution in pixels, as in random:hybrid_tiny@48")
    return name, int(pixels)


OPENERS: dict[str, Callable[[str, int], LoadedEncoder]] = {
    "released": _released,
    "timm": _timm,
    "openclip": _openclip,
    "random": _random,
}
