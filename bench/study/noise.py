"""Which method suffers from noisy captions and lost samples?

For each noise, the shards are written with it and labelled, and the labels are pruned to a
vocabulary in the same way as for the given one; then each method trains on them. Several captions
of an image are lines of one text: all of them get the noise, each for itself.
"""

import io
import shutil
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from bench.study.engine import (
    StudyOfMethods,
    Training,
    run_trainings,
    train_and_probe,
)
from catlip import streams
from catlip.cli import InputError, choose
from catlip.data.shards import expand, open_shard, write_shard
from catlip.data.tar_index import nonblank_lines
from catlip.program.progress import progress
from catlip.program.ranges import Count, Seed
from catlip.table import print_tables

NONE = "none"
POSTS = (
    "So happy with this one! {} Follow for more, link in bio",
    "Good morning everybody, what do you think? {} Tag a friend",
)
# First bytes of an image -> suffix; else JPEG.
SUFFIXES = {b"\x89P": "png", b"RI": "webp", b"GI": "gif"}

Captions = list[str | None]  # None where the sample is lost


@dataclass(frozen=True, kw_only=True)
class NoiseStudy(StudyOfMethods):
    """Train on the shards as they are and with noise; run the same command again to go on.

    python -m bench.study noise --shards data/starter/pretrain --labels-dir runs/starter/labels \\
        --vocabulary runs/starter/vocabulary.json --probe starter:data/starter

    The noisy shards need as much disk as the shards themselves, for one noise at a time.
    """

    noises: tuple[str, ...] = (NONE, "lost=0.4", "shuffled=0.2", "chatty=1")
    """none, or a noise and its fraction: lost= leaves out samples, as links rot, shuffled= gives
    captions to other images, chatty= puts captions among the words of a post.
    """
    images: Count = 64_000
    """How many images each training sees."""
    seeds: tuple[Seed, ...] = (0, 1, 2)
    """Seeds of the trainings and their probes; the noise is the same for all."""
    out: Path = Path("runs/starter/robustness")
    """Folder for the records, one per training."""


@dataclass(frozen=True)
class NoisyTraining(Training):
    """What determines one training."""

    noise: str
    images: int

    @property
    def name(self) -> str:
        return f"{self.method}-{self.noise.replace('=', '-')}-seed{self.seed}"


def main(config: NoiseStudy) -> None:
    """Train and probe with every noise, write a record of each, and print what was found."""
    from bench.study.result import Robustness, robustness_table
    from catlip.vocabulary import Vocabulary

    for noise in config.noises:
        read_noise(noise)
    config.check()
    trainings = [
        NoisyTraining(
            **vars(config.training(method, recipe, seed, config.vocabulary)),
            noise=noise,
            images=config.images,
        )
        for noise in config.noises
        for method in config.methods
        for recipe in [config.of_length(config.base_recipe(method), config.images)]
        for seed in config.seeds
    ]
    data = config.out / "-".join(("data", *config.methods))  # so that two commands can share `out`

    def measure(training: NoisyTraining, folder: Path) -> Robustness:
        data_settings = _noisy_data(config, training.noise, data)
        pretrain, accuracies = train_and_probe(config, replace(training, **data_settings), folder)
        clean = Vocabulary.load(training.vocabulary)
        noisy = Vocabulary.load(data_settings["vocabulary"])
        kept = {one.offset for one in clean.synsets} & {one.offset for one in noisy.synsets}
        return Robustness(
            method=training.method,
            noise=training.noise,
            seed=training.seed,
            samples=noisy.source.captions,
            classes=len(noisy),
            classes_kept=len(kept) / len(clean),
            images_seen=pretrain.images_seen,
            final_loss=pretrain.final_loss,
            accuracies=accuracies,
        )

    runs = run_trainings(config, trainings, Robustness, measure)
    shutil.rmtree(data, ignore_errors=True)
    print_tables([robustness_table(runs)])


def _noisy_data(config: NoiseStudy, noise: str, data: Path) -> dict[str, Any]:
    """The shards, labels and vocabulary with a noise, made in `data` if they are not there; those
    of another noise are removed.
    """
    from catlip.label.__main__ import Label
    from catlip.label.__main__ import main as label_captions
    from catlip.vocabulary import Vocabulary
    from catlip.vocabulary.__main__ import BuildVocabulary, build_from_labels

    if noise == NONE:
        return {"vocabulary": config.vocabulary}
    folder = data / noise
    shards, labels, vocabulary = folder / "shards", folder / "labels", folder / "vocabulary.json"
    if not vocabulary.exists():
        shutil.rmtree(data, ignore_errors=True)
        clean = Vocabulary.load(config.vocabulary)
        write_noisy(expand(config.shards), shards, noise, quiet=config.quiet)
        build = BuildVocabulary(
            (labels,), vocabulary, threshold=clean.threshold, top_k=clean.top_k, quiet=True
        )
        with redirect_stdout(io.StringIO()):
            label_captions(Label((str(shards),), clean.rule, labels, quiet=True))
            build_from_labels(build)
    return {"shards": (str(shards),), "labels_dir": labels, "vocabulary": vocabulary}


def read_noise(spelling: str) -> tuple[str, float]:
    """`KIND=FRACTION`, or `none`, as kind and fraction. Raises: InputError."""
    if spelling == NONE:
        return NONE, 0.0
    kind, _, number = spelling.partition("=")
    choose("noise", kind, KINDS)
    try:
        fraction = float(number)
    except ValueError:
        fraction = 0.0
    if not 0 < fraction <= 1 or (kind == "lost" and fraction == 1):
        raise InputError(f"--noises {spelling}: give a fraction, as {kind}=0.2")
    return kind, fraction


def _lost(captions: Sequence[str], fraction: float, draw: np.random.Generator) -> Captions:
    kept = draw.random(len(captions)) >= fraction
    return [caption if keep else None for caption, keep in zip(captions, kept, strict=True)]


def _shuffled(captions: Sequence[str], fraction: float, draw: np.random.Generator) -> Captions:
    moved = draw.permutation(np.flatnonzero(draw.random(len(captions)) < fraction))
    changed: Captions = list(captions)
    for number, other in zip(moved.tolist(), np.roll(moved, 1).tolist(), strict=True):
        changed[number] = captions[other]
    return changed


def _chatty(captions: Sequence[str], fraction: float, draw: np.random.Generator) -> Captions:
    chosen = np.flatnonzero(draw.random(len(captions)) < fraction)
    which = draw.integers(len(POSTS), size=len(captions)).tolist()
    changed: Captions = list(captions)
    for number in chosen.tolist():
        lines = nonblank_lines(captions[number]) or [""]
        changed[number] = "\n".join(POSTS[which[number]].replace("{}", line) for line in lines)
    return changed


KINDS: dict[str, Callable[[Sequence[str], float, np.random.Generator], Captions]] = {
    "lost": _lost,
    "shuffled": _shuffled,
    "chatty": _chatty,
}


def write_noisy(shards: Sequence[Path], folder: Path, noise: str, *, quiet: bool) -> None:
    """Write the shards with noise, one file each; images stay as they are."""
    kind, fraction = read_noise(noise)
    for number, path in enumerate(progress(shards, noise, disable=quiet, unit=" shards")):
        shard = open_shard(path)
        # Several captions of an image are a line each.
        captions = [
            "\n".join(" ".join(nonblank_lines(caption or "")) for caption in shard.captions(sample))
            for sample in range(len(shard))
        ]
        changed = KINDS[kind](captions, fraction, streams.generator(0, streams.NOISE, number))
        images = map(shard.image_bytes, range(len(shard)))
        samples = (
            (key, {SUFFIXES.get(image[:2], "jpg"): image, "txt": caption.encode()})
            for key, image, caption in zip(shard.keys, images, changed, strict=True)
            if caption is not None
        )
        write_shard(folder / f"{number:05}.tar", samples)
