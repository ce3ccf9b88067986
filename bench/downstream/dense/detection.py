"""Detection and instance segmentation: Mask R-CNN on an encoder, trained by detectron2's trainer
with its hooks and its checkpoints, and scored by COCO's own code.

A run that is stopped and started again ends with the same weights: random numbers depend only on
the seed, the step and the micro-batch, and everything else that the rest of a run depends on is in
its checkpoints.
"""

import contextlib
import io
import json
import logging
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
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.data import transforms as T
from detectron2.data.build import trivial_batch_collator
from detectron2.data.datasets import register_coco_instances
from detectron2.data.detection_utils import SizeMismatchError, check_image_size, read_image
from detectron2.engine import SimpleTrainer
from detectron2.engine.hooks import LRScheduler, PeriodicCheckpointer
from detectron2.evaluation import COCOEvaluator, inference_on_dataset
from detectron2.solver.lr_scheduler import WarmupParamScheduler
from detectron2.utils import comm
from fvcore.common.param_scheduler import MultiStepParamScheduler, ParamScheduler
from numpy.typing import NDArray
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchvision.ops import box_convert, nms

from bench.downstream.dense import result
from bench.downstream.dense.annotations import (
    UNREADABLE,
    CocoSplit,
    SplitName,
    check_masks,
    folder_of,
    has_object,
    look_at_all,
    read_coco,
)
from bench.downstream.dense.harness import (
    KEEP,
    DenseTask,
    MicroBatches,
    Results,
    Stream,
    check_precision,
    curve,
    in_three_digits,
    note_warmup,
    weight_average,
)
from bench.downstream.dense.mask_rcnn import PYRAMID, MaskRCNN, mask_rcnn
from bench.downstream.detection import Detection
from bench.downstream.encoders.feature_map import GLOBAL_BLOCKS, FeatureMap
from bench.downstream.encoders.preprocess import rgb_picture
from catlip import streams
from catlip.cli import InputError
from catlip.data.decode import open_picture
from catlip.data.sampler import StepPlan
from catlip.fidelity import warmup_steps
from catlip.program.broken import MAX_BROKEN, BrokenImage, BrokenImages, cause_of
from catlip.program.pictures import chosen, encoded_image, encoded_mask, scale_of
from catlip.program.progress import progress
from catlip.recipes.dense import DetectionRecipe
from catlip.record import note_begun
from catlip.training.distributed import Place, barrier
from catlip.training.parallel import (
    autocast,
    distribute,
    gradient_norm,
    mean_over_ranks,
    synchronised,
)
from catlip.training.preempt import Notice, noted_stops
from catlip.training.schedule import adamw, augmentation_progress

LOSSES = (
    *("loss_rpn_cls", "loss_rpn_loc", "loss_cls", "loss_box_reg", "loss_mask"),
    "loss_range_augment",
)
KINDS = {"bbox": "box", "segm": "mask"}
SUMMARY = (  # the order of COCOeval.stats
    *("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large"),
    *("ar1", "ar10", "ar100", "ar_small", "ar_medium", "ar_large"),
)
OVERLAP = 0.5  # IoU from which two boxes are of one object, if classes are ignored


class Detect(DenseTask[CocoSplit, MaskRCNN]):
    record_kind = result.Detection

    config: Detection
    recipe: DetectionRecipe

    @classmethod
    def check(cls, recipe: DetectionRecipe, place: Place) -> None:
        check_precision(recipe, place)
        scales = recipe.pyramid_scales
        successive = [scale for scale in PYRAMID if scales and scales[0] >= scale >= scales[-1]]
        if not scales or list(scales) != successive:
            raise InputError(f"pyramid scales {scales} are not successive values of {PYRAMID}")
        # The log of an exception that is raised as well, and how detectron2 calls torch.
        logging.getLogger("detectron2.engine.train_loop").setLevel(logging.CRITICAL)
        logging.getLogger("torch.fx._symbolic_trace").setLevel(logging.ERROR)
        warnings.filterwarnings("ignore", "torch.meshgrid: in an upcoming release")
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")

    def read(self, split: SplitName) -> CocoSplit:
        """Training images without an object are left out, test images are not."""
        config = self.config
        listed = read_coco(folder_of(config.data, "coco"), split, config.max_broken)
        images = usable(listed, config.max_broken)
        if split == "val":
            return images
        with_object = images.of([n for n, of in enumerate(images.annotations) if has_object(of)])
        if not len(with_object):
            raise InputError(f"{config.data}: no training image has an object")
        return with_object

    def build(self, names: list[str]) -> MaskRCNN:
        recipe = self.recipe
        features = FeatureMap(
            self.encoder, recipe.output_stride, recipe.window, drop_path=recipe.drop_path
        )
        torch.manual_seed(self.config.seed)
        return mask_rcnn(features, recipe, len(names)).to(self.place.device)

    def notes(self, num_steps: int) -> list[str]:
        recipe, side = self.recipe, self.recipe.resolution
        change, tests = "resized to a square", f"resized to {side} x {side} pixels"  # the release
        if recipe.scale_jitter:
            low, high = recipe.scale_jitter
            change = f"resized to {low:g} to {high:g} times a square, cropped (ViTDet's jitter)"
            tests = f"longer side to {side}, padded to a square (ViTDet)"
        squares = ", ".join(f"{size.resolution} ({size.batch})" for size in recipe.sizes())
        attention = "global"
        if window := recipe.window:
            attention = f"windows of {window} x {window} tokens, {GLOBAL_BLOCKS} blocks global"
        return [
            f"training images: flipped, {change}; pixels (batch) of each step's squares: {squares}",
            f"test images: {tests}",
            f"attention: {attention}",
            *note_warmup(recipe, num_steps),
        ]

    def train(self, model: MaskRCNN, split: CocoSplit, identity: dict[str, Any]) -> Results:
        config, recipe, place = self.config, self.recipe, self.place
        plan = recipe.plan(len(split), config.seed)
        trainer = DetectionTrainer(model, recipe, len(plan), place=place, seed=config.seed)
        checkpointer = DetectionCheckpointer(
            model, str(config.folder / "checkpoints"), trainer=weakref.proxy(trainer)
        )
        start = 0
        if checkpointer.has_checkpoint():
            checkpointer.resume_or_load("", resume=True)
            start = trainer.iter + 1
        name = register(split, config.folder / "annotations" / "train.json", place.is_main)
        batches = MicroBatches(plan, trainer.accumulation, place)
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
            with noted_stops() as notice, self.bar(len(plan), start) as trainer.bar:
                trainer.register_hooks([Checkpoints(checkpointer, config.checkpoint_every, notice)])
                trainer.train(start, len(plan))
        except FloatingPointError as error:
            raise InputError(
                f"{error}; try a lower --max-lr or another --seed, with another --out"
            ) from error
        if trainer.average:
            model.load_state_dict(trainer.average.values)
        self.save(model, identity)
        parts = dict(zip(LOSSES, trainer.history["losses"].unbind(dim=1), strict=True))
        if not recipe.range_augment:
            del parts["loss_range_augment"]
        total = torch.stack(list(parts.values())).sum(dim=0)
        curves = {name: curve(losses) for name, losses in ({"loss": total} | parts).items()}
        return curves | {
            "final_loss": float(total[-1]),
            "seconds": float(trainer.history["seconds"]),
            "objects_cropped_away": int(trainer.history["dropped"]),
        }

    def test(self, model: MaskRCNN, split: CocoSplit) -> Results:
        path = self.config.folder / "annotations" / "val.json"
        name = register(split, path, self.place.is_main)
        loader = evaluation_loader(name, self.recipe, self.config.num_workers)
        return score(model, loader, name, split, self.config.draw, self.hidden)

    @staticmethod
    def summary(score: Results) -> str:
        boxes, masks = in_three_digits(score["box_ap"]), in_three_digits(score["mask_ap"])
        return f"box AP {boxes}  mask AP {masks}"


TASK = Detect

# The data


def usable(split: CocoSplit, max_broken: float = MAX_BROKEN) -> CocoSplit:
    """The images that can be read, with the objects that have a mask. Every image is decoded once:
    one with a fault would otherwise stop the run later, or be read wrongly in a test.
    """
    faults = look_at_all(lambda number: _fault(split, number), len(split))
    broken = BrokenImages(dict(split.broken.causes))
    broken.add(
        BrokenImage(f"{split.folder}:{image['file_name']}", fault)
        for image, fault in zip(split.images, faults, strict=True)
        if fault
    )
    broken.check(split.counts["images"], max_broken)
    whole = split.of([number for number, fault in enumerate(faults) if not fault])
    counts = split.counts | {"unreadable": len(split) - len(whole)}
    return check_masks(replace(whole, broken=broken, counts=counts))


def _fault(split: CocoSplit, number: int) -> str:
    """Why an image cannot be used, "" if it can."""
    listed = split.images[number]
    try:
        path = split.folder / listed["file_name"]
        picture = open_picture(path.read_bytes())  # unlike detectron2, checks format and size
        if picture.mode.startswith("I"):
            return "grey of 16 bits, which detectron2 makes white"
        check_image_size({"file_name": "", **listed}, read_image(path, "RGB"))
    except SizeMismatchError:
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
    """Images in detectron2's form, flipped and resized at random; those of a step are for squares
    of one `side`. `dropped` is the number of objects of which a crop leaves nothing.
    """

    def __init__(self, name: str, recipe: DetectionRecipe, plan: StepPlan, seed: int):
        images = d2.get_detection_dataset_dicts(name, filter_empty=True)
        super().__init__(len(images), seed, streams.DETECTION_CROPS)
        self.images = d2.DatasetFromList(images)  # serialised: workers share it
        self.plan = plan
        self.mappers = {
            size.resolution: d2.DatasetMapper(
                True,
                augmentations=augmentations(recipe, size.resolution),
                image_format="RGB",
                use_instance_mask=True,
                instance_mask_format="bitmask",
                recompute_boxes=True,
            )
            for size in plan.sizes
        }

    def load(self, number: int, position: int) -> dict[str, Any]:
        step = int(np.searchsorted(self.plan.starts, position, side="right")) - 1
        side = self.plan[step].resolution
        image = self.images[number]
        mapped: dict[str, Any] = self.mappers[side](image)
        objects = sum(not annotation.get("iscrowd") for annotation in image["annotations"])
        return mapped | {"dropped": objects - len(mapped["instances"]), "side": side}


def augmentations(recipe: DetectionRecipe, side: int) -> list[T.Augmentation]:
    """To squares of `side` pixels: ViTDet's jitter, or the release's resizing."""
    if not recipe.scale_jitter:
        return [T.RandomFlip(), T.Resize((side, side))]
    jitter = T.ResizeScale(*recipe.scale_jitter, target_height=side, target_width=side)
    # The model pads.
    return [T.RandomFlip(), jitter, T.FixedSizeCrop(crop_size=(side, side), pad=False)]


def evaluation_loader(name: str, recipe: DetectionRecipe, num_workers: int) -> Any:
    """This rank's part of the test images, also those without objects."""
    side = recipe.resolution
    resize: T.Augmentation = T.Resize((side, side))
    if recipe.scale_jitter:
        resize = T.ResizeShortestEdge(side, max_size=side)
    return d2.build_detection_test_loader(
        d2.get_detection_dataset_dicts(name, filter_empty=False),
        mapper=d2.DatasetMapper(False, augmentations=[resize], image_format="RGB"),
        batch_size=recipe.micro_batch,
        num_workers=num_workers,
    )


# The training


class DetectionTrainer(SimpleTrainer):
    """detectron2's trainer, with several micro-batches in each step and averaged weights;
    `reset_data_loader` gives it the micro-batches of this rank. `seed` is of the random numbers in
    the model: dropped paths, sampled proposals, augmentation.
    """

    def __init__(
        self, model: MaskRCNN, recipe: DetectionRecipe, num_steps: int, place: Place, seed: int
    ):
        optimizer = adamw(model, recipe)
        for group in optimizer.param_groups:  # the schedule multiplies these
            group["initial_lr"] = group["lr"] = recipe.max_lr * group["lr_scale"]
        super().__init__(distribute(model, place, "ddp", recipe.precision), None, optimizer)
        self.detector, self.recipe, self.place = model, recipe, place
        self.num_steps, self.seed = num_steps, seed
        self.accumulation = recipe.accumulation(place.world_size)
        self.parameters = list(model.parameters())
        self.scaler = torch.amp.GradScaler(place.device.type, enabled=recipe.precision == "fp16")
        self.average = weight_average(model, recipe)
        self.bar = progress(disable=True)
        self.history = {
            "losses": torch.full((num_steps, len(LOSSES)), torch.nan),
            "dropped": torch.tensor(0),
            "seconds": torch.tensor(0.0, dtype=torch.float64),
        }
        self.register_hooks([LRScheduler(scheduler=schedule(recipe, num_steps))])

    def run_step(self) -> None:
        """One optimizer step. detectron2 raises FloatingPointError when the loss is not finite,
        before any weight has changed.
        """
        begin, wait, dropped = time.perf_counter(), 0.0, 0
        self.detector.progress = augmentation_progress(self.iter, self.num_steps, self.recipe)
        self.optimizer.zero_grad(set_to_none=True)
        sums: dict[str, Tensor] = {}
        for micro_step in range(self.accumulation):
            asked = time.perf_counter()
            images = next(self._data_loader_iter)
            wait += time.perf_counter() - asked
            dropped += sum(image["dropped"] for image in images)
            for name, loss in self._backward(images, micro_step).items():
                sums[name] = sums.get(name, torch.zeros_like(loss)) + loss / self.accumulation
        self._write_metrics(sums, wait)
        if self.recipe.grad_clip:
            self.scaler.unscale_(self.optimizer)
            norm = gradient_norm(self.parameters)
            nn.utils.clip_grads_with_norm_(self.parameters, self.recipe.grad_clip, norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.average:
            self.average.update(self.iter)
        self._remember(sums, dropped, time.perf_counter() - begin)

    def _backward(self, images: list[dict[str, Any]], micro_step: int) -> dict[str, Tensor]:
        number = micro_step * self.place.world_size + self.place.rank
        seed = streams.seed_at(self.seed, streams.DETECTION_OBJECTIVE, self.iter, number)
        torch.manual_seed(seed)
        with synchronised(self.model, last=micro_step + 1 == self.accumulation):
            with autocast(self.place.device, self.recipe.precision):
                losses: dict[str, Tensor] = self.model(images)
            total = torch.stack(list(losses.values())).sum() / self.accumulation
            self.scaler.scale(total).backward()
        return {name: loss.detach() for name, loss in losses.items()}

    def _remember(self, losses: dict[str, Tensor], dropped: int, seconds: float) -> None:
        zero = torch.zeros_like(losses[LOSSES[0]])
        row = torch.stack([losses.get(name, zero).float() for name in LOSSES])
        of_all = mean_over_ranks(torch.cat([row, row.new_tensor([dropped])])).cpu()
        self.bar.set_postfix(loss=f"{of_all[:-1].sum():.3f}", refresh=False)
        self.bar.update()
        self.history["losses"][self.iter] = of_all[:-1]
        self.history["dropped"] += round(of_all[-1].item() * self.place.world_size)
        self.history["seconds"] += seconds

    def state_dict(self) -> dict[str, Any]:
        average = self.average.values if self.average else {}
        more = {"scaler": self.scaler.state_dict(), "average": average, "history": self.history}
        return super().state_dict() | more

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.scaler.load_state_dict(state["scaler"])
        if self.average:
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
        self.notice.exit_if_told(
            step + 1,
            self.trainer.place,
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


def score(
    model: nn.Module, loader: Any, name: str, split: CocoSplit, draw: int, hidden: bool
) -> Results:
    """Test a model on all of a loader's images; all ranks call this, and the main one gets the
    scores. `name` is that of the registered test data set; `draw` pictures are kept.
    """
    evaluator = Scores(name)
    bar = progress(loader, desc="test", unit="batch", disable=hidden)
    with contextlib.redirect_stdout(io.StringIO()):  # COCO's code prints
        results = inference_on_dataset(model, bar, evaluator)
    if not comm.is_main_process():
        return {}
    scores: Results = {}
    for kind, short in KINDS.items():
        scores |= {f"{short}_{what}": value for what, value in results[kind].items()}
    return scores | {
        "classes_without_objects": scores["box_ap_by_class"].count(None),
        "pictures": [evaluator.picture(split, number) for number in chosen(len(split), draw)],
    }


class Scores(COCOEvaluator):
    """detectron2's evaluator of COCO, with recall too.

    Scores are fractions in [0, 1], or None where no test image has such an object. For
    "ap_class_agnostic" the classes of objects are ignored: of boxes that overlap by OVERLAP, the
    best counts.
    """

    def __init__(self, name: str):
        super().__init__(name, tasks=tuple(KINDS), use_fast_impl=False)
        self.evaluated: dict[str, COCOeval] = {}

    def _derive_coco_results(
        self, coco_eval: COCOeval | None, iou_type: str, class_names: Any = None
    ) -> Results:
        # detectron2 passes None if nothing was found.
        evaluated = coco_eval or _evaluate(COCOeval(self._coco_api, COCO(), iou_type))
        self.evaluated[iou_type] = evaluated
        # [thresholds, recalls, classes], for objects of all sizes.
        precision = evaluated.eval["precision"][:, :, :, 0, -1]
        by_class = [
            float(of_class.mean()) if (of_class > -1).all() else None
            for of_class in np.moveaxis(precision, 2, 0)
        ]
        # The same predictions as if all objects were of one class.
        distinct = COCO()
        distinct.dataset = evaluated.cocoGt.dataset | {"annotations": _distinct(evaluated)}
        distinct.createIndex()
        agnostic = COCOeval(evaluated.cocoGt, distinct, iou_type)
        agnostic.params.useCats = 0
        return {
            **dict(zip(SUMMARY, map(_fraction, evaluated.stats), strict=True)),
            "ap_class_agnostic": _fraction(_evaluate(agnostic).stats[0]),
            "ap_by_class": by_class,
        }

    def picture(self, split: CocoSplit, number: int) -> dict[str, Any]:
        """A test image with its objects and as many predictions, in pixels of the kept picture."""
        image = split.images[number]
        scale = scale_of(image["height"], image["width"])
        truth, masks = self.evaluated["segm"].cocoGt, self.evaluated["segm"].cocoDt
        objects = [item for item in split.annotations[number] if not item.get("iscrowd")]
        found = self.evaluated["bbox"].cocoDt.imgToAnns.get(image["id"], [])
        best = sorted(found, key=lambda item: -item["score"])[: len(objects)]

        def drawn(item: dict[str, Any], mask: NDArray[np.uint8]) -> dict[str, Any]:
            left, top, width, height = item["bbox"]
            box = [float(side) * scale for side in (left, top, left + width, top + height)]
            class_id = split.class_ids[item["category_id"]]
            return {"class": class_id, "box": box, "mask": encoded_mask(mask.astype(bool))}

        return {
            "key": image["file_name"],
            "image": encoded_image(
                np.asarray(rgb_picture((split.folder / image["file_name"]).read_bytes()))
            ),
            "width": round(image["width"] * scale),
            "height": round(image["height"] * scale),
            "truth": [drawn(item, truth.annToMask(item)) for item in objects],
            "predicted": [
                # An object has the same id among the boxes and among the masks.
                drawn(item, masks.annToMask(masks.anns[item["id"]])) | {"score": item["score"]}
                for item in best
            ],
        }


def _evaluate(evaluation: COCOeval) -> COCOeval:
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return evaluation


def _distinct(evaluated: COCOeval) -> list[dict[str, Any]]:
    """The predictions left after non-maximum suppression over all classes together."""
    kept = []
    for image in evaluated.params.imgIds:
        predictions = evaluated.cocoDt.imgToAnns.get(image, [])
        boxes = [[float(side) for side in prediction["bbox"]] for prediction in predictions]
        corners = box_convert(torch.tensor(boxes).reshape(-1, 4), "xywh", "xyxy")
        scores = torch.tensor([float(prediction["score"]) for prediction in predictions])
        kept += [predictions[number] for number in nms(corners, scores, OVERLAP)]
    return kept


def _fraction(value: float) -> float | None:
    """COCO's code says -1 where there is nothing to find."""
    return None if value < 0 else float(value)
