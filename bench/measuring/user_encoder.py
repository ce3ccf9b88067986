"""An encoder of the user's, or of a library, in the place of this project's: what its steps cost is
measured as theirs is, and its operations are counted while it runs, because its layers are unknown.
"""

import math
from functools import cache

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from catlip.architectures import ENCODERS
from catlip.cli import InputError
from catlip.encoders.load import open_encoder
from catlip.recipes.dry_run import CPU_ATTENTION

# Without the scores that fused attention computes once more in its backward pass: they are left
# out of this project's encoders too.
ATTENTION = CPU_ATTENTION | {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: (
        lambda grad, q, k, v, *_, **__: 2 * sdpa_flop_count(q, k, v)
    )
}
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
    counter = FlopCounterMode(display=False, custom_mapping=ATTENTION)
    images = torch.zeros(IMAGES, 3, resolution, resolution, dtype=torch.uint8, device="cpu")
    try:
        with counter:
            features = encoder(images)
            features.sum().backward()
        _, width = features.shape
    except Exception as error:  # the module is the user's: anything may be raised
        raise InputError(
            f"--model {spelling} does not train on images of {resolution} pixels, to features "
            f"[B, D]: {type(error).__name__}: {error}; --resolution gives their size"
        ) from error
    return width, counter.get_total_flops() // IMAGES
