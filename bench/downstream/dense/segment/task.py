"""DeepLabv3 on an encoder, as a task of the dense harness."""

import warnings
from typing import Any, Literal

import torch
from torch import nn

from bench.downstream.dense import result
from bench.downstream.dense.ade20k import AdeSplit, ade20k_root, read_ade20k
from bench.downstream.dense.harness import DenseTask, Results, check_precision, curve, note_warmup
from bench.downstream.dense.segment.data import Stream, training_loader
from bench.downstream.dense.segment.evaluation import score
from bench.downstream.dense.segment.model import EncoderSegmentor, fitting_stride, segmentor
from bench.downstream.dense.segment.training import Training, train
from bench.downstream.dense.stream import Positions
from bench.downstream.encoders.feature_map import FeatureMap
from bench.downstream.encoders.load import weights_digest
from catlip.cli import InputError
from catlip.recipes.dense import SegmentationRecipe
from catlip.training.distributed import Place


class Segment(DenseTask[AdeSplit, EncoderSegmentor]):
    """Label maps, trained by mmengine's runner and scored by mmsegmentation's IoU."""

    record_kind = result.Segmentation

    recipe: SegmentationRecipe

    @classmethod
    def check(cls, recipe: SegmentationRecipe, place: Place) -> None:
        if place.device.type == "cpu" and place.world_size > 1:
            raise InputError(
                "several processes need GPUs, for the statistics of batch norm; start it without "
                "torchrun"
            )
        check_precision(recipe, place)
        # mmsegmentation warns that sizes other than Table 7's would suit align_corners better.
        warnings.filterwarnings("ignore", "When align_corners=True")

    def read(self, split: Literal["train", "val"]) -> AdeSplit:
        config = self.config
        return read_ade20k(ade20k_root(config.data), split, config.max_broken)

    @property
    def stride(self) -> int:
        """Pixels from one feature to the next; 0 for the encoder's own."""
        return fitting_stride(self.encoder, self.recipe)

    def build(self, names: list[str]) -> EncoderSegmentor:
        features = FeatureMap(self.encoder, self.stride, drop_path=self.recipe.drop_path)
        torch.manual_seed(self.config.seed)
        model = segmentor(features, self.recipe, len(names))
        if self.place.world_size > 1:
            # Otherwise the statistics of batch norm would differ from rank to rank.
            model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
        return model.to(self.place.device)

    def notes(self, num_steps: int) -> list[str]:
        recipe, side, (low, high) = self.recipe, self.recipe.resolution, self.recipe.short_side
        notes = [
            f"training images: shorter side resized to {low} to {high} pixels, flipped, cropped to "
            f"{side} x {side}",
            f"fixed: test images resized to {side} x {side} pixels, logits to the image (the "
            "release)",
            f"slide: test images with a shorter side of {side} pixels, a window of {side} x {side} "
            "moved by two thirds of its side (usual in the field)",
            "IoU: a class that is neither on the test images nor predicted does not count",
            "loss: of the first rank",
        ]
        if self.place.world_size > 1:
            notes.append(
                f"batch norm: statistics over all {self.place.world_size} processes (the release: "
                "of each separately)"
            )
        if self.stride != recipe.output_stride:
            notes.append(
                f"output stride: {self.stride} pixels, half of the encoder's, where the recipe's "
                "dilations fit"
            )
        return notes + note_warmup(recipe, num_steps)

    def train(self, model: EncoderSegmentor, split: AdeSplit, identity: dict[str, Any]) -> Results:
        config, recipe, place = self.config, self.recipe, self.place
        training = Training(
            recipe=recipe,
            num_steps=recipe.num_steps(len(split)),
            folder=config.folder / "checkpoints",
            identity=identity,
            place=place,
            seed=config.seed,
            checkpoint_every=config.checkpoint_every,
            hidden=self.hidden,
        )
        micro_steps = training.num_steps * training.accumulation
        loader = training_loader(
            Stream(split, recipe, config.seed),
            Positions(recipe.micro_batch, micro_steps, place),
            config.num_workers,
        )
        losses, seconds = train(model, loader, training)
        self.save(model, identity)
        return {
            "loss": curve(losses),
            "final_loss": float(losses[-1]),
            "seconds": seconds,
            "weights_digest": weights_digest(model.state_dict()),
        }

    def test(self, model: EncoderSegmentor, split: AdeSplit) -> Results:
        config = self.config
        return score(
            model,
            split,
            self.recipe.resolution,
            draw=config.draw,
            num_workers=config.num_workers,
            hidden=self.hidden,
        )

    @staticmethod
    def summary(score: Results) -> str:
        return f"mIoU fixed {score['miou_fixed']:.3f}  slide {score['miou_slide']:.3f}"
