"""The training loop: steps, precision, accumulation, clipping, averaging, checkpoints and the log. Plain PyTorch.

It knows an objective only as a module that turns a batch into a scalar loss, and batches only as something with `to(device)`.
A run is a folder: `checkpoints/`, `log.jsonl` (one line every `log_every` steps), TensorBoard events, and at the end
`weights.safetensors`. Starting it again in the same folder goes on from the last checkpoint, to the same weights.
"""

import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from catlip.cli import InputError
from catlip.training import checkpoint
from catlip.training.distributed import Place, barrier
from catlip.training.schedule import Optimization, learning_rate

AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass
class Progress:
    """What one step reported: the log line of a step is the mean of those since the last line."""

    loss: float
    grad_norm: float
    seconds: float
    data_wait_seconds: float
    images: int


@dataclass
class Trainer:
    """An objective, its optimizer and the average of its weights, stepping through batches.

    Attributes:
        objective: a module; `objective(batch)` is a scalar loss, mean per image.
        optimization: the recipe's numbers.
        num_steps: optimizer steps of the whole run; the learning rate's cosine ends there.
        accumulation: micro-batches per optimizer step.
        place: rank and device.
    """

    objective: nn.Module
    optimization: Optimization
    num_steps: int
    accumulation: int
    place: Place
    step: int = 0

    def __post_init__(self) -> None:
        recipe, device = self.optimization, self.place.device
        self.objective.to(device)
        self.optimizer = adamw(self.objective, recipe)
        self.scaler = torch.amp.GradScaler(device.type, enabled=recipe.precision == "fp16")
        self.average: AveragedModel | None = None
        if recipe.ema_decay:
            self.average = AveragedModel(self.objective, multi_avg_fn=get_ema_multi_avg_fn(recipe.ema_decay), use_buffers=True)
        self.replica: nn.Module = DistributedDataParallel(self.objective) if self.place.world_size > 1 else self.objective

    def train_step(self, batches: Iterator[Any]) -> Progress:
        """One optimizer step over the next `accumulation` batches.

        Raises: InputError when the loss or the gradient is not finite; the weights are then those before the step.
        """
        begin, wait, images, losses = time.perf_counter(), 0.0, 0, []
        self.optimizer.zero_grad(set_to_none=True)
        for micro_step in range(self.accumulation):
            asked = time.perf_counter()
            batch = next(batches)
            wait += time.perf_counter() - asked
            images += len(batch)
            losses.append(self._backward(batch.to(self.place.device), last=micro_step == self.accumulation - 1))
        loss, grad_norm = torch.stack([torch.stack(losses).mean(), self._clip()]).tolist()
        self._refuse_to_diverge(loss, grad_norm, batch.keys)
        self._update()
        return Progress(loss, grad_norm, time.perf_counter() - begin, wait, images * self.place.world_size)

    def state(self) -> dict[str, Any]:
        """Everything that the rest of the run depends on."""
        average = self.average.state_dict() if self.average else {}
        return {
            "objective": self.objective.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": average,
            "scaler": self.scaler.state_dict(),
        }

    def load(self, step: int, state: dict[str, Any]) -> None:
        """Take up `state` after `step` steps."""
        self.step = step
        self.objective.load_state_dict(state["objective"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        if self.average:
            self.average.load_state_dict(state["average"])

    def weights(self) -> dict[str, Tensor]:
        """The weights to transfer: their moving average when there is one."""
        return (self.objective if self.average is None else self.average.module).state_dict()

    def _backward(self, batch: Any, last: bool) -> Tensor:
        precision = self.optimization.precision
        with self._without_synchronising(last):
            with torch.autocast(self.place.device.type, dtype=AUTOCAST.get(precision), enabled=precision in AUTOCAST):
                loss = self.replica(batch)
            self.scaler.scale(loss / self.accumulation).backward()
        return loss.detach()

    def _without_synchronising(self, last: bool) -> AbstractContextManager[None]:
        """Ranks exchange gradients once per step, in its last backward."""
        if isinstance(self.replica, DistributedDataParallel) and not last:
            return self.replica.no_sync()
        return nullcontext()

    def _clip(self) -> Tensor:
        self.scaler.unscale_(self.optimizer)
        return nn.utils.clip_grad_norm_(self.objective.parameters(), self.optimization.grad_clip or math.inf)

    def _refuse_to_diverge(self, loss: float, grad_norm: float, keys: list[str]) -> None:
        finite = math.isfinite(loss) and (math.isfinite(grad_norm) or self.scaler.is_enabled())
        if not finite:
            raise InputError(
                f"the loss is {loss} and the gradient norm {grad_norm} at step {self.step} on rank {self.place.rank} "
                f"(samples {', '.join(keys[:3])}, ...): nothing was updated, the last checkpoint is kept; try a lower --max-lr"
            )

    def _update(self) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.step, self.num_steps, self.optimization)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.average:
            self.average.update_parameters(self.objective)
        self.step += 1


def adamw(objective: nn.Module, recipe: Optimization) -> torch.optim.AdamW:
    """AdamW in its fused form; biases and norms, all that is 1-D, do not decay."""
    trained = [parameter for parameter in objective.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim != 1], "weight_decay": recipe.weight_decay},
        {"params": [p for p in trained if p.ndim == 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=recipe.max_lr, betas=recipe.betas, eps=recipe.eps, fused=True)


def train(
    trainer: Trainer,
    batches: Callable[[int], Iterator[Any]],
    folder: Path,
    config: dict[str, Any],
    log_every: int,
    checkpoint_every: int,
    quiet: bool = False,
) -> list[dict[str, float]]:
    """Run `trainer` to its last step, from the last checkpoint in `folder` if there is one.

    Args:
        batches: first step -> the micro-batches from there on.
        folder: of the run.
        config: what determines the run; a checkpoint made under another one is refused.
        log_every, checkpoint_every: in optimizer steps.
    Returns: the lines of the log, from the first step on.
    """
    if saved := checkpoint.load_latest(folder / "checkpoints", config):
        trainer.load(*saved)
    log = _Log(folder, trainer.step, trainer.place.is_main)
    stream, recent, writes = batches(trainer.step), [], trainer.place.is_main
    hidden = quiet or not writes
    with tqdm(total=trainer.num_steps, initial=trainer.step, desc=folder.name, unit="step", disable=hidden) as bar:
        while trainer.step < trainer.num_steps:
            recent.append(trainer.train_step(stream))
            bar.update()
            saves = trainer.step == trainer.num_steps or trainer.step % checkpoint_every == 0
            if saves or trainer.step % log_every == 0:  # with each checkpoint, so that a resumed run has the same log
                line = log.write(trainer.step, recent, trainer.optimizer.param_groups[0]["lr"])
                bar.set_postfix(loss=f"{line['loss']:.3f}", images_per_s=f"{line['images_per_s']:.0f}")
                recent = []
            if saves and writes:
                checkpoint.save(folder / "checkpoints", trainer.step, trainer.state(), config)
    if writes:
        save_weights(folder / "weights.safetensors", trainer.weights(), config)
    barrier()
    return log.lines


def save_weights(path: Path, weights: dict[str, Tensor], config: dict[str, Any]) -> None:
    """Write weights as safetensors, atomically, with the config that made them as metadata."""
    temporary = path.with_suffix(".tmp")
    save_file({name: tensor.contiguous() for name, tensor in weights.items()}, temporary, {"config": json.dumps(config)})
    temporary.replace(path)


class _Log:
    """`log.jsonl` and TensorBoard; lines after `step` are from a run that was cut short, and are dropped."""

    def __init__(self, folder: Path, step: int, writes: bool):
        self.lines: list[dict[str, float]] = []
        self.path = folder / "log.jsonl"
        self.board: SummaryWriter | None = None
        if not writes:
            return
        folder.mkdir(parents=True, exist_ok=True)
        if self.path.exists():
            written = [json.loads(line) for line in self.path.read_text().splitlines() if line.endswith("}")]
            self.lines = [line for line in written if line["step"] <= step]
        self.path.write_text("".join(json.dumps(line) + "\n" for line in self.lines))
        self.board = SummaryWriter(str(folder), purge_step=step)

    def write(self, step: int, recent: list[Progress], lr: float) -> dict[str, float]:
        """Add the line of the steps since the last one."""
        before = self.lines[-1] if self.lines else {"images_seen": 0, "seconds": 0.0}
        seconds, images = sum(p.seconds for p in recent), sum(p.images for p in recent)
        line = {
            "step": step,
            "images_seen": before["images_seen"] + images,
            "seconds": before["seconds"] + seconds,
            "loss": sum(p.loss for p in recent) / len(recent),
            "grad_norm": sum(p.grad_norm for p in recent) / len(recent),
            "learning_rate": lr,
            "images_per_s": images / seconds,
            "data_wait_share": sum(p.data_wait_seconds for p in recent) / seconds,
        }
        self.lines.append(line)
        if self.board:
            with open(self.path, "a") as file:
                file.write(json.dumps(line) + "\n")
            for name in ("loss", "grad_norm", "learning_rate", "images_per_s", "data_wait_share"):
                self.board.add_scalar(name, line[name], step)
        return line
