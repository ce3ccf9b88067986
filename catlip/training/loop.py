"""The training loop in plain PyTorch: steps, accumulation, clipping, averaging, checkpoints, log.

For the loop, an objective is a module that turns a batch into a scalar loss, and a batch has a
length, `keys`, `broken` and `to(device)`. A run is a folder: `checkpoints/`, `log.jsonl` and
TensorBoard events (one line every `log_every` steps), `broken.jsonl` if images could not be read,
and at the end `weights.safetensors`. Started again in the same folder, a run goes on from the last
checkpoint and ends with the same weights: random numbers depend only on the seed, the step and the
micro-batch. SIGTERM and SIGUSR1 stop it after a step, with a checkpoint: see
`catlip.training.preempt`.
"""

import errno
import json
import math
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import KW_ONLY, dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict
from torch.distributed.fsdp import FSDPModule

from catlip import streams
from catlip.cli import InputError
from catlip.objective import Objective
from catlip.program.progress import progress
from catlip.record import note_begun
from catlip.training import trackers
from catlip.training.attention import watched
from catlip.training.average import WeightAverage
from catlip.training.blocks import compile_blocks
from catlip.training.distributed import Place, barrier
from catlip.training.divergence import refuse
from catlip.training.feed import on_device
from catlip.training.log import Log, Progress
from catlip.training.parallel import (
    Parallel,
    distribute,
    finish_gradients,
    gradient_norm,
    local,
    mean_over_ranks,
    share_replicated,
    synchronised,
    whole,
)
from catlip.training.precision import autocast, warn_if_emulated
from catlip.training.preempt import noted_stops
from catlip.training.saving import checkpoint
from catlip.training.saving.pace import CheckpointPace
from catlip.training.saving.writer import CheckpointWriter, nothing
from catlip.training.schedule import (
    AdamWForm,
    Optimization,
    adamw,
    augmentation_progress,
    learning_rate,
)
from catlip.training.threads import use_threads


@dataclass(frozen=True)
class Implementation:
    """How a step is computed; its result does not depend on it, except for rounding.

    Attributes:
        parallel: "ddp", or "fsdp" to shard weights, gradients and optimizer over ranks.
        compile: compile the transformer blocks, once for each image size.
        optimizer: AdamW as one kernel for all parameters ("fused"), one for each of its operations
            ("foreach"), or one for each operation and parameter ("loop").
        norm: takes the 2-norm of the whole gradient.
    """

    parallel: Parallel = "ddp"
    compile: bool = False
    optimizer: AdamWForm = "fused"
    norm: Callable[[Iterable[nn.Parameter]], Tensor] = gradient_norm


def unmarked(part: str) -> None:
    """The default mark, which does nothing."""


def never() -> bool:
    """The default for whether to save, which asks for nothing."""
    return False


@dataclass
class Trainer:
    """An objective, its optimizer and the average of its weights, stepping through batches.

    Attributes:
        objective: what is trained; `objective(batch)` is a scalar loss, mean per image.
        optimization: the recipe's numbers.
        num_steps: optimizer steps of the whole run; the learning rate's cosine ends there.
        place: rank and device.
        accumulation: micro-batches per optimizer step.
        implementation: how a step is computed; the run is the same.
        seed: of the objective's random numbers (dropped paths, augmentation); each of its calls in
            a step has its own, which depend on the micro-batch and not on the rank.
        mark: called with "loss", "backward" or "optimizer" when that part of a step is done, for
            benches that time the parts.
    """

    objective: Objective
    optimization: Optimization
    num_steps: int
    _: KW_ONLY
    place: Place
    accumulation: int = 1
    implementation: Implementation = Implementation()
    seed: int = 0
    mark: Callable[[str], object] = unmarked
    step: int = 0

    def __post_init__(self) -> None:
        recipe, form, device = self.optimization, self.implementation, self.place.device
        if self.place.is_main:
            warn_if_emulated(device, recipe.precision)
        self.objective.to(device)
        if form.compile:
            compile_blocks(self.objective)
        self.replica = distribute(
            self.objective, self.place, form.parallel, precision=recipe.precision
        )
        # Collected once: collecting them in each step would take as long as clipping.
        self._parameters = list(self.objective.parameters())
        self._watched = False
        self.optimizer = adamw(self.objective, recipe, form.optimizer)
        self.scaler = torch.amp.GradScaler(device.type, enabled=recipe.precision == "fp16")
        self.average = (
            WeightAverage(self.objective, recipe.ema_decay, recipe.ema_rising)
            if recipe.ema_decay
            else None
        )

    def train_step(
        self, batches: Iterator[Any], asks_to_save: Callable[[], bool] = never
    ) -> Progress:
        """One optimizer step over the next `accumulation` batches.

        The host waits for the device once, for the loss and the gradient's norm, so that it can
        stop before the optimizer steps.

        Args:
            asks_to_save: whether this rank asks all of them for a checkpoint after this step; the
                answer travels with the loss.
        Raises: InputError, on all ranks, when either is not finite on any; the weights are then
            those before the step.
        """
        begin, wait, images, losses, keys, broken = time.perf_counter(), 0.0, 0, [], [], []
        self.objective.set_progress(
            augmentation_progress(self.step, self.num_steps, self.optimization)
        )
        self.optimizer.zero_grad(set_to_none=True)
        per_loss = self.accumulation if self.objective.whole_step else 1
        for micro_step in range(0, self.accumulation, per_loss):
            asked = time.perf_counter()
            parts = [next(batches) for _ in range(per_loss)]
            wait += time.perf_counter() - asked
            images += sum(len(part) for part in parts)
            keys.append([key for part in parts for key in part.keys])
            broken += [image for part in parts for image in part.broken]
            losses.append(
                self._backward([part.to(self.place.device) for part in parts], micro_step)
            )
        note_begun()
        mean_loss = torch.stack(losses).mean()
        asks = mean_loss.new_full((), float(asks_to_save()))
        of_all = mean_over_ranks(torch.stack([mean_loss, asks]))
        loss, asking, grad_norm = torch.stack([*of_all, self._clip()]).tolist()
        if not math.isfinite(loss) or not (math.isfinite(grad_norm) or self.scaler.is_enabled()):
            refuse(self.step, self.place, losses, keys=keys, grad_norm=grad_norm)
        self._update()
        self.mark("optimizer")
        return Progress(
            loss=loss,
            grad_norm=grad_norm,
            seconds=time.perf_counter() - begin,
            data_wait_seconds=wait,
            images=images * self.place.world_size,
            broken=broken,
            saves=asking > 0,
        )

    def loss(self, *batches: Any) -> Tensor:
        """The objective's loss, a scalar, in the recipe's precision."""
        with (
            autocast(self.place.device, self.optimization.precision),
            watched(self.objective, not self._watched),
        ):
            loss: Tensor = self.replica(*batches)
        self._watched = True
        return loss

    def state(self) -> checkpoint.State:
        """Everything on which the rest of the run depends.

        The tensors are not copied, so that filling them restores the run.
        """
        scaler = {name: torch.tensor(value) for name, value in self.scaler.state_dict().items()}
        moments: Any = get_optimizer_state_dict(self.objective, self.optimizer)["state"]
        return {
            "objective": self.objective.state_dict(),
            "optimizer": {
                f"{name}/{moment}": value
                for name, by_moment in moments.items()
                for moment, value in by_moment.items()
            },
            "average": self.average.values if self.average else {},
            "scaler": scaler,
        }

    def saving(
        self, folder: Path, config: dict[str, Any], unlogged: Iterable[Progress] = ()
    ) -> Callable[[], Path] | None:
        """Copy the state for a checkpoint in `folder`, with the steps that the log has no line for
        yet; all ranks call it.

        Returns: what writes it, on any thread, and raises OSError, with the last one untouched;
            None on a rank that has nothing to write.
        """
        steps = [progress.numbers() for progress in unlogged]
        if isinstance(self.replica, FSDPModule):
            state = self.state()
            share_replicated(
                tensor for part in ("objective", "average") for tensor in state[part].values()
            )
            return checkpoint.save_sharded(
                folder,
                self.step,
                state,
                config=config,
                main=self.place.is_main,
                unlogged=steps,
                group=self._beside,
            )
        if not self.place.is_main:
            return None
        state = checkpoint.copied(self.state())
        return partial(checkpoint.save, folder, self.step, state, config=config, unlogged=steps)

    @cached_property
    def _beside(self) -> dist.ProcessGroup:
        """The group for what ranks exchange beside the steps."""
        group = dist.new_group(backend="gloo")
        assert isinstance(group, dist.ProcessGroup), "every rank is in it"
        return group

    def resume(self, folder: Path, config: dict[str, Any]) -> list[Progress]:
        """Load the newest checkpoint in `folder`, if there is one; as `load`."""
        path = checkpoint.newest(folder)
        return [] if path is None else self.load(path, config)

    def load(self, path: Path, config: dict[str, Any]) -> list[Progress]:
        """Load the checkpoint at `path`.

        Returns: the last steps, if the log had no line for them when it was saved.
        Raises: InputError when it is not of this run.
        """
        state = self.state()
        self.step = checkpoint.load(path, config, state)
        self.scaler.load_state_dict({name: value.item() for name, value in state["scaler"].items()})
        return [Progress(**step) for step in checkpoint.unlogged(path)]

    def check_finite(self) -> None:
        """Raises: InputError, on all ranks, when a weight or an average is not finite on any."""
        tensors = self.objective.state_dict() | {
            f"average of {name}": value for name, value in self._averages().items()
        }
        # A rank has no part of a tensor with fewer rows than ranks.
        parts = [local(tensor).detach() for tensor in tensors.values()]
        numbers = [part for part in parts if part.is_floating_point() and part.numel()]
        largest = nn.utils.get_total_norm(numbers, math.inf).float()
        if not math.isfinite(mean_over_ranks(largest).item()):
            guilty = [
                name for name, tensor in tensors.items() if not local(tensor).isfinite().all()
            ]
            names = ", ".join(guilty[:3]) or "on another rank"
            raise InputError(
                f"weights are not finite after step {self.step} ({names}) and are not written; "
                "look at the recipe"
            )

    def weights(self) -> dict[str, Tensor]:
        """The unsharded weights to transfer: the moving average if there is one.

        All ranks call it.
        """
        values = self._averages() or self.objective.state_dict()
        return {name: whole(tensor) for name, tensor in values.items()}

    def _averages(self) -> dict[str, Tensor]:
        return self.average.values if self.average else {}

    def _backward(self, batches: list[Any], micro_step: int) -> Tensor:
        last = micro_step + len(batches) == self.accumulation
        number = micro_step * self.place.world_size + self.place.rank
        torch.manual_seed(streams.seed_at(self.seed, streams.OBJECTIVE, self.step, number, bits=64))
        with synchronised(self.replica, last):
            loss = self.loss(*batches)
            self.mark("loss")
            self.scaler.scale(loss * (len(batches) / self.accumulation)).backward()
        self.mark("backward")
        return loss.detach()

    def _clip(self) -> Tensor:
        finish_gradients(self.replica)
        self.scaler.unscale_(self.optimizer)
        norm = self.implementation.norm(self._parameters)
        if self.optimization.grad_clip:
            nn.utils.clip_grads_with_norm_(self._parameters, self.optimization.grad_clip, norm)
        return norm

    def _update(self) -> None:
        rate = learning_rate(self.step, self.num_steps, self.optimization)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["lr_scale"]
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.average:
            self.average.update(self.step)
        self.step += 1


def train(
    trainer: Trainer,
    batches: Callable[[int], Iterator[Any]],
    folder: Path,
    *,
    config: dict[str, Any],
    log_every: int,
    checkpoint_every: int | None,
    checkpoint_minutes: float | None = None,
    quiet: bool = False,
    projects: Mapping[str, str] = trackers.NONE,
    snapshots: int = 1,
    after_checkpoint: Callable[[], object] = nothing,
) -> list[dict[str, float]]:
    """Run `trainer` to its last step, from the last checkpoint in `folder` if there is one.

    Args:
        batches: first step -> the micro-batches from there on.
        folder: of the run.
        config: what determines the run; a checkpoint made under another one is refused.
        log_every, checkpoint_every: in optimizer steps; None for `CheckpointPace`'s.
        checkpoint_minutes: takes the place of `checkpoint_every`.
        projects: of trackers to log to as well; see `catlip.training.trackers`.
        snapshots: number of evenly spaced steps, the last one included, at which the weights to
            transfer are written.
        after_checkpoint: called when one is written, beside the steps.
    Returns: the lines of the log, from the first step on.
    Exits: `preempt.EXIT_CODE`, after a checkpoint, when a signal says so.
    """
    snapshot_steps = {round(trainer.num_steps * part / snapshots) for part in range(1, snapshots)}
    use_threads(folder, trainer.place)
    recent = trainer.resume(folder / "checkpoints", config)
    log = Log(folder, trainer.step, trainer.place, projects=projects, config=config)
    stream = on_device(batches(trainer.step), trainer.place.device)
    hidden = quiet or not trainer.place.is_main
    pace = CheckpointPace(checkpoint_every, minutes=checkpoint_minutes)
    saving = partial(trainer.saving, folder / "checkpoints", config)
    with (
        noted_stops() as notice,
        CheckpointWriter(saving, pace, after_checkpoint) as writer,
        progress(
            total=trainer.num_steps,
            initial=trainer.step,
            desc=folder.name,
            unit="step",
            disable=hidden,
        ) as bar,
    ):
        while trainer.step < trainer.num_steps:
            recent.append(
                trainer.train_step(
                    stream,
                    lambda: notice.received is not None or writer.asks,
                )
            )
            bar.update()
            asked = recent[-1].saves
            planned = (
                trainer.step == trainer.num_steps
                or trainer.step in snapshot_steps
                or pace.is_due(trainer.step)
            )
            # A line with each planned checkpoint as well, so that a resumed run has the same log. A
            # checkpoint that was asked for keeps the steps since the last line instead.
            if planned or pace.may_be_due(trainer.step) or trainer.step % log_every == 0:
                rate = learning_rate(trainer.step - 1, trainer.num_steps, trainer.optimization)
                line = log.write(trainer.step, recent, rate, metrics=metrics_of(trainer.objective))
                bar.set_postfix(
                    loss=f"{line['loss']:.3f}", images_per_s=f"{line['images_per_s']:.0f}"
                )
                recent = []
            elif asked:
                log.list_broken(trainer.step, recent)
            if planned or asked:
                trainer.check_finite()
            if trainer.step in snapshot_steps:
                path = folder / f"weights-step-{trainer.step:08d}.safetensors"
                _write_weights(trainer, path, log, config=config)
            if planned or asked:
                writer.write(recent)
                notice.exit_if_told(trainer.step, trainer.place, saved=writer.wait)
    _write_weights(trainer, folder / "weights.safetensors", log, config=config)
    log.close()
    if trainer.place.is_main and log.broken.met:
        print(f"{log.broken.met.summary()}; all of them are in {log.broken.path}")
    barrier()
    return log.lines


def _write_weights(trainer: Trainer, path: Path, log: Log, config: dict[str, Any]) -> None:
    """Write the weights to transfer, with config and progress; all ranks call it."""
    weights, done = trainer.weights(), {"step": trainer.step, "num_steps": trainer.num_steps}
    if trainer.place.is_main:
        images_seen = int(log.lines[-1]["images_seen"]) if log.lines else 0
        save_weights(path, weights, config | {"progress": done | {"images_seen": images_seen}})


def save_weights(path: Path, weights: dict[str, Tensor], config: dict[str, Any]) -> None:
    """Write weights as safetensors, atomically, with the config that made them as metadata.

    Raises: OSError when they cannot be written whole.
    """
    temporary = path.with_suffix(".tmp")
    try:
        temporary.touch()
        # The user's umask; safetensors would let nobody else read its file.
        mode = temporary.stat().st_mode
        save_file(
            {name: tensor.contiguous() for name, tensor in weights.items()},
            temporary,
            {"config": json.dumps(config)},
        )
        temporary.chmod(mode)
        temporary.replace(path)
    except SafetensorError as error:
        number = re.search(r"os error (\d+)", str(error))
        raise OSError(int(number[1]) if number else errno.EIO, str(error), str(path)) from error
    finally:
        temporary.unlink(missing_ok=True)


def metrics_of(objective: Objective) -> dict[str, float]:
    """The objective's metrics, copied from the device together."""
    metrics = objective.metrics()
    values = [whole(value.detach()).float().reshape(()) for value in metrics.values()]
    return dict(zip(metrics, torch.stack(values).tolist(), strict=True)) if values else {}
