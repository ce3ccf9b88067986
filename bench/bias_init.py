"""How CatLIP's first steps change when the classifier's bias starts at each class's base rate.

Nearly every class is absent from nearly every caption. With a zero bias, as in the release, each of
V classes costs ln 2 at first, and the first steps only learn that classes are rare. With a bias of
the log-odds of the base rates, training begins at the loss of a model that knows how frequent each
noun is.

This bench trains a recipe both ways, in turns, with the same batches and the same weights but for
that bias. It also computes the loss of the frequencies alone on those batches, whatever is in the
images.
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

from bench.step_time import bias_init_result as result
from bench.step_time.bias_init_result import BIASES, bias_init_table, saved_words
from catlip.categorical import Categorical
from catlip.cli import run
from catlip.data.loader import Batch, DataPath
from catlip.data.sampler import SampleOrder
from catlip.data.shard_set import open_shards
from catlip.data.shards import expand
from catlip.pretraining.method import augmented, base_rates_of, encoder_of
from catlip.program.progress import progress
from catlip.program.ranges import Count, Natural
from catlip.recipes.pretrain import CATLIP, Recipe
from catlip.record import Record
from catlip.table import print_tables
from catlip.training.distributed import Place, find_place
from catlip.training.trainer import Trainer
from catlip.vocabulary import Vocabulary
from catlip.vocabulary.sample_labels import VocabularyLabels

# Spans of steps over which losses are averaged: first and last step.
SPANS = ((1, 10), (91, 100), (491, 500), (991, 1000))
WINDOW = 20  # steps of the moving average that is compared with the base rates' first loss
NOTES = (
    "both runs of a seed start with the same weights except the classifier's bias, which is zero "
    "in one of them; they train in turns on the same batches, with the same random numbers",
    "losses are of classification alone; the learning rate's cosine ends with the last of these "
    "steps",
    f"steps_saved: the first step at which the mean of a zero bias's last {WINDOW} losses is below "
    "the base rates' first loss",
)


@dataclass(frozen=True)
class BiasInit:
    """Train a recipe's first steps on the same batches from two biases of the classifier: zero, and
    the base rates of the classes.

    python -m bench.bias_init
    python -m bench.bias_init --recipe cc3m_b16_1gpu --shards 'cc3m/{00000..00331}.tar' \\
        --labels-dir runs/cc3m/labels --vocabulary runs/cc3m/vocabulary.json \\
        --out runs/cc3m/bias_init/bias_init.json
    """

    recipe: tyro.conf.OmitArgPrefixes[Recipe]
    shards: tuple[str, ...] = ("data/starter/pretrain",)
    """Image-caption shards: paths or URLs (s3:// ...), folders, globs or braces."""
    vocabulary: Path = Path("runs/starter/vocabulary.json")
    """Vocabulary made by catlip.vocabulary; the base rates come from its counts."""
    labels_dir: Path = Path("runs/starter/labels")
    """Where catlip.label put the labels of these shards."""
    seeds: Count = 1
    """Number of pairs of runs, with seeds 0, 1, ...; a seed sets the weights, the order of the
    samples, and their crops.
    """
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    num_workers: Natural = 1
    """Processes that read and decode images."""
    out: Path = Path("runs/bench/bias_init/bias_init.json")
    """The record to write."""
    quiet: bool = False
    """No progress bar."""


def main(config: BiasInit) -> None:
    """Train both runs of each seed, summarise, print, write the record."""
    place, vocabulary = find_place(config.device), Vocabulary.load(config.vocabulary)
    base_rates = base_rates_of(vocabulary)
    with Record(config.out, kind=result.BiasInit, config=config) as record:
        seeds = []
        for seed in range(config.seeds):
            data = data_path(config, seed, vocabulary)
            samples = train_both(config, seed, data, base_rates=base_rates, place=place)
            seeds.append(first_steps(samples, seed))
            for name, values in samples.items():
                record.samples.setdefault(name, []).extend(values)
        record.notes += NOTES
        measured = record.measured(
            result.BiasInit(
                num_classes=len(vocabulary),
                uniform_loss=len(vocabulary) * math.log(2),
                base_rate_entropy=entropy(base_rates),
                mean=mean_of(seeds),
                seeds=seeds,
            )
        )
    print_tables([bias_init_table("bias_init", measured)])
    print(saved_words(measured))
    print(f"wrote {record.path}")


def data_path(config: BiasInit, seed: int, vocabulary: Vocabulary) -> DataPath:
    """The batches that `catlip.pretrain` would train on, on one device."""
    recipe, shards = config.recipe, open_shards(expand(config.shards), config.quiet)
    order = SampleOrder(shards.counts, seed)
    return DataPath(
        shards,
        order,
        recipe.plan(order.total, seed),
        augmentation=recipe.augmentation(),
        seed=seed,
        accumulation=recipe.accumulation(world_size=1),
        labels=VocabularyLabels(config.labels_dir, vocabulary),
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
    """Train both runs of a seed. Returns lists with one value per step: among them its number, its
    images, the loss from each bias, and the loss of the base rates alone.
    """
    recipe, trainers = config.recipe, []
    heard: dict[str, list[Tensor]] = {bias: [] for bias in BIASES}
    for bias in BIASES:
        objective = build(bias, recipe, base_rates, seed)
        # The hook is on the inner objective, so the loss is without RangeAugment's.
        objective.register_forward_hook(lambda *call, to=heard[bias]: to.append(call[-1].detach()))
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
        f"{bias}_loss": _step_means(of_bias, data.accumulation) for bias, of_bias in heard.items()
    }
    return {
        "seed": [seed] * len(images),
        "step": [*range(1, len(images) + 1)],
        "images": images,
        **losses,
        "base_rates_alone_loss": alone,
    }


def loss_of_base_rates(base_rates: Tensor, batch: Batch) -> float:
    """The objective's loss, in nats per image, if the logits of every image are those of the base
    rates.
    """
    assert batch.labels is not None
    logits = torch.logit(base_rates.double())
    return float(F.softplus(logits).sum() - logits[batch.labels.values].sum() / len(batch))


def entropy(base_rates: Tensor) -> float:
    """The average of `loss_of_base_rates`, in nats per image, if classes are as frequent as the
    base rates say.
    """
    logits = torch.logit(base_rates.double())
    return float(F.softplus(logits).sum() - logits @ base_rates.double())


def first_steps(samples: dict[str, list[Any]], seed: int) -> result.FirstSteps:
    """The summary of a pair of runs: the first loss of each, its means over the SPANS that it
    reached, and the steps saved.
    """
    base_rates = _losses(samples["base_rates_loss"])
    return result.FirstSteps(
        seed=seed,
        images_seen=sum(samples["images"]),
        base_rates_alone_loss=float(np.mean(samples["base_rates_alone_loss"])),
        zero=_losses(samples["zero_loss"]),
        base_rates=base_rates,
        steps_saved=first_below(samples["zero_loss"], base_rates.initial),
    )


def _losses(losses: list[float]) -> result.BiasLosses:
    means = {
        f"{first}_to_{last}": float(np.mean(losses[first - 1 : last]))
        for first, last in SPANS
        if last <= len(losses)
    }
    return result.BiasLosses(initial=losses[0], means=means)


def first_below(losses: Sequence[float], goal: float) -> int | None:
    """The first step, from 1, at which the mean of the last WINDOW losses is below `goal`; None if
    there is none.
    """
    for step in range(WINDOW, len(losses) + 1):
        if np.mean(losses[step - WINDOW : step]) < goal:
            return step
    return None


def mean_of(seeds: Sequence[result.FirstSteps]) -> result.FirstSteps:
    """Each number's mean over the seeds; the steps saved are None unless every seed saved some."""
    saved = [row.steps_saved for row in seeds if row.steps_saved is not None]
    return result.FirstSteps(
        images_seen=float(np.mean([row.images_seen for row in seeds])),
        base_rates_alone_loss=float(np.mean([row.base_rates_alone_loss for row in seeds])),
        zero=_mean_losses([row.zero for row in seeds]),
        base_rates=_mean_losses([row.base_rates for row in seeds]),
        steps_saved=float(np.mean(saved)) if len(saved) == len(seeds) else None,
    )


def _mean_losses(seeds: Sequence[result.BiasLosses]) -> result.BiasLosses:
    means = {span: float(np.mean([row.means[span] for row in seeds])) for span in seeds[0].means}
    return result.BiasLosses(initial=float(np.mean([row.initial for row in seeds])), means=means)


def _step_means(losses: list[Tensor], accumulation: int) -> list[float]:
    """Each step's mean over its micro-batches."""
    means: list[float] = torch.stack(losses).double().reshape(-1, accumulation).mean(dim=1).tolist()
    return means


DEFAULTS = {
    name: BiasInit(replace(recipe, iterations=1000, epochs=0)) for name, recipe in CATLIP.items()
}

if __name__ == "__main__":
    run(BiasInit, main, DEFAULTS)
