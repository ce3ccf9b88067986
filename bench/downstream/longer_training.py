"""Does longer pre-training help?  (Figure 4)

Trains linear probes on cached features of the weights that a pre-training run saved on its way, and
gives their accuracy against epochs and training time.

The paper trains once for each number of epochs. Instead, a pre-training run with `--snapshots N`
saves its weights at N steps. This is cheaper, but before the last step the learning rate has not
reached its end, which costs accuracy; the record marks these points. Runs of several lengths can be
given too.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import file_digest, sha256
from pathlib import Path

import numpy as np
import tyro

from bench.downstream.encoders.load import LoadedEncoder, load_encoder
from bench.downstream.linear_probe import LinearProbe
from bench.downstream.outputs import BY_NAME, DataSpelling, filled_in, is_written
from bench.downstream.probe import result as probe_result
from bench.downstream.probe.fit import CachedFeatures
from bench.downstream.probe.result import CACHED_NOTE, Classifier, OnTasks, TaskResult
from bench.downstream.probe.sweep import sweep
from bench.studies import longer_training_result
from bench.studies.longer_training_result import Snapshot
from catlip.cli import InputError, run
from catlip.pretraining import result as pretraining_result
from catlip.program.broken import MAX_BROKEN, MaxBroken
from catlip.program.ranges import Count, Natural
from catlip.recipes.transfer import PROBES, TransferRecipe
from catlip.record import Record, read_record
from catlip.results.run import Run, read_run
from catlip.training.distributed import find_place


@dataclass(frozen=True)
class LongerTraining:
    """Probe, with cached features, the weights that pre-training runs of one method saved on their
    way.

    python -m bench.downstream.longer_training runs/starter/pretrain/catlip-seed0 \\
        --data starter:data/starter

    python -m bench.downstream.longer_training \\
        runs/cc3m/catlip-25 runs/cc3m/catlip-50 runs/cc3m/catlip-100 \\
        --recipe table_7a --data imagenet:/data/imagenet
    """

    recipe: tyro.conf.OmitArgPrefixes[TransferRecipe]
    runs: tyro.conf.Positional[tuple[Path, ...]]
    """Folders of finished runs, each with its record beside it."""
    data: DataSpelling
    out: Path = Path("runs/bench/longer_training") / BY_NAME
    """The record to write."""
    seeds: Count = 1
    """Classifiers per file of weights."""
    num_workers: Natural = 1
    """Processes that decode images."""
    max_broken: MaxBroken = MAX_BROKEN
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    quiet: bool = False
    """No progress bars."""

    def __post_init__(self) -> None:
        if self.runs != tyro.MISSING:
            object.__setattr__(self, "out", filled_in(self.out, self.data, str(self.runs[0])))


def main(config: LongerTraining) -> None:
    """Probe the weights of all runs, print, write the record."""
    files = [file for folder in config.runs for file in _weights(folder)]
    digest = files_digest(files)
    if is_written(config.out, config, digest):
        return
    with Record(config.out, kind=longer_training_result.LongerTraining, config=config) as record:
        record.notes.append(CACHED_NOTE)
        rows: list[Snapshot] = []
        record.samples["runs"] = rows
        method = ""
        for file in files:
            encoder = load_encoder(str(file), 0, find_place(config.device).device)
            method = method or encoder.method
            if encoder.method != method:
                raise InputError(
                    f"{file} was trained by {encoder.method}, the first run by {method}; give "
                    "runs of one method"
                )
            probed = _probe(config, file, encoder, record=record)
            rows += _snapshots(probed, encoder, file)
            tasks = probed.measured.tasks.items()
            record.measured(
                longer_training_result.LongerTraining(
                    broken=probed.measured.broken,
                    method=method,
                    pretrain_seed=encoder.pretrain_seed,
                    encoder_digest=digest,
                    tasks={name: TaskResult(num_classes=task.num_classes) for name, task in tasks},
                )
            )
        if not all(row.annealed for row in rows):
            record.notes.append(
                "before the end of a run, the learning rate has not reached its final value; the "
                "paper trains once for each length"
            )
    print(f"wrote {record.path}")


def _weights(folder: Path) -> Iterator[Path]:
    """The files of weights that a run saved, the earliest first.

    Raises: InputError when the run is not finished.
    """
    if not (folder / "weights.safetensors").is_file():
        raise InputError(f"{folder} is no finished pre-training run: it has no weights.safetensors")
    yield from sorted(folder.glob("weights-step-*.safetensors"))
    yield folder / "weights.safetensors"


def files_digest(files: list[Path]) -> str:
    """One digest of the contents of several files of weights, 16 hexadecimal digits."""
    digest = sha256()
    for path in files:
        with open(path, "rb") as file:
            digest.update(file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16]


def _probe(
    config: LongerTraining, file: Path, encoder: LoadedEncoder, *, record: Record
) -> Run[OnTasks]:
    """Probe the weights in `file`; add the notes of the probe and its broken images to `record`."""
    probe = LinearProbe(
        config.recipe,
        str(file),
        config.data,
        out=config.out,
        seeds=config.seeds,
        num_workers=config.num_workers,
        quiet=config.quiet,
        max_broken=config.max_broken,
        cached_features=True,
    )
    own = Record(config.out, kind=probe_result.LinearProbe, config=probe)  # never written
    fit = CachedFeatures(encoder, config.recipe, config)
    probed = sweep(probe, encoder, own, fit=fit, say=False)
    record.notes += [note for note in own.notes if note not in record.notes]
    record.samples |= {name: value for name, value in own.samples.items() if name == "broken_keys"}
    return probed


def _snapshots(probed: Run[OnTasks], encoder: LoadedEncoder, file: Path) -> list[Snapshot]:
    """For each classifier on these weights its accuracy, and how far the run was when it saved
    them.

    Raises: InputError when the file or the run's record does not say how far.
    """
    assert encoder.checkpoint is not None, "it came from a file of ours"
    progress = encoder.checkpoint.config.get("progress")
    record = file.parent.with_name(f"{file.parent.name}.json")
    if not isinstance(progress, dict) or not record.is_file():
        raise InputError(f"{file} does not say how far its run was, or {record} is missing")
    try:
        trained = read_run(read_record(record), pretraining_result.Pretrain)
    except ValueError as reason:
        raise InputError(f"{record} is not the record of a training: {reason}") from None
    seen, seconds = (trained.samples.get(name, []) for name in ("images_seen", "seconds"))
    images = progress["images_seen"]
    done = progress["step"] / progress["num_steps"]
    # The recipe's epochs are the same for all seeds. What a run saw is not: each seed draws other
    # image sizes, and so sees a few images more or less.
    meant = trained.setup.recipe.epochs or trained.measured.epochs_seen
    rows = []
    for one in probed.rows("runs", Classifier):
        rows.append(
            Snapshot(
                run=file.parent.name,
                images_seen=images,
                epochs=meant * done,
                seconds=float(np.interp(images, [0, *seen], [0, *seconds])) if seen else None,
                device=trained.device,
                annealed=done == 1,
                task=one.task,
                seed=one.seed,
                top1=one.top1,
                top5=one.top5,
            )
        )
        print(f"{encoder.method:8} {meant * done:6.2f} epochs  {one.task:10} top-1 {one.top1:.3f}")
    return rows


RECIPES = {
    name: LongerTraining(recipe, runs=tyro.MISSING, data=tyro.MISSING)
    for name, recipe in PROBES.items()
}

if __name__ == "__main__":
    run(LongerTraining, main, RECIPES)
