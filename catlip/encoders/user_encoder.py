"""Encoders of your own: a function in a Python file, or a model of Hugging Face's transformers."""

from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from catlip.cli import InputError
from catlip.encoders.libraries import one_line_errors
from catlip.encoders.preprocess import NO_MEAN, NO_STD, Normalised, Preprocess, resize_and_crop
from catlip.program.user_file import value_in_file

SIZE = 224  # pixels, where a model does not say


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
    mean, std = tuple(how.get("mean", NO_MEAN)), tuple(how.get("std", NO_STD))
    return _normalised(encoder, resolution or how.get("size", SIZE), mean, std)


def transformers_encoder(name: str, resolution: int) -> tuple[nn.Module, Preprocess]:
    """A vision model of Hugging Face's, by its name on the hub or its folder: its pooled output, or
    else its class token; resized by the shorter side and cropped, normalised as its processor says.

    Raises: InputError if transformers is not installed, or the model cannot be opened.
    """
    try:
        from transformers import AutoImageProcessor, AutoModel
    except ImportError:
        raise InputError(f"transformers:{name} needs `pip install transformers`") from None
    with one_line_errors(f"transformers' {name}", "give a model's name on the hub or its folder"):
        model = AutoModel.from_pretrained(name)
        processor: Any = AutoImageProcessor.from_pretrained(name)
    model = getattr(model, "vision_model", model)  # of CLIP, SigLIP and their like
    sizes = getattr(processor, "crop_size", None) or processor.size
    side = sizes.get("height") or sizes.get("shortest_edge") or SIZE
    mean, std = tuple(processor.image_mean), tuple(processor.image_std)
    return _normalised(PooledOutput(model), resolution or side, mean, std)


class PooledOutput(nn.Module):
    """A model of transformers' as images [B, 3, H, W] to features [B, D]."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        output: Any = self.model(pixel_values=images)
        pooled: Tensor | None = getattr(output, "pooler_output", None)
        return output.last_hidden_state[:, 0] if pooled is None else pooled.flatten(1)


def _normalised(
    encoder: nn.Module, side: int, mean: tuple[float, ...], std: tuple[float, ...]
) -> tuple[nn.Module, Preprocess]:
    preprocess = replace(resize_and_crop(side, side), mean=mean, std=std)
    return Normalised(encoder, preprocess), preprocess
