"""The training loop: from the first step, or the last checkpoint, to the last step.

A run is a folder: `checkpoints/`, `log.jsonl` and TensorBoard events (one line every `log_every`
steps), `broken.jsonl` if images could not be read, and at the end `weights.safetensors`. Started
again in the same folder, a run goes on from the last checkpoint and ends with the same weights.
SIGTERM and SIGUSR1 stop it after a step, with a checkpoint: see `catlip.training.preempt`.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from catlip.program.progress import progress
from catlip.record import note_finished
from catlip.training import trackers
from catlip.training.distributed import barrier
from catlip.training.feed import on_device
from catlip.training.log import Log, Progress
from catlip.training.preempt import noted_stops
from catlip.training.saving.pace import CheckpointPace
from catlip.training.saving.weights import save_weights
from catlip.training.saving.writer import CheckpointWriter, nothing
from catlip.training.schedule import learning_rate
from catlip.training.threads import use_threads
from catlip.training.trainer import Trainer, metrics_of

PROGRESS = "progress"  # what a file of weights holds in addition to the run's config


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
        batches: given a first step, the micro-batches from there on.
        folder: of the run.
        config: what determines the run; a checkpoint made under another one is refused.
        log_every, checkpoint_every: in optimizer steps; a `checkpoint_every` of None leaves the
            choice to `CheckpointPace`.
        checkpoint_minutes: minutes between checkpoints, in place of `checkpoint_every`.
        projects: tracker -> project to log to as well; see `catlip.training.trackers`.
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
    pace = CheckpointPace(checkpoint_every, minutes=checkpoint_minutes)
    saving = partial(trainer.saving, folder / "checkpoints", config, log.lines)
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
                trainer.train_step(stream, lambda: notice.received is not None or writer.asks)
            )
            bar.update()
            asked = recent[-1].saves
            planned = (
                trainer.step == trainer.num_steps
                or trainer.step in snapshot_steps
                or pace.is_due(trainer.step)
            )
            # Each planned checkpoint gets a line too, so that a resumed run has the same log. A
            # checkpoint that was asked for stores the steps since the last line instead.
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
    """Write the weights to transfer, with the config and the progress; all ranks call it."""
    weights = trainer.weights()
    if trainer.place.is_main:
        images_seen = int(log.lines[-1]["images_seen"]) if log.lines else 0
        done = {"step": trainer.step, "num_steps": trainer.num_steps, "images_seen": images_seen}
        save_weights(path, weights, config | {PROGRESS: done})
