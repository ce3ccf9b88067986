"""An encoder of the user's, or of a library, in the place of this project's: what its steps cost is
measured as theirs is, and its operations are counted while it runs, because its layers are unknown.
"""

import math
from functools import cache

import torch
from torch import Tensor, nn

from catlip.architectures import ENCODERS
from catlip.cli import InputError
from catlip.encoders.load import open_encoder
from catlip.system.flops import count_flops

IMAGES = 2  # that are counted: batch norm may refuse one
# What plain ViTs have of weights in their blocks, nearly all, by name.
VITS = {
    name: 12 * shape.depth * shape.width**2
    for name, shape in ENCODERS.items()
    if shape.stem == "patchify"
}


class UserEncoder(nn.Module):
    """What `open_encoder` opens, with its weights, on the CPU and in training mode.

    Attributes:
        num_features: width of the features [B, num_features].
        training_flops: of one image, forward and backward.
        text_partner: the ViT with most nearly as many parameters, whose text tower goes with it.
    """

    def __init__(self, spelling: str, resolution: int):
        super().__init__()
        self.encoder = _open(spelling, resolution)  # the same for every method of a seed
        self.num_features, self.training_flops = _count(spelling, resolution)
        parameters = sum(p.numel() for p in self.encoder.parameters())
        self.text_partner = min(VITS, key=lambda name: abs(math.log(VITS[name] / parameters)))
        self.note = (
            f"text towers are those that go with {self.text_partner}; torch counted the encoder's "
            "operations while it ran"
        )

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.encoder(images)
        return features


def _open(spelling: str, resolution: int) -> nn.Module:
    with torch.device("cpu"):  # the user's file may make some tensors there, whatever the default
        return open_encoder(spelling, resolution=resolution).module.train()


@cache
def _count(spelling: str, resolution: int) -> tuple[int, int]:
    encoder = _open(spelling, resolution)
    images = torch.zeros(IMAGES, 3, resolution, resolution, dtype=torch.uint8, device="cpu")
    try:
        with torch.no_grad():
            _, width = encoder(images).shape
        # Without what is computed again, as the operations of this project's encoders.
        flops = count_flops(lambda: encoder(images).sum().backward(), recompute=False)
    except Exception as error:  # the module is the user's: anything may be raised
        raise InputError(
            f"--model {spelling} does not train on images of {resolution} pixels, to features "
            f"[B, D]: {type(error).__name__}: {error}; --resolution gives their size"
        ) from error
    return width, flops // IMAGES
