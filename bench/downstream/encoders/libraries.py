"""Image encoders of timm and OpenCLIP, with the preprocessing that each comes with.

The library downloads weights that are not on this machine. Without a network, that ends in an error
of one line.
"""

import difflib
import logging
import re
import textwrap
import urllib.error
import urllib.request
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.client import HTTPException
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import constants
from torch import Tensor, nn

from bench.downstream.encoders.preprocess import (
    NO_MEAN,
    NO_STD,
    Normalised,
    Preprocess,
    from_library,
)
from catlip.cli import InputError
from catlip.weights.files import differences, listed, plain_tensors, read_file

TIMM_SOURCES = ("local-dir:", "hf-hub:")
LONGEST_REASON = 200  # characters of a library's own error
HUB_PATIENCE_S = 5.0


def timm_encoder(
    name: str, file: Path | None = None, pretrained: bool = True, resolution: int = 0
) -> tuple[nn.Module, Preprocess]:
    """A model of timm's without its classifier.

    Args:
        name: as `timm.create_model` takes it: vit_base_patch16_224.augreg_in21k, local-dir:FOLDER,
            hf-hub:ORG/NAME.
        file: its weights under timm's names, instead of those that timm would fetch.
        pretrained: false for a random initialisation.
        resolution: side of the images in pixels; 0 for the model's own.
    Raises: InputError for an unknown name, weights that cannot be fetched, or a file that does not
        fit.
    """
    import timm
    from timm.data import create_transform, resolve_model_data_config

    if not name.startswith(TIMM_SOURCES) and not timm.is_model(name):
        raise InputError(f"timm has no model {name!r}{_close(name, timm.list_models())}")
    instead = (
        f"without a network give a local file with its weights, timm:{name}:FILE, or "
        f"random:timm/{name}"
    )
    if name.startswith("local-dir:"):
        instead = "if catlip.weights wrote the folder, give the file in it, model.safetensors"
    from_hub = pretrained and not file and not name.startswith("local-dir:")
    with _fetching(f"timm's {name}", instead, from_hub):
        # The position embeddings of a file are for the model's own resolution.
        model = _any_size(name, pretrained and file is None, 0 if file else resolution)
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
    preprocess = from_library(transform, side, words, mean=config["mean"], std=config["std"])
    return Normalised(model, preprocess), preprocess


def _any_size(name: str, pretrained: bool, resolution: int) -> nn.Module:
    """A model of timm's that takes images of any size: a ViT needs an option for this, a
    convolutional network does not.
    """
    import timm

    plain: dict[str, Any] = {"pretrained": pretrained, "num_classes": 0}
    size: dict[str, Any] = {"img_size": resolution} if resolution else {}
    try:
        return timm.create_model(name, **plain, dynamic_img_size=True, **size)
    except TypeError:
        return timm.create_model(name, **plain)


def openclip_encoder(name: str, tag: str, resolution: int = 0) -> tuple[nn.Module, Preprocess]:
    """The image tower of an OpenCLIP model, up to the features that CLIP would project.

    Args:
        name, tag: as `open_clip.create_model` takes them; the tag may be a file, and without a tag
            the weights are random.
        resolution: side of the images in pixels, the only one that it takes; 0 for the model's own.
    Raises: InputError without OpenCLIP, for an unknown name or tag, or weights that cannot be
        fetched.
    """
    model = openclip_model(name, tag, resolution)
    import open_clip
    from open_clip.transform import PreprocessCfg, image_transform_v2

    config = PreprocessCfg(**open_clip.get_model_preprocess_cfg(model))
    # The model's transform without the normalisation: to pixels in [0, 1].
    plain = replace(config, mean=NO_MEAN, std=NO_STD)
    side = config.size if isinstance(config.size, int) else config.size[-1]
    words = f"{config.resize_mode} side to {side} ({config.interpolation}), central crop"
    transform = _Bytes(image_transform_v2(plain, is_train=False))
    preprocess = from_library(transform, side, words, mean=config.mean, std=config.std)
    return Normalised(_unprojected(model.visual), preprocess), preprocess


def openclip_model(name: str, tag: str, resolution: int = 0) -> Any:
    """The whole model, both towers. Arguments and errors are those of `openclip_encoder`."""
    try:
        import open_clip
    except ImportError:
        raise InputError("openclip needs OpenCLIP: pip install 'catlip-bench[clip]'") from None
    if name not in (known := open_clip.list_models()):
        raise InputError(f"OpenCLIP has no model {name!r}{_close(name, known)}")
    tags = open_clip.list_pretrained_tags_by_model(name)
    if tag and tag not in tags and not Path(tag).is_file():
        raise InputError(
            f"OpenCLIP's {name} has no weights {tag!r}, and there is no such file; it has "
            f"{listed(tags, 10)}"
        )
    what = f"OpenCLIP's {name}" + (f"/{tag}" if tag else "")
    instead = (
        f"without a network give a local file, openclip:{name}/FILE, or random:openclip/{name}"
    )
    with _fetching(what, instead, from_hub=bool(tag) and not Path(tag).is_file()):
        return open_clip.create_model(
            name, pretrained=tag or None, force_image_size=resolution or None
        )


class _Bytes:
    """A transform to pixels in [0, 1], followed by a conversion to uint8."""

    def __init__(self, transform: Any):
        self.transform = transform

    def __call__(self, picture: Any) -> Tensor:
        pixels: Tensor = self.transform(picture)
        return (pixels * 255).round().to(torch.uint8)


def _unprojected(tower: nn.Module) -> nn.Module:
    """The tower without the projection into the space shared with texts, if that is a part of its
    own.
    """
    if isinstance(getattr(tower, "proj", None), nn.Parameter):
        tower.register_parameter("proj", None)
    elif hasattr(tower, "trunk") and hasattr(tower, "head"):  # a tower from timm
        tower.head = nn.Identity()
    return tower


def _load_timm(model: nn.Module, file: Path) -> None:
    """Load the weights in `file`, which must be exactly those of the model.

    Only a classifier may be left over; the features do not need it.
    """
    tensors, expected = plain_tensors(read_file(file)[0], file), model.state_dict()
    classifier: Any = getattr(model, "pretrained_cfg", {}).get("classifier") or "head"
    heads = (classifier,) if isinstance(classifier, str) else tuple(classifier)
    of_heads = tuple(f"{head}." for head in heads)
    body = {n: t for n, t in tensors.items() if n in expected or not n.startswith(of_heads)}
    shapes = {name: tuple(tensor.shape) for name, tensor in expected.items()}
    if differing := differences(body, shapes):
        raise InputError(f"{file} does not hold timm's model: {'; '.join(differing)}")
    model.load_state_dict(body)


def _close(name: str, known: Collection[str]) -> str:
    near = difflib.get_close_matches(name, list(known), n=4)
    return f"; it has {', '.join(near)}" if near else f"; it has {len(known):,} others"


@contextmanager
def _fetching(what: str, instead: str, from_hub: bool) -> Iterator[None]:
    """Turns a failure into an error of one line, and hides what the libraries log.

    Args:
        from_hub: whether the weights come from the Hugging Face hub. If the hub cannot be reached,
            its library is told to look only into its cache: otherwise it would try again for half a
            minute per file.
    """
    cut_off = from_hub and not constants.HF_HUB_OFFLINE and not _answers(constants.ENDPOINT)
    logging.disable(logging.CRITICAL)
    if cut_off:
        constants.HF_HUB_OFFLINE = True
    try:
        yield
    except Exception as error:
        # The libraries pass on whatever the network, the hub or a broken file gives them.
        reason = _first_sentence(error)
        if cut_off and isinstance(error, OSError):
            hub = constants.ENDPOINT
            reason = f"its weights are not on this machine, and {hub} cannot be reached"
        raise InputError(f"{what} cannot be opened: {reason}; {instead}") from error
    finally:
        logging.disable(logging.NOTSET)
        if cut_off:
            constants.HF_HUB_OFFLINE = False


def _answers(address: str) -> bool:
    """Whether a server answers, with any status; uses the proxies that the environment names."""
    try:
        request = urllib.request.Request(address, method="HEAD")
        urllib.request.urlopen(request, timeout=HUB_PATIENCE_S).close()
    except urllib.error.HTTPError:
        return True
    except (OSError, HTTPException):
        return False
    return True


def _first_sentence(error: Exception) -> str:
    words = " ".join(str(error).split()) or type(error).__name__
    sentence = re.split(r"(?<=[.!?]) ", words)[0]
    return textwrap.shorten(sentence, LONGEST_REASON, placeholder=" ...").rstrip(".")
