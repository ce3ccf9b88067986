"""Which method suffers from noisy captions and lost samples?

For each noise, the shards are written with it and labelled, and the labels are pruned to a
vocabulary in the same way as for the given one. Then each method trains on them, and its encoder is
probed. Each training writes one record; a finished training is not done again.
"""

import io
import shutil
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from bench.studies import robustness_result as result
from bench.studies.noise import Noise, write_noisy
from bench.studies.robustness_result import NONE, robustness_table
from bench.studies.training import (
    METHODS,
    Study,
    Training,
    base_recipe,
    check,
    every_one,
    of_length,
    say_where,
    train_and_probe,
)
from catlip.cli import one_of, run
from catlip.data.shards import expand
from catlip.label.__main__ import Label
from catlip.label.__main__ import main as label
from catlip.program.ranges import Count, Seed
from catlip.table import print_tables
from catlip.vocabulary import Vocabulary
from catlip.vocabulary.__main__ import BuildVocabulary, build_from_labels


@dataclass(frozen=True)
class Robustness(Study):
    """Train on the shards as they are and with noise; run the same command again to go on.

    python -m bench.robustness --shards data/starter/pretrain --labels-dir runs/starter/labels \\
        --vocabulary runs/starter/vocabulary.json --probe starter:data/starter
    python -m bench.robustness --noises none shuffled=0.1 shuffled=0.3 --methods catlip siglip \\
        --shards data/starter/pretrain --labels-dir runs/starter/labels \\
        --vocabulary runs/starter/vocabulary.json --probe starter:data/starter

    The noisy shards need as much disk as the shards themselves, for one noise at a time.
    """

    noises: tuple[str, ...] = (
        *(NONE, "lost=0.2", "lost=0.4", "lost=0.6", "shuffled=0.2", "shuffled=0.4"),
        *("dropped=0.3", "templated=1", "chatty=1"),
    )
    """none, or a noise and its fraction: lost= leaves out samples, shuffled= gives captions to
    other images, dropped= leaves out words, templated= and chatty= put captions into other
    sentences.
    """
    methods: tuple[Annotated[str, one_of(METHODS)], ...] = ("catlip", "clip")
    """Methods to train with."""
    images: Count = 64_000
    """How many images each training sees."""
    seeds: tuple[Seed, ...] = (0, 1, 2)
    """Seeds of the trainings and their probes; the noise is the same for all."""
    out: Path = Path("runs/starter/robustness")
    """Folder for the records, one per training."""


@dataclass(frozen=True)
class OneTraining(Training):
    """What determines one training."""

    noise: str
    images: int

    @property
    def name(self) -> str:
        return f"{self.method}-{self.noise.replace('=', '-')}-seed{self.seed}"


def main(config: Robustness) -> None:
    """Train and probe with every noise, write a record of each, and print what was found."""
    noises = [Noise.read(spelling) for spelling in config.noises]
    check(config)
    done = []
    data = config.out / "-".join(("data", *config.methods))  # so that two commands can share `out`
    for noise in noises:
        measure = partial(_measure, config, data=data / str(noise))
        done += every_one(config, trainings(config, noise), result.Robustness, measure=measure)
        shutil.rmtree(data, ignore_errors=True)
    print_tables([robustness_table(done)])
    say_where(config.out, done)


def trainings(config: Robustness, noise: Noise) -> list[OneTraining]:
    """The trainings with one noise: every method on every seed."""
    every = []
    for method in config.methods:
        recipe = of_length(base_recipe(config, method), config.images)
        for seed in config.seeds:
            training = config.training(method, recipe, seed)
            every.append(OneTraining(**vars(training), noise=str(noise), images=config.images))
    return every


def _measure(
    config: Robustness, training: OneTraining, folder: Path, data: Path
) -> result.Robustness:
    noisy = _prepared(config, Noise.read(training.noise), data)
    outcome = train_and_probe(config, replace(training, **noisy), folder)
    clean, own = Vocabulary.load(training.vocabulary), Vocabulary.load(noisy["vocabulary"])
    kept = {synset.offset for synset in clean.synsets} & {synset.offset for synset in own.synsets}
    return result.Robustness(
        method=training.method,
        noise=training.noise,
        seed=training.seed,
        samples=own.source.captions,
        classes=len(own),
        classes_kept=len(kept) / len(clean),
        images_seen=outcome.pretrain.images_seen,
        final_loss=outcome.pretrain.final_loss,
        accuracies=outcome.accuracies,
    )


def _prepared(config: Robustness, noise: Noise, data: Path) -> dict[str, Any]:
    """The shards, labels and vocabulary with a noise, made in `data` if they are not there."""
    if noise.kind == NONE:
        return {"vocabulary": config.vocabulary}
    shards, labels, vocabulary = data / "shards", data / "labels", data / "vocabulary.json"
    if not vocabulary.exists():
        shutil.rmtree(data, ignore_errors=True)
        clean = Vocabulary.load(config.vocabulary)
        write_noisy(expand(config.shards), shards, noise, seed=0, quiet=config.quiet)
        build = BuildVocabulary(
            (labels,), vocabulary, threshold=clean.threshold, top_k=clean.top_k, quiet=True
        )
        with redirect_stdout(io.StringIO()):
            label(Label((str(shards),), clean.rule, labels, quiet=True))
            build_from_labels(build)
    return {"shards": (str(shards),), "labels_dir": labels, "vocabulary": vocabulary}


if __name__ == "__main__":
    run(Robustness, main)
