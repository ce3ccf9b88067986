"""Training a detector: detectron2's trainer and hooks, with accumulated gradients, averaged weights
and this project's checkpoints.

A run that is stopped and started again ends with the same weights: random numbers depend only on
the seed, the step and the micro-batch, and everything else that the rest of a run depends on is in
its checkpoints.
"""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from detectron2.engine import HookBase, SimpleTrainer
from detectron2.engine.hooks import LRScheduler
from detectron2.solver.lr_scheduler import WarmupParamScheduler
from fvcore.common.param_scheduler import MultiStepParamScheduler, ParamScheduler
from torch import Tensor, nn

from bench.downstream.dense.detect.model import MaskRCNN
from catlip import streams
from catlip.fidelity import warmup_steps
from catlip.program.progress import progress
from catlip.recipes.dense import DetectionRecipe
from catlip.training import checkpoint
from catlip.training.distributed import Place
from catlip.training.loop import nothing
from catlip.training.parallel import (
    autocast,
    distribute,
    gradient_norm,
    mean_over_ranks,
    synchronised,
)
from catlip.training.preempt import Notice
from catlip.training.schedule import adamw, augmentation_progress
from catlip.training.trainer import WeightAverage

LOSSES = (
    "loss_rpn_cls",
    "loss_rpn_loc",
    "loss_cls",
    "loss_box_reg",
    "loss_mask",
    "loss_range_augment",
)


class DetectionTrainer(SimpleTrainer):
    """detectron2's trainer, with several micro-batches in each step; `reset_data_loader` gives it
    those of this rank.

    Args:
        model: on its device.
        num_steps: optimizer steps of the whole run.
        seed: of the random numbers in the model: dropped paths, sampled proposals, augmentation.
    Attributes:
        history: "losses" [num_steps, len(LOSSES)] float32, NaN for steps to come; "dropped", the
            number of objects that crops removed; "seconds" of all steps so far.
    """

    def __init__(
        self, model: MaskRCNN, recipe: DetectionRecipe, num_steps: int, place: Place, seed: int
    ):
        replica = distribute(model, place, "ddp", precision=recipe.precision)
        super().__init__(replica, None, _optimizer(model, recipe))
        self.detector, self.recipe, self.place = model, recipe, place
        self.num_steps, self.seed = num_steps, seed
        self.accumulation = recipe.accumulation(place.world_size)
        self.parameters = list(model.parameters())
        self.scaler = torch.amp.GradScaler(place.device.type, enabled=recipe.precision == "fp16")
        self.average = (
            WeightAverage(model, recipe.ema_decay, recipe.ema_rising) if recipe.ema_decay else None
        )
        self.history = {
            "losses": torch.full((num_steps, len(LOSSES)), torch.nan),
            "dropped": torch.tensor(0),
            "seconds": torch.tensor(0.0, dtype=torch.float64),
        }
        self.register_hooks([LRScheduler(scheduler=schedule(recipe, num_steps)), _Average()])

    def run_step(self) -> None:
        """One optimizer step.

        Raises: FloatingPointError, from detectron2, when the loss is not finite; no weight has
            changed then.
        """
        begin, wait, dropped = time.perf_counter(), 0.0, 0
        self.detector.progress = augmentation_progress(self.iter, self.num_steps, self.recipe)
        self.optimizer.zero_grad(set_to_none=True)
        sums: dict[str, Tensor] = {}
        for micro_step in range(self.accumulation):
            asked = time.perf_counter()
            images = next(self._data_loader_iter)
            wait += time.perf_counter() - asked
            dropped += sum(image["dropped"] for image in images)
            for name, loss in self._backward(images, micro_step).items():
                sums[name] = sums.get(name, torch.zeros_like(loss)) + loss / self.accumulation
        self._write_metrics(sums, wait)
        self._update()
        self._remember(sums, dropped, time.perf_counter() - begin)

    def state(self) -> checkpoint.State:
        """Everything that the rest of the run depends on.

        The tensors are those in use and not copies, except the scaler's, so that filling them
        restores the run.
        """
        return {
            "model": self.detector.state_dict(),
            "optimizer": checkpoint.moments_of(self.detector, self.optimizer),
            "average": self.average.values if self.average else {},
            "scaler": {
                name: torch.tensor(value) for name, value in self.scaler.state_dict().items()
            },
            "history": self.history,
        }

    def resume(self, folder: Path, identity: dict[str, Any]) -> int:
        """Load the newest checkpoint in `folder` that is not damaged, if there is one.

        Returns: the number of steps done.
        Raises: as `checkpoint.resume`.
        """
        return checkpoint.resume(folder, partial(self._load, identity)) or 0

    def _load(self, identity: dict[str, Any], path: Path) -> int:
        state = self.state()
        head = checkpoint.load(path, identity, state)
        self.scaler.load_state_dict({name: value.item() for name, value in state["scaler"].items()})
        return head.step

    def weights(self) -> dict[str, Tensor]:
        """The weights to test: their moving average when there is one."""
        return self.average.values if self.average else self.detector.state_dict()

    def _backward(self, images: list[dict[str, Any]], micro_step: int) -> dict[str, Tensor]:
        number = micro_step * self.place.world_size + self.place.rank
        seed = streams.seed_at(self.seed, streams.DETECTION_OBJECTIVE, self.iter, number)
        torch.manual_seed(seed)
        with synchronised(self.model, last=micro_step + 1 == self.accumulation):
            with autocast(self.place.device, self.recipe.precision):
                losses: dict[str, Tensor] = self.model(images)
            total = torch.stack(list(losses.values())).sum() / self.accumulation
            self.scaler.scale(total).backward()
        return {name: loss.detach() for name, loss in losses.items()}

    def _update(self) -> None:
        if self.recipe.grad_clip:
            self.scaler.unscale_(self.optimizer)
            norm = gradient_norm(self.parameters)
            nn.utils.clip_grads_with_norm_(self.parameters, self.recipe.grad_clip, norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()

    def _remember(self, losses: dict[str, Tensor], dropped: int, seconds: float) -> None:
        zero = torch.zeros_like(losses[LOSSES[0]])
        row = torch.stack([losses.get(name, zero).float() for name in LOSSES])
        of_all = mean_over_ranks(torch.cat([row, row.new_tensor([dropped])])).cpu()
        self.history["losses"][self.iter] = of_all[:-1]
        self.history["dropped"] += round(of_all[-1].item() * self.place.world_size)
        self.history["seconds"] += seconds


class Checkpoints(HookBase):
    """Writes a checkpoint whenever `every` steps are done, after the last step, and before the exit
    that a signal asks for.

    Raises: OSError when that fails; the checkpoint before is then untouched.
    """

    def __init__(self, folder: Path, identity: dict[str, Any], every: int, *, notice: Notice):
        self.folder, self.identity, self.every, self.notice = folder, identity, every, notice

    def after_step(self) -> None:
        done = self.trainer.iter + 1
        save: Callable[[], object] = partial(self._save, done)
        if done % self.every == 0 or done == self.trainer.num_steps:
            self._save(done)
            save = nothing
        self.notice.exit_if_told(done, self.trainer.place, saved=save)

    def _save(self, done: int) -> None:
        if self.trainer.place.is_main:
            checkpoint.save(self.folder, done, self.trainer.state(), config=self.identity)


class ProgressBar(HookBase):
    """Steps done, and the loss."""

    def __init__(self, name: str):
        self.name = name

    def before_train(self) -> None:
        self.bar = progress(
            total=self.trainer.max_iter,
            initial=self.trainer.start_iter,
            desc=self.name,
            unit="step",
        )

    def after_step(self) -> None:
        self.bar.update()
        self.bar.set_postfix(loss=f"{self.trainer.storage.latest()['total_loss'][0]:.3f}")

    def after_train(self) -> None:
        self.bar.close()


class _Average(HookBase):
    def after_step(self) -> None:
        if self.trainer.average:
            self.trainer.average.update(self.trainer.iter)


def schedule(recipe: DetectionRecipe, num_steps: int) -> ParamScheduler:
    """The factor of the learning rates at each fraction of the run: linear warm-up, then steps."""
    rounded = {round(num_steps * epoch / recipe.epochs) for epoch in recipe.lr_step_epochs}
    milestones = sorted(step for step in rounded if 0 < step < num_steps)
    values = [recipe.lr_step_factor**falls for falls in range(len(milestones) + 1)]
    steps = MultiStepParamScheduler(values, num_updates=num_steps, milestones=milestones)
    warmup = warmup_steps(recipe, num_steps)
    if not warmup:
        return steps
    return WarmupParamScheduler(steps, recipe.warmup_from / recipe.max_lr, warmup / num_steps)


def _optimizer(model: MaskRCNN, recipe: DetectionRecipe) -> torch.optim.AdamW:
    """AdamW; its groups have the learning rates that the schedule multiplies."""
    optimizer = adamw(model, recipe)
    for group in optimizer.param_groups:
        group["initial_lr"] = group["lr"] = recipe.max_lr * group["lr_scale"]
    return optimizer
