"""Mask R-CNN on an encoder's feature map: detectron2's configuration of ViTDet (Li et al. 2022),
with our encoder in it.

The release's model has torchvision's heads and a pyramid of its own, and 597,765 parameters more:
590,592 since the last level of its pyramid is a convolution and not a max pooling, 2,048 biases of
the pyramid's other convolutions, 768 in three layer norms, and 4,357 for the background as an 81st
class. Its pyramid also adds each level to the finer one, and its heads take objects from the last
level too.
"""

from typing import Any

from detectron2 import model_zoo
from detectron2.config import LazyCall, instantiate
from detectron2.layers import ShapeSpec
from detectron2.modeling import Backbone
from detectron2.modeling.backbone.fpn import LastLevelMaxPool
from detectron2.modeling.meta_arch import GeneralizedRCNN
from detectron2.structures import ImageList
from torch import Tensor, nn
from torch.nn import functional as F

from bench.downstream.dense.feature_map import FeatureMap, lr_scale_on
from catlip.range_augment import RangeAugment
from catlip.recipes.dense import DetectionRecipe

VITDET = "common/models/mask_rcnn_vitdet.py"  # of detectron2's model zoo, in its wheel
ANCHOR_STRIDES = 8  # an anchor's side in strides of its level: 32 to 512 pixels at strides 4 to 64
# Least IoU with an object for an anchor to count as it, in the release and in detectron2.
OBJECT_IOU = 0.7
FEATURES = "last_feat"


def mask_rcnn(features: FeatureMap, recipe: DetectionRecipe, num_classes: int) -> "MaskRCNN":
    """Mask R-CNN on a feature map; torch's random numbers initialise the heads."""
    model = model_zoo.get_config(VITDET).model
    channels = recipe.pyramid_channels
    strides = [int(features.output_stride / scale) for scale in recipe.pyramid_scales]

    model.backbone.net = EncoderBackbone(features)
    model.backbone.in_feature = FEATURES
    model.backbone.out_channels = channels
    model.backbone.scale_factors = recipe.pyramid_scales
    model.backbone.top_block = LazyCall(LevelAbove)(in_feature=_level(strides[-1]))
    model.backbone.square_pad = 0  # MaskRCNN pads

    proposal_strides, proposals = [*strides, 2 * strides[-1]], model.proposal_generator
    num_training, num_sampled = recipe.proposals
    num_testing = recipe.test_proposals
    proposals.in_features = [_level(stride) for stride in proposal_strides]
    proposals.head.in_channels = channels
    proposals.anchor_generator.sizes = [[ANCHOR_STRIDES * stride] for stride in proposal_strides]
    proposals.anchor_generator.strides = proposal_strides
    proposals.anchor_matcher.thresholds = [recipe.background_iou, OBJECT_IOU]
    proposals.pre_nms_topk = (2 * num_testing, num_testing)
    proposals.post_nms_topk = (num_training, num_testing)
    proposals.smooth_l1_beta = recipe.smooth_l1_beta

    # The heads use all levels but the last, which is for proposals alone.
    heads = model.roi_heads
    heads.num_classes = num_classes
    heads.batch_size_per_image = num_sampled
    heads.box_in_features = heads.mask_in_features = [_level(stride) for stride in strides]
    for pooler in (heads.box_pooler, heads.mask_pooler):
        pooler.scales = [1 / stride for stride in strides]
        pooler.sampling_ratio = recipe.roi_sampling
        pooler.pooler_type = "ROIAlignV2" if recipe.roi_aligned else "ROIAlign"
    heads.box_head.input_shape = ShapeSpec(channels=channels, height=7, width=7)
    heads.box_head.conv_dims = [channels] * recipe.head_convolutions
    heads.box_head.fc_dims = [recipe.fc_channels]
    heads.box_predictor.test_score_thresh = recipe.least_score
    heads.box_predictor.smooth_l1_beta = recipe.smooth_l1_beta
    heads.box_predictor.input_shape = ShapeSpec(channels=recipe.fc_channels)
    heads.mask_head.input_shape = ShapeSpec(channels=channels, height=14, width=14)
    # The last one is the transposed convolution.
    heads.mask_head.conv_dims = [channels] * (recipe.head_convolutions + 1)

    # A feature map takes RGB in [0, 1].
    model.pixel_mean, model.pixel_std = [0.0] * 3, [255.0] * 3
    psnr = recipe.range_augment
    model.range_augment = LazyCall(RangeAugment)(psnr=psnr) if psnr else None
    model.layer_decay, model.side = recipe.layer_decay, recipe.resolution
    model._target_ = MaskRCNN
    built: MaskRCNN = instantiate(model)
    return built


def _level(stride: int) -> str:
    """detectron2's name for the level of the pyramid with that stride, a power of two."""
    return f"p{stride.bit_length() - 1}"


class EncoderBackbone(Backbone):
    """A feature map as detectron2 wants it: a dict of one [B, D, H / stride, W / stride]."""

    def __init__(self, features: FeatureMap):
        super().__init__()
        self.features = features

    def output_shape(self) -> dict[str, ShapeSpec]:
        shape = ShapeSpec(channels=self.features.num_features, stride=self.features.output_stride)
        return {FEATURES: shape}

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return {FEATURES: self.features(images)}


class LevelAbove(LastLevelMaxPool):
    """detectron2's own class assumes that the last level is called "p5"."""

    def __init__(self, in_feature: str):
        super().__init__()
        self.in_feature = in_feature


class MaskRCNN(GeneralizedRCNN):
    """detectron2's Mask R-CNN, with RangeAugment in training, a learning rate factor for each
    parameter, and squares of each batch's size. `progress` is set before each step.
    """

    def __init__(
        self, range_augment: RangeAugment | None, layer_decay: float, side: int, **parts: Any
    ):
        super().__init__(**parts)
        self.side = side
        self.range_augment = range_augment
        self.layer_decay = layer_decay
        self.progress = 0.0

    def forward(self, batched_inputs: list[dict[str, Any]]) -> Any:
        outputs = super().forward(batched_inputs)
        if self.training and self.range_augment:
            outputs["loss_range_augment"] = self._distance
        return outputs

    def preprocess_image(self, batched_inputs: list[dict[str, Any]]) -> ImageList:
        """The images in [0, 1], padded with black to a square, and in training augmented."""
        images = super().preprocess_image(batched_inputs)
        side = batched_inputs[0].get("side", self.side)
        height, width = images.tensor.shape[-2:]
        squares = F.pad(images.tensor, (0, side - width, 0, side - height))
        if self.training and self.range_augment:
            squares, self._distance = self.range_augment(squares, self.progress)
        return ImageList(squares, images.image_sizes)

    def lr_scale(self, name: str) -> float:
        return lr_scale_on(
            self.backbone.net.features, "backbone.net.features.", name, decay=self.layer_decay
        )

    def decays(self, name: str) -> bool:
        """As in the release, the pyramid's transposed convolutions have no weight decay."""
        module = self.get_submodule(name.rpartition(".")[0])
        return not (name.startswith("backbone.simfp") and isinstance(module, nn.ConvTranspose2d))
