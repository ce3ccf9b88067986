"""Opens an encoder by its spelling; the docstring of the package lists the spellings."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha256
from itertools import chain
from pathlib import Path

import torch
from torch import nn

from catlip.cli import InputError, choose
from catlip.encoder import ENCODERS, build_encoder
from catlip.encoders.libraries import (
    LITE0,
    TIMM_SOURCES,
    efficientnet_lite0,
    file_encoder,
    openclip_encoder,
    timm_encoder,
)
from catlip.encoders.preprocess import Preprocess, central_square, resize_and_crop
from catlip.program.user_file import names_file
from catlip.weights.checkpoint import Checkpoint, read_checkpoint, weights_file

ADDRESS = (
    "https://docs-assets.developer.apple.com/ml-research/models/corenet/v0.1.0/catlip/"
    "pretrained_models/"
)
OTHER_SIZE = 32  # pixels added to an encoder's own size, to try whether it takes other sizes
RELEASED = {  # this project's name of the architecture, and the release's file
    "vit_b16": ("vit_b16_conv", "vit_base.pt"),
    "vit_l16": ("vit_l16_conv", "vit_large.pt"),
    "vit_h16": ("vit_h16_conv", "vit_huge.pt"),
}


@dataclass(frozen=True)
class LoadedEncoder:
    """An image encoder in evaluation mode, and where it came from."""

    module: nn.Module  # [B, 3, H, W] uint8, or float in [0, 1], to [B, num_features]
    preprocess: Preprocess
    method: str  # catlip, clip, ..., random; for one from elsewhere its spelling, without folders
    pretrain_seed: int | None
    any_size: bool = True  # whether it takes images of other sizes than its preprocessing makes
    checkpoint: Checkpoint | None = None  # of this project or of the release

    @property
    def resolution(self) -> int:
        return self.preprocess.resolution

    @property
    def device(self) -> torch.device:
        return next(chain(self.module.parameters(), self.module.buffers())).device

    @cached_property
    def num_features(self) -> int:
        shape = (1, 3, self.resolution, self.resolution)
        with torch.inference_mode():
            blank = torch.zeros(shape, dtype=torch.uint8, device=self.device)
            return int(self.module(blank).shape[1])

    def digest(self) -> str:
        """16 hexadecimal digits of the names and values of its weights."""
        digest = sha256()
        for name, tensor in sorted(self.module.state_dict().items()):
            values = tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy()
            digest.update(name.encode() + values.tobytes())
        return digest.hexdigest()[:16]


def load_encoder(
    spelling: str, seed: int, device: torch.device, resolution: int = 0, resize: int = 0
) -> LoadedEncoder:
    """As `open_encoder`, frozen, on `device`. `resize` is what the shorter side of a picture is
    resized to before the centre is cropped; 0 for the preprocessing of its pre-training.
    """
    encoder = open_encoder(spelling, seed, resolution)
    if resize:
        mean, std = encoder.preprocess.mean, encoder.preprocess.std
        preprocess = replace(resize_and_crop(resize, encoder.resolution), mean=mean, std=std)
        encoder = replace(encoder, preprocess=preprocess)
    encoder.module.requires_grad_(False).to(device)
    return encoder


def open_encoder(spelling: str, seed: int = 0, resolution: int = 0) -> LoadedEncoder:
    """The encoder that `spelling` names, on the CPU, for images of `resolution` pixels (0 for the
    resolution of its pre-training). `seed` initialises a random encoder.
    """
    kind, _, name = spelling.partition(":")
    if names_file(spelling):
        method = Path(spelling).name  # without folders
        encoder = LoadedEncoder(*file_encoder(spelling, resolution), method, None)
    elif kind in SOURCES:
        if not name:
            raise InputError(f"{spelling!r} needs a name after the colon")
        encoder = SOURCES[kind](name, seed, resolution)
    else:
        raw = spelling.endswith(":raw")
        file = weights_file(Path(spelling.removesuffix(":raw")), raw)
        encoder = _open_checkpoint(read_checkpoint(file, raw), resolution)
        if raw:  # no report averages these weights with the averaged ones
            encoder = replace(encoder, method=f"{encoder.method}:raw")
    encoder.module.eval()
    return encoder


def _open_checkpoint(checkpoint: Checkpoint, resolution: int) -> LoadedEncoder:
    side = resolution or checkpoint.resolution
    _check_patches(checkpoint.encoder_name, side)
    preprocess = central_square(side)
    if checkpoint.resize:
        # At another resolution than the encoder's own, the release resizes the shorter side to the
        # size of the crop.
        shorter_side = checkpoint.resize if side == checkpoint.resolution else side
        preprocess = resize_and_crop(shorter_side, side)
    method, seed = str(checkpoint.config.get("method", "unknown")), checkpoint.config.get("seed")
    if checkpoint.layout is not None:
        # Another method's name, so that no report averages the release's weights with our runs.
        method = f"released:{checkpoint.encoder_name}"
    module = checkpoint.build()
    return LoadedEncoder(module, preprocess, method, pretrain_seed=seed, checkpoint=checkpoint)


def _released(spelling: str, seed: int, resolution: int) -> LoadedEncoder:
    """NAME[:FILE]: from the file or from torch.hub's cache, or from where it is published."""
    name, _, file = spelling.partition(":")
    architecture, published = choose("released encoder", name, RELEASED)
    path = Path(file) if file else Path(torch.hub.get_dir()) / "checkpoints" / f"catlip_{published}"
    if not file and not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(ADDRESS + published, str(path))
        except OSError as error:  # a URLError is one
            hint = f"give a local file as released:{name}:FILE"
            raise InputError(f"cannot download {ADDRESS + published}: {error}; {hint}") from error
    checkpoint = read_checkpoint(path)
    if checkpoint.encoder_name != architecture:
        raise InputError(f"{path} holds {checkpoint.encoder_name}, and not {architecture}")
    encoder = _open_checkpoint(checkpoint, resolution)
    return replace(encoder, method=f"released:{name}{_stem(file)}", pretrain_seed=0)


def _timm(spelling: str, seed: int, resolution: int) -> LoadedEncoder:
    """NAME[:FILE], in which the names of some sources have a colon too."""
    name, _, file = spelling.partition(":")
    if spelling.startswith(TIMM_SOURCES):
        name, file = spelling, ""
    if (name, file) == (LITE0, "wheel"):
        return LoadedEncoder(*efficientnet_lite0(resolution), f"timm:{spelling}", None)
    encoder = timm_encoder(name, Path(file) if file else None, resolution=resolution)
    return _try_sizes(encoder, f"timm:{name}{_stem(file)}", None)


def _try_sizes(
    encoder: tuple[nn.Module, Preprocess], method: str, seed: int | None
) -> LoadedEncoder:
    """Which image sizes a model of timm takes depends on its architecture, so this is tried."""
    module, preprocess = encoder
    side = preprocess.resolution
    if not _takes(module, side):
        raise InputError(f"{method} takes no images of {side} pixels")
    any_size = _takes(module, side + OTHER_SIZE)
    return LoadedEncoder(module, preprocess, method, pretrain_seed=seed, any_size=any_size)


@torch.inference_mode()
def _takes(module: nn.Module, side: int) -> bool:
    try:
        module.eval()(torch.zeros(1, 3, side, side, dtype=torch.uint8))
    except (AssertionError, RuntimeError):  # what timm's models raise
        return False
    return True


def _openclip(name: str, seed: int, resolution: int) -> LoadedEncoder:
    model, _, tag = name.partition("/")
    if not tag:
        raise InputError(f"openclip:{name} needs its weights, as in openclip:ViT-B-16/openai")
    tower = openclip_encoder(model, tag, resolution)
    return LoadedEncoder(*tower, f"openclip:{name}", None, any_size=False)


def _random(spelling: str, seed: int, resolution: int) -> LoadedEncoder:
    """NAME@PIXELS, timm/NAME or openclip/NAME, untrained."""
    torch.manual_seed(seed)
    library, _, model = spelling.partition("/")
    if library == "timm" and model:
        encoder = timm_encoder(model, pretrained=False, resolution=resolution)
        return _try_sizes(encoder, f"random:{spelling}", seed)
    if library == "openclip" and model:
        tower = openclip_encoder(model, "", resolution)
        return LoadedEncoder(*tower, f"random:{spelling}", seed, any_size=False)
    name, _, pixels = spelling.partition("@")
    if not pixels.isdecimal() or not int(pixels):
        raise InputError(f"random:{spelling} needs its size in pixels, as in random:hybrid_mini@48")
    side = resolution or int(pixels)
    module = build_encoder(name, int(pixels))
    _check_patches(name, side)
    return LoadedEncoder(module, central_square(side), "random", pretrain_seed=seed)


# Prefix of a spelling -> opens what follows the colon, with the seed and the resolution.
SOURCES: dict[str, Callable[[str, int, int], LoadedEncoder]] = {
    "released": _released,
    "timm": _timm,
    "openclip": _openclip,
    "random": _random,
}


def _check_patches(name: str, resolution: int) -> None:
    if resolution % (patch := ENCODERS[name].patch):
        raise InputError(f"{resolution} pixels are not a multiple of {name}'s patch, {patch}")


def _stem(file: str) -> str:
    """A part of the method's name that differs between weights from different files."""
    return f":{Path(file).stem}" if file else ""
