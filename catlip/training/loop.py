"""The training loop: from the first step, or the last checkpoint, to the last step.

A run is a folder: `checkpoints/`, `log.jsonl` and TensorBoard events (one line every `log_every`
steps), `broken.jsonl` if images could not be read, and at the end `weights.safetensors`. Started
again in the same folder, a run goes on from the last checkpoint and ends with the same weights.
SIGTERM and SIGUSR1 stop it after a step, with a checkpoint: see `catlip.training.preempt`.
"""

import math
import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import torch

from catlip.program.progress import progress
from catlip.program.ranges import checkpoint_seconds
from catlip.records.record import from_plain
from catlip.training.checkpoint import save_weights
from catlip.training.distributed import THREADS, barrier, use_threads
from catlip.training.log import Log, Progress
from catlip.training.preempt import catch_stops
from catlip.training.stopwatch import Stopwatch
from catlip.training.trainer import Trainer, metrics_of

# What `train` leaves in a folder, as a regular expression.
WRITTEN = (
    r"(log|broken)\.jsonl|weights\.safetensors|events\.out\.tfevents\..+|"
    rf"{re.escape(THREADS)}|checkpoints/step-\d{{8,}}\.pt"
)
CHECKPOINT_EVERY = 200  # steps


def train(
    trainer: Trainer,
    batches: Callable[[int], Iterator[Any]],
    folder: Path,
    *,
    config: dict[str, Any],
    log_every: int,
    checkpoint_every: int | str | None,
    quiet: bool = False,
    wandb: str = "",
) -> list[dict[str, Any]]:
    """Run `trainer` to its last step, from the last checkpoint in `folder` if there is one.

    Args:
        batches: given a first step, the micro-batches from there on.
        config: what determines the run; a checkpoint made under another one is refused.
        checkpoint_every: optimizer steps, or minutes as `10min`; None for CHECKPOINT_EVERY.
        wandb: a Weights & Biases project to log to as well.
    Returns: the lines of the log, from the first step on.
    Exits: `preempt.EXIT_CODE`, after a checkpoint, when a signal tells the run to stop.
    """
    use_threads(folder, trainer.rank)
    head = trainer.resume(folder / "checkpoints", config)
    log = Log(folder, trainer.step, trainer.rank, wandb=wandb, config=config, lines=head.lines)
    recent = [from_plain(step, Progress) for step in head.unlogged]
    stream = copy_ahead(batches(trainer.step), trainer.rank.device)
    watch = Stopwatch(trainer.rank.device)
    encoder = getattr(trainer.objective, "image_encoder", trainer.objective)
    encoder.register_forward_pre_hook(lambda *_: watch.mark())
    encoder.register_forward_hook(lambda *_: watch.mark("forward"))
    hidden = quiet or not trainer.rank.is_main
    if isinstance(checkpoint_every, str):
        every_steps, every_s = trainer.num_steps, checkpoint_seconds(checkpoint_every)
    else:
        every_steps, every_s = checkpoint_every or CHECKPOINT_EVERY, math.inf
    ended = saved = time.monotonic()

    def wants_checkpoint() -> bool:
        return notice.received is not None or writer.asks or time.monotonic() - saved > every_s

    with (
        catch_stops() as notice,
        CheckpointWriter() as writer,
        progress(
            total=trainer.num_steps,
            initial=trainer.step,
            desc=folder.name,
            unit="step",
            disable=hidden,
        ) as bar,
    ):
        while trainer.step < trainer.num_steps:
            step = trainer.train_step(stream, wants_checkpoint)
            begun, ended = ended, time.monotonic()
            forward_ms = sum(ms for part, ms in watch.laps_ms() if part == "forward")
            recent.append(replace(step, seconds=ended - begun, forward_seconds=forward_ms / 1e3))
            bar.update()
            asked = recent[-1].saves
            planned = trainer.step == trainer.num_steps or trainer.step % every_steps == 0
            # Each planned checkpoint gets a line too, so that a resumed run has the same log. A
            # checkpoint that was asked for stores the steps since the last line instead.
            if planned or trainer.step % log_every == 0:
                rate = trainer.optimization.learning_rate(trainer.step - 1, trainer.num_steps)
                line = log.write(trainer.step, recent, rate, metrics=metrics_of(trainer.objective))
                speed = f"{line['images_per_s']:.0f}"
                bar.set_postfix(loss=f"{line['loss']:.3f}", images_per_s=speed, refresh=False)
                recent = []
            elif asked:
                log.list_broken(trainer.step, recent)
            if planned or asked:
                trainer.check_finite()
                writer.wait()
                saved = time.monotonic()
                writer.write(
                    trainer.checkpoint_writer(folder / "checkpoints", config, log.lines, recent)
                )
                notice.exit_if_stopped(trainer.step, trainer.rank, saved=writer.wait)
    weights = trainer.weights()
    if trainer.rank.is_main:
        save_weights(folder / "weights.safetensors", weights, config)
    log.close()
    if trainer.rank.is_main and log.broken.met:
        print(f"{log.broken.met.summary()}; all of them are in {log.broken.path}")
    barrier()
    return log.lines


def copy_ahead(batches: Iterator[Any], device: torch.device) -> Iterator[Any]:
    """The batches, on the device. For a GPU, each batch is copied on a separate stream, from pinned
    memory, while the GPU works on the batch before.
    """
    if device.type != "cuda":
        for batch in batches:
            yield batch.to(device)
        return
    aside = torch.cuda.Stream(device)

    def copied() -> Any:
        with torch.cuda.stream(aside):
            batch = next(batches, None)
            return None if batch is None else batch.to(device)

    following = copied()
    while (batch := following) is not None:
        torch.cuda.current_stream(device).wait_stream(aside)
        # Its memory belongs to the copying stream, which must not reuse it while this stream works.
        batch.used_by(torch.cuda.current_stream(device))
        following = copied()
        yield batch


class CheckpointWriter:
    """Writes a run's checkpoints in a thread, one at a time, so that no step waits for a disk.

    An error of the thread is raised by the next `wait`, or at the end of the `with` block.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1)
        self._last: Future[object] | None = None

    @property
    def asks(self) -> bool:
        """Whether the last one failed: all ranks then write the next one, and raise its error."""
        last = self._last
        return bool(last and last.done() and last.exception())

    def write(self, write: Callable[[], object] | None) -> None:
        """Begin to write one, after `wait`; `write` is None on a rank that has nothing to write."""
        self._last = self._thread.submit(write) if write else None

    def wait(self) -> None:
        """Wait for the last checkpoint, and raise its error if there is one."""
        last, self._last = self._last, None
        if last:
            last.result()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._thread.shutdown()
        if kind is None:
            self.wait()
