"""DeepLabv3 on an encoder's feature map: mmsegmentation's head and losses, with our encoder as a
registered backbone.

The head's activation is the encoder's, GELU, as in the release. The model has as many parameters as
the release's: 98,751,644 with ViT-B/16, 320,435,356 with L and 652,396,700 with H, of which
RangeAugment has six.
"""

from typing import Any

from mmcv.cnn import ConvModule
from mmseg.models import EncoderDecoder
from mmseg.models.decode_heads import ASPPHead
from mmseg.registry import MODELS
from torch import Tensor, nn

from bench.downstream.dense.annotations import IGNORED
from bench.downstream.dense.feature_map import FeatureMap, lr_scale_on, vision_transformer
from catlip.cli import InputError
from catlip.encoders.load import LoadedEncoder
from catlip.range_augment import RangeAugment
from catlip.recipes.base import Initialization
from catlip.recipes.dense import SegmentationRecipe

DILATED_AT = 8  # the stride that a recipe's dilations are for
MIN_DILATION = 2  # for a dilation of 1 mmsegmentation makes a convolution of 1 x 1


def segmentor(
    encoder: LoadedEncoder, recipe: SegmentationRecipe, num_classes: int
) -> "EncoderSegmentor":
    """DeepLabv3 on an encoder; torch's random numbers initialise the head."""
    patch, side = int(vision_transformer(encoder).patch_embed.patch_size[0]), recipe.resolution
    if side % patch:
        raise InputError(f"resolution {side} is not a multiple of the encoder's patch, {patch}")
    stride = recipe.output_stride or patch
    # Half of the encoder's stride where the dilations would be too small.
    if not recipe.output_stride and min(recipe.dilations) * DILATED_AT // patch < MIN_DILATION:
        stride = patch // 2
    features = FeatureMap(encoder, stride, drop_path=recipe.drop_path)
    # At another stride, dilated kernels still cover as many pixels.
    dilations = [DILATED_AT * dilation // stride for dilation in recipe.dilations]
    psnr = recipe.range_augment
    return EncoderSegmentor(
        RangeAugment((psnr[0], psnr[1])) if psnr else None,
        recipe.layer_decay,
        backbone={"type": "EncoderBackbone", "features": features},
        # Without an auxiliary head, as in the release.
        decode_head={
            "type": "DeepLabV3Head",
            "initialization": recipe.initialization,
            "in_channels": features.num_features,
            "channels": recipe.head_channels,
            "num_classes": num_classes,
            "out_channels": num_classes,
            "dilations": (1, *dilations),
            "dropout_ratio": recipe.head_dropout,
            "norm_cfg": {"type": "BN"},
            "act_cfg": {"type": "GELU"},
            "align_corners": True,
            "ignore_index": IGNORED,
            # The mean over the pixels that are not ignored.
            "loss_decode": {"type": "CrossEntropyLoss", "avg_non_ignore": True},
        },
        data_preprocessor={  # to RGB in [0, 1], padded with black to the crop's size
            "type": "mmseg.SegDataPreProcessor",
            "mean": [0.0] * 3,
            "std": [255.0] * 3,
            "bgr_to_rgb": True,
            "size": (side, side),
            "pad_val": 0,
            "seg_pad_val": IGNORED,
        },
    )


@MODELS.register_module()
class EncoderBackbone(nn.Module):
    """A feature map as mmsegmentation wants it: a tuple of one; nothing initialises it again."""

    def __init__(self, features: FeatureMap):
        super().__init__()
        self.features = features

    def forward(self, images: Tensor) -> tuple[Tensor]:
        return (self.features(images),)


@MODELS.register_module()
class DeepLabV3Head(ASPPHead):
    """mmsegmentation's head, but the branches are merged by a 1 x 1 convolution (Chen et al. 2017,
    and the release). One of 3 x 3 would have 10,485,760 parameters more at 512 channels.
    """

    def __init__(self, initialization: Initialization, **options: Any):
        super().__init__(**options)
        self.initialization = initialization
        branches = len(self.dilations) + 1
        self.bottleneck = ConvModule(
            branches * self.channels,
            self.channels,
            kernel_size=1,
            norm_cfg=self.norm_cfg,
            act_cfg=self.act_cfg,
        )

    def init_weights(self) -> None:
        """Called by mmengine before it trains."""
        super().init_weights()
        if self.initialization == "release":
            for module in self.modules():
                if isinstance(module, nn.Conv2d):
                    module.reset_parameters()


class EncoderSegmentor(EncoderDecoder):
    """mmsegmentation's segmentor, with RangeAugment in training, and with a learning rate factor
    for each parameter. `progress`, the fraction of the steps that are done, is set before each.
    """

    def __init__(self, range_augment: RangeAugment | None, layer_decay: float, **parts: Any):
        super().__init__(**parts)
        self.range_augment = range_augment
        self.layer_decay = layer_decay
        self.progress = 0.0

    def loss(self, inputs: Tensor, data_samples: list[Any]) -> dict[str, Tensor]:
        if self.range_augment is None:
            return dict(super().loss(inputs, data_samples))
        augmented, distance = self.range_augment(inputs, self.progress)
        return super().loss(augmented, data_samples) | {"loss_range_augment": distance}

    def lr_scale(self, name: str) -> float:
        return lr_scale_on(
            self.backbone.features, "backbone.features.", name, decay=self.layer_decay
        )

    def decays(self, name: str) -> bool:
        return True  # all matrices
