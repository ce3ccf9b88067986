"""The same number of trials for every method, over the same ranges, judged on validation data.

Which of two methods is better can turn with the learning rate, so neither may be tuned less than
the other. The trials of all methods are the same points of a Sobol sequence, in the order of their
numbers: a method with more trials than another has the other's, and some more. Each trial is a
short training and a linear probe, in a folder of its own, and one record; what is finished is not
done again.

    python -m bench.tuning --shards data/starter/pretrain --labels-dir runs/starter/labels \\
        --vocabulary runs/starter/vocabulary.json --probe starter-validation:data/starter
"""

import io
import json
import math
import shutil
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from torch.quasirandom import SobolEngine

import baselines.pretrain
import catlip.pretrain
from baselines.methods import BASELINES
from baselines.pretrain import PretrainBaseline
from bench.downstream import linear_probe
from bench.downstream.linear_probe import RECIPES
from catlip import kinds
from catlip.categorical import Categorical
from catlip.cli import InputError, choose, one_of, run
from catlip.kinds import Run, read_run
from catlip.kinds.transfer.tuning import Trial, tuning_table
from catlip.objective import Objective
from catlip.pretrain import LabelledRun, PretrainCatLIP
from catlip.program.ranges import Count, Natural, Seed
from catlip.recipes.pretrain import CATLIP, CLIP, Recipe
from catlip.record import Record, plain, read_record
from catlip.table import as_text

METHODS: dict[str, type[Objective]] = {"catlip": Categorical, **BASELINES}
CLASSIFIERS = 3  # probes of one encoder, whose mean counts
TEST_DATA = "starter:"  # what a choice must never see


def _log(low: float, high: float) -> Callable[[float], float]:
    return lambda share: math.exp(math.log(low) + share * (math.log(high) - math.log(low)))


def _linear(low: float, high: float) -> Callable[[float], float]:
    return lambda share: low + share * (high - low)


# What is drawn, and how from a number in [0, 1); the same for every method that has it.
RANGES: dict[str, Callable[[float], float]] = {
    "max_lr": _log(2.5e-4, 8e-3),
    "weight_decay": _log(0.01, 0.5),
    "warmup_share": _linear(0.02, 0.2),
    "images_per_step": lambda share: 2 ** (5 + int(3 * share)),
    "least_crop": _linear(0.3, 0.9),
    "temperature": _log(0.02, 0.2),
    "logit_bias": _linear(-12, 0),
}
LOGITS = {"temperature", "logit_bias"}  # not every method has them


@dataclass(frozen=True)
class Tuning:
    """Try recipes for several methods, as many for each; run the same command again to go on.

    python -m bench.tuning --shards data/starter/pretrain --labels-dir runs/starter/labels \\
        --vocabulary runs/starter/vocabulary.json --probe starter-validation:data/starter
    python -m bench.tuning --methods catlip clip siglip --trials 32 --recipe cc3m_b16 \\
        --shards 'cc3m/{00000..00331}.tar' --labels-dir runs/cc3m/labels \\
        --vocabulary runs/cc3m/vocabulary.json --probe folder:/data/validation \\
        --images 10000000 --out runs/cc3m/tuning
    """

    shards: tuple[str, ...]
    """Image-caption shards: paths, folders, globs or braces."""
    probe: str
    """Validation data, as bench.downstream.linear_probe takes it; never what the methods are
    compared on in the end."""
    vocabulary: Path
    """The classes of methods that classify."""
    labels_dir: Path
    """Where catlip.label put the labels of these shards."""
    methods: tuple[Annotated[str, one_of(METHODS)], ...] = ("catlip", "clip")
    """What to tune."""
    trials: Count = 16
    """Of each method."""
    images: Count = 48_000
    """That each trial is trained on."""
    recipe: str = "starter"
    """What is not drawn: the method's pre-training recipe of this name."""
    probe_recipe: str = "starter"
    """How, one of bench.downstream.linear_probe's recipes."""
    seed: Seed = 0
    """Of the Sobol points, and of all trainings."""
    out: Path = Path("runs/starter/tuning")
    """The folder of the records, one a trial."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    num_workers: Natural = 1
    """Processes that read and decode images."""
    quiet: bool = False
    """No progress bars."""


@dataclass(frozen=True)
class OneTrial:
    """What determines one trial."""

    method: str
    trial: int
    drawn: dict[str, float]
    recipe: Recipe
    shards: tuple[str, ...]
    vocabulary: Path
    labels_dir: Path
    probe: str
    probe_recipe: str
    seed: Seed
    out: Path


def main(config: Tuning) -> None:
    """Try, write a record of each trial, and print what was found."""
    if config.probe.startswith(TEST_DATA):
        raise InputError(
            f"--probe {config.probe} holds the test images: tune on starter-validation:DIR"
        )
    choose("probe recipe", config.probe_recipe, RECIPES)
    done = [
        _try(config, trial_of(config, method, number))
        for number in range(config.trials)
        for method in config.methods
    ]
    title = f"Trials of each method's recipe, {config.images:,} images each"
    print(as_text(tuning_table(done, "tuning", title)))
    paths = [config.out / f"{trial.name}.json" for trial in done]
    print(f"{len(paths)} records: {paths[0]} to {paths[-1]}")


def points(trials: int, seed: int) -> list[dict[str, float]]:
    """The first so many points: field -> value."""
    shares = SobolEngine(len(RANGES), scramble=True, seed=seed).draw(trials).tolist()
    return [
        {name: of(share) for (name, of), share in zip(RANGES.items(), point, strict=True)}
        for point in shares
    ]


def trial_of(config: Tuning, method: str, number: int) -> OneTrial:
    """The trial of a method with that number. Raises: InputError."""
    choose("method", method, METHODS)
    base = choose("recipe", config.recipe, CATLIP if method == "catlip" else CLIP)
    has = METHODS[method].starts
    drawn = {
        name: value
        for name, value in points(number + 1, config.seed)[number].items()
        if name in has or name not in LOGITS
    }
    steps = max(1, round(config.images / drawn["images_per_step"]))
    recipe = replace(
        base,
        epochs=0.0,
        iterations=steps,
        max_lr=drawn["max_lr"],
        min_lr=drawn["max_lr"] / 100,
        weight_decay=drawn["weight_decay"],
        warmup_iterations=round(drawn["warmup_share"] * steps),
        micro_batch=int(drawn["images_per_step"]) // base.num_devices,
        crop_scale=(drawn["least_crop"], base.crop_scale[1]),
        temperature=drawn.get("temperature"),
        logit_bias=drawn.get("logit_bias"),
    )
    return OneTrial(
        method,
        number,
        drawn,
        recipe=recipe,
        shards=config.shards,
        vocabulary=config.vocabulary,
        labels_dir=config.labels_dir,
        probe=config.probe,
        probe_recipe=config.probe_recipe,
        seed=config.seed,
        out=config.out / f"{method}-{number:02d}.json",
    )


def _try(config: Tuning, trial: OneTrial) -> Run[Trial]:
    """Train, probe, write the record; or read it. Raises: InputError if it is of another study."""
    wanted = json.loads(json.dumps(plain(trial)))
    if trial.out.is_file():
        before = read_record(trial.out)
        if any(before["config"].get(n) != v for n, v in wanted.items() if n != "out"):
            raise InputError(f"{trial.out} is of another study; give another --out, or remove it")
        return read_run(before, kinds.Trial)
    folder = trial.out.with_suffix("")
    with Record(trial.out, kind=kinds.Trial, config=trial) as record:
        failed: str | None = None
        accuracies: dict[str, float] = {}
        cost: dict[str, float] = {}
        try:
            with redirect_stdout(io.StringIO()):  # what it prints is in the record
                cost = _train(config, trial, folder / trial.method)
                accuracies = _probe(config, trial, folder / trial.method)
        except InputError as error:
            if "finite" not in str(error):
                raise
            failed = str(error)
        measured = record.measured(
            kinds.Trial(
                method=trial.method,
                trial=trial.trial,
                drawn=trial.drawn,
                accuracies=accuracies,
                failed=failed,
                images_seen=cost.get("images_seen"),
                train_seconds=cost.get("train_seconds"),
            )
        )
    shutil.rmtree(folder)
    if not config.quiet:
        reached = ", ".join(f"{task} {100 * value:.1f} %" for task, value in accuracies.items())
        print(f"{trial.out.stem}: {reached or failed}", flush=True)
    return measured


def _train(config: Tuning, trial: OneTrial, folder: Path) -> dict[str, float]:
    """Pre-train in `folder`, and go on there; the metrics of its record."""
    common = LabelledRun(
        trial.recipe,
        trial.shards,
        out=folder,
        seed=trial.seed,
        device=config.device,
        num_workers=config.num_workers,
        quiet=config.quiet,
        vocabulary=trial.vocabulary,
        labels_dir=trial.labels_dir,
    )
    if trial.method == "catlip":
        catlip.pretrain.main(PretrainCatLIP(**vars(common)))
    else:
        baselines.pretrain.main(PretrainBaseline(**vars(common), method=trial.method))
    metrics: dict[str, float] = read_record(folder.with_name(f"{folder.name}.json"))["metrics"]
    return metrics


def _probe(config: Tuning, trial: OneTrial, encoder: Path) -> dict[str, float]:
    """Task -> accuracy on the validation images."""
    probe = replace(
        RECIPES[trial.probe_recipe],
        encoder=str(encoder),
        data=trial.probe,
        out=encoder.with_name("probe.json"),
        cached_features=True,
        seeds=CLASSIFIERS,
        seed=trial.seed,
        num_workers=config.num_workers,
        device=config.device,
        quiet=config.quiet,
    )
    linear_probe.main(probe)
    probed = read_run(read_record(probe.out), kinds.LinearProbe).measured
    return {task: top1 for task, top1 in probed.accuracies().items() if top1 is not None}


if __name__ == "__main__":
    run(Tuning, main)
