"""Semantic segmentation: DeepLabv3 on an encoder's feature map, scored by mmsegmentation's counts
of pixels.

The model is mmsegmentation's head and losses, with our encoder as a registered backbone. The head's
activation is the encoder's, GELU, as in the release. It has as many parameters as the release's:
98,751,644 with ViT-B/16, 320,435,356 with L and 652,396,700 with H, of which RangeAugment has six.
"""

import warnings
from collections.abc import Callable
from typing import Any, Literal

import cv2
import numpy as np
import torch
from mmcv.cnn import ConvModule
from mmcv.transforms import LoadImageFromFile, RandomFlip, RandomResize, Resize
from mmengine import ConfigDict, MMLogger, dist
from mmengine.dataset import DefaultSampler, pseudo_collate
from mmseg.datasets import BaseSegDataset
from mmseg.datasets.transforms import LoadAnnotations, PackSegInputs, RandomCrop
from mmseg.evaluation import IoUMetric
from mmseg.models import EncoderDecoder
from mmseg.models.decode_heads import ASPPHead
from mmseg.registry import MODELS
from torch import Tensor, nn
from torch.utils.data import DataLoader

from bench.downstream.dense.annotations import IGNORED, Split, SplitName, folder_of, read_ade20k
from bench.downstream.dense.feature_map import FeatureMap, OnFeatureMap, vision_transformer
from bench.downstream.dense.harness import DenseTask, Results, Stream
from bench.downstream.probe.sweep import Data, Training
from catlip import streams
from catlip.cli import InputError
from catlip.encoders.load import LoadedEncoder
from catlip.program.progress import progress
from catlip.range_augment import RangeAugment
from catlip.recipes.base import ImageRecipe, Initialization
from catlip.recipes.dense import SegmentationRecipe
from catlip.training.distributed import Rank

Transforms = list[Callable[[dict[str, Any]], Any]]
Protocol = Literal["fixed", "slide"]
# fixed: the picture is resized to a square, and the logits to the size of the picture (the release)
# slide: the picture's shorter side is resized, and a square window moves over it in steps of two
#        thirds of its side (usual in the field)
PROTOCOLS: tuple[Protocol, ...] = ("fixed", "slide")
# Images are resized as in the release: by Pillow, which averages over all pixels when it makes an
# image smaller. Labels are resized to the nearest pixel.
RESIZING = {"interpolation": "bicubic", "backend": "pillow"}
ANY_LENGTH = 10**9  # pixels of a side that is not limited
# A rotation that the camera noted is ignored, because annotations do not have it.
AS_STORED = "color_ignore_orientation"
DILATED_AT = 8  # the stride that a recipe's dilations are for
MIN_DILATION = 2  # for a dilation of 1 mmsegmentation makes a convolution of 1 x 1


class Segment(DenseTask):
    recipe: SegmentationRecipe

    @classmethod
    def check(cls, recipe: ImageRecipe, rank: Rank) -> None:
        super().check(recipe, rank)
        # mmsegmentation warns that sizes other than Table 7's would suit align_corners better.
        warnings.filterwarnings("ignore", "When align_corners=True")
        MMLogger.get_instance("mmengine", log_level="ERROR")  # else it lists every parameter
        cv2.setNumThreads(0)  # its threads do not survive a fork

    def read(self, split: SplitName) -> Split:
        return read_ade20k(folder_of(self.config.data, "ade20k"), split, self.config.max_broken)

    def build(self, names: list[str]) -> "EncoderSegmentor":
        torch.manual_seed(self.config.seed)
        model: Any = segmentor(self.encoder, self.recipe, len(names))
        model.init_weights()
        if self.rank.world_size > 1:
            # Otherwise the statistics of batch norm would differ from rank to rank.
            model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
        return model.to(self.rank.device)

    def data(self, training: Training, split: Split) -> Data:
        return TrainingScenes(split, self.recipe, training.seed)

    @torch.inference_mode()
    def test(self, model: Any, split: Split) -> Results:
        """What SceneIoU returns by protocol."""
        model.eval()
        side = self.recipe.resolution  # of the square, of the shorter side, and of the window
        results: Results = {}
        for protocol in PROTOCOLS:
            model.test_cfg = ConfigDict(mode="whole")
            if protocol == "slide":
                stride = (max(1, 2 * side // 3),) * 2  # 341 at 512
                model.test_cfg = ConfigDict(mode="slide", crop_size=(side, side), stride=stride)
            scenes = SceneDataset(split, evaluation_pipeline(protocol, side))
            loader: DataLoader[Any] = DataLoader(
                scenes,
                # If ranks' parts differ in size, the last ones see one of the first scenes again.
                sampler=DefaultSampler(scenes, shuffle=False),
                num_workers=self.config.num_workers,
                collate_fn=pseudo_collate,
            )
            metric = SceneIoU(collect_device="gpu" if dist.get_world_size() > 1 else "cpu")
            metric.dataset_meta = {"classes": split.names}
            for batch in progress(loader, desc=protocol, unit="image", disable=self.hidden):
                samples = model.test_step(batch)
                metric.process(batch, [sample.to_dict() for sample in samples])
            metrics = metric.evaluate(len(split))
            results |= {f"{name}_{protocol}": value for name, value in metrics.items()}
        return results


TASK = Segment

# The model


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
        super().init_weights()
        if self.initialization == "release":
            for module in self.modules():
                if isinstance(module, nn.Conv2d):
                    module.reset_parameters()


class EncoderSegmentor(EncoderDecoder, OnFeatureMap):
    """mmsegmentation's segmentor, with RangeAugment in training."""

    features_at = "backbone.features"
    data_preprocessor: Any

    def __init__(self, range_augment: RangeAugment | None, layer_decay: float, **parts: Any):
        super().__init__(**parts)
        self.range_augment = range_augment
        self.layer_decay = layer_decay

    def forward(self, *inputs: Any, **options: Any) -> Any:
        """In training, the loss of a micro-batch of Images."""
        if not self.training:
            return super().forward(*inputs, **options)
        scenes = self.data_preprocessor(pseudo_collate(inputs[0].values), training=True)
        images, losses = scenes["inputs"], {}
        if self.range_augment:
            images, losses["loss_range_augment"] = self.range_augment(images, self.progress)
        losses |= super().loss(images, scenes["data_samples"])
        return super().parse_losses(losses)[0]


# The data


class SceneDataset(BaseSegDataset):
    """The scenes of a split, through `pipeline`; pixels of ids that no class has are ignored."""

    def __init__(self, split: Split, pipeline: Transforms):
        self.split = split
        super().__init__(
            metainfo={"classes": tuple(split.names)}, reduce_zero_label=True, pipeline=pipeline
        )

    def load_data_list(self) -> list[dict[str, Any]]:
        return [
            {
                "img_path": str(scene.image),
                "seg_map_path": str(scene.annotation),
                "label_map": {annotated - 1: IGNORED for annotated in scene.unknown} or None,
                "reduce_zero_label": self.reduce_zero_label,
                "seg_fields": [],
            }
            for scene in self.split.images
        ]


class TrainingScenes(Stream):
    """Scenes resized, flipped, and cropped to at most the recipe's resolution; the model pads."""

    crops = streams.SEGMENTATION_CROPS

    def __init__(self, split: Split, recipe: SegmentationRecipe, seed: int):
        super().__init__([scene.image.name for scene in split.images], recipe, seed)
        side = recipe.resolution
        scales = [(recipe.longest_side, shortest) for shortest in recipe.short_side]
        self.scenes = SceneDataset(
            split,
            [
                LoadImageFromFile(color_type=AS_STORED),
                LoadAnnotations(),
                RandomResize(scale=scales, keep_ratio=True, **RESIZING),
                RandomFlip(prob=0.5),
                RandomCrop(crop_size=(side, side), cat_max_ratio=recipe.most_of_one_class),
                PackSegInputs(),
            ],
        )

    def load(self, number: int, side: int) -> dict[str, Any]:
        return dict(self.scenes[number])


def evaluation_pipeline(protocol: Protocol, side: int) -> Transforms:
    """The transforms of a test scene; labels keep their own size."""
    keep_ratio = protocol == "slide"
    scale = (ANY_LENGTH if keep_ratio else side, side)
    resize = Resize(scale=scale, keep_ratio=keep_ratio, **RESIZING)
    return [LoadImageFromFile(color_type=AS_STORED), resize, LoadAnnotations(), PackSegInputs()]


class SceneIoU(IoUMetric):
    """mmsegmentation's IoU as fractions, also of each class: None for one that is nowhere."""

    def compute_metrics(self, results: list[tuple[Tensor, ...]]) -> Results:
        areas = (torch.stack(parts).double().sum(dim=0) for parts in zip(*results, strict=True))
        metrics = self.total_area_to_metrics(*areas)
        return {
            "miou": float(np.nanmean(metrics["IoU"])),
            "accuracy": float(metrics["aAcc"]),
            "class_accuracy": float(np.nanmean(metrics["Acc"])),
            "iou": [None if np.isnan(value) else float(value) for value in metrics["IoU"]],
        }
