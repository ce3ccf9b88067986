"""The training loop: from the first step, or the last checkpoint, to the last step.

A run is a folder: `checkpoints/`, `log.jsonl` and TensorBoard events (one line every `log_every`
steps), `broken.jsonl` if images could not be read, and at the end `weights.safetensors`. Started
again in the same folder, a run goes on from the last checkpoint and ends with the same weights.
SIGTERM and SIGUSR1 stop it after a step, with a checkpoint: see `catlip.training.preempt`.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

import torch

from catlip.program.progress import progress
from catlip.record import note_finished
from catlip.training.checkpoint import save_weights
from catlip.training.distributed import barrier, of_all_ranks, use_threads
from catlip.training.log import Log, Progress
from catlip.training.preempt import noted_stops
from catlip.training.schedule import learning_rate
from catlip.training.trainer import Trainer, metrics_of

PROGRESS = "progress"  # what a file of weights holds in addition to the run's config
USUAL_STEPS = 200
MAX_FRACTION = 0.02  # of a run's time


def nothing() -> None:
    """The default of `after_checkpoint`."""


def train(
    trainer: Trainer,
    batches: Callable[[int], Iterator[Any]],
    folder: Path,
    *,
    config: dict[str, Any],
    log_every: int,
    checkpoint_every: int | None,
    quiet: bool = False,
    projects: Mapping[str, str] = MappingProxyType({}),
    snapshots: int = 1,
    after_checkpoint: Callable[[], object] = nothing,
) -> list[dict[str, float]]:
    """Run `trainer` to its last step, from the last checkpoint in `folder` if there is one.

    Args:
        batches: given a first step, the micro-batches from there on.
        config: what determines the run; a checkpoint made under another one is refused.
        checkpoint_every: in optimizer steps; None leaves the choice to `CheckpointWriter`.
        projects: tracker -> project to log to as well; see `catlip.training.log`.
        snapshots: number of evenly spaced steps, the last one included, at which the weights to
            transfer are written.
        after_checkpoint: called when a checkpoint is written, in the thread that writes.
    Returns: the lines of the log, from the first step on.
    Exits: `preempt.EXIT_CODE`, after a checkpoint, when a signal tells the run to stop.
    """
    snapshot_steps = {round(trainer.num_steps * part / snapshots) for part in range(1, snapshots)}
    use_threads(folder, trainer.place)
    history = trainer.resume(folder / "checkpoints", config)
    if trainer.step == trainer.num_steps:
        note_finished()
    log = Log(
        folder, trainer.step, trainer.place, projects=projects, config=config, lines=history.lines
    )
    recent = [Progress(**step) for step in history.unlogged]
    stream = on_device(batches(trainer.step), trainer.place.device)
    hidden = quiet or not trainer.place.is_main
    saving = partial(trainer.saving, folder / "checkpoints", config, log.lines)
    with (
        noted_stops() as notice,
        CheckpointWriter(saving, checkpoint_every, after=after_checkpoint) as writer,
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
                trainer.train_step(stream, lambda: notice.received is not None or writer.asks)
            )
            bar.update()
            asked = recent[-1].saves
            planned = (
                trainer.step == trainer.num_steps
                or trainer.step in snapshot_steps
                or writer.is_due(trainer.step)
            )
            # Each planned checkpoint gets a line too, so that a resumed run has the same log. A
            # checkpoint that was asked for stores the steps since the last line instead.
            if planned or writer.may_be_due(trainer.step) or trainer.step % log_every == 0:
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
    weights = trainer.weights()
    if trainer.place.is_main:
        images_seen = int(log.lines[-1]["images_seen"]) if log.lines else 0
        done = {"step": trainer.step, "num_steps": trainer.num_steps, "images_seen": images_seen}
        save_weights(path, weights, config | {PROGRESS: done})


def on_device(batches: Iterator[Any], device: torch.device) -> Iterator[Any]:
    """The batches, on the device. For a GPU, each batch is copied on a separate stream, from pinned
    memory, while the GPU works on the batch before.
    """
    if device.type != "cuda":
        for batch in batches:
            yield batch.to(device)
        return
    aside = torch.cuda.Stream(device)

    def copied() -> Any:
        batch = next(batches, None)
        with torch.cuda.stream(aside):
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

    They are due at each multiple of `every` steps; without it, of USUAL_STEPS, but left out where
    they would take more than MAX_FRACTION of the time. An error of the thread is raised by the next
    `write` or `wait`, or at the end of the `with` block.

    Args:
        saving: as `Trainer.saving`, given the steps that the log has no line for yet.
        after: called when one is written, in the thread.
    """

    def __init__(
        self,
        saving: Callable[[Sequence[Progress]], Callable[[], Path] | None],
        every: int | None = None,
        after: Callable[[], object] = nothing,
    ):
        self.saving, self.every, self.after = saving, every, after
        self.seconds = 0.0  # that the last one took, from the copy of the state to its end on disk
        self.ended = time.monotonic()  # infinite while one is written
        self._thread = ThreadPoolExecutor(max_workers=1)
        self._last: Future[None] | None = None

    def may_be_due(self, step: int) -> bool:
        """Whether the step is such a multiple; the answer is the same in every run."""
        return step % (self.every or USUAL_STEPS) == 0

    def is_due(self, step: int) -> bool:
        """Whether to write one now, by the clock of rank 0; all ranks call it."""
        if self.every or not self.may_be_due(step):
            return self.may_be_due(step)
        return of_all_ranks(time.monotonic() - self.ended >= self.seconds / MAX_FRACTION)[0]

    @property
    def asks(self) -> bool:
        """Whether the last one failed: all ranks then write the next one, and raise its error."""
        last = self._last
        return bool(last and last.done() and last.exception())

    def write(self, recent: Sequence[Progress]) -> None:
        """Copy the state and begin to write it; all ranks call it."""
        self.wait()
        began, self.ended = time.monotonic(), math.inf
        write = self.saving(recent)

        def work() -> None:
            if write:
                write()
            self.after()
            self.ended = time.monotonic()
            self.seconds = self.ended - began

        self._last = self._thread.submit(work)

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
