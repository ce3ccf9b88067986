"""Semantic segmentation: DeepLabv3 on an encoder's feature map, trained by mmengine's runner with
its checkpoints, and scored by mmsegmentation's counts of pixels.

The model is mmsegmentation's head and losses, with our encoder as a registered backbone. The head's
activation is the encoder's, GELU, as in the release. It has as many parameters as the release's:
98,751,644 with ViT-B/16, 320,435,356 with L and 652,396,700 with H, of which RangeAugment has six.

Random numbers and the learning rate depend only on the seed, the step and the micro-batch, so a run
that is stopped and started again ends with the same weights. mmengine counts micro-batches;
`accumulation` of them are an optimizer step.
"""

import io
import math
import uuid
import warnings
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import torch
from mmcv.cnn import ConvModule
from mmcv.transforms import LoadImageFromFile, RandomFlip, RandomResize, Resize
from mmengine import ConfigDict, dist
from mmengine.dataset import DefaultSampler, pseudo_collate
from mmengine.hooks import CheckpointHook, Hook
from mmengine.model import MMDistributedDataParallel
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from mmengine.runner import Runner
from mmseg.datasets import BaseSegDataset
from mmseg.datasets.transforms import LoadAnnotations, PackSegInputs, RandomCrop
from mmseg.evaluation import IoUMetric
from mmseg.models import EncoderDecoder
from mmseg.models.decode_heads import ASPPHead
from mmseg.registry import MODELS
from torch import Tensor, nn
from torch.utils.data import DataLoader

from bench.downstream.dense.annotations import IGNORED, Split, SplitName, folder_of, read_ade20k
from bench.downstream.dense.feature_map import FeatureMap, lr_scale_on, vision_transformer
from bench.downstream.dense.harness import KEEP, DenseTask, MicroBatches, Results, Stream, curve
from catlip import streams
from catlip.cli import InputError
from catlip.encoders.load import LoadedEncoder
from catlip.program.progress import progress
from catlip.range_augment import RangeAugment
from catlip.recipes.base import ImageRecipe, Initialization
from catlip.recipes.dense import SegmentationRecipe
from catlip.recipes.fidelity import warmup_steps
from catlip.records.record import note_begun
from catlip.training.distributed import Rank
from catlip.training.parallel import AUTOCAST
from catlip.training.preempt import Notice, catch_stops
from catlip.training.schedule import adamw, augmentation_progress, learning_rate
from catlip.training.trainer import WeightAverage

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
    fixed_processes = True

    @classmethod
    def check(cls, recipe: ImageRecipe, rank: Rank) -> None:
        super().check(recipe, rank)
        # mmsegmentation warns that sizes other than Table 7's would suit align_corners better.
        warnings.filterwarnings("ignore", "When align_corners=True")

    def read(self, split: SplitName) -> Split:
        return read_ade20k(folder_of(self.config.data, "ade20k"), split, self.config.max_broken)

    def build(self, names: list[str]) -> "EncoderSegmentor":
        torch.manual_seed(self.config.seed)
        model = segmentor(self.encoder, self.recipe, len(names))
        if self.rank.world_size > 1:
            # Otherwise the statistics of batch norm would differ from rank to rank.
            model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
        return model.to(self.rank.device)

    def train(self, model: "EncoderSegmentor", split: Split, identity: dict[str, Any]) -> Results:
        config, recipe, rank = self.config, self.recipe, self.rank
        accumulation = recipe.accumulation(rank.world_size)
        plan = recipe.plan(len(split), config.seed)
        batches = MicroBatches(plan, accumulation, rank)
        loader: DataLoader[Any] = DataLoader(
            TrainingScenes(split, recipe, config.seed),
            batch_sampler=batches,
            num_workers=config.num_workers,
            collate_fn=pseudo_collate,
        )
        checkpoints = config.folder / "checkpoints"
        steps = Steps(self, model, batches)
        # mmengine prints what it resumes from, whatever its log's level.
        with redirect_stdout(io.StringIO()), catch_stops() as notice:
            every = config.checkpoint_every * accumulation
            runner = SegmentationRunner(
                model=model,
                work_dir=str(checkpoints),
                train_dataloader=loader,
                train_cfg={
                    "by_epoch": False,
                    "max_iters": len(plan) * accumulation,
                    "fast_forward_on_resume": True,  # Steps does it, without reading any image
                },
                optim_wrapper=optim_wrapper(model, recipe, accumulation),
                default_hooks={
                    "logger": None,
                    "param_scheduler": None,
                    "sampler_seed": None,
                    "checkpoint": Checkpoints(every, accumulation, rank, notice),
                },
                custom_hooks=[steps],
                resume=(checkpoints / "last_checkpoint").exists(),
                launcher="pytorch" if rank.world_size > 1 else "none",
                log_level="ERROR",
                default_scope="mmseg",
                randomness={"seed": config.seed},
                experiment_name=str(uuid.uuid4()),  # two runs of a process share no history
            )
            try:
                runner.train()
            finally:
                # The loader's workers end now; left to the garbage collector, each takes 5 s.
                runner.train_loop.dataloader_iterator = None
        self.finish(model, steps.average, identity)
        history = runner.message_hub
        losses = np.reshape(history.get_scalar("train/loss").data[0], (len(plan), accumulation))
        by_step = losses.mean(axis=1)
        return {
            "loss": curve(by_step),
            "final_loss": float(by_step[-1]),
            "seconds": float(np.sum(history.get_scalar("train/time").data[0])),
        }

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

    def __init__(self, split: Split, recipe: SegmentationRecipe, seed: int):
        super().__init__(len(split), seed, streams.SEGMENTATION_CROPS)
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
        self.metainfo = self.scenes.metainfo  # mmengine asks a data set for its classes

    def load(self, number: int, position: int) -> dict[str, Any]:
        return dict(self.scenes[number])


def evaluation_pipeline(protocol: Protocol, side: int) -> Transforms:
    """The transforms of a test scene; labels keep their own size."""
    keep_ratio = protocol == "slide"
    scale = (ANY_LENGTH if keep_ratio else side, side)
    resize = Resize(scale=scale, keep_ratio=keep_ratio, **RESIZING)
    return [LoadImageFromFile(color_type=AS_STORED), resize, LoadAnnotations(), PackSegInputs()]


# The training


class SegmentationRunner(Runner):
    """mmengine's runner on the device of the model; mmengine would choose a device itself."""

    def wrap_model(self, model_wrapper_cfg: Any, model: nn.Module) -> nn.Module:
        if not self.distributed:
            return model
        device = next(model.parameters()).device
        devices = [device] if device.type == "cuda" else None
        return MMDistributedDataParallel(model, device_ids=devices, broadcast_buffers=False)


class Steps(Hook):
    """Learning rates, random numbers that depend on the step alone, and averaged weights."""

    priority = "VERY_HIGH"

    def __init__(self, task: Segment, model: EncoderSegmentor, batches: MicroBatches):
        recipe, self.num_steps = task.recipe, len(batches.plan)
        self.task, self.model, self.batches = task, model, batches
        self.accumulation = recipe.accumulation(task.rank.world_size)
        self.schedule = replace(recipe, warmup_iterations=warmup_steps(recipe, self.num_steps))
        self.average = WeightAverage(model, recipe.ema_decay, recipe.ema_rising)

    def before_train(self, runner: Runner) -> None:
        """Called by mmengine after it has resumed, and before it reads a batch."""
        self.batches.first_step = runner.iter // self.accumulation
        self.bar = self.task.bar(self.num_steps, self.batches.first_step)
        note_begun()

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        step, micro_step = divmod(runner.iter, self.accumulation)
        rate = learning_rate(step, self.num_steps, self.schedule)
        for group in runner.optim_wrapper.optimizer.param_groups:
            group["lr"] = rate * group["lr_scale"]
        self.model.progress = augmentation_progress(step, self.num_steps, self.schedule)
        rank = self.task.rank
        number = micro_step * rank.world_size + rank.number
        torch.manual_seed(
            streams.seed_at(self.task.config.seed, streams.SEGMENTATION_OBJECTIVE, step, number)
        )

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Called by mmengine before anything is written."""
        step, micro_step = divmod(runner.iter, self.accumulation)
        if not math.isfinite(loss := outputs["loss"].item()):
            raise InputError(
                f"the loss is {loss} at step {step}; try a lower --max-lr or another --seed, with "
                "another --out"
            )
        if micro_step + 1 == self.accumulation:
            self.average.update(step)
            self.bar.set_postfix(loss=f"{loss:.3f}", refresh=False)
            self.bar.update()

    def after_train(self, runner: Runner) -> None:
        self.bar.close()

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        checkpoint["average"] = self.average.values

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        for name, value in checkpoint["average"].items():
            self.average.values[name].copy_(value)


class Checkpoints(CheckpointHook):
    """mmengine's checkpoints, and one more before the exit that a signal asks for."""

    def __init__(self, interval: int, accumulation: int, rank: Rank, notice: Notice):
        super().__init__(interval, by_epoch=False, max_keep_ckpts=KEEP, save_param_scheduler=False)
        self.accumulation, self.rank, self.notice = accumulation, rank, notice

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        super().after_train_iter(runner, batch_idx, data_batch, outputs)
        step, micro_steps = divmod(runner.iter + 1, self.accumulation)
        if not micro_steps:
            self.notice.exit_if_stopped(step, self.rank, lambda: self._save_checkpoint(runner))


def optim_wrapper(
    model: EncoderSegmentor, recipe: SegmentationRecipe, accumulation: int
) -> OptimWrapper:
    """AdamW as in pre-training, stepping once per `accumulation` micro-batches."""
    optimizer = adamw(model, recipe)
    options: dict[str, Any] = {"optimizer": optimizer, "accumulative_counts": accumulation}
    if recipe.grad_clip:
        options["clip_grad"] = {"max_norm": recipe.grad_clip}
    if recipe.precision == "fp32":
        return OptimWrapper(**options)
    scaling = "dynamic" if recipe.precision == "fp16" else 1.0
    return AmpOptimWrapper(loss_scale=scaling, dtype=AUTOCAST[recipe.precision], **options)


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
