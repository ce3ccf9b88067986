"""One run of segmentation, from the encoder and the data to what its record says."""

import json
import math
import shutil
import warnings
from hashlib import sha256
from typing import Any

import torch
from mmengine import dist
from torch import Tensor, nn

from bench.downstream.dense import Dense, Origin, leave_out, note_encoder
from bench.downstream.feature_map import FeatureMap
from bench.downstream.fit import SCORE, read_score
from bench.downstream.segmenting.ade20k import AdeSplit, ade20k_root, note_counts, read_ade20k
from bench.downstream.segmenting.data import Stream, training_loader
from bench.downstream.segmenting.evaluation import score
from bench.downstream.segmenting.model import EncoderSegmentor, fitting_stride, segmentor
from bench.downstream.segmenting.training import train, warmup_steps
from bench.downstream.stream import Positions
from catlip.broken import BrokenImages
from catlip.dense_recipe import SegmentationRecipe
from catlip.fidelity import differences
from catlip.lock import only_writer
from catlip.pretrain import recipe_identity
from catlip.record import Record, write_atomically
from catlip.training.distributed import Place, barrier
from catlip.training.loop import save_weights

# Of the curve of losses that a record keeps; each is the mean of as many steps as it takes.
MOST_POINTS = 1000


def segment(
    config: Dense, recipe: SegmentationRecipe, place: Place, record: Record, origin: Origin
) -> dict[str, Any]:
    """Train by `recipe` from the last checkpoint in the run's folder, if there is one, and test the
    averaged weights.

    A finished run is not repeated: its score is read. Its checkpoints are deleted, its weights are
    kept.

    Returns: on the main rank the score, which is then in the record too.
    Raises: InputError when the folder holds another run, the loss is not finite, or the data or the
        encoder are of no use.
    """
    train_split, val_split = _splits(config, record)
    stride = fitting_stride(origin.encoder, recipe)
    features = FeatureMap(origin.encoder, stride, drop_path=recipe.drop_path)
    torch.manual_seed(config.seed)
    model = segmentor(features, recipe, len(train_split.names))
    note_encoder(record, origin.encoder, origin.digest, model)
    sizes = {"num_train": len(train_split.scenes), "num_val": len(val_split.scenes)}
    record.metrics |= sizes | {"num_classes": len(train_split.names)}
    record.notes += notes(recipe, recipe.num_steps(len(train_split.scenes)), place)
    if stride != recipe.output_stride:
        record.notes.append(
            f"output stride: {stride} pixels, half of the encoder's, where the recipe's dilations "
            "fit"
        )
    transferred = {"encoder": config.encoder, "encoder_digest": origin.digest, "data": config.data}
    identity = (
        recipe_identity(recipe)
        | sizes
        | transferred
        | {"seed": config.seed, "overfit": config.overfit}
    )
    identity = json.loads(json.dumps(identity))  # as it is when it is read again
    found = read_score(config.folder / SCORE, identity)
    if found is None:
        with only_writer(config.folder, place.is_main), warnings.catch_warnings():
            warnings.filterwarnings(
                "ignore", "When align_corners=True"
            )  # of sizes that would suit it better than Table 7's
            found = _fit(config, recipe, place, model, train_split, val_split, identity)
    record.metrics |= {name: value for name, value in found.items() if not isinstance(value, list)}
    record.samples |= {name: value for name, value in found.items() if isinstance(value, list)}
    record.samples["classes"] = train_split.names
    return found


def notes(recipe: SegmentationRecipe, num_steps: int, place: Place) -> list[str]:
    """How images are changed and tested, and what is not as Table 7(d) or the release has it."""
    side, (low, high), warmup = (
        recipe.resolution,
        recipe.short_side,
        warmup_steps(recipe, num_steps),
    )
    said = [
        (
            f"training images: shorter side resized to {low} to {high} pixels, flipped, cropped to "
            f"{side} x {side}"
        ),
        f"fixed: test images resized to {side} x {side} pixels, logits to the image (the release)",
        (
            f"slide: test images of a shorter side of {side} pixels, a window of {side} x {side} "
            "slid "
            "by two thirds (the field)"
        ),
        "IoU: a class that is neither on the test images nor predicted does not count",
        "loss: of the first rank",
    ]
    if place.world_size > 1:
        said.append(
            f"batch norm: statistics over all {place.world_size} processes (the release: of each "
            "by itself)"
        )
    if recipe.source == "own" and warmup < recipe.warmup_iterations:
        said.append(
            f"warm-up: {warmup} steps, a tenth of this run, instead of {recipe.warmup_iterations}"
        )
    return said + differences(recipe, "segmentation", num_steps)


def _splits(config: Dense, record: Record) -> tuple[AdeSplit, AdeSplit]:
    """What to train on, and what to test on."""
    root = ade20k_root(config.data)
    train_split, val_split = (
        read_ade20k(root, split, config.max_broken) for split in ("train", "val")
    )
    note_counts(record, train_split, val_split)
    leave_out(
        record,
        BrokenImages(train_split.broken.causes | val_split.broken.causes),
        dist.is_main_process(),
    )
    if not config.overfit:
        return train_split, val_split
    record.metrics["overfit"] = config.overfit
    few = train_split.first(config.overfit)
    return few, few


def _fit(
    config: Dense,
    recipe: SegmentationRecipe,
    place: Place,
    model: EncoderSegmentor,
    train_split: AdeSplit,
    val_split: AdeSplit,
    identity: dict[str, Any],
) -> dict[str, Any]:
    """Train and test; what the main rank leaves in the folder are the weights and the score."""
    if (
        place.world_size > 1
    ):  # else the encoder's and the head's statistics would differ from rank to rank
        model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    model = model.to(place.device)
    hidden, checkpoints = config.quiet or not place.is_main, config.folder / "checkpoints"
    num_steps = recipe.num_steps(len(train_split.scenes))
    positions = Positions(
        recipe.micro_batch, num_steps * recipe.accumulation(place.world_size), place
    )
    loader = training_loader(
        Stream(train_split, recipe, config.seed), positions, config.num_workers
    )
    every, seed = config.checkpoint_every, config.seed
    trained = train(
        model, recipe, loader, num_steps, checkpoints, identity, place, seed, every, hidden
    )
    found = score(model, val_split, recipe.resolution, config.draw, config.num_workers, hidden)
    found |= {
        "seconds": trained["seconds"],
        "final_loss": float(trained["loss"][-1]),
        "loss": _curve(trained["loss"]),
    }
    found["weights_digest"] = _digest(model.state_dict())
    if place.is_main:
        save_weights(config.folder / "weights.safetensors", model.state_dict(), identity)
        write_atomically(
            config.folder / SCORE, json.dumps({"identity": identity, "score": found}).encode()
        )
        shutil.rmtree(checkpoints)
    barrier()
    return found


def _curve(losses: Any) -> list[list[float]]:
    """[step, loss] each, at most MOST_POINTS."""
    stretch = math.ceil(len(losses) / MOST_POINTS)
    return [
        [start, float(losses[start : start + stretch].mean())]
        for start in range(0, len(losses), stretch)
    ]


def _digest(weights: dict[str, Tensor]) -> str:
    found = sha256()
    for name, tensor in sorted(weights.items()):
        found.update(
            name.encode() + tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes()
        )
    return found.hexdigest()[:16]
