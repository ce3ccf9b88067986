"""One training run of a classifier, by the training loop and the data path of pre-training."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.downstream.classify.datasets import Split, ragged
from bench.downstream.encoders.load import LoadedEncoder
from bench.downstream.outputs import scored
from catlip.data.loader import DataPath
from catlip.data.sampler import SampleOrder
from catlip.data.shards import Shard
from catlip.fidelity import warmup_steps
from catlip.objective import Objective
from catlip.pretraining.method import augmented
from catlip.program.broken import MAX_BROKEN, read_broken
from catlip.recipes.transfer import TransferRecipe
from catlip.training.distributed import Place
from catlip.training.loop import train
from catlip.training.trainer import Implementation, Trainer


@dataclass(frozen=True)
class Run:
    """How to train a classifier, apart from the data, the encoder and the head.

    Attributes:
        folder: of the run: its checkpoints, its log and at the end its weights and score.
        identity: what determines the run; a checkpoint made under another one is refused.
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
    max_broken: float = MAX_BROKEN


def fit(
    run: Run, classification: Objective, train_split: Split, score: Callable[[], dict[str, Any]]
) -> dict[str, Any]:
    """Train from the last checkpoint in the run's folder, if there is one, and score the averaged
    weights.

    A finished run is not repeated: its score is read. Its checkpoints are deleted, its weights are
    kept.

    Args:
        score: called when `classification` holds the averaged weights; returns values as in JSON,
            among them `broken`, the broken test images.
    Returns: the score, with `seconds` of training and `final_loss`; `broken` has the broken
        training images too.
    Raises: InputError when the folder holds another run, the loss is not finite, or too many images
        cannot be read.
    """

    def train_and_score() -> dict[str, Any]:
        trained = train_weights(run, classification, train_split)
        tested = score()
        broken = [*read_broken(run.folder).images(), *tested["broken"]]
        return {**trained, **tested, "broken": broken}

    return scored(run.folder, run.identity, run.place, measure=train_and_score)


def train_weights(run: Run, classification: Objective, split: Split) -> dict[str, float]:
    """Train from the last checkpoint in the run's folder, if there is one; leave the averaged
    weights in `classification`.

    Returns: `seconds` of training and `final_loss`.
    """
    data = _data_path(run, split)
    recipe = replace(run.recipe, warmup_iterations=warmup_steps(run.recipe, len(data.plan)))
    trainer = Trainer(
        augmented(classification, run.recipe),
        recipe,
        len(data.plan),
        place=run.place,
        accumulation=data.accumulation,
        implementation=Implementation(compile=run.compile),
        seed=run.seed,
    )
    pin = run.place.device.type == "cuda"
    lines = train(
        trainer,
        lambda step: data.batches(step, run.num_workers, pin_memory=pin),
        run.folder,
        config=run.identity,
        log_every=run.log_every,
        checkpoint_every=run.checkpoint_every,
        quiet=run.quiet,
    )
    trainer.objective.load_state_dict(trainer.weights())
    classification.eval()
    return {"seconds": lines[-1]["seconds"], "final_loss": lines[-1]["loss"]}


def fitting(recipe: TransferRecipe, encoder: LoadedEncoder) -> TransferRecipe:
    """The recipe; for an encoder that takes images of one size only, without the other sizes."""
    if encoder.any_size:
        return recipe
    return replace(
        recipe, min_resolution=recipe.resolution, max_resolution=recipe.resolution, num_scales=1
    )


def _data_path(run: Run, split: Split) -> DataPath:
    """The data path over the split, which takes the place of a single shard."""
    order = SampleOrder([len(split)], run.seed)
    return DataPath(
        [split],  # type: ignore[list-item]  # it has what a shard is asked for
        order,
        run.recipe.plan(len(split), run.seed),
        augmentation=run.recipe.augmentation(),
        seed=run.seed,
        accumulation=run.recipe.accumulation(run.place.world_size),
        rank=run.place.rank,
        world_size=run.place.world_size,
        labels=partial(_labels_of, split),
        max_broken=run.max_broken,
    )


def _labels_of(
    split: Split, captions: Sequence[tuple[Shard, int, int]]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    return ragged(split.labels[[number for _, number, _ in captions]])
