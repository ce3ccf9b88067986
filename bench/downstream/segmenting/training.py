"""Training a segmentor by mmengine's runner, its averaging and its checkpoints.

What is random, and the learning rate, depend on the seed, the step and the micro-batch alone, so a
run that is stopped and started again ends at the same weights. mmengine counts micro-batches;
`accumulation` of them are an optimizer step.
"""

import io
import math
import uuid
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.hooks import CheckpointHook, EMAHook, Hook
from mmengine.model import ExponentialMovingAverage, MMDistributedDataParallel
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from mmengine.registry import MODELS
from mmengine.runner import Runner
from torch import Tensor, nn
from torch.utils.data import DataLoader

from bench.downstream.segmenting.model import EncoderSegmentor
from bench.downstream.stream import seed_at
from catlip.cli import InputError
from catlip.dense_recipe import SegmentationRecipe
from catlip.fidelity import LEAST_SHARE
from catlip.progress import progress
from catlip.record import note_begun
from catlip.training.distributed import Place
from catlip.training.folder import refuse_another
from catlip.training.schedule import AUTOCAST, adamw, augmentation_progress, learning_rate
from catlip.training.threads import use_threads

OBJECTIVE = 10  # separates this random stream from others of the same seed
LATEST = "last_checkpoint"  # the file in which mmengine notes it
KEEP = 2  # mmengine deletes the oldest before it writes the next


class SegmentationRunner(Runner):
    """mmengine's, on the device where the model is; mmengine would choose one itself."""

    def wrap_model(self, model_wrapper_cfg: Any, model: nn.Module) -> nn.Module:
        """Data-parallel in several processes."""
        if not self.distributed:
            return model
        device = next(model.parameters()).device
        devices = [device] if device.type == "cuda" else None
        return MMDistributedDataParallel(model, device_ids=devices, broadcast_buffers=False)


class Steps(Hook):
    """Sets the learning rate, the progress and torch's random numbers before each micro-batch, and
    checks the loss after it.

    Args:
        accumulation: micro-batches of this rank in an optimizer step.
        num_steps: optimizer steps of the whole run.
    """

    priority = "VERY_HIGH"

    def __init__(
        self,
        model: EncoderSegmentor,
        recipe: SegmentationRecipe,
        accumulation: int,
        num_steps: int,
        place: Place,
        seed: int,
    ):
        self.model, self.accumulation, self.num_steps = model, accumulation, num_steps
        self.place, self.seed = place, seed
        self.schedule = replace(recipe, warmup_iterations=warmup_steps(recipe, num_steps))

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Called by mmengine."""
        step, micro_step = divmod(runner.iter, self.accumulation)
        rate = learning_rate(step, self.num_steps, self.schedule)
        for group in runner.optim_wrapper.optimizer.param_groups:
            group["lr"] = rate * group["lr_scale"]
        self.model.progress = augmentation_progress(step, self.num_steps, self.schedule)
        torch.manual_seed(
            seed_at(
                self.seed, OBJECTIVE, step, micro_step * self.place.world_size + self.place.rank
            )
        )

    def before_train(self, runner: Runner) -> None:
        """Called by mmengine, after it has taken up a checkpoint."""
        note_begun()

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Called by mmengine, before anything is averaged or written."""
        if not math.isfinite(loss := outputs["loss"].item()):
            step = runner.iter // self.accumulation
            raise InputError(
                f"the loss is {loss} at step {step}; go on from the last checkpoint with another "
                "--seed, or "
                "try a lower --max-lr"
            )


class OfOneRun(Hook):
    """Writes into each checkpoint what determines the run, and refuses one of another run."""

    priority = "VERY_HIGH"

    def __init__(self, identity: dict[str, Any]):
        self.identity = identity

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Called by mmengine."""
        checkpoint["identity"] = self.identity

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Called by mmengine. Raises: InputError."""
        refuse_another(Path(runner.work_dir).parent, checkpoint["identity"], self.identity)


class ProgressBar(Hook):
    """Optimizer steps done, and the loss of the last micro-batch."""

    def __init__(self, name: str, accumulation: int):
        self.name, self.accumulation = name, accumulation

    def before_train(self, runner: Runner) -> None:
        """Show it."""
        total, done = (count // self.accumulation for count in (runner.max_iters, runner.iter))
        self.bar = progress(total=total, initial=done, desc=self.name, unit="step")

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Move it."""
        if (runner.iter + 1) % self.accumulation == 0:
            self.bar.set_postfix(loss=f"{outputs['loss'].item():.3f}", refresh=False)
            self.bar.update()

    def after_train(self, runner: Runner) -> None:
        """Leave it as it stands."""
        self.bar.close()


@MODELS.register_module()
class RisingAverage(ExponentialMovingAverage):
    """mmengine's, with a decay that rises as (1 + step) / (10 + step) to its own."""

    def avg_func(self, averaged_param: Tensor, source_param: Tensor, steps: Any) -> None:
        """Moves `averaged_param` towards `source_param`; `steps` counts micro-batches."""
        step = int(steps) // self.interval
        averaged_param.lerp_(source_param, max(self.momentum, 9 / (10 + step)))


def train(
    model: EncoderSegmentor,
    recipe: SegmentationRecipe,
    loader: DataLoader[Any],
    num_steps: int,
    folder: Path,
    identity: dict[str, Any],
    place: Place,
    seed: int,
    checkpoint_every: int,
    hidden: bool,
) -> dict[str, Any]:
    """Train from the last checkpoint in `folder`, if there is one, and leave the averaged weights
    in `model`.

    Args:
        model: on its device.
        loader: all micro-batches of this rank, from the first.
        num_steps, checkpoint_every: in optimizer steps.
        identity: a checkpoint with another one is refused.
        hidden: no progress bar.
    Returns: "loss" [num_steps], of this rank, and the "seconds" that all steps took.
    Raises: InputError when the folder holds another run, or the loss is not finite.
    """
    use_threads(folder, place)
    accumulation = recipe.accumulation(place.world_size)
    average = averaging(recipe, accumulation)
    hooks: list[Hook] = [Steps(model, recipe, accumulation, num_steps, place, seed)]
    hooks += [OfOneRun(identity | {"processes": place.world_size}), *([average] if average else [])]
    hooks += [] if hidden else [ProgressBar(folder.parent.name, accumulation)]
    runner = SegmentationRunner(
        model=model,
        work_dir=str(folder),
        train_dataloader=loader,
        train_cfg={"by_epoch": False, "max_iters": num_steps * accumulation},
        optim_wrapper=optim_wrapper(model, recipe, accumulation),
        default_hooks={
            **{"logger": None, "param_scheduler": None, "sampler_seed": None},
            "checkpoint": CheckpointHook(
                checkpoint_every * accumulation,
                by_epoch=False,
                max_keep_ckpts=KEEP,
                save_param_scheduler=False,
            ),
        },
        custom_hooks=hooks,
        resume=(folder / LATEST).exists(),
        launcher="pytorch" if place.world_size > 1 else "none",
        log_level="ERROR",
        default_scope="mmseg",
        randomness={"seed": seed},
        experiment_name=str(uuid.uuid4()),  # two runs of a process share no history
    )
    try:
        with redirect_stdout(
            io.StringIO()
        ):  # mmengine prints what it resumes from, whatever its log's level
            runner.train()
    finally:
        runner.train_loop.dataloader_iterator = (
            None  # its workers end now; left to the garbage collector, each takes 5 s
        )
    if average:
        model.load_state_dict(average.ema_model.module.state_dict())
    losses, seconds = (
        runner.message_hub.get_scalar(f"train/{name}").data[0] for name in ("loss", "time")
    )
    return {
        "loss": np.reshape(losses, (num_steps, accumulation)).mean(axis=1),
        "seconds": float(np.sum(seconds)),
    }


def optim_wrapper(
    model: EncoderSegmentor, recipe: SegmentationRecipe, accumulation: int
) -> OptimWrapper:
    """AdamW with the rates and decays of pre-training's rule, over `accumulation` micro-batches, in
    the recipe's precision.
    """
    how: dict[str, Any] = {"optimizer": adamw(model, recipe), "accumulative_counts": accumulation}
    if recipe.grad_clip:
        how["clip_grad"] = {"max_norm": recipe.grad_clip}
    if recipe.precision == "fp32":
        return OptimWrapper(**how)
    scaling = "dynamic" if recipe.precision == "fp16" else 1.0
    return AmpOptimWrapper(loss_scale=scaling, dtype=AUTOCAST[recipe.precision], **how)


def averaging(recipe: SegmentationRecipe, accumulation: int) -> EMAHook | None:
    """The average of weights and buffers, onto them at the first optimizer step and towards them
    after each later one.
    """
    if not recipe.ema_decay:
        return None
    kind = "RisingAverage" if recipe.ema_rising else "ExponentialMovingAverage"
    momentum = 1 - recipe.ema_decay
    return EMAHook(
        kind, momentum=momentum, begin_iter=accumulation, interval=accumulation, update_buffers=True
    )


def warmup_steps(recipe: SegmentationRecipe, num_steps: int) -> int:
    """The recipe's, or one step in LEAST_SHARE of a shorter run."""
    return min(recipe.warmup_iterations, num_steps // LEAST_SHARE)
