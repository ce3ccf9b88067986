"""Detection and instance segmentation: Mask R-CNN on an encoder's feature map, trained by
detectron2's trainer with its hooks and its checkpoints, and scored by COCO's own code.

A run that is stopped and started again ends with the same weights: random numbers depend only on
the seed, the step and the micro-batch, and everything else that the rest of a run depends on is in
its checkpoints.

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
import math
import time
import uuid
import warnings
import weakref
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2 import data as d2
from detectron2 import model_zoo
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import LazyCall, instantiate
from detectron2.data import transforms as T
from detectron2.data.build import trivial_batch_collator
from detectron2.data.datasets import register_coco_instances
from detectron2.data.detection_utils import read_image
from detectron2.engine import SimpleTrainer
from detectron2.engine.hooks import LRScheduler, PeriodicCheckpointer
from detectron2.evaluation import COCOEvaluator, inference_on_dataset
from detectron2.layers import ShapeSpec
from detectron2.modeling import Backbone
from detectron2.modeling.backbone.fpn import LastLevelMaxPool
from detectron2.modeling.meta_arch import GeneralizedRCNN
from detectron2.solver.lr_scheduler import WarmupParamScheduler
from detectron2.structures import ImageList
from fvcore.common.param_scheduler import MultiStepParamScheduler, ParamScheduler
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from bench.downstream.dense.annotations import (
    UNREADABLE,
    CocoSplit,
    Entry,
    SplitName,
    folder_of,
    read_coco,
)
from bench.downstream.dense.feature_map import FeatureMap, lr_scale_on
from bench.downstream.dense.harness import KEEP, DenseTask, MicroBatches, Results, Stream, curve
from bench.downstream.outputs import CHECKPOINTS
from catlip import streams
from catlip.cli import InputError
from catlip.data.decode import open_picture
from catlip.data.sampler import StepPlan
from catlip.program.broken import MAX_BROKEN, cause_of
from catlip.program.progress import Bar, progress
from catlip.range_augment import RangeAugment
from catlip.recipes.base import ImageRecipe
from catlip.recipes.dense import DetectionRecipe
from catlip.recipes.fidelity import warmup_steps
from catlip.records.record import note_begun
from catlip.training.distributed import Rank, barrier
from catlip.training.parallel import (
    autocast,
    distribute,
    gradient_norm,
    gradient_sync,
    mean_over_ranks,
)
from catlip.training.preempt import Notice, catch_stops
from catlip.training.schedule import adamw, augmentation_progress
from catlip.training.trainer import WeightAverage

LOSSES = (
    *("loss_rpn_cls", "loss_rpn_loc", "loss_cls", "loss_box_reg", "loss_mask"),
    "loss_range_augment",
)
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
        # They log an exception that is raised as well, and how detectron2 calls torch.
        logging.getLogger("detectron2.engine.train_loop").setLevel(logging.CRITICAL)
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

    def train(self, model: "MaskRCNN", split: CocoSplit, identity: dict[str, Any]) -> Results:
        config, recipe, rank = self.config, self.recipe, self.rank
        plan = recipe.plan(len(split), config.seed)
        trainer = DetectionTrainer(model, recipe, len(plan), rank=rank, seed=config.seed)
        checkpointer = DetectionCheckpointer(
            model, str(config.folder / "checkpoints"), trainer=weakref.proxy(trainer)
        )
        start = 0
        if checkpointer.has_checkpoint():
            checkpointer.resume_or_load("", resume=True)
            start = trainer.iter + 1
        name = register(split, config.folder / ANNOTATIONS / "train.json", rank.is_main)
        batches = MicroBatches(plan, trainer.accumulation, rank)
        batches.first_step = start
        trainer.reset_data_loader(
            lambda: DataLoader(
                # detectron2's own loader allows one batch size only.
                TrainingImages(name, recipe, plan, config.seed),
                batch_sampler=batches,
                num_workers=config.num_workers,
                collate_fn=trivial_batch_collator,
            )
        )
        note_begun()
        try:
            with catch_stops() as notice, self.bar(len(plan), start) as trainer.bar:
                trainer.register_hooks([Checkpoints(checkpointer, config.checkpoint_every, notice)])
                trainer.train(start, len(plan))
        except FloatingPointError as error:  # detectron2 raises it too
            advice = "try a lower --max-lr or another --seed, with another --out"
            raise InputError(f"{error}; {advice}") from error
        self.finish(model, trainer.average, identity)
        loss, seconds = trainer.history["loss"], trainer.history["seconds"]
        return {"loss": curve(loss), "final_loss": float(loss[-1]), "seconds": float(seconds)}

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

    def __init__(self, name: str, recipe: DetectionRecipe, plan: StepPlan, seed: int):
        images = d2.get_detection_dataset_dicts(name, filter_empty=True)
        super().__init__(len(images), seed, streams.DETECTION_CROPS)
        self.images = d2.DatasetFromList(images)  # serialised: workers share it
        self.plan, self.mappers = plan, {}
        for side in (size.resolution for size in plan.sizes):
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

    def load(self, number: int, position: int) -> dict[str, Any]:
        step = int(np.searchsorted(self.plan.starts, position, side="right")) - 1
        side = self.plan[step].resolution
        mapped: dict[str, Any] = self.mappers[side](self.images[number])
        return mapped | {"side": side}


# The training


class DetectionTrainer(SimpleTrainer):
    """detectron2's trainer, with several micro-batches in each step and averaged weights. `seed` is
    of the random numbers in the model: dropped paths, sampled proposals, augmentation.
    """

    bar: Bar

    def __init__(
        self, model: MaskRCNN, recipe: DetectionRecipe, num_steps: int, rank: Rank, seed: int
    ):
        optimizer = adamw(model, recipe)
        for group in optimizer.param_groups:  # the schedule multiplies these
            group["initial_lr"] = group["lr"] = recipe.max_lr * group["lr_scale"]
        super().__init__(distribute(model, rank, "ddp", recipe.precision), None, optimizer)
        self.detector, self.recipe, self.rank = model, recipe, rank
        self.num_steps, self.seed = num_steps, seed
        self.accumulation = recipe.accumulation(rank.world_size)
        self.scaler = torch.amp.GradScaler(rank.device.type, enabled=recipe.precision == "fp16")
        self.average = WeightAverage(model, recipe.ema_decay, recipe.ema_rising)
        self.history = {
            "loss": torch.full((num_steps,), torch.nan),
            "seconds": torch.tensor(0.0, dtype=torch.float64),
        }
        self.register_hooks([LRScheduler(scheduler=schedule(recipe, num_steps))])

    def run_step(self) -> None:
        begin, recipe, rank = time.perf_counter(), self.recipe, self.rank
        self.detector.progress = augmentation_progress(self.iter, self.num_steps, recipe)
        self.optimizer.zero_grad(set_to_none=True)
        sums = torch.zeros((), device=rank.device)
        for micro_step in range(self.accumulation):
            images = next(self._data_loader_iter)
            number = micro_step * rank.world_size + rank.number
            seed = streams.seed_at(self.seed, streams.DETECTION_OBJECTIVE, self.iter, number)
            torch.manual_seed(seed)
            with gradient_sync(self.model, last=micro_step + 1 == self.accumulation):
                with autocast(rank.device, recipe.precision):
                    parts: dict[str, Tensor] = self.model(images)
                total = torch.stack(list(parts.values())).sum() / self.accumulation
                self.scaler.scale(total).backward()
            values = [parts[name].detach().float() for name in LOSSES if name in parts]
            sums = sums + torch.stack(values) / self.accumulation
        loss = float(sum(mean_over_ranks(sums).cpu()))
        if not math.isfinite(loss):
            raise FloatingPointError(f"the loss is {loss} at step {self.iter}")
        self.scaler.unscale_(self.optimizer)
        parameters = list(self.detector.parameters())
        norm = gradient_norm(parameters)
        if not math.isfinite(norm) and not self.scaler.is_enabled():  # which skips such a step
            raise FloatingPointError(f"the norm of the gradient is {norm} at step {self.iter}")
        if recipe.grad_clip:
            nn.utils.clip_grads_with_norm_(parameters, recipe.grad_clip, norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.average.update(self.iter)
        self.bar.set_postfix(loss=f"{loss:.3f}", refresh=False)
        self.bar.update()
        self.history["loss"][self.iter] = loss
        self.history["seconds"] += time.perf_counter() - begin

    def state_dict(self) -> dict[str, Any]:
        more = {"average": self.average.values, "history": self.history}
        return super().state_dict() | more | {"scaler": self.scaler.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.scaler.load_state_dict(state["scaler"])
        for name, value in state["average"].items():
            self.average.values[name].copy_(value)
        self.history = state["history"]


class Checkpoints(PeriodicCheckpointer):
    """detectron2's checkpoints, and one more before the exit that a signal asks for."""

    def __init__(self, checkpointer: DetectionCheckpointer, every: int, notice: Notice):
        super().__init__(checkpointer, every, max_to_keep=KEEP)
        self.recent_checkpoints = sorted(checkpointer.get_all_checkpoint_files())
        self.notice = notice

    def after_step(self) -> None:
        super().after_step()
        step = self.trainer.iter
        self.notice.exit_if_stopped(
            step + 1,
            self.trainer.rank,
            saved=lambda: self.checkpointer.save(f"{self.file_prefix}_{step:07d}"),
        )


def schedule(recipe: DetectionRecipe, num_steps: int) -> ParamScheduler:
    """The factor of the learning rates at each fraction of the run: linear warm-up, then steps."""
    rounded = {round(num_steps * epoch / recipe.epochs) for epoch in recipe.lr_step_epochs}
    milestones = sorted(step for step in rounded if 0 < step < num_steps)
    values = [recipe.lr_step_factor**falls for falls in range(len(milestones) + 1)]
    steps = MultiStepParamScheduler(values, num_updates=num_steps, milestones=milestones)
    warmup = warmup_steps(recipe, num_steps)
    if not warmup:
        return steps
    return WarmupParamScheduler(steps, recipe.warmup_from / recipe.max_lr, warmup / num_steps)


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
