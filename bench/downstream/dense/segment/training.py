"""Training a segmentor by mmengine's runner, its averaging and its checkpoints.

Random numbers and the learning rate depend only on the seed, the step and the micro-batch, so a run
that is stopped and started again ends with the same weights. mmengine counts micro-batches;
`accumulation` of them are an optimizer step.
"""

import io
import math
import uuid
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.hooks import CheckpointHook, EMAHook, Hook
from mmengine.model import ExponentialMovingAverage, MMDistributedDataParallel
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from mmengine.registry import MODELS
from mmengine.runner import Runner
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader

from bench.downstream.dense.segment.model import EncoderSegmentor
from catlip import streams
from catlip.cli import InputError
from catlip.fidelity import warmup_steps
from catlip.program.progress import progress
from catlip.recipes.dense import SegmentationRecipe
from catlip.record import note_begun
from catlip.training.distributed import Place
from catlip.training.folder import refuse_another
from catlip.training.parallel import AUTOCAST
from catlip.training.preempt import Notice, noted_stops
from catlip.training.schedule import adamw, augmentation_progress, learning_rate

LATEST = "last_checkpoint"  # the file in which mmengine notes its latest checkpoint
KEEP = 2  # mmengine deletes the oldest before it writes the next


@dataclass(frozen=True)
class Training:
    """How a segmentor is trained.

    Attributes:
        num_steps, checkpoint_every: in optimizer steps.
        folder: mmengine's own, with the checkpoints.
        identity: what determines the run; a checkpoint with another one is refused.
        hidden: show no progress bar.
    """

    recipe: SegmentationRecipe
    num_steps: int
    folder: Path
    identity: dict[str, Any]
    place: Place
    seed: int
    checkpoint_every: int
    hidden: bool

    @property
    def accumulation(self) -> int:
        """Micro-batches of this rank in an optimizer step."""
        return self.recipe.accumulation(self.place.world_size)


class SegmentationRunner(Runner):
    """mmengine's runner on the device of the model; mmengine would choose a device itself."""

    def wrap_model(self, model_wrapper_cfg: Any, model: nn.Module) -> nn.Module:
        """The model, data-parallel if there are several processes."""
        if not self.distributed:
            return model
        device = next(model.parameters()).device
        devices = [device] if device.type == "cuda" else None
        return MMDistributedDataParallel(model, device_ids=devices, broadcast_buffers=False)


class Steps(Hook):
    """Sets the learning rate, the progress and torch's random numbers before each micro-batch, and
    checks the loss after it.
    """

    priority = "VERY_HIGH"

    def __init__(self, model: EncoderSegmentor, training: Training):
        self.model, self.training = model, training
        recipe, num_steps = training.recipe, training.num_steps
        self.schedule = replace(recipe, warmup_iterations=warmup_steps(recipe, num_steps))

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        num_steps, place = self.training.num_steps, self.training.place
        step, micro_step = divmod(runner.iter, self.training.accumulation)
        rate = learning_rate(step, num_steps, self.schedule)
        for group in runner.optim_wrapper.optimizer.param_groups:
            group["lr"] = rate * group["lr_scale"]
        self.model.progress = augmentation_progress(step, num_steps, self.schedule)
        number = micro_step * place.world_size + place.rank
        seed = streams.seed_at(self.training.seed, streams.SEGMENTATION_OBJECTIVE, step, number)
        torch.manual_seed(seed)

    def before_train(self, runner: Runner) -> None:
        """Called by mmengine, after it has taken up a checkpoint."""
        note_begun()

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Called by mmengine, before anything is averaged or written."""
        if not math.isfinite(loss := outputs["loss"].item()):
            step = runner.iter // self.training.accumulation
            raise InputError(
                f"the loss is {loss} at step {step}; try a lower --max-lr or another --seed, with "
                "another --out"
            )


class OfOneRun(Hook):
    """Writes what determines the run into each checkpoint, and refuses those of another run."""

    priority = "VERY_HIGH"

    def __init__(self, identity: dict[str, Any]):
        self.identity = identity

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        checkpoint["identity"] = self.identity

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Called by mmengine. Raises: InputError."""
        refuse_another(Path(runner.work_dir).parent, checkpoint["identity"], self.identity)


class Stops(Hook):
    """When a signal asks for it, exits after an optimizer step, with a checkpoint."""

    priority = "LOWEST"  # after a checkpoint that is due anyway

    def __init__(self, notice: Notice, training: Training):
        self.notice, self.training = notice, training

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        step, micro_steps = divmod(runner.iter + 1, self.training.accumulation)
        if not micro_steps:
            save = partial(self._save, runner, batch_idx)
            self.notice.exit_if_told(step, self.training.place, saved=save)

    @staticmethod
    def _save(runner: Runner, batch_idx: int) -> None:
        (hook,) = (hook for hook in runner.hooks if isinstance(hook, CheckpointHook))
        if (runner.iter + 1) % hook.interval:
            hook.interval = runner.iter + 1
            hook.after_train_iter(runner, batch_idx)


class ProgressBar(Hook):
    """Optimizer steps done, and the loss of the last micro-batch."""

    def __init__(self, name: str, accumulation: int):
        self.name, self.accumulation = name, accumulation

    def before_train(self, runner: Runner) -> None:
        total, done = (count // self.accumulation for count in (runner.max_iters, runner.iter))
        self.bar = progress(total=total, initial=done, desc=self.name, unit="step")

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        if (runner.iter + 1) % self.accumulation == 0:
            self.bar.set_postfix(loss=f"{outputs['loss'].item():.3f}", refresh=False)
            self.bar.update()

    def after_train(self, runner: Runner) -> None:
        self.bar.close()


@MODELS.register_module()
class RisingAverage(ExponentialMovingAverage):
    """mmengine's moving average, with a decay that rises as (1 + step) / (10 + step) to its final
    value.
    """

    def avg_func(self, averaged_param: Tensor, source_param: Tensor, steps: Any) -> None:
        """Moves `averaged_param` towards `source_param`; `steps` counts micro-batches."""
        step = int(steps) // self.interval
        averaged_param.lerp_(source_param, max(self.momentum, 9 / (10 + step)))


def train(
    model: EncoderSegmentor, loader: DataLoader[Any], training: Training
) -> tuple[NDArray[np.float64], float]:
    """Train from the last checkpoint in the folder, if there is one, and leave the averaged weights
    in `model`.

    Args:
        model: on its device.
        loader: all micro-batches of this rank, from the first.
    Returns: the losses [num_steps] of this rank, and the seconds that all steps took.
    Raises: InputError when the folder holds another run, or the loss is not finite.
    """
    average = averaging(training.recipe, training.accumulation)
    runner = _runner(model, loader, training, average=average)
    try:
        # mmengine prints what it resumes from, whatever its log's level.
        with redirect_stdout(io.StringIO()), noted_stops() as notice:
            runner.register_hook(Stops(notice, training))
            runner.train()
    finally:
        # The loader's workers end now; left to the garbage collector, each takes 5 s.
        runner.train_loop.dataloader_iterator = None
    if average:
        model.load_state_dict(average.ema_model.module.state_dict())
    losses, seconds = (
        runner.message_hub.get_scalar(f"train/{name}").data[0] for name in ("loss", "time")
    )
    by_step = np.reshape(losses, (training.num_steps, training.accumulation)).mean(axis=1)
    return by_step, float(np.sum(seconds))


def _runner(
    model: EncoderSegmentor, loader: DataLoader[Any], training: Training, average: EMAHook | None
) -> SegmentationRunner:
    accumulation = training.accumulation
    identity = training.identity | {"processes": training.place.world_size}
    hooks: list[Hook] = [Steps(model, training), OfOneRun(identity)]
    if average:
        hooks.append(average)
    if not training.hidden:
        hooks.append(ProgressBar(training.folder.parent.name, accumulation))
    every = training.checkpoint_every * accumulation
    checkpoints = CheckpointHook(
        every, by_epoch=False, max_keep_ckpts=KEEP, save_param_scheduler=False
    )
    return SegmentationRunner(
        model=model,
        work_dir=str(training.folder),
        train_dataloader=loader,
        train_cfg={"by_epoch": False, "max_iters": training.num_steps * accumulation},
        optim_wrapper=optim_wrapper(model, training.recipe, accumulation),
        default_hooks={
            "logger": None,
            "param_scheduler": None,
            "sampler_seed": None,
            "checkpoint": checkpoints,
        },
        custom_hooks=hooks,
        resume=(training.folder / LATEST).exists(),
        launcher="pytorch" if training.place.world_size > 1 else "none",
        log_level="ERROR",
        default_scope="mmseg",
        randomness={"seed": training.seed},
        experiment_name=str(uuid.uuid4()),  # two runs of a process share no history
    )


def optim_wrapper(
    model: EncoderSegmentor, recipe: SegmentationRecipe, accumulation: int
) -> OptimWrapper:
    """AdamW with the learning rates and weight decays of pre-training, stepping once per
    `accumulation` micro-batches, in the recipe's precision.
    """
    how: dict[str, Any] = {"optimizer": adamw(model, recipe), "accumulative_counts": accumulation}
    if recipe.grad_clip:
        how["clip_grad"] = {"max_norm": recipe.grad_clip}
    if recipe.precision == "fp32":
        return OptimWrapper(**how)
    scaling = "dynamic" if recipe.precision == "fp16" else 1.0
    return AmpOptimWrapper(loss_scale=scaling, dtype=AUTOCAST[recipe.precision], **how)


def averaging(recipe: SegmentationRecipe, accumulation: int) -> EMAHook | None:
    """The hook that averages weights and buffers; None for a recipe without averaging.

    At the first optimizer step the average is set to them; after each later one it moves towards
    them.
    """
    if not recipe.ema_decay:
        return None
    kind = "RisingAverage" if recipe.ema_rising else "ExponentialMovingAverage"
    momentum = 1 - recipe.ema_decay
    return EMAHook(
        kind, momentum=momentum, begin_iter=accumulation, interval=accumulation, update_buffers=True
    )
