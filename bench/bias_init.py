"""What starting the classifier's bias at each class's base rate does to the first steps of CatLIP.

Nearly every class is absent from nearly every caption. From a zero bias, the release's, each of V
classes costs ln 2 and the first steps only learn that; from the log-odds of the base rates training
begins at the loss of knowing how frequent each noun is. Here a recipe is trained from both: the
same weights but for that bias, on the same batches, in turns. What the frequencies alone would give
on those batches, whatever is in the images, is computed beside them.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
import tyro
from torch import Tensor, nn

from catlip.categorical import Categorical
from catlip.cli import InputError, run
from catlip.data.loader import Batch, DataPath
from catlip.data.sampler import SampleOrder
from catlip.data.shard_set import open_shards
from catlip.data.shards import expand
from catlip.pretrain import VocabularyLabels, augmented, base_rates_of, encoder_of
from catlip.program.progress import progress
from catlip.program.ranges import Count, Natural
from catlip.recipes.pretrain import CATLIP, Recipe
from catlip.record import Record
from catlip.training.distributed import Place, find_place
from catlip.training.loop import Trainer
from catlip.vocabulary import Vocabulary

BIASES = ("zero", "base_rates")
SPANS = (
    (1, 10),
    (91, 100),
    (491, 500),
    (991, 1000),
)  # steps whose losses are averaged, first and last
WINDOW = 20  # steps: of the moving average that is compared with where the base rates begin
NOTES = (
    "both runs of a seed have the same weights but for the classifier's bias, which one of them "
    "sets to zero once it is built; "
    "they take the same batches in turns, with the same random numbers",
    (
        "losses are the classification's alone; the learning rate's cosine ends with the last of "
        "these steps"
    ),
    (
        f"steps_saved: the first step at which the mean of a zero bias's last {WINDOW} losses is "
        "below the base rates' first loss"
    ),
)


@dataclass(frozen=True)
class BiasInit:
    """Train a recipe's first steps from a zero bias of the classifier and from the base rates, on
    the same batches.

    python -m bench.bias_init
    python -m bench.bias_init --recipe cc3m_b16_1gpu --shards 'cc3m/{00000..00331}.tar' \\
        --labels-dir runs/cc3m/labels --vocabulary runs/cc3m/vocabulary.json \\
        --out runs/cc3m/bias_init/bias_init.json
    """

    recipe: tyro.conf.OmitArgPrefixes[Recipe]
    shards: tuple[str, ...] = ("data/starter/pretrain",)
    """Image-caption shards: paths, folders, globs or braces."""
    vocabulary: Path = Path("runs/starter/vocabulary.json")
    """Made by catlip.vocabulary; the base rates are its counts."""
    labels_dir: Path = Path("runs/starter/labels")
    """Where catlip.label put the labels of these shards."""
    seeds: Count = 1
    """Pairs of runs, of seeds 0, 1, ...: of the weights, the order of the samples, and their
    crops.
    """
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    num_workers: Natural = 1
    """Processes that read and decode images."""
    out: Path = Path("runs/bench/bias_init/bias_init.json")
    """The record to write."""
    quiet: bool = False
    """No progress bar."""

    def __post_init__(self) -> None:
        if self.seeds < 1:
            raise InputError(f"--seeds {self.seeds} is a number of pairs of runs: give 1 or more")


def main(config: BiasInit) -> None:
    """Train both of each seed, sum up, print, write the record."""
    place, vocabulary = find_place(config.device), Vocabulary.load(config.vocabulary)
    base_rates = base_rates_of(vocabulary)
    with Record(config.out, kind="bias_init", config=config) as record:
        rows = []
        for seed in range(config.seeds):
            found = train_both(config, seed, data_path(config, seed, vocabulary), base_rates, place)
            rows.append({"seed": seed, **summarise(found)})
            for name, values in found.items():
                record.samples.setdefault(name, []).extend(values)
        record.metrics |= {
            "num_classes": len(vocabulary),
            "uniform_loss": len(vocabulary) * math.log(2),
            "base_rate_entropy": entropy(base_rates),
            **means(rows),
            "seeds": rows,
        }
        record.notes += NOTES
        print(_table(record.metrics))
    print(f"wrote {record.path}")


def data_path(config: BiasInit, seed: int, vocabulary: Vocabulary) -> DataPath:
    """The batches that `catlip.pretrain` would train on, on one device."""
    recipe, shards = config.recipe, open_shards(expand(config.shards), config.quiet)
    order, labels = (
        SampleOrder(shards.counts, seed),
        VocabularyLabels(config.labels_dir, vocabulary),
    )
    plan, accumulation = recipe.plan(order.total, seed), recipe.accumulation(world_size=1)
    return DataPath(
        shards,
        order,
        plan,
        augmentation=recipe.augmentation(),
        seed=seed,
        accumulation=accumulation,
        labels=labels,
    )


def build(bias: str, recipe: Recipe, base_rates: Tensor, seed: int) -> Categorical:
    """The objective as `catlip.pretrain` builds it with this seed; `bias` is one of BIASES."""
    torch.manual_seed(seed)
    objective = Categorical(encoder_of(recipe), base_rates)
    if bias == "zero":
        nn.init.zeros_(objective.classifier.bias)
    return objective


def train_both(
    config: BiasInit, seed: int, data: DataPath, base_rates: Tensor, place: Place
) -> dict[str, list[float]]:
    """A value a step: its number, its images, the loss from each bias and that of the base rates
    alone.
    """
    recipe, trainers = config.recipe, []
    heard: dict[str, list[Tensor]] = {bias: [] for bias in BIASES}
    for bias in BIASES:
        objective = build(bias, recipe, base_rates, seed)
        objective.register_forward_hook(
            lambda *call, to=heard[bias]: to.append(call[-1].detach())
        )  # without RangeAugment's
        trainers.append(
            Trainer(
                augmented(objective, recipe),
                recipe,
                len(data.plan),
                place=place,
                accumulation=data.accumulation,
                seed=seed,
            )
        )
    stream = data.batches(0, config.num_workers, pin_memory=place.device.type == "cuda")
    images, alone = [], []
    for _ in progress(
        range(len(data.plan)), desc=f"bias_init seed {seed}", unit="step", disable=config.quiet
    ):
        batches = list(itertools.islice(stream, data.accumulation))
        for trainer in trainers:
            trainer.train_step(iter(batches))
        images.append(sum(map(len, batches)))
        alone.append(float(np.mean([loss_of_base_rates(base_rates, batch) for batch in batches])))
    losses = {
        f"{bias}_loss": _step_means(found, data.accumulation) for bias, found in heard.items()
    }
    steps = [*range(1, len(images) + 1)]
    return {
        "seed": [seed] * len(steps),
        "step": steps,
        "images": images,
        **losses,
        "base_rates_alone_loss": alone,
    }


def loss_of_base_rates(base_rates: Tensor, batch: Batch) -> float:
    """The objective's loss, in nats per image, of logits that are those of the base rates for every
    image.
    """
    assert batch.labels is not None
    logits = torch.logit(base_rates.double())
    return float(F.softplus(logits).sum() - logits[batch.labels.values].sum() / len(batch))


def entropy(base_rates: Tensor) -> float:
    """What `loss_of_base_rates` is on average where classes are as frequent as they say, in nats
    per image.
    """
    logits = torch.logit(base_rates.double())
    return float(F.softplus(logits).sum() - logits @ base_rates.double())


def summarise(found: dict[str, list[float]]) -> dict[str, Any]:
    """What a pair of runs comes to: the first loss of each, the means over SPANS that it reached,
    and the steps saved.
    """
    row: dict[str, Any] = {"images_seen": sum(found["images"])}
    row["base_rates_alone_loss"] = float(np.mean(found["base_rates_alone_loss"]))
    for bias in BIASES:
        losses = found[f"{bias}_loss"]
        row[f"{bias}_initial_loss"] = losses[0]
        for first, last in SPANS:
            if last <= len(losses):
                row[f"{bias}_loss_{first}_to_{last}"] = float(np.mean(losses[first - 1 : last]))
    return row | {"steps_saved": first_below(found["zero_loss"], row["base_rates_initial_loss"])}


def first_below(losses: Sequence[float], goal: float) -> int | None:
    """The first step, from 1, at which the mean of the last WINDOW losses is below `goal`; None if
    there is none.
    """
    for step in range(WINDOW, len(losses) + 1):
        if np.mean(losses[step - WINDOW : step]) < goal:
            return step
    return None


def means(rows: Sequence[dict[str, Any]]) -> dict[str, float | None]:
    """Each number's mean over the seeds; None for one that not every seed has."""
    names = [name for name in rows[0] if name != "seed"]
    return {
        name: None
        if any(row[name] is None for row in rows)
        else float(np.mean([row[name] for row in rows]))
        for name in names
    }


def _step_means(losses: list[Tensor], accumulation: int) -> list[float]:
    """Each step's mean over its micro-batches."""
    means: list[float] = torch.stack(losses).double().reshape(-1, accumulation).mean(dim=1).tolist()
    return means


def _table(metrics: dict[str, Any]) -> str:
    spans = [
        f"{first}_to_{last}" for first, last in SPANS if f"zero_loss_{first}_to_{last}" in metrics
    ]
    rows = [
        ("at the start", "{}_initial_loss"),
        *((f"steps {span.replace('_', ' ')}", f"{{}}_loss_{span}") for span in spans),
    ]
    lines = [f"{'nats per image':20} {'zero bias':>12} {'base rates':>12}"]
    lines += [
        f"{what:20}" + "".join(f" {metrics[name.format(bias)]:12.3f}" for bias in BIASES)
        for what, name in rows
    ]
    alone, expected, uniform = (
        metrics[name] for name in ("base_rates_alone_loss", "base_rate_entropy", "uniform_loss")
    )
    lines.append(f"{metrics['num_classes']} classes: V ln 2 = {uniform:.3f}")
    lines.append(
        f"base rates alone: {alone:.3f} on the {metrics['images_seen']:,.0f} images seen, "
        f"{expected:.3f} expected"
    )
    saved = metrics["steps_saved"]
    lines.append(
        "a zero bias is not yet there"
        if saved is None
        else f"a zero bias is there after {saved:,.0f} steps"
    )
    return "\n".join(lines)


DEFAULTS = {
    name: BiasInit(replace(recipe, iterations=1000, epochs=0)) for name, recipe in CATLIP.items()
}

if __name__ == "__main__":
    run(BiasInit, main, DEFAULTS)
