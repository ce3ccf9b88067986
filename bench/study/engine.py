"""The engine of all studies. A study is a list of trainings; each is a pre-training and a linear
probe of its encoder, and writes one record. A training that has its record is not repeated, and an
interrupted one goes on. Several trainings of a small encoder run side by side: it leaves a GPU idle
most of the time, and gains little from a second core.
"""

import io
import os
import re
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, fields, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, TypeVar

import baselines.pretrain
import catlip.pretrain
from bench.downstream import linear_probe
from bench.downstream.probe.result import IMAGES, LinearProbe
from bench.measuring.factors import factors_of
from bench.study.result import Studied
from catlip.cli import InputError, choose
from catlip.data.sampler import steps_for
from catlip.data.shard_set import open_shards
from catlip.data.shards import expand
from catlip.pretraining.config import PretrainRun
from catlip.pretraining.result import Pretrain
from catlip.program.identity import is_recorded, record_changes
from catlip.program.methods import methods
from catlip.program.options import RunOptions
from catlip.program.ranges import Count, Natural, Seed
from catlip.program.user_file import names_file, user_recipe
from catlip.recipes.pretrain import Recipe
from catlip.records.record import (
    Record,
    command_line,
    host_memory,
    note_beside,
    note_data,
    note_samples,
    read_record,
)
from catlip.records.run import Run, read_run
from catlip.system.engines import worker_pool
from catlip.system.files import remove_written, write_atomically
from catlip.system.machine import processors

S = TypeVar("S", bound=Studied)
U = TypeVar("U", bound="Study")
T = TypeVar("T", bound="Training")
SIZE = re.compile("_[blh]16(?=_|$)")  # of the encoder, in the name of a recipe
FEW_LABELS = 0.1  # of the training images of each class; other probes have all of them
CLASSIFIERS = 3  # probes of each encoder, whose mean is the result
MAX_SHARED = 1 / 16  # of a GPU's memory: a training that takes more runs there alone
CONTEXT_BYTES = 2**30  # of each process on a GPU, for its context and libraries
PROCESS_BYTES = 3 * 2**29  # of each process on a CPU; up to 1.3 GiB seen


@dataclass(frozen=True, kw_only=True)
class Study(RunOptions):
    """The settings that all studies share."""

    shards: tuple[str, ...]
    """Image-caption shards: paths or URLs (s3:// ...), folders, globs or braces."""
    labels_dir: Path
    """Where catlip.label put the labels of these shards."""
    probe: tuple[str, ...]
    """Data to probe on, each as bench.downstream.linear_probe takes it."""
    recipe: str = "starter"
    """Name of each method's pre-training recipe, for what the study does not change; or
    FILE.py:NAME, one for all methods."""
    probe_recipe: str = "starter"
    """How to probe, one of bench.downstream.linear_probe's recipes."""
    num_workers: Natural | None = None
    """Processes that read and decode images; by default as in catlip.pretrain."""
    workers: Count | None = None
    """Trainings at a time; by default as many as memory and cores allow, if they are small."""
    earlier: Path | None = None
    """Folder of earlier records; a training that has a record there is not done again."""
    out: Path = Path("runs/starter/study")
    """Folder for the records, one per training."""

    def check(self) -> None:
        """Refuse now what would otherwise fail after a training. Raises: InputError."""
        from bench.downstream.probe.datasets import load_tasks  # torch takes seconds to load

        for field in fields(self):
            values = getattr(self, field.name)
            is_given = isinstance(values, tuple) and field.default != values
            if is_given and (not values or len(set(values)) < len(values)):
                raise InputError(f"--{field.name}: give one or more, each once")
        choose("probe recipe", self.probe_recipe, linear_probe.RECIPES)
        tasks = [task.name for data in self.probe for task in load_tasks(data)]
        if len(set(tasks)) < len(tasks):
            raise InputError(f"--probe {' '.join(self.probe)}: two have a task of the same name")

    def base_recipe(self, method: str) -> Recipe:
        """The method's recipe of the study's name. Raises: InputError for an unknown name."""
        choose("method", method, methods())
        recipes = baselines.pretrain.recipes_of(method)
        if names_file(self.recipe):
            named = {name: catlip.pretrain.PretrainCatLIP(base) for name, base in recipes.items()}
            return user_recipe(self.recipe, named).recipe
        return choose("recipe", self.recipe, recipes)

    def recipe_of_encoder(self, method: str, encoder: str) -> Recipe | None:
        """The recipe of that encoder's size, as datacomp_l16 beside datacomp_b16, if any."""
        for name, recipe in baselines.pretrain.recipes_of(method).items():
            if recipe.encoder == encoder and SIZE.sub("", name) == SIZE.sub("", self.recipe):
                return recipe
        return None

    @cached_property
    def num_samples(self) -> int:
        return int(sum(open_shards(expand(self.shards), self.quiet).counts))

    def recipe_of_length(self, base: Recipe, images: int) -> Recipe:
        """The recipe with a schedule over `images` images. If it gets longer, the warm-up stays the
        same fraction of it; else the warm-up is as long as before, but at most a fifth.
        """
        steps = steps_for(images, base.sizes(), base.num_devices)
        whole = base.iterations or base.num_steps(self.num_samples)
        warmup = min(base.warmup_iterations, steps // 5)
        if steps > whole:
            warmup = round(base.warmup_iterations * steps / whole)
        return replace(base, epochs=0.0, iterations=steps, warmup_iterations=warmup)

    def training(self, kind: "type[T]", **own: Any) -> "T":
        """A training of this study; `own` are the fields that it does not share with the others."""
        shared = ("shards", "labels_dir", "probe", "probe_recipe")
        return kind(**{name: getattr(self, name) for name in shared} | own)


@dataclass(frozen=True, kw_only=True)
class StudyOfMethods(Study):
    vocabulary: Path
    """Vocabulary: the classes of methods that classify."""
    methods: tuple[str, ...] = ("catlip", "clip")
    """Methods to train with."""


@dataclass(frozen=True)
class Training:
    """What determines a training of a study and its probe: the config of its record."""

    method: str
    recipe: Recipe
    shards: tuple[str, ...]
    vocabulary: Path
    labels_dir: Path
    probe: tuple[str, ...]
    probe_recipe: str
    seed: Seed

    @property
    def name(self) -> str:  # of its record
        raise NotImplementedError

    def config(self) -> dict[str, Any]:
        """The fields as records have them: older ones name one probe, which is no list there."""
        return vars(self) | ({"probe": self.probe[0]} if len(self.probe) == 1 else {})


def run_trainings(
    study: U,
    trainings: Sequence[T],
    kind: type[S],
    measure: Callable[[U, T, Path], S],
) -> list[Run[S]]:
    """The record of each training, taken from --out or from --earlier, or made now.
    Raises: InputError.

    Args:
        measure: a function of a module, since other processes call it: does a training in the
            folder that it is given, and returns the metrics.
    """
    missing, done = [], 0

    def report(training: T) -> None:
        if not study.quiet:
            run = read_run(read_record(record_path(study, training)), kind)
            progress = f"{done} of {len(trainings)}"
            print(f"{progress}, {training.name}: {run.metrics.outcome}", flush=True)

    for training in trainings:
        if has_record(study, training):
            done += 1
            report(training)
        else:
            missing.append(training)
    workers = min(study.workers or workers_for(study, missing), len(missing)) or 1
    if workers > 1:
        if not study.quiet:
            print(f"{len(missing)} trainings, {workers} at a time", flush=True)
        cores = processors() // workers  # of each
        if study.num_workers is None:
            study = replace(study, num_workers=max(0, cores - 1))
        # Threads of several trainings that wait for a core spin: six times slower on two cores.
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cores)))
        note_beside(workers - 1)
    run_one = partial(run_training, study, kind, measure, workers - 1, command_line())
    with worker_pool(workers) as apply:
        for training, error in apply(run_one, missing):
            if error:
                raise InputError(f"{training.name}: {error}") from error
            done += 1
            report(training)
    print(f"{len(trainings)} records in {study.out}")
    return [read_run(read_record(record_path(study, training)), kind) for training in trainings]


def run_training(
    study: U,
    kind: type[S],
    measure: Callable[[U, T, Path], S],
    beside: int,
    command: str,
    training: T,
) -> None:
    """Write the record of a training, `beside` others on the same device."""
    path = record_path(study, training)
    folder = path.with_suffix("")
    quiet = replace(study, quiet=study.quiet or beside > 0)
    try:
        with Record(path, kind=kind, config=training.config(), command=command) as record:
            note_beside(beside)
            with redirect_stdout(io.StringIO()):  # what it prints is in the record
                record.finish(measure(quiet, training, folder))
    except Exception as error:
        error.add_note(f"in the training {training.name}")
        raise
    from catlip.training.loop import WRITTEN  # torch takes seconds to load

    written = rf"({training.method}/)?({WRITTEN})|({training.method}|probe[^/]*)\.json"
    remove_written(folder, written)


def record_path(study: Study, training: Training) -> Path:
    return study.out / f"{training.name}.json"


def has_record(study: Study, training: Training) -> bool:
    """Whether the training has its record, perhaps copied from --earlier. Raises: InputError."""
    path = record_path(study, training)
    earlier = study.earlier / path.name if study.earlier else path

    def asked(there: Path) -> dict[str, Any]:
        """The training's config; a record may have further probes."""
        probed = read_record(there)["config"].get("probe", []) if there.exists() else []
        probed = [probed] if isinstance(probed, str) else probed
        has_all = {*training.probe} <= {*probed}
        return training.config() | ({"probe": probed} if has_all and len(probed) > 1 else {})

    if not path.exists() and earlier.exists() and not record_changes(earlier, asked(earlier)):
        write_atomically(path, earlier.read_bytes())
    return is_recorded(path, asked(path))


def workers_for(study: Study, trainings: Sequence[Training]) -> int:
    """How many to run at a time: as many as have memory and a core, or on a GPU two cores."""
    import torch

    from bench.arithmetic.memory import peak_bytes
    from catlip.training.distributed import init_distributed

    device = init_distributed(study.device).device
    if not trainings:
        return 1
    steps = {factors_of(training.method, training.recipe) for training in trainings}
    largest = max(map(peak_bytes, steps))
    cores = processors()
    if device.type != "cuda":
        share = cores / (os.cpu_count() or 1)  # of the machine, which other steps may use too
        memory = share * host_memory() / 2
        return max(1, min(cores, int(memory / (largest + PROCESS_BYTES))))
    memory = torch.cuda.get_device_properties(device).total_memory
    if largest > MAX_SHARED * memory:
        return 1
    fitting = int(memory / (largest + CONTEXT_BYTES))
    return max(1, min(cores // 2, fitting))


def train_and_probe(
    study: Study, training: Training, folder: Path
) -> tuple[Pretrain, dict[str, float]]:
    """Pre-train in `folder`, or go on there, and probe the encoder.

    Returns: the training's metrics, and task -> mean top-1 accuracy.
    Raises: InputError, also if the training diverges.
    """
    from bench.downstream.probe.sweep import main as run_sweep  # torch takes seconds to load

    run = folder / training.method
    common = PretrainRun(
        training.recipe,
        training.shards,
        out=run,
        seed=training.seed,
        device=study.device,
        num_workers=study.num_workers,
        quiet=study.quiet,
        vocabulary=training.vocabulary,
        labels_dir=training.labels_dir,
    )
    if training.method == "catlip":
        catlip.pretrain.main(catlip.pretrain.PretrainCatLIP(**vars(common)))
    else:
        config = baselines.pretrain.PretrainBaseline(**vars(common), method=training.method)
        baselines.pretrain.main(config)
    pretrained = read_record(folder / f"{training.method}.json")
    note_data(pretrained["environment"].get("data", {}))
    accuracies: dict[str, float] = {}
    samples: dict[str, list[Any]] = {"runs": [], IMAGES: []}
    for number, data in enumerate(training.probe):
        probe = replace(
            linear_probe.RECIPES[training.probe_recipe],
            encoder=str(run),
            data=data,
            out=folder / f"probe_{number}.json",
            cached_features=True,
            fraction=(FEW_LABELS, 1.0),
            seeds=CLASSIFIERS,
            seed=training.seed,
            num_workers=study.num_workers,
            device=study.device,
            quiet=study.quiet,
        )
        run_sweep(probe)
        record = read_record(probe.out)
        note_data(record["environment"].get("data", {}))
        for name, rows in samples.items():
            rows += record["samples"].get(name, [])
        probed = read_run(record, LinearProbe).metrics.accuracies()
        accuracies |= {task: top1 for task, top1 in probed.items() if top1 is not None}
    note_samples(samples)
    return read_run(pretrained, Pretrain).metrics, accuracies
