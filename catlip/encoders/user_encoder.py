"""Encoders of your own: a function in a Python file."""

from dataclasses import replace

from torch import nn

from catlip.cli import InputError
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
    side = resolution or how.get("size", SIZE)
    mean, std = tuple(how.get("mean", NO_MEAN)), tuple(how.get("std", NO_STD))
    preprocess = replace(resize_and_crop(side, side), mean=mean, std=std)
    return Normalised(encoder, preprocess), preprocess
