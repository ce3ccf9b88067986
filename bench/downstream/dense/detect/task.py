"""Mask R-CNN on an encoder, as a task of the dense harness."""

import logging
import warnings
from typing import Any, Literal

import torch

from bench.downstream.dense import result
from bench.downstream.dense.coco import CocoSplit, coco_root, read_coco
from bench.downstream.dense.detect.data import (
    MicroBatches,
    Stream,
    register,
    test_loader,
    train_loader,
    usable,
)
from bench.downstream.dense.detect.evaluation import Pictures, score
from bench.downstream.dense.detect.model import MaskRCNN, mask_rcnn
from bench.downstream.dense.detect.trainer import LOSSES, Checkpoints, DetectionTrainer, ProgressBar
from bench.downstream.dense.harness import (
    DenseTask,
    Results,
    check_precision,
    curve,
    note_warmup,
    shown,
)
from bench.downstream.encoders.feature_map import GLOBAL_BLOCKS, FeatureMap
from catlip.cli import InputError
from catlip.program.pictures import chosen
from catlip.recipes.dense import DetectionRecipe
from catlip.record import note_begun
from catlip.training.distributed import Place
from catlip.training.preempt import noted_stops

PYRAMID = (4.0, 2.0, 1.0, 0.5)  # the scales that detectron2's simple pyramid has


class Detect(DenseTask[CocoSplit, MaskRCNN]):
    """Boxes and masks, trained by detectron2's trainer and scored by COCO's own code."""

    record_kind = result.Detection

    recipe: DetectionRecipe

    @classmethod
    def check(cls, recipe: DetectionRecipe, place: Place) -> None:
        check_precision(recipe, place)
        scales, jitter = recipe.pyramid_scales, recipe.scale_jitter
        successive = [scale for scale in PYRAMID if scales and scales[0] >= scale >= scales[-1]]
        if not scales or list(scales) != successive:
            raise InputError(f"pyramid scales {scales} are not successive values of {PYRAMID}")
        if len(jitter) not in (0, 2) or list(jitter) != sorted(jitter):
            raise InputError(f"scale jitter {jitter} is neither empty nor a range above 0")
        _quieten()

    def read(self, split: Literal["train", "val"]) -> CocoSplit:
        """The images of a split that can be used; training images without an object are left out,
        test images are not.
        """
        config = self.config
        listed = read_coco(coco_root(config.data), split, config.max_broken)
        images = usable(listed, config.max_broken)
        if split == "val":
            return images
        with_object = images.first(len(images))
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
        sizes = ", ".join(f"{size.resolution} ({size.batch})" for size in recipe.sizes())
        if recipe.scale_jitter:
            low, high = recipe.scale_jitter
            change = f"resized to {low:g} to {high:g} times a square, cropped (ViTDet's jitter)"
            tests = f"test images: longer side to {side}, padded to a square (ViTDet)"
        else:
            change = "resized to a square (the release)"
            tests = f"test images: resized to {side} x {side} pixels (the release)"
        attention = "global in all blocks (the release)"
        if recipe.window:
            attention = (
                f"windows of {recipe.window} x {recipe.window} tokens, {GLOBAL_BLOCKS} blocks "
                "global (ViTDet)"
            )
        return [
            f"training images: flipped, {change}; pixels (batch) of each step's squares: {sizes}",
            tests,
            f"attention: {attention}",
            "weight decay: of all matrices except the pyramid's transposed convolutions (the "
            "release)",
            *note_warmup(recipe, num_steps),
        ]

    def train(self, model: MaskRCNN, split: CocoSplit, identity: dict[str, Any]) -> Results:
        config, recipe, place = self.config, self.recipe, self.place
        num_steps = recipe.num_steps(len(split))
        trainer = DetectionTrainer(model, recipe, num_steps, place=place, seed=config.seed)
        checkpoints = config.folder / "checkpoints"
        start = trainer.resume(checkpoints, identity)
        name = register(split, config.folder / "annotations" / "train.json", place.is_main)
        plan = recipe.plan(len(split), config.seed)
        batches = MicroBatches(plan, trainer.accumulation, place, first_step=start)
        stream = Stream(name, config.seed)
        trainer.reset_data_loader(
            lambda: train_loader(
                stream, recipe, batches, seed=config.seed, num_workers=config.num_workers
            )
        )
        if not self.hidden:
            trainer.register_hooks([ProgressBar(config.out.stem)])
        note_begun()
        every = config.checkpoint_every
        try:
            with noted_stops() as notice:
                trainer.register_hooks([Checkpoints(checkpoints, identity, every, notice=notice)])
                trainer.train(start, num_steps)
        except FloatingPointError as error:
            raise InputError(
                f"{error}; try a lower --max-lr or another --seed, with another --out"
            ) from error
        model.load_state_dict(trainer.weights())
        self.save(model, identity)
        return _history(trainer)

    def test(self, model: MaskRCNN, split: CocoSplit) -> Results:
        config = self.config
        path = config.folder / "annotations" / "val.json"
        name = register(split, path, self.place.is_main)
        loader = test_loader(name, self.recipe, config.num_workers)
        pictures = Pictures(split, list(chosen(len(split), config.draw)))
        return score(model, loader, name, pictures=pictures, hidden=self.hidden)

    @staticmethod
    def summary(score: Results) -> str:
        return f"box AP {shown(score['box_ap'])}  mask AP {shown(score['mask_ap'])}"


def _quieten() -> None:
    """Hide what does not help a user: the log of an exception that is raised as well, and warnings
    about how detectron2 calls torch.
    """
    logging.getLogger("detectron2.engine.train_loop").setLevel(logging.CRITICAL)
    logging.getLogger("torch.fx._symbolic_trace").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", "torch.meshgrid: in an upcoming release")
    warnings.filterwarnings("ignore", "The given NumPy array is not writable")


def _history(trainer: DetectionTrainer) -> Results:
    """The curves of `loss` and of each of its parts, the final loss, the seconds, and how many
    objects were cropped away.
    """
    parts = dict(zip(LOSSES, trainer.history["losses"].unbind(dim=1), strict=True))
    if not trainer.recipe.range_augment:
        del parts["loss_range_augment"]
    total = torch.stack(list(parts.values())).sum(dim=0)
    curves = {name: curve(losses) for name, losses in ({"loss": total} | parts).items()}
    return curves | {
        "final_loss": float(total[-1]),
        "seconds": float(trainer.history["seconds"]),
        "objects_cropped_away": int(trainer.history["dropped"]),
    }
