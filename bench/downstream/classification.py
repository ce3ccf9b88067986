"""Training a classifier on an encoder, the encoder with it or not, by the loop and the data path that pre-training has."""

import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from bench.downstream.accuracy import extract, hits
from bench.downstream.datasets import Split, Task
from bench.downstream.encoders import LoadedEncoder
from bench.downstream.preprocess import Preprocess
from catlip.cli import InputError
from catlip.data.loader import Batch, DataPath
from catlip.data.sampler import SampleOrder
from catlip.data.shards import Shard
from catlip.pretrain import augmented, recipe_identity
from catlip.recipe import TransferRecipe
from catlip.record import write_atomically
from catlip.training.distributed import Place
from catlip.training.loop import Trainer, train

BLOCK = re.compile(r"blocks\.(\d+)\.")
SCORE = "score.json"
LEAST_SHARE = 10  # warm-up takes one step in so many at most: with little data a run is shorter than Table 7's warm-up


class Classification(nn.Module):
    """An image encoder, a linear classifier over the classes of a data set, and softmax cross-entropy.

    Args:
        image_encoder: [B, 3, H, W] to [B, D].
        head: [B, D] to [B, classes].
        recipe: its label smoothing and the decay of the learning rate from block to block.
        frozen: leave the encoder as it is, in evaluation mode and on its device, and train the head alone.
    Raises: InputError when rates are to decay over the blocks of an encoder that has not one row of them.
    """

    needs = frozenset({"labels"})

    def __init__(self, image_encoder: nn.Module, head: nn.Linear, recipe: TransferRecipe, frozen: bool):
        super().__init__()
        if frozen:
            self.__dict__["image_encoder"] = image_encoder  # no part of what is averaged, checkpointed and written
        else:
            self.image_encoder = image_encoder
        self.head = head
        self.label_smoothing, self.layer_decay = recipe.label_smoothing, recipe.layer_decay
        self.frozen = frozen
        image_encoder.requires_grad_(not frozen)
        names = [name for name, _ in image_encoder.named_parameters()]
        blocks = {place: found for place, name in enumerate(names) if (found := BLOCK.search(name))}
        self.depth = 1 + max((int(block[1]) for block in blocks.values()), default=-1)
        self.stem = frozenset(names[: min(blocks, default=0)])  # whatever its library calls them
        if recipe.layer_decay != 1 and len({block.string[: block.start()] for block in blocks.values()}) != 1:
            raise InputError("--layer-decay is for an encoder of one row of numbered blocks, and this one has none")
        self.train()

    def train(self, mode: bool = True) -> "Classification":
        """As of any module; a frozen encoder stays in evaluation mode."""
        super().train(mode)
        self.image_encoder.train(mode and not self.frozen)
        return self

    def forward(self, batch: Batch) -> Tensor:
        """Nats per image."""
        assert batch.labels is not None, "the loader makes what `needs` names"
        with torch.set_grad_enabled(not self.frozen and torch.is_grad_enabled()):
            features = self.image_encoder(batch.images)
        return F.cross_entropy(self.head(features).float(), batch.labels.values, label_smoothing=self.label_smoothing)

    def lr_scale(self, name: str) -> float:
        """1 for the head, r for the last norm and the last block, r^depth for the first, r^(depth + 1) for the stem."""
        own = name.removeprefix("image_encoder.")
        if own == name:
            return 1.0
        if block := BLOCK.search(own):
            return self.layer_decay ** (self.depth - int(block[1]))
        return self.layer_decay ** (self.depth + 1) if own in self.stem else self.layer_decay


@dataclass(frozen=True)
class Score:
    """How good a classifier is: shares of the test images in [0, 1], how long its training took, and how its loss ended.

    Attributes:
        broken: the images that could not be read and were left out, with what is wrong with them.
    """

    top1: float
    top5: float
    seconds: float
    final_loss: float
    broken: Sequence[str] = ()


@dataclass(frozen=True)
class Run:
    """How to train a classifier, apart from the data, the encoder and the head.

    Attributes:
        folder: of the run: its checkpoints, its log and at the end its weights and score.
        identity: what determines the run besides the recipe; a checkpoint made under another one is refused.
        frozen: train the head alone.
    """

    folder: Path
    recipe: TransferRecipe
    identity: dict[str, Any]
    frozen: bool
    seed: int
    place: Place
    num_workers: int = 1
    compile: bool = False
    log_every: int = 20
    checkpoint_every: int = 200
    quiet: bool = False


def train_classifier(run: Run, encoder: LoadedEncoder, head: nn.Linear, train_split: Split, task: Task) -> Score:
    """Train from the last checkpoint in the run's folder, if there is one, and test the averaged weights.

    A finished run is not repeated: its score is read. Its checkpoints are deleted, its weights are kept.
    Raises: InputError when the folder holds another run, the loss is not finite, or too many images cannot be read.
    """
    identity = recipe_identity(run.recipe) | run.identity | {"frozen": run.frozen, "seed": run.seed}
    if (found := _read_score(run.folder / SCORE, identity)) is not None:
        return found
    data = _data_path(run, train_split)
    classification = Classification(encoder.module, head, run.recipe, run.frozen)
    objective = augmented(classification, run.recipe)
    recipe = replace(run.recipe, warmup_iterations=min(run.recipe.warmup_iterations, len(data.plan) // LEAST_SHARE))
    trainer = Trainer(objective, recipe, len(data.plan), data.accumulation, run.place, compile=run.compile, seed=run.seed)
    pin = run.place.device.type == "cuda"
    lines = train(
        trainer,
        lambda step: data.batches(step, run.num_workers, pin_memory=pin),
        run.folder,
        identity,
        run.log_every,
        run.checkpoint_every,
        run.quiet,
    )
    trainer.objective.load_state_dict(trainer.weights())
    top1, top5, broken = evaluate(classification, encoder.preprocess, task.test, run)
    score = Score(top1, top5, lines[-1]["seconds"], lines[-1]["loss"], broken)
    if run.place.is_main:
        write_atomically(run.folder / SCORE, json.dumps({"identity": identity, "score": asdict(score)}).encode())
        shutil.rmtree(run.folder / "checkpoints")
    return score


@torch.inference_mode()
def evaluate(
    classification: Classification, preprocess: Preprocess, test: Split, run: Run
) -> tuple[float, float, Sequence[str]]:
    """Top-1 and top-5 accuracy in [0, 1], and what is left out because it cannot be read; each rank tests its share."""
    classification.eval()
    place = run.place
    mine = test.take(np.arange(place.rank, len(test), place.world_size))
    features = extract(classification.image_encoder, preprocess, mine, run.num_workers, run.quiet or not place.is_main)
    right = hits(classification.head(features.values), features.labels)
    counts = torch.cat([right, right.new_tensor([len(features)])])
    broken = [features.broken] * place.world_size
    if dist.is_initialized():
        dist.all_reduce(counts)
        dist.all_gather_object(broken, features.broken)
    top1, top5, total = counts.tolist()
    return top1 / total, top5 / total, [name for names in broken for name in names]


def fitting(recipe: TransferRecipe, encoder: LoadedEncoder) -> TransferRecipe:
    """The recipe without its other image sizes, where the encoder takes one size only."""
    if encoder.any_size:
        return recipe
    return replace(recipe, min_resolution=recipe.resolution, max_resolution=recipe.resolution, num_scales=1)


def _data_path(run: Run, split: Split) -> DataPath:
    """The data path over one shard, the split itself; its labels are one class id for each image."""
    order = SampleOrder([len(split)], run.seed)

    def labels(samples: Sequence[tuple[Shard, int]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        return split.labels[[number for _, number in samples]], np.arange(len(samples) + 1)

    return DataPath(
        [split],  # type: ignore[list-item]  # it has what a shard is asked for
        order,
        run.recipe.plan(len(split), run.seed),
        run.recipe.augmentation(),
        run.seed,
        run.recipe.accumulation(run.place.world_size),
        run.place.rank,
        run.place.world_size,
        labels,
    )


def _read_score(path: Path, identity: dict[str, Any]) -> Score | None:
    """The score of the finished run in this folder, None without one. Raises: InputError when it is of another identity."""
    if not path.is_file():
        return None
    found, now = json.loads(path.read_text()), json.loads(json.dumps(identity))
    before = found["identity"]
    if changed := [f"{k} {before.get(k)!r} there, {now.get(k)!r} now" for k in before | now if before.get(k) != now.get(k)]:
        raise InputError(f"{path.parent} holds another finished run ({'; '.join(changed)}); give another --out, or remove it")
    return Score(**found["score"])
