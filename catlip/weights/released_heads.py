"""Names and shapes of the heads in the release's segmentation and detection checkpoints.

They are not part of an image encoder; they are checked, and copied under their own names.
The totals are the paper's parameter counts (`tests/weights/test_released_heads.py`).
"""

from collections.abc import Iterable
from typing import Literal

ASPP_CHANNELS = 512  # DeepLabv3, Section 4.3
PYRAMID_CHANNELS = 256  # Mask R-CNN, Section 4.3
BOX_FEATURES = 1024
BOX_SIDE = 7  # of the pooled features that the box head reads
ANCHORS = 3
# Strides of the feature maps made from the encoder's features; one more, 64, is made from the last.
LEVELS = (4, 8, 16, 32)

Shapes = dict[str, tuple[int, ...]]
Norm = Literal["batch", "layer"]


def deeplabv3(width: int, num_classes: int) -> Shapes:
    """DeepLabv3's head on features `width` wide: five branches, a projection, a classifier."""
    branches, channels = "seg_head.aspp.aspp_layer", ASPP_CHANNELS
    return {
        **_convolution(f"{branches}.convs.0", width, channels, kernel=1, norm="batch"),
        **_all(
            _convolution(f"{branches}.convs.{i}", width, channels, kernel=3, norm="batch")
            for i in (1, 2, 3)
        ),
        **_convolution(
            f"{branches}.convs.4.aspp_pool.conv_1x1", width, channels, kernel=1, norm="batch"
        ),
        **_convolution(f"{branches}.project", 5 * channels, channels, kernel=1, norm="batch"),
        **_convolution("seg_head.classifier", channels, num_classes, kernel=1, bias=True),
    }


def mask_rcnn(width: int, num_classes: int) -> Shapes:
    """The simple feature pyramid and Mask R-CNN's heads on an encoder `width` wide.

    The heads are region proposals, boxes and masks.
    """
    return (
        _feature_pyramid(width)
        | _region_proposals()
        | _box_head(num_classes)
        | _mask_head(num_classes)
    )


def _feature_pyramid(width: int) -> Shapes:
    simple = "model.backbone.encoder.simple_fpn"
    half, quarter, channels = width // 2, width // 4, PYRAMID_CHANNELS
    widths = dict(zip(LEVELS, (quarter, half, width, width), strict=True))
    project, smooth = "model.backbone.backbone_proj_layers", "model.backbone.fpn_proj_layers"
    return {
        **_deconvolution(f"{simple}.out_l2.0", width, half, bias=True),
        **_norm(f"{simple}.out_l2.0.block.norm", half),
        **_deconvolution(f"{simple}.out_l2.1", half, quarter, bias=True),
        **_deconvolution(f"{simple}.out_l3", width, half, bias=True),
        **_all(
            _convolution(
                f"{project}.{stride}", widths[stride], channels, kernel=1, norm="layer", bias=True
            )
            for stride in LEVELS
        ),
        **_all(
            _convolution(
                f"{smooth}.{stride}", channels, channels, kernel=3, norm="layer", bias=True
            )
            for stride in LEVELS
        ),
        **_convolution(
            "model.backbone.extra_layers.64", channels, channels, kernel=3, norm="layer", bias=True
        ),
    }


def _region_proposals() -> Shapes:
    head = "model.rpn.head"
    return {
        **_tower(f"{head}.conv", 2),
        **_convolution(f"{head}.cls_logits", PYRAMID_CHANNELS, ANCHORS, kernel=1, bias=True),
        **_convolution(f"{head}.bbox_pred", PYRAMID_CHANNELS, 4 * ANCHORS, kernel=1, bias=True),
    }


def _box_head(num_classes: int) -> Shapes:
    heads = "model.roi_heads"
    return {
        **_tower(f"{heads}.box_head", 4),
        **_linear(f"{heads}.box_head.13", PYRAMID_CHANNELS * BOX_SIDE**2, BOX_FEATURES),
        **_linear(f"{heads}.box_predictor.cls_score", BOX_FEATURES, num_classes),
        **_linear(f"{heads}.box_predictor.bbox_pred", BOX_FEATURES, 4 * num_classes),
    }


def _mask_head(num_classes: int) -> Shapes:
    heads, channels = "model.roi_heads", PYRAMID_CHANNELS
    return {
        **_tower(f"{heads}.mask_head", 4),
        **_deconvolution(f"{heads}.mask_predictor.0", channels, channels),
        **_norm(f"{heads}.mask_predictor.1", channels),
        **_convolution(f"{heads}.mask_predictor.3", channels, num_classes, kernel=1, bias=True),
    }


def _tower(name: str, depth: int) -> Shapes:
    """`depth` times a 3x3 convolution, layer norm and ReLU, numbered through."""
    channels = PYRAMID_CHANNELS
    convolutions = _all(
        _convolution(f"{name}.{3 * i}", channels, channels, kernel=3) for i in range(depth)
    )
    return convolutions | _all(_norm(f"{name}.{3 * i + 1}", channels) for i in range(depth))


def _convolution(
    name: str, inputs: int, outputs: int, kernel: int, norm: Norm | None = None, bias: bool = False
) -> Shapes:
    shapes: Shapes = {f"{name}.block.conv.weight": (outputs, inputs, kernel, kernel)}
    if bias:
        shapes[f"{name}.block.conv.bias"] = (outputs,)
    if norm:
        shapes |= _norm(f"{name}.block.norm", outputs)
    if norm == "batch":
        shapes |= {f"{name}.block.norm.running_{what}": (outputs,) for what in ("mean", "var")}
        shapes[f"{name}.block.norm.num_batches_tracked"] = ()
    return shapes


def _deconvolution(name: str, inputs: int, outputs: int, bias: bool = False) -> Shapes:
    shapes: Shapes = {f"{name}.block.conv.weight": (inputs, outputs, 2, 2)}
    if bias:
        shapes[f"{name}.block.conv.bias"] = (outputs,)
    return shapes


def _norm(name: str, width: int) -> Shapes:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def _linear(name: str, inputs: int, outputs: int) -> Shapes:
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def _all(parts: Iterable[Shapes]) -> Shapes:
    return {name: shape for part in parts for name, shape in part.items()}
