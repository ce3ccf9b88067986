"""One run of detection, from the encoder and the data to what its record says."""

import json
import logging
import math
import shutil
import warnings
from typing import Any

import torch
from detectron2.utils import comm

from bench.downstream.coco import CocoSplit, coco_root, note_counts, read_coco
from bench.downstream.dense import Dense, Origin, leave_out, note_encoder
from bench.downstream.detecting.data import (
    MicroBatches,
    Stream,
    register,
    test_loader,
    train_loader,
    usable,
)
from bench.downstream.detecting.evaluation import Pictures, score
from bench.downstream.detecting.model import MaskRCNN, mask_rcnn
from bench.downstream.detecting.trainer import (
    LOSSES,
    Checkpoints,
    DetectionTrainer,
    ProgressBar,
    warmup_steps,
)
from bench.downstream.feature_map import GLOBAL_BLOCKS, FeatureMap
from bench.downstream.fit import SCORE, read_score
from catlip.broken import BrokenImages
from catlip.cli import InputError
from catlip.dense_recipe import DetectionRecipe
from catlip.fidelity import differences
from catlip.lock import only_writer
from catlip.pictures import chosen
from catlip.pretrain import recipe_identity
from catlip.record import Record, note_begun, write_atomically
from catlip.training.distributed import Place, barrier
from catlip.training.loop import save_weights
from catlip.training.threads import use_threads

PYRAMID = (4.0, 2.0, 1.0, 0.5)  # the scales that detectron2's simple pyramid has
# Of the curve of losses that a record keeps; each is the mean of as many steps as it takes.
MOST_POINTS = 1000


def detect(
    config: Dense, recipe: DetectionRecipe, place: Place, record: Record, origin: Origin
) -> dict[str, Any]:
    """Train by `recipe` from the last checkpoint in the run's folder, if there is one, and test the
    averaged weights.

    A finished run is not repeated: its score is read. Its checkpoints are deleted, its weights are
    kept.

    Returns: on the main rank the score, which is then in the record too.
    Raises: InputError when the folder holds another run, the loss is not finite, or the data or the
        encoder are of no use.
    """
    _quieten()
    _check(recipe)
    train, val = _splits(config, record)
    features = FeatureMap(origin.encoder, recipe.output_stride, recipe.window, recipe.drop_path)
    torch.manual_seed(config.seed)
    model = mask_rcnn(features, recipe, len(train.names)).to(place.device)
    note_encoder(record, origin.encoder, origin.digest, model)
    record.metrics |= {
        "num_train": len(train.images),
        "num_val": len(val.images),
        "num_classes": len(train.names),
    }
    record.notes += notes(recipe, recipe.num_steps(len(train.images)))
    identity = recipe_identity(recipe) | {
        **{
            "encoder": config.encoder,
            "encoder_digest": origin.digest,
            "data": config.data,
            "seed": config.seed,
        },
        **{"overfit": config.overfit, "num_train": len(train.images), "num_val": len(val.images)},
    }
    found = read_score(config.folder / SCORE, identity)
    if found is None:
        with only_writer(config.folder, place.is_main):
            found = _fit(config, recipe, place, model, train, val, identity)
    record.metrics |= {name: value for name, value in found.items() if not isinstance(value, list)}
    record.samples |= {name: value for name, value in found.items() if isinstance(value, list)} | {
        "classes": train.names
    }
    return found


def notes(recipe: DetectionRecipe, num_steps: int) -> list[str]:
    """How images are changed and attended to, and what is not as Table 7(e) or the release has
    it.
    """
    side, warmup = recipe.resolution, warmup_steps(recipe, num_steps)
    if recipe.scale_jitter:
        low, high = recipe.scale_jitter
        images = (
            f"training images: flipped, resized to {low:g} to {high:g} times {side} pixels, "
            "cropped (ViTDet's jitter)"
        )
        tests = f"test images: longer side to {side}, padded to a square (ViTDet)"
    else:
        sizes = ", ".join(f"{size.resolution} ({size.batch})" for size in recipe.sizes())
        images = (
            "training images: flipped, resized to squares of one size a step (the release): "
            f"pixels (batch) {sizes}"
        )
        tests = f"test images: resized to {side} x {side} pixels (the release)"
    windowed = (
        f"windows of {recipe.window} x {recipe.window} tokens, {GLOBAL_BLOCKS} blocks global "
        "(ViTDet)"
    )
    attention = f"attention: {windowed if recipe.window else 'global in all blocks (the release)'}"
    decay = (
        "weight decay: of all matrices but the transposed convolutions of the pyramid (the release)"
    )
    short = f"warm-up: {warmup} steps, a tenth of this run, instead of {recipe.warmup_iterations}"
    said = [
        images,
        tests,
        attention,
        decay,
        *([short] if recipe.source == "own" and warmup < recipe.warmup_iterations else []),
    ]
    return said + differences(recipe, "detection", num_steps)


def _check(recipe: DetectionRecipe) -> None:
    scales, jitter = recipe.pyramid_scales, recipe.scale_jitter
    if not scales or list(scales) != [
        scale for scale in PYRAMID if scales[0] >= scale >= scales[-1]
    ]:
        raise InputError(f"pyramid scales {scales} are no run of successive ones of {PYRAMID}")
    if len(jitter) not in (0, 2) or (jitter and not 0 < jitter[0] <= jitter[1]):
        raise InputError(f"scale jitter {jitter} is neither nothing nor a range above 0")


def _quieten() -> None:
    """Keep from the terminal what tells a user nothing: an exception that is raised as well, and
    how detectron2 calls torch.
    """
    logging.getLogger("detectron2.engine.train_loop").setLevel(logging.CRITICAL)
    logging.getLogger("torch.fx._symbolic_trace").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", "torch.meshgrid: in an upcoming release")
    warnings.filterwarnings("ignore", "The given NumPy array is not writable")


def _splits(config: Dense, record: Record) -> tuple[CocoSplit, CocoSplit]:
    """What to train on, images with an object, and what to test on."""
    train, val = (
        read_coco(coco_root(config.data), split, config.max_broken) for split in ("train", "val")
    )
    if train.names != val.names:
        raise InputError(f"{config.data}: training and validation list different categories")
    note_counts(record, train, val)
    train, of_train = usable(train, config.max_broken)
    val, of_val = usable(val, config.max_broken)
    leave_out(record, BrokenImages(train.broken.causes | val.broken.causes), comm.is_main_process())
    record.metrics |= {f"train_{name}": count for name, count in of_train.items()}
    record.metrics |= {f"val_{name}": count for name, count in of_val.items()}
    train = train.first(config.overfit or len(train.images))
    if not train.images:
        raise InputError(f"{config.data}: no training image has an object")
    if config.overfit:
        record.metrics["overfit"] = config.overfit
    return train, train if config.overfit else val


def _fit(
    config: Dense,
    recipe: DetectionRecipe,
    place: Place,
    model: MaskRCNN,
    train: CocoSplit,
    val: CocoSplit,
    identity: dict[str, Any],
) -> dict[str, Any]:
    """Train and test; what the main rank leaves in the folder are the weights and the score."""
    trainer = DetectionTrainer(
        model, recipe, recipe.num_steps(len(train.images)), place, config.seed
    )
    _train(config, trainer, train, identity)
    model.load_state_dict(trainer.weights())
    name = register(val, config.folder / "annotations" / "val.json", place.is_main)
    loader = test_loader(name, recipe, config.num_workers)
    pictures = Pictures(val, list(chosen(len(val.images), config.draw)))
    found = score(model, loader, name, pictures, hidden=config.quiet or not place.is_main)
    if place.is_main:
        found |= _history(trainer)
        save_weights(config.folder / "weights.safetensors", trainer.weights(), identity)
        write_atomically(
            config.folder / SCORE, json.dumps({"identity": identity, "score": found}).encode()
        )
        for spent in ("checkpoints", "annotations"):
            shutil.rmtree(config.folder / spent)
    barrier()
    return found


def _train(
    config: Dense, trainer: DetectionTrainer, train: CocoSplit, identity: dict[str, Any]
) -> None:
    """From the last checkpoint to the last step."""
    recipe, place, checkpoints = trainer.recipe, trainer.place, config.folder / "checkpoints"
    use_threads(config.folder, place)
    start = trainer.resume(checkpoints, identity)
    name = register(train, config.folder / "annotations" / "train.json", place.is_main)
    plan = recipe.plan(len(train.images), config.seed)
    batches = MicroBatches(plan, trainer.accumulation, place, first_step=start)
    stream = Stream(name, config.seed)
    trainer.reset_data_loader(
        lambda: train_loader(stream, recipe, batches, config.seed, config.num_workers)
    )
    trainer.register_hooks([Checkpoints(checkpoints, identity, config.checkpoint_every)])
    if place.is_main and not config.quiet:
        trainer.register_hooks([ProgressBar(config.out.stem)])
    note_begun()
    try:
        trainer.train(start, trainer.num_steps)
    except FloatingPointError as error:
        raise InputError(
            f"{error}; go on from the last checkpoint with another --seed, or try a lower --max-lr"
        ) from error


def _history(trainer: DetectionTrainer) -> dict[str, Any]:
    """How training went: `loss`, [step, loss] each, and so for each of its parts; how it ended, and
    how long it took.
    """
    parts = dict(zip(LOSSES, trainer.history["losses"].unbind(dim=1), strict=True))
    if not trainer.recipe.range_augment:
        del parts["loss_range_augment"]
    total = torch.stack(list(parts.values())).sum(dim=0)
    stretch = math.ceil(trainer.num_steps / MOST_POINTS)
    curves = {
        name: [
            [stretch * number, float(values.mean())]
            for number, values in enumerate(curve.split(stretch))
        ]
        for name, curve in ({"loss": total} | parts).items()
    }
    return curves | {
        "final_loss": float(total[-1]),
        "seconds": float(trainer.history["seconds"]),
        "objects_cropped_away": int(trainer.history["dropped"]),
    }
