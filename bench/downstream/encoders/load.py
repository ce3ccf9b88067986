"""Opens an encoder by its spelling; the docstring of the package lists the spellings."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha256
from pathlib import Path

import torch
from torch import Tensor, nn

from bench.downstream.encoders import efficientnet
from bench.downstream.encoders.libraries import TIMM_SOURCES, openclip_encoder, timm_encoder
from bench.downstream.encoders.preprocess import Preprocess, central_square, resize_and_crop
from catlip.cli import InputError, choose
from catlip.encoder import ENCODERS, build_encoder
from catlip.weights.checkpoint import Checkpoint, read_checkpoint, read_run
from catlip.weights.released import RESOLUTION

ADDRESS = (
    "https://docs-assets.developer.apple.com/ml-research/models/corenet/v0.1.0/catlip/"
    "pretrained_models/"
)
# Pixels added to an encoder's own size, to try whether it takes other sizes. The sizes of Table 7
# are as far apart.
OTHER_SIZE = 32
RELEASED = {  # this project's name of the architecture, and the release's file
    "vit_b16": ("vit_b16_conv", "vit_base.pt"),
    "vit_l16": ("vit_l16_conv", "vit_large.pt"),
    "vit_h16": ("vit_h16_conv", "vit_huge.pt"),
}


@dataclass(frozen=True)
class LoadedEncoder:
    """An image encoder in evaluation mode, and where it came from.

    Attributes:
        module: [B, 3, H, W] uint8, or float in [0, 1], to [B, num_features]; it normalises images
            itself.
        preprocess: turns an encoded image into the [3, H, W] uint8 that the module takes.
        method: what pre-trained it: catlip, clip, ..., random; for an encoder from elsewhere its
            spelling, without folders.
        pretrain_seed: of its pre-training; None when it is not known.
        any_size: whether it takes images of other sizes than that of its preprocessing.
        checkpoint: all weights and the config of its pre-training, if it came from a file of this
            project or of the release.
    """

    module: nn.Module
    preprocess: Preprocess
    method: str
    pretrain_seed: int | None
    any_size: bool = True
    checkpoint: Checkpoint | None = None

    @property
    def resolution(self) -> int:
        """Side in pixels of the images that it is given."""
        return self.preprocess.resolution

    @cached_property
    def num_features(self) -> int:
        """The length of the feature vector of an image."""
        with torch.inference_mode():
            device = next(self.module.parameters()).device
            side = self.resolution
            blank = torch.zeros(1, 3, side, side, dtype=torch.uint8, device=device)
            return int(self.module(blank).shape[1])

    def digest(self) -> str:
        """The digest of its weights: two encoders with the same digest are the same function."""
        return weights_digest(self.module.state_dict())


def weights_digest(weights: Mapping[str, Tensor]) -> str:
    """The digest of the names and values of weights: 16 hexadecimal digits."""
    digest = sha256()
    for name, tensor in sorted(weights.items()):
        values = tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy()
        digest.update(name.encode() + values.tobytes())
    return digest.hexdigest()[:16]


def load_encoder(
    spelling: str, seed: int, device: torch.device, resolution: int = 0, resize: int = 0
) -> LoadedEncoder:
    """The encoder that `spelling` names, frozen, on `device`. Errors and the other arguments are
    those of `open_encoder`.

    Args:
        resize: pixels that the shorter side of a picture is resized to before the centre is
            cropped; 0 for the preprocessing of its pre-training.
    """
    encoder = open_encoder(spelling, seed, resolution)
    if resize:
        own = encoder.preprocess
        preprocess = replace(resize_and_crop(resize, own.resolution), mean=own.mean, std=own.std)
        encoder = replace(encoder, preprocess=preprocess)
    encoder.module.requires_grad_(False).to(device)
    return encoder


def open_encoder(spelling: str, seed: int = 0, resolution: int = 0) -> LoadedEncoder:
    """The encoder that `spelling` names, on the CPU.

    Args:
        seed: initialises a random encoder.
        resolution: side of the images in pixels; 0 for that of its pre-training.
    Raises: InputError when there is no such run, file, architecture or model, its weights cannot be
        fetched, or it does not take images of that size.
    """
    kind, _, rest = spelling.partition(":")
    if kind in OPENERS:
        if not rest:
            raise InputError(f"{spelling!r} needs a name after the colon")
        encoder = OPENERS[kind](rest, seed, resolution)
    elif spelling.endswith(".safetensors") or (
        Path(spelling).is_file() and not spelling.endswith(".json")
    ):
        encoder = _checkpoint(read_checkpoint(Path(spelling)), resolution)
    else:
        raw = spelling.endswith(":raw")
        folder = Path(spelling.removesuffix(":raw").removesuffix(".json"))
        encoder = _checkpoint(read_run(folder, raw), resolution, ":raw" if raw else "")
    encoder.module.eval()
    return encoder


def _checkpoint(checkpoint: Checkpoint, resolution: int, suffix: str = "") -> LoadedEncoder:
    """The encoder of a checkpoint; `suffix` distinguishes its method from that of the averaged
    weights.
    """
    method = f"{checkpoint.config.get('method', 'unknown')}{suffix}"
    if checkpoint.layout is not None:
        # Another method's name, so that no report averages the release's weights with own runs.
        method = f"released:{checkpoint.encoder_name}"
    seed = checkpoint.config.get("seed")
    return _of_checkpoint(
        checkpoint, resolution, method, seed=seed if isinstance(seed, int) else None
    )


def _of_checkpoint(
    checkpoint: Checkpoint, resolution: int, method: str, seed: int | None
) -> LoadedEncoder:
    """The encoder of a checkpoint, for images of `resolution`.

    At another resolution than the encoder's own, the release's preprocessing resizes the shorter
    side to the size of the crop.
    """
    side = resolution or checkpoint.resolution
    _check_patches(checkpoint.encoder_name, side)
    preprocess = central_square(side)
    if checkpoint.resize:
        shorter_side = checkpoint.resize if side == checkpoint.resolution else side
        preprocess = resize_and_crop(shorter_side, side)
    return LoadedEncoder(
        checkpoint.build(), preprocess, method, pretrain_seed=seed, checkpoint=checkpoint
    )


def _check_patches(name: str, resolution: int) -> None:
    if resolution % ENCODERS[name].patch:
        raise InputError(
            f"resolution {resolution} is not a multiple of {name}'s patch, {ENCODERS[name].patch} "
            "pixels"
        )


def _released(rest: str, seed: int, resolution: int) -> LoadedEncoder:
    spelt, _, file = rest.partition(":")
    name, pixels = _at(spelt, RESOLUTION)
    architecture, published = choose("released encoder", name, RELEASED)
    checkpoint = read_checkpoint(Path(file)) if file else _downloaded(name, published)
    if (checkpoint.encoder_name, checkpoint.resolution) != (architecture, RESOLUTION):
        raise InputError(
            f"{file} holds {checkpoint.encoder_name} at {checkpoint.resolution} pixels, and not "
            f"{architecture}"
        )
    return _of_checkpoint(
        checkpoint, resolution or pixels, f"released:{spelt}{_stem(file)}", seed=0
    )


def _downloaded(name: str, published: str) -> Checkpoint:
    """The released pre-training checkpoint, from torch.hub's cache, or from where it is
    published.
    """
    address = ADDRESS + published
    path = Path(torch.hub.get_dir()) / "checkpoints" / f"catlip_{published}"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(address, str(path))
        except OSError as error:  # a URLError is one
            raise InputError(
                f"cannot download {address}: {error}; give a local file as released:{name}:FILE"
            ) from error
    try:
        return read_checkpoint(path)
    except InputError as error:
        raise InputError(
            f"{error} (downloaded from {address}; remove it to have it downloaded again)"
        ) from None


def _timm(rest: str, seed: int, resolution: int) -> LoadedEncoder:
    name, _, file = (rest, "", "") if rest.startswith(TIMM_SOURCES) else rest.partition(":")
    if (name, file) == (efficientnet.MODEL, "wheel"):
        return LoadedEncoder(*efficientnet.efficientnet_lite0(resolution), f"timm:{rest}", None)
    encoder = timm_encoder(name, Path(file) if file else None, resolution=resolution)
    return _of_timm(encoder, f"timm:{name}{_stem(file)}", None)


def _of_timm(encoder: tuple[nn.Module, Preprocess], method: str, seed: int | None) -> LoadedEncoder:
    """An encoder of timm's. The image sizes that it takes depend on its architecture, so this is
    tried.
    """
    module, preprocess = encoder
    side = preprocess.resolution
    if not _takes(module, side):
        raise InputError(
            f"{method} takes no images of {side} pixels; give a multiple of its patch, or the size "
            "that it is for"
        )
    return LoadedEncoder(
        module, preprocess, method, pretrain_seed=seed, any_size=_takes(module, side + OTHER_SIZE)
    )


@torch.inference_mode()
def _takes(module: nn.Module, side: int) -> bool:
    """Whether the module takes images of `side` x `side` pixels."""
    try:
        module.eval()(torch.zeros(1, 3, side, side, dtype=torch.uint8))
    except (AssertionError, RuntimeError):  # what timm's models raise
        return False
    return True


def _openclip(rest: str, seed: int, resolution: int) -> LoadedEncoder:
    name, _, tag = rest.partition("/")
    if not tag:
        raise InputError(
            f"openclip:{rest} needs its weights, as in openclip:ViT-B-16/datacomp_xl_s13b_b90k"
        )
    tower = openclip_encoder(name, tag, resolution)
    return LoadedEncoder(*tower, f"openclip:{rest}", None, any_size=False)


def _random(rest: str, seed: int, resolution: int) -> LoadedEncoder:
    torch.manual_seed(seed)
    library, _, name = rest.partition("/")
    if library == "timm" and name:
        model = timm_encoder(name, pretrained=False, resolution=resolution)
        return _of_timm(model, f"random:{rest}", seed)
    if library == "openclip" and name:
        tower = openclip_encoder(name, "", resolution)
        return LoadedEncoder(*tower, f"random:{rest}", seed, any_size=False)
    name, pixels = _at(rest)
    encoder = build_encoder(name, pixels)
    side = resolution or pixels
    _check_patches(name, side)
    return LoadedEncoder(encoder, central_square(side), "random", pretrain_seed=seed)


def _stem(file: str) -> str:
    """A part of the method's name that differs between weights from different files."""
    return f":{Path(file).stem}" if file else ""


def _at(spelt: str, default: int | None = None) -> tuple[str, int]:
    """NAME and PIXELS of NAME@PIXELS. Raises: InputError without PIXELS if there is no default."""
    name, _, pixels = spelt.partition("@")
    if default is not None and "@" not in spelt:
        return name, default
    if not pixels.isdecimal() or len(pixels) > 5 or not int(pixels):
        raise InputError(f"{spelt!r} needs its resolution in pixels, as in random:hybrid_mini@48")
    return name, int(pixels)


OPENERS: dict[str, Callable[[str, int, int], LoadedEncoder]] = {
    "released": _released,
    "timm": _timm,
    "openclip": _openclip,
    "random": _random,
}
