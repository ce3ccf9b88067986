"""A step of training in plain PyTorch: accumulation, clipping and averaging; and the whole state.

For the trainer, an objective is a module that turns a batch into a scalar loss, and a batch has a
length, `keys`, `broken` and `to(device)`. Random numbers depend only on the seed, the step and the
micro-batch.
"""

import itertools
import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import KW_ONLY, dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule
from torch.profiler import record_function

from catlip import streams
from catlip.cli import InputError
from catlip.objective import Objective
from catlip.records.record import note_begun
from catlip.training import checkpoint
from catlip.training.attention import note_kernels
from catlip.training.distributed import Rank, all_gather_objects
from catlip.training.log import Progress
from catlip.training.parallel import (
    Parallel,
    autocast,
    begin_reading,
    compile_blocks,
    distribute,
    finish_gradients,
    gather_tensor,
    gradient_norm,
    gradient_sync,
    local_part,
    mean_over_ranks,
    warn_if_emulated,
)
from catlip.training.schedule import (
    AdamWForm,
    Optimization,
    adamw,
    augmentation_progress,
)


@dataclass(frozen=True)
class Implementation:
    """How a step is computed; the result depends on it only by rounding.

    Attributes:
        parallel: "ddp", or "fsdp" to shard weights, gradients and optimizer over ranks.
        compile: compile the transformer blocks, once for each image size; False in a Trainer whose
            objective has no stack of blocks.
        optimizer: see `adamw`.
        norm: computes the 2-norm of the whole gradient.
    """

    parallel: Parallel = "ddp"
    compile: bool = False
    optimizer: AdamWForm = "fused"
    norm: Callable[[Iterable[nn.Parameter]], Tensor] = gradient_norm


@dataclass
class Trainer:
    """An objective, its optimizer and the average of its weights, stepping through batches.

    Attributes:
        objective: what is trained; `objective(batch)` is a scalar loss, mean per image.
        num_steps: optimizer steps of the whole run; the learning rate's cosine ends there.
        accumulation: micro-batches per optimizer step.
        seed: of the objective's random numbers (dropped paths, augmentation); each micro-batch of a
            step has its own, on whichever rank it is.
        mark: called with "loss", "backward" or "optimizer" when that part of a step is done, for
            benches that time the parts.
    """

    objective: Objective
    optimization: Optimization
    num_steps: int
    _: KW_ONLY
    rank: Rank
    accumulation: int = 1
    implementation: Implementation = Implementation()
    seed: int = 0
    mark: Callable[[str], object] = lambda _: None
    step: int = 0

    def __post_init__(self) -> None:
        recipe, form, device = self.optimization, self.implementation, self.rank.device
        if self.rank.is_main:
            warn_if_emulated(device, recipe.precision)
        if device.type == "cuda":  # a training has few image sizes, and kernels are tried for each
            torch.backends.cudnn.benchmark = not torch.are_deterministic_algorithms_enabled()
        self.objective.to(device)
        if form.compile:
            self.implementation = replace(form, compile=compile_blocks(self.objective))
        self.replica = distribute(
            self.objective, self.rank, form.parallel, precision=recipe.precision
        )
        # Collected once: collecting them in each step would take as long as clipping.
        self._parameters = list(self.objective.parameters())
        self._watched = False
        self.optimizer = adamw(self.objective, recipe, form.optimizer)
        self.scaler = torch.amp.GradScaler(device.type, enabled=recipe.precision == "fp16")
        self._skips_on_device = form.optimizer == "fused" and not self.scaler.is_enabled()
        self.average: WeightAverage | None = None
        if recipe.ema_decay:
            self.average = WeightAverage(self.objective, recipe.ema_decay, recipe.ema_rising)

    def train_step(
        self, batches: Iterator[Any], wants_checkpoint: Callable[[], bool] = lambda: False
    ) -> Progress:
        """One optimizer step over the next `accumulation` batches.

        The host waits for the device once, for the loss and the gradient's norm; with the fused
        optimizer, it queues that first. If one of them is not finite on any rank, InputError is
        raised on all, and the weights are those before the step.

        Args:
            wants_checkpoint: whether this rank asks all ranks for a checkpoint after this step;
                the answer is exchanged together with the loss.
        """
        wait, images = 0.0, 0
        losses, keys, broken = [], [], []
        progress = augmentation_progress(self.step, self.num_steps, self.optimization)
        self.objective.set_progress(progress)
        self.optimizer.zero_grad(set_to_none=True)
        per_loss = self.accumulation if self.objective.whole_step else 1
        for micro_step in range(0, self.accumulation, per_loss):
            asked = time.perf_counter()
            with record_function("data"):
                parts = [next(batches) for _ in range(per_loss)]
            wait += time.perf_counter() - asked
            images += sum(len(part) for part in parts)
            keys.append([key for part in parts for key in part.keys])
            broken += [image for part in parts for image in part.broken]
            losses.append(self._backward([part.to(self.rank.device) for part in parts], micro_step))
        note_begun()
        with record_function("optimizer"):
            loss, asking, grad_norm = self._update(losses, keys, wants_checkpoint())
        self.step += 1
        self.mark("optimizer")
        return Progress(
            loss=loss,
            grad_norm=grad_norm,
            data_wait_seconds=wait,
            images=images * self.rank.world_size,
            broken=broken,
            saves=asking > 0,
        )

    def _update(self, losses: list[Tensor], keys: list[list[str]], asks: bool) -> list[float]:
        """Update the weights and their average by the gradients that are there. Returns: loss,
        fraction of the ranks that ask for a checkpoint, gradient's norm.
        """
        mean_loss = torch.stack(losses).mean()
        means = mean_over_ranks(torch.stack([mean_loss, mean_loss.new_full((), float(asks))]))
        numbers = torch.stack([*means, self._clip()])
        read = begin_reading(numbers)

        def checked() -> list[float]:
            loss, asking, norm = read()
            if not math.isfinite(loss) or not (math.isfinite(norm) or self.scaler.is_enabled()):
                refuse_step(self.step, self.rank, losses, keys=keys, grad_norm=norm)
            return [loss, asking, norm]

        if self._skips_on_device:
            # If found_inf is 1, fused AdamW leaves the weights as they are. So the kernel can start
            # before the host has read the loss.
            finite = numbers.isfinite().all()
            self.optimizer.found_inf = 1 - finite.float()  # type: ignore[attr-defined]
        else:
            checked()
        rate = self.optimization.learning_rate(self.step, self.num_steps)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["lr_scale"]
        self.scaler.step(self.optimizer)
        self.scaler.update()
        answer = checked()
        if self.average:
            self.average.update(self.step)
        return answer

    def loss(self, *batches: Any) -> Tensor:
        with (
            autocast(self.rank.device, self.optimization.precision),
            note_kernels(self.objective, not self._watched),
        ):
            loss: Tensor = self.replica(*batches)
        self._watched = True
        return loss

    def state(self) -> checkpoint.State:
        """Everything on which the rest of the run depends; filling it restores the run."""
        scaler = {name: torch.tensor(value) for name, value in self.scaler.state_dict().items()}
        return {
            "objective": self.objective.state_dict(),
            "optimizer": checkpoint.moments_of(self.objective, self.optimizer),
            "average": self._averages(),
            "scaler": scaler,
        }

    def checkpoint_writer(
        self,
        folder: Path,
        config: dict[str, Any],
        lines: Iterable[checkpoint.Numbers] = (),
        unlogged: Iterable[Progress] = (),
    ) -> Callable[[], Path] | None:
        """Copy the state for a checkpoint; all ranks call it. Returns: writes it, on any thread;
        None on a rank that has nothing to write.
        """
        is_main = self.rank.is_main
        if not is_main and not isinstance(self.replica, FSDPModule):
            return None
        numbers = [vars(progress) | {"broken": []} for progress in unlogged]
        head = checkpoint.Head(self.step, config, list(lines), unlogged=numbers)
        copied = checkpoint.copy_to_host(self.state(), wanted=is_main)
        return (lambda: checkpoint.save(folder, head, copied())) if is_main else None

    def resume(self, folder: Path, config: dict[str, Any]) -> checkpoint.Head:
        """Load the newest checkpoint that is not damaged, if there is one."""
        head = checkpoint.resume(folder, lambda path: self.load(path, config))
        return head or checkpoint.Head(self.step, config)

    def load(self, path: Path, config: dict[str, Any]) -> checkpoint.Head:
        state = self.state()
        head = checkpoint.load(path, config, state)
        self.step = head.step
        self.scaler.load_state_dict({name: value.item() for name, value in state["scaler"].items()})
        return head

    def check_finite(self) -> None:
        """Raises InputError, on all ranks, if a weight or average is not finite on any of them:
        a running statistic can be, while loss and gradient are finite.
        """
        tensors = [*self.objective.state_dict().values(), *self._averages().values()]
        parts = [local_part(tensor).detach() for tensor in tensors]
        # A rank has no part of a tensor with fewer rows than ranks.
        numbers = [part for part in parts if part.is_floating_point() and part.numel()]
        largest = nn.utils.get_total_norm(numbers, math.inf).float()
        if not math.isfinite(mean_over_ranks(largest).item()):
            raise InputError(
                f"weights are not finite after step {self.step} and are not written; look at the "
                "recipe"
            )

    def weights(self) -> dict[str, Tensor]:
        """The unsharded weights to transfer, averaged if they are; all ranks call it."""
        values = self._averages() or self.objective.state_dict()
        return {name: gather_tensor(tensor) for name, tensor in values.items()}

    def _averages(self) -> dict[str, Tensor]:
        return self.average.values if self.average else {}

    def _backward(self, batches: list[Any], micro_step: int) -> Tensor:
        last = micro_step + len(batches) == self.accumulation
        # That of the recipe's device, as in the data path.
        number = self.rank.number * self.accumulation + micro_step
        # Backwards: the objective begins with the first, whose seed is then torch's.
        for device, batch in reversed([*enumerate(batches, number)]):
            seed = streams.seed_at(self.seed, streams.OBJECTIVE, self.step, device, bits=64)
            torch.manual_seed(seed)
            if len(batches) > 1:
                batch.go_to_random = streams.mark_random_state(self.rank.device)
        with gradient_sync(self.replica, last):
            with record_function("forward"):
                loss = self.loss(*batches)
            self.mark("loss")
            with record_function("backward"):
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


def metrics_of(objective: Objective) -> dict[str, float]:
    metrics = objective.metrics()
    values = [gather_tensor(value.detach()).float().reshape(()) for value in metrics.values()]
    return dict(zip(metrics, torch.stack(values).tolist(), strict=True)) if values else {}


class WeightAverage:
    """The exponential moving average of an objective's parameters and floating-point buffers.

    Other buffers are copied. torch's AveragedModel copies the whole module, which FSDP2 does not
    allow, and also averages its constants. This has one tensor for each entry of the state dict,
    sharded like the objective, and updates all of them in one fused call.

    Args:
        rising: let the decay rise to `decay` as (1 + step) / (10 + step), so that the average of a
            short run does not stay near its initial weights.
    """

    def __init__(self, objective: nn.Module, decay: float, rising: bool = False):
        self.decay, self.rising = decay, rising
        self._current: dict[str, Tensor] = objective.state_dict(keep_vars=True)
        self.values = {name: tensor.detach().clone() for name, tensor in self._current.items()}
        self._averaged = [
            name for name, tensor in self.values.items() if tensor.is_floating_point()
        ]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Move the average towards the state after step `step`; after the first it is the state."""
        averages = [local_part(self.values[name]) for name in self._averaged]
        current = [local_part(self._current[name]) for name in self._averaged]
        decay = min(self.decay, (1 + step) / (10 + step)) if self.rising else self.decay
        torch._foreach_lerp_(averages, current, 1.0 if step == 0 else 1 - decay)
        for name in self.values.keys() - set(self._averaged):
            self.values[name].copy_(self._current[name])


def refuse_step(
    step: int, rank: Rank, losses: list[Tensor], keys: list[list[str]], grad_norm: float
) -> NoReturn:
    """Stop a run whose loss or gradient is not finite; all ranks call it together. The message
    names the micro-batches whose loss is not finite, or all of them when only the gradient is not.
    """
    mine = [(rank.number, loss, keys[i][:3]) for i, loss in enumerate(torch.stack(losses).tolist())]
    batches = list(itertools.chain(*all_gather_objects(mine)))
    guilty = [batch for batch in batches if not math.isfinite(batch[1])] or batches
    where = "; ".join(
        f"on rank {rank} (samples {', '.join(samples)}, ...: loss {loss})"
        for rank, loss, samples in guilty[:3]
    )
    raise InputError(
        f"the loss or the gradient is not finite at step {step} {where}, gradient norm "
        f"{grad_norm}: nothing was updated, the last checkpoint is kept; look at these samples, or "
        "try a lower --max-lr"
    )
