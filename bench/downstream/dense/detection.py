"""Detection and instance segmentation: Mask R-CNN on an encoder's feature map, scored by COCO's
own code.

The model is detectron2's configuration of ViTDet (Li et al. 2022), with our encoder in it.
The release's model has torchvision's heads and a pyramid of its own, and 597,765 parameters more:
590,592 since the last level of its pyramid is a convolution and not a max pooling, 2,048 biases of
the pyramid's other convolutions, 768 in three layer norms, and 4,357 for the background as an 81st
class. Its pyramid also adds each level to the finer one, and its heads take objects from the last
level too.
"""

import contextlib
import io
import json
import logging
import uuid
import warnings
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from detectron2 import data as d2
from detectron2 import model_zoo
from detectron2.config import LazyCall, instantiate
from detectron2.data import transforms as T
from detectron2.data.datasets import register_coco_instances
from detectron2.data.detection_utils import read_image
from detectron2.evaluation import COCOEvaluator, inference_on_dataset
from detectron2.layers import ShapeSpec
from detectron2.modeling import Backbone
from detectron2.modeling.backbone.fpn import LastLevelMaxPool
from detectron2.modeling.meta_arch import GeneralizedRCNN
from detectron2.structures import ImageList
from detectron2.utils.events import EventStorage
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torch import Tensor, nn
from torch.nn import functional as F

from bench.downstream.dense.annotations import (
    UNREADABLE,
    CocoSplit,
    Entry,
    SplitName,
    folder_of,
    read_coco,
)
from bench.downstream.dense.feature_map import FeatureMap, OnFeatureMap
from bench.downstream.dense.harness import DenseTask, Results, Stream
from bench.downstream.outputs import CHECKPOINTS
from bench.downstream.probe.sweep import Data, Training
from catlip import streams
from catlip.cli import InputError
from catlip.data.decode import open_picture
from catlip.program.broken import MAX_BROKEN, cause_of
from catlip.program.progress import progress
from catlip.range_augment import RangeAugment
from catlip.recipes.base import ImageRecipe
from catlip.recipes.dense import DetectionRecipe
from catlip.training.distributed import Rank, barrier

# Not `annotations/` in the run's folder, since that may also be the data set's folder.
ANNOTATIONS = f"{CHECKPOINTS}/annotations"
KINDS = {"bbox": "box", "segm": "mask"}
# The first of COCOeval.stats, in their order.
SUMMARY = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large")
VITDET = "common/models/mask_rcnn_vitdet.py"  # of detectron2's model zoo, in its wheel
ANCHOR_STRIDES = 8  # an anchor's side in strides of its level: 32 to 512 pixels at strides 4 to 64
# Least IoU with an object for an anchor to count as it, in the release and in detectron2.
OBJECT_IOU = 0.7
FEATURES = "last_feat"


class Detect(DenseTask):
    recipe: DetectionRecipe

    @classmethod
    def check(cls, recipe: ImageRecipe, rank: Rank) -> None:
        super().check(recipe, rank)
        # It logs how detectron2 calls torch.
        logging.getLogger("torch.fx._symbolic_trace").setLevel(logging.ERROR)
        warnings.filterwarnings("ignore", "torch.meshgrid: in an upcoming release")
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")

    def read(self, split: SplitName) -> CocoSplit:
        return read_masks(folder_of(self.config.data, "coco"), split, self.config.max_broken)

    def build(self, names: list[str]) -> "MaskRCNN":
        recipe = self.recipe
        features = FeatureMap(
            self.encoder, recipe.output_stride, recipe.window, drop_path=recipe.drop_path
        )
        torch.manual_seed(self.config.seed)
        return mask_rcnn(features, recipe, len(names)).to(self.rank.device)

    def data(self, training: Training, split: CocoSplit) -> Data:
        name = register(split, training.folder / ANNOTATIONS / "train.json", self.rank.is_main)
        return TrainingImages(name, self.recipe, training.seed)

    def test(self, model: nn.Module, split: CocoSplit) -> Results:
        config, side = self.config, self.recipe.resolution
        path = config.folder / ANNOTATIONS / "val.json"
        name = register(split, path, self.rank.is_main)
        resize: T.Augmentation = T.Resize((side, side))
        if self.recipe.scale_jitter:
            resize = T.ResizeShortestEdge(side, max_size=side)
        loader = d2.build_detection_test_loader(  # this rank's part, also images without objects
            d2.get_detection_dataset_dicts(name, filter_empty=False),
            mapper=d2.DatasetMapper(False, augmentations=[resize], image_format="RGB"),
            batch_size=self.recipe.micro_batch,
            num_workers=config.num_workers,
        )
        evaluator = Scores(name)
        bar = progress(loader, desc="test", unit="batch", disable=self.hidden)
        with contextlib.redirect_stdout(io.StringIO()):  # COCO's code prints
            results = inference_on_dataset(model, bar, evaluator)
        if not self.rank.is_main:
            return {}
        scores: Results = {
            f"{short}_{what}": value
            for kind, short in KINDS.items()
            for what, value in results[kind].items()
        }
        return scores


TASK = Detect

# The model


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


class MaskRCNN(GeneralizedRCNN, OnFeatureMap):
    """detectron2's Mask R-CNN, with RangeAugment in training, and squares of each batch's size."""

    features_at = "backbone.net.features"

    def __init__(
        self, range_augment: RangeAugment | None, layer_decay: float, side: int, **parts: Any
    ):
        super().__init__(**parts)
        self.side = side
        self.range_augment = range_augment
        self.layer_decay = layer_decay

    def forward(self, batch: Any) -> Any:
        """In training, the loss of a micro-batch of Images; else what is found in each image."""
        if not self.training:
            return super().forward(batch)
        try:
            with EventStorage():  # detectron2's heads count there
                losses = super().forward(batch.values)
        except FloatingPointError as error:  # boxes that are not finite give no loss
            raise InputError(f"{error} Try a lower --max-lr or another --seed") from error
        if self.range_augment:
            losses["loss_range_augment"] = self._distance
        return torch.stack([*losses.values()]).sum()

    def preprocess_image(self, batched_inputs: list[dict[str, Any]]) -> ImageList:
        """The images in [0, 1], padded with black to a square, and in training augmented."""
        images = super().preprocess_image(batched_inputs)
        side = batched_inputs[0].get("side", self.side)
        height, width = images.tensor.shape[-2:]
        squares = F.pad(images.tensor, (0, side - width, 0, side - height))
        if self.training and self.range_augment:
            squares, self._distance = self.range_augment(squares, self.progress)
        return ImageList(squares, images.image_sizes)

    def decays(self, name: str) -> bool:
        """As in the release, the pyramid's transposed convolutions have no weight decay."""
        module = self.get_submodule(name.rpartition(".")[0])
        return not (name.startswith("backbone.simfp") and isinstance(module, nn.ConvTranspose2d))


# The data


def read_masks(root: Path, split: SplitName, max_broken: float = MAX_BROKEN) -> CocoSplit:
    """The images that can be read, with the objects that have a mask. Every image is decoded once;
    otherwise a fault could stop the run later, or spoil a test.
    """
    coco = read_coco(root, split, max_broken, fault_of=_fault)
    listed = list(chain.from_iterable(coco.annotations))
    if len({one.get("id") for one in listed}) != len(listed) or any(
        "area" not in one or "segmentation" not in one for one in listed
    ):
        raise InputError(
            f"an annotation of {coco.folder.name} has no area, no segmentation, or no id of its "
            "own; average precision needs them"
        )
    images, annotations = [], []
    for image, of_image in zip(coco.images, coco.annotations, strict=True):
        masked = [one for one in of_image if one["segmentation"]]
        if split == "val" or any(not one.get("iscrowd") for one in masked):
            images.append(image)
            annotations.append(masked)
    if not any(annotations):
        raise InputError(f"no object of {coco.folder.name} has a mask")
    return replace(coco, images=images, annotations=annotations)


def _fault(path: Path, listed: Entry) -> str:
    """Why an image cannot be used, "" if it can."""
    try:
        picture = open_picture(path.read_bytes())  # unlike detectron2, checks format and size
        if picture.mode.startswith("I"):
            return "grey of 16 bits, which detectron2 makes white"
        if read_image(path, "RGB").shape[:2] != (listed["height"], listed["width"]):
            return "of another size than listed"
    except UNREADABLE as error:
        return cause_of(error)
    return ""


def register(split: CocoSplit, path: Path, is_main: bool) -> str:
    """Write the split for detectron2 and return its name there; all ranks call this."""
    if is_main:
        path.parent.mkdir(parents=True, exist_ok=True)
        annotations = list(chain.from_iterable(split.annotations))
        content = {"images": split.images, "annotations": annotations}
        path.write_text(json.dumps(content | {"categories": split.categories}))
    barrier()
    name = f"coco-{path.stem}-{uuid.uuid4()}"
    register_coco_instances(name, {}, str(path), str(split.folder))
    return name


class TrainingImages(Stream):
    """Images in detectron2's form, flipped, and resized at random to the step's `side`."""

    crops = streams.DETECTION_CROPS

    def __init__(self, name: str, recipe: DetectionRecipe, seed: int):
        images = d2.get_detection_dataset_dicts(name, filter_empty=True)
        super().__init__([image["file_name"] for image in images], recipe, seed)
        self.images = d2.DatasetFromList(images)  # serialised: workers share it
        self.mappers = {}
        for side in (size.resolution for size in self.plan.sizes):
            resizing = [T.Resize((side, side))]  # the release's
            if recipe.scale_jitter:  # ViTDet's; the model pads
                resizing = [
                    T.ResizeScale(*recipe.scale_jitter, target_height=side, target_width=side),
                    T.FixedSizeCrop(crop_size=(side, side), pad=False),
                ]
            self.mappers[side] = d2.DatasetMapper(
                True,
                augmentations=[T.RandomFlip(), *resizing],
                image_format="RGB",
                use_instance_mask=True,
                instance_mask_format="bitmask",
                recompute_boxes=True,
            )

    def load(self, number: int, side: int) -> dict[str, Any]:
        mapped: dict[str, Any] = self.mappers[side](self.images[number])
        return mapped | {"side": side}


# The score


class Scores(COCOEvaluator):
    """detectron2's evaluator of COCO, with scores that are fractions in [0, 1], or None where no
    test image has such an object.
    """

    def __init__(self, name: str):
        super().__init__(name, tasks=tuple(KINDS), use_fast_impl=False)

    def _derive_coco_results(
        self, coco_eval: COCOeval | None, iou_type: str, class_names: Any = None
    ) -> Results:
        if coco_eval is None:  # so detectron2 says that nothing was found
            coco_eval = COCOeval(self._coco_api, COCO(), iou_type)
            coco_eval.evaluate()
            coco_eval.accumulate()
            coco_eval.summarize()
        # [thresholds, recalls, classes], for objects of all sizes.
        precision = coco_eval.eval["precision"][:, :, :, 0, -1]
        by_class = [_fraction(precision[:, :, c].mean()) for c in range(precision.shape[2])]
        scores = map(_fraction, coco_eval.stats)
        return dict(zip(SUMMARY, scores, strict=False)) | {"ap_by_class": by_class}


def _fraction(value: float) -> float | None:
    """COCO's code gives -1 where there is nothing to find."""
    return None if value < 0 else float(value)
