"""What each rank finds in a data set in ADE20k's layout, how it scores a segmentor, and what it
trains, as RANK.pt in FOLDER.

torchrun --nproc-per-node 2 tests/bench/downstream/dense/segmentation_ranks.py DATA FOLDER
"""

import sys
from dataclasses import replace
from pathlib import Path

import torch
from mmengine.structures import PixelData

from bench.downstream.dense.ade20k import read_ade20k
from bench.downstream.dense.segment.data import Stream, training_loader
from bench.downstream.dense.segment.evaluation import score
from bench.downstream.dense.segment.model import segmentor
from bench.downstream.dense.segment.training import Training, train
from bench.downstream.dense.stream import Positions
from bench.downstream.encoders.feature_map import FeatureMap
from bench.downstream.encoders.load import open_encoder
from catlip.recipes.dense import STARTER_SEGMENTATION
from catlip.training.distributed import Place, find_place

RECIPE = replace(
    STARTER_SEGMENTATION,
    **{"resolution": 32, "short_side": (32, 48), "head_channels": 8, "output_stride": 8},
    **{"micro_batch": 2, "num_devices": 4, "range_augment": (40.0, 20.0), "drop_path": 0.2},
    **{"grad_clip": 1.0, "ema_decay": 0.5, "max_lr": 1e-3},
    eps=1e-3,  # AdamW makes much of rounding errors in gradients that are far smaller than this
)
STEPS = 3


class Teller:
    """A segmentor that predicts what `predict` makes of the truth."""

    def __init__(self, predict):
        self.predict = predict

    def eval(self):
        return self

    def test_step(self, scenes):
        for found in scenes["data_samples"]:
            found.set_data({"pred_sem_seg": PixelData(data=self.predict(found.gt_sem_seg.data))})
        return scenes["data_samples"]


def found_in(root: Path) -> dict:
    """The counts of the test images, and the score of a segmentor that takes class 1 for class
    0.
    """
    split = read_ade20k(root, "val")
    confused = Teller(lambda truth: torch.where(truth == 1, 0, truth))
    return split.counts | score(confused, split, 32, draw=3, num_workers=0, hidden=True)


def trained_on(root: Path, folder: Path, place: Place) -> dict[str, torch.Tensor]:
    """The parameters after STEPS steps, averaged."""
    torch.manual_seed(0)
    encoder = open_encoder("random:vit_tiny16@32")
    model = segmentor(FeatureMap(encoder, 8, drop_path=RECIPE.drop_path), RECIPE, 3)
    positions = Positions(RECIPE.micro_batch, STEPS * RECIPE.accumulation(place.world_size), place)
    loader = training_loader(Stream(read_ade20k(root, "train"), RECIPE, 0), positions, 0)
    training = Training(
        recipe=RECIPE,
        num_steps=STEPS,
        folder=folder / "checkpoints",
        identity={},
        place=place,
        seed=0,
        checkpoint_every=2,
        hidden=True,
    )
    train(model, loader, training)
    return {name: parameter.detach() for name, parameter in model.named_parameters()}


if __name__ == "__main__":
    place = find_place("cpu")
    root, folder = map(Path, sys.argv[1:])
    torch.save((found_in(root), trained_on(root, folder, place)), folder / f"{place.rank}.pt")
