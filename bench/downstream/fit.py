"""One training run of a classifier, by the loop and the data path that pre-training has."""

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.downstream.datasets import Split, ragged
from bench.downstream.encoders import LoadedEncoder
from catlip.broken import MAX_BROKEN, read_broken
from catlip.data.loader import DataPath
from catlip.data.sampler import SampleOrder
from catlip.data.shards import Shard
from catlip.fidelity import LEAST_SHARE
from catlip.lock import only_writer
from catlip.objective import Objective
from catlip.pretrain import augmented, recipe_identity
from catlip.recipe import TransferRecipe
from catlip.record import write_atomically
from catlip.training.distributed import Place
from catlip.training.folder import refuse_another
from catlip.training.loop import Trainer, train

SCORE = "score.json"


@dataclass(frozen=True)
class Run:
    """How to train a classifier, apart from the data, the encoder and the head.

    Attributes:
        folder: of the run: its checkpoints, its log and at the end its weights and score. identity:
        what determines the run besides the recipe; a checkpoint made under another one is refused.
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
        score: called when `classification` holds the averaged weights; what it gives must be of
            JSON, the `broken` images of testing among it.
    Returns: the score, with `seconds` of training and `final_loss`; `broken` has the images of
        training too.
    Raises: InputError when the folder holds another run, the loss is not finite, or too many images
        cannot be read.
    """
    identity = recipe_identity(run.recipe) | run.identity | {"frozen": run.frozen, "seed": run.seed}
    if (found := read_score(run.folder / SCORE, identity)) is not None:
        return found
    with only_writer(run.folder, run.place.is_main):
        return _train(run, classification, identity, train_split=train_split, score=score)


def _train(
    run: Run,
    classification: Objective,
    identity: dict[str, Any],
    train_split: Split,
    score: Callable[[], dict[str, Any]],
) -> dict[str, Any]:
    data = _data_path(run, train_split)
    objective = augmented(classification, run.recipe)
    recipe = replace(
        run.recipe,
        warmup_iterations=min(run.recipe.warmup_iterations, len(data.plan) // LEAST_SHARE),
    )
    trainer = Trainer(
        objective,
        recipe,
        len(data.plan),
        data.accumulation,
        run.place,
        compile=run.compile,
        seed=run.seed,
    )
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
    classification.eval()
    found = {"seconds": lines[-1]["seconds"], "final_loss": lines[-1]["loss"], **score()}
    found["broken"] = [*read_broken(run.folder).images(), *found["broken"]]
    if run.place.is_main:
        write_atomically(
            run.folder / SCORE, json.dumps({"identity": identity, "score": found}).encode()
        )
        shutil.rmtree(run.folder / "checkpoints")
    return found


def fitting(recipe: TransferRecipe, encoder: LoadedEncoder) -> TransferRecipe:
    """The recipe without its other image sizes, where the encoder takes one size only."""
    if encoder.any_size:
        return recipe
    return replace(
        recipe, min_resolution=recipe.resolution, max_resolution=recipe.resolution, num_scales=1
    )


def _data_path(run: Run, split: Split) -> DataPath:
    """The data path over one shard, the split itself."""
    order = SampleOrder([len(split)], run.seed)
    return DataPath(
        [split],  # type: ignore[list-item]  # it has what a shard is asked for
        order,
        run.recipe.plan(len(split), run.seed),
        run.recipe.augmentation(),
        run.seed,
        run.recipe.accumulation(run.place.world_size),
        run.place.rank,
        run.place.world_size,
        partial(_labels_of, split),
        max_broken=run.max_broken,
    )


def _labels_of(
    split: Split, samples: Sequence[tuple[Shard, int]]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    return ragged(split.labels[[number for _, number in samples]])


def read_score(path: Path, identity: dict[str, Any]) -> dict[str, Any] | None:
    """The score of the finished run in this folder, None without one.

    Raises: InputError when it is of another identity.
    """
    if not path.is_file():
        return None
    found = json.loads(path.read_text())
    refuse_another(path.parent, found["identity"], identity)
    score: dict[str, Any] = found["score"]
    return score
