"""Training a classifier on an encoder that is frozen or trained with it, for images of one class or
of any number of classes.
"""

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.downstream.classify.accuracy import extract_part, hits
from bench.downstream.classify.datasets import Split, Task
from bench.downstream.classify.fit import Run, fit
from bench.downstream.encoders.load import LoadedEncoder
from bench.downstream.encoders.preprocess import Preprocess
from bench.downstream.probe.result import packed
from catlip.categorical import sparse_binary_cross_entropy
from catlip.cli import InputError
from catlip.data.loader import Batch
from catlip.objective import Objective
from catlip.program.broken import BrokenImage
from catlip.recipes.transfer import TransferRecipe
from catlip.training.distributed import of_all_ranks

BLOCK = re.compile(r"blocks\.(\d+)\.")


class Classification(Objective):
    """An image encoder, a linear classifier over the classes of a data set, and softmax
    cross-entropy; if an image can be of several classes, CatLIP's own binary cross-entropy.

    Args:
        image_encoder: [B, 3, H, W] to [B, D].
        head: [B, D] to [B, classes].
        recipe: gives the label smoothing and the decay of the learning rate from block to block.
        frozen: leave the encoder as it is, in evaluation mode and on its device, and train the head
            alone.
        multi_label: whether an image can be of several classes, or none.
    Raises: InputError when the recipe has a layer decay, but the encoder does not have one row of
        numbered blocks.
    """

    needs = frozenset({"labels"})

    def __init__(
        self,
        image_encoder: nn.Module,
        head: nn.Linear,
        recipe: TransferRecipe,
        frozen: bool,
        multi_label: bool = False,
    ):
        super().__init__()
        if frozen:
            # Not registered: it is not averaged, checkpointed or written.
            self.__dict__["image_encoder"] = image_encoder
        else:
            self.image_encoder = image_encoder
        self.head = head
        self.label_smoothing, self.layer_decay = recipe.label_smoothing, recipe.layer_decay
        self.frozen, self.multi_label = frozen, multi_label
        image_encoder.requires_grad_(not frozen)
        names = [name for name, _ in image_encoder.named_parameters()]
        blocks = {place: block for place, name in enumerate(names) if (block := BLOCK.search(name))}
        self.depth = 1 + max((int(block[1]) for block in blocks.values()), default=-1)
        self.stem = frozenset(names[: min(blocks, default=0)])  # parameters before the blocks
        series = {block.string[: block.start()] for block in blocks.values()}
        if recipe.layer_decay != 1 and len(series) != 1:
            raise InputError(
                "--layer-decay needs an encoder with one series of numbered blocks; for this "
                "encoder, set it to 1"
            )
        self.train()

    def train(self, mode: bool = True) -> "Classification":
        """Set the mode, as for any module; a frozen encoder stays in evaluation mode."""
        super().train(mode)
        self.image_encoder.train(mode and not self.frozen)
        return self

    def forward(self, batch: Batch) -> Tensor:
        """Nats per image."""
        assert batch.labels is not None, "the loader makes what `needs` names"
        with torch.set_grad_enabled(not self.frozen and torch.is_grad_enabled()):
            features = self.image_encoder(batch.images)
        logits = self.head(features)
        if self.multi_label:
            return sparse_binary_cross_entropy(logits, batch.labels)
        return F.cross_entropy(
            logits.float(), batch.labels.values, label_smoothing=self.label_smoothing
        )

    def lr_scale(self, name: str) -> float:
        """The factor of the learning rate, at layer decay r: 1 for the head, r for the last norm
        and the last block, r^depth for the first block, r^(depth + 1) for the stem.
        """
        own = name.removeprefix("image_encoder.")
        if own == name:
            return 1.0
        if block := BLOCK.search(own):
            return self.layer_decay ** (self.depth - int(block[1]))
        return self.layer_decay ** (self.depth + 1) if own in self.stem else self.layer_decay


@dataclass(frozen=True)
class Score:
    """How good a classifier is on the test images, and how its training went.

    Attributes:
        top1, top5: accuracy in [0, 1].
        seconds, final_loss: of its training.
        correct: for each test image that could be read, in their order, whether its class had the
            highest score; as `bench.downstream.probe.result.packed` writes it.
        broken: the training and test images that could not be read and were left out.
    """

    top1: float
    top5: float
    seconds: float
    final_loss: float
    correct: str = ""
    broken: Sequence[BrokenImage] = ()


def train_classifier(
    run: Run, encoder: LoadedEncoder, head: nn.Linear, train_split: Split, task: Task
) -> Score:
    """Train by `run`, and test the averaged weights on the task's test images.

    Raises: InputError, as `fit` does.
    """
    classification = Classification(encoder.module, head, run.recipe, frozen=run.frozen)
    results = fit(
        run,
        classification,
        train_split,
        score=partial(evaluate, classification, encoder.preprocess, task.test, run=run),
    )
    broken = [BrokenImage(*image) for image in results.pop("broken")]
    return Score(**results, broken=broken)


@torch.inference_mode()
def evaluate(
    classification: Classification, preprocess: Preprocess, test: Split, run: Run
) -> dict[str, Any]:
    """The fields `top1`, `top5`, `correct` and `broken` of a Score; each rank tests a part of the
    images.
    """
    classification.eval()
    features = extract_part(
        classification.image_encoder, preprocess, test, reading=run, place=run.place
    )
    right = hits(classification.head(features.values), features.labels).cpu().numpy()
    broken = list(itertools.chain(*of_all_ranks(features.broken.images())))
    mine = list(zip(features.numbers.tolist(), right.tolist(), strict=True))
    tested = np.array([hit for _, hit in sorted(itertools.chain(*of_all_ranks(mine)))])
    top1, top5 = tested.mean(axis=0).tolist()
    return {"top1": top1, "top5": top5, "correct": packed(tested[:, 0]), "broken": broken}
