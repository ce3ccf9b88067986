"""What studies of many trainings have in common. Each training is a pre-training and a linear probe
in a folder of its own, and writes one record; a finished training is not done again.
"""

import io
import json
import re
import shutil
from collections.abc import Callable, Iterable, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TypeVar

import baselines.pretrain
import catlip.pretrain
from baselines.methods import BASELINES
from baselines.pretrain import PretrainBaseline, recipes_of
from bench.downstream import linear_probe
from bench.downstream.linear_probe import RECIPES
from bench.downstream.probe import result as probe_result
from bench.downstream.probe.datasets import load_tasks
from bench.studies.result import Studied
from catlip.categorical import Categorical
from catlip.cli import InputError, choose
from catlip.data.sampler import steps_for
from catlip.objective import Objective
from catlip.pretrain import PretrainCatLIP
from catlip.pretraining import result as pretraining_result
from catlip.pretraining.config import LabelledRun
from catlip.program.ranges import Natural, Seed
from catlip.recipes.pretrain import CATLIP, Recipe
from catlip.record import Record, plain, read_record, write_atomically
from catlip.results.kind import Kind
from catlip.results.run import Run, read_run

K = TypeVar("K", bound=Studied)
T = TypeVar("T", bound="Training")

METHODS: dict[str, type[Objective]] = {"catlip": Categorical, **BASELINES}
SIZE = re.compile("_[blh]16(?=_|$)")  # of the encoder, in the name of a recipe
CLASSIFIERS = 3  # probes of each encoder, whose mean is the result


@dataclass(frozen=True)
class Study:
    """The settings of a study of several methods."""

    shards: tuple[str, ...]
    """Image-caption shards: paths or URLs (s3:// ...), folders, globs or braces."""
    probe: str
    """Data to probe on, as bench.downstream.linear_probe takes it."""
    vocabulary: Path
    """Vocabulary: the classes of methods that classify."""
    labels_dir: Path
    """Where catlip.label put the labels of these shards."""
    recipe: str = "starter"
    """Name of each method's pre-training recipe, for what the study does not change."""
    probe_recipe: str = "starter"
    """How to probe, one of bench.downstream.linear_probe's recipes."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    num_workers: Natural = 1
    """Processes that read and decode images."""
    earlier: Path | None = None
    """Folder of earlier records; a training that has a record there is not done again."""
    out: Path = Path("runs/starter/study")
    """Folder for the records, one per training."""
    quiet: bool = False
    """No progress bars."""

    def training(self, method: str, recipe: Recipe, seed: int) -> "Training":
        """A method's training by a recipe, on this study's data."""
        return Training(
            method,
            recipe,
            self.shards,
            vocabulary=self.vocabulary,
            labels_dir=self.labels_dir,
            probe=self.probe,
            probe_recipe=self.probe_recipe,
            seed=seed,
        )


@dataclass(frozen=True)
class Training:
    """What determines a training of a study and its probe."""

    method: str
    recipe: Recipe
    shards: tuple[str, ...]
    vocabulary: Path
    labels_dir: Path
    probe: str
    probe_recipe: str
    seed: Seed

    @property
    def name(self) -> str:
        """Name of its record."""
        raise NotImplementedError


@dataclass(frozen=True)
class Outcome:
    """The result of a training.

    Attributes:
        accuracies: task -> top-1 accuracy, the mean of several classifiers.
    """

    pretrain: pretraining_result.Pretrain
    accuracies: dict[str, float]


def check(study: Study) -> None:
    """Refuse now what would otherwise fail after a training. Raises: InputError."""
    for field in fields(study):
        if getattr(study, field.name) == () and field.default != ():
            raise InputError(f"--{field.name}: give one or more")
    choose("probe recipe", study.probe_recipe, RECIPES)
    load_tasks(study.probe)


def base_recipe(study: Study, method: str) -> Recipe:
    """The method's recipe of the study's name. Raises: InputError for a name that is unknown."""
    choose("method", method, METHODS)
    return choose("recipe", study.recipe, _recipes(method))


def recipe_of_encoder(study: Study, method: str, encoder: str) -> Recipe | None:
    """The recipe that differs from the study's in the encoder's size: datacomp_l16 for vit_l16 and
    datacomp_b16. None if the method has no such recipe.
    """
    family = SIZE.sub("", study.recipe)
    for name, recipe in _recipes(method).items():
        if recipe.encoder == encoder and SIZE.sub("", name) == family:
            return recipe
    return None


def _recipes(method: str) -> dict[str, Recipe]:
    return CATLIP if method == "catlip" else recipes_of(method)


def of_length(base: Recipe, images: int) -> Recipe:
    """The recipe with a schedule over `images` images, on average over the sizes that steps draw,
    instead of its own length; the warm-up is at most a fifth of the schedule.
    """
    steps = steps_for(images, base.sizes(), base.num_devices)
    warmup = min(base.warmup_iterations, steps // 5)
    return replace(base, epochs=0.0, iterations=steps, warmup_iterations=warmup)


def say_where(out: Path, runs: Sequence[Run[Kind]]) -> None:
    """Print where the records of a study are; there is at least one."""
    first, last = (out / f"{run.name}.json" for run in (runs[0], runs[-1]))
    print(f"{len(runs)} records: {first} to {last}")


def every_one(
    study: Study, trainings: Iterable[T], kind: type[K], *, measure: Callable[[T, Path], K]
) -> list[Run[K]]:
    """The record of each training: the one at --out, or that of --earlier, or a new one.

    Args:
        measure: takes a training, and a folder for what it leaves behind, which is removed
            afterwards.
    Raises: InputError if a record of another study is in the place of one.
    """
    done = []
    for training in trainings:
        one = _kept_or_made(study, training, kind, measure=measure)
        if not study.quiet:
            print(f"{training.name}: {one.measured.outcome}", flush=True)
        done.append(one)
    return done


def _kept_or_made(
    study: Study, training: T, kind: type[K], *, measure: Callable[[T, Path], K]
) -> Run[K]:
    out = study.out / f"{training.name}.json"
    earlier = study.earlier / out.name if study.earlier else None
    if not out.is_file() and earlier and earlier.is_file() and _is_of(earlier, training):
        out.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(out, earlier.read_bytes())
    if out.is_file():
        if not _is_of(out, training):
            raise InputError(f"{out} is of another study; give another --out, or remove it")
        return read_run(read_record(out), kind)
    folder = out.with_suffix("")
    with Record(out, kind=kind, config=training) as record:
        with redirect_stdout(io.StringIO()):  # what it prints is in the record
            metrics = measure(training, folder)
        measured = record.measured(metrics)
    shutil.rmtree(folder)
    return measured


def _is_of(path: Path, training: Training) -> bool:
    """Whether a record was made with the settings of this training. Raises: InputError."""
    wanted, config = json.loads(json.dumps(plain(training))), read_record(path)["config"]
    return {name: config.get(name) for name in wanted} == wanted


def train_and_probe(study: Study, training: Training, folder: Path) -> Outcome:
    """Pre-train in `folder`, or go on there, and probe the encoder.

    Raises: InputError, also where the training diverges.
    """
    run = folder / training.method
    common = LabelledRun(
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
        catlip.pretrain.main(PretrainCatLIP(**vars(common)))
    else:
        baselines.pretrain.main(PretrainBaseline(**vars(common), method=training.method))
    probe = replace(
        RECIPES[training.probe_recipe],
        encoder=str(run),
        data=training.probe,
        out=folder / "probe.json",
        cached_features=True,
        seeds=CLASSIFIERS,
        seed=training.seed,
        num_workers=study.num_workers,
        device=study.device,
        quiet=study.quiet,
    )
    linear_probe.main(probe)
    pretrained = read_run(
        read_record(folder / f"{training.method}.json"), pretraining_result.Pretrain
    )
    probed = read_run(read_record(probe.out), probe_result.LinearProbe).measured.accuracies()
    accuracies = {task: top1 for task, top1 in probed.items() if top1 is not None}
    return Outcome(pretrained.measured, accuracies)
