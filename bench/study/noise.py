"""Does the answer depend on the data? Noisy captions, lost samples; and of the starter data also
concepts that pre-training never shows, several captions of an image, and other teams to test on.

For each condition, the shards are written with it and labelled, and the labels are pruned to a
vocabulary in the same way as for the given one; then each method trains on them. Several captions
of an image are lines of one text: all of them get the noise, each for itself.

Where a condition divides the test images, into concepts held out and seen or into teams, the record
also has the accuracy of the same classifiers on each part.
"""

import io
import shutil
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from bench.downstream.probe.result import (
    IMAGES,
    TASK_PART_SEPARATOR,
    LinearProbe,
    TestImages,
    packed,
    score_of,
    score_on,
)
from bench.study.editions import held_out, parts_of_test, read_teams, several, without, write_probe
from bench.study.engine import (
    StudyOfMethods,
    Training,
    known_methods,
    run_trainings,
    train_and_probe,
)
from bench.study.result import Robustness, Trial, robustness_table
from bench.study.tuning import recipe_of
from catlip import streams
from catlip.cli import InputError, choose
from catlip.data.shards import Shard, expand, open_shard, write_shard
from catlip.data.tar_index import nonblank_lines
from catlip.label.__main__ import Label
from catlip.label.__main__ import main as label_captions
from catlip.program.progress import progress
from catlip.program.ranges import Count, Seed
from catlip.recipes.pretrain import Recipe
from catlip.records.record import note_samples, read_record
from catlip.records.run import read_run
from catlip.records.table import print_tables
from catlip.vocabulary import Vocabulary
from catlip.vocabulary.__main__ import BuildVocabulary, build_from_labels

NONE = "none"
STARTER = "starter:"
EDITIONS = ("heldout", "captions", "teams")  # of the starter data
DIVIDING = ("heldout", "teams")  # editions that divide the starter's test images
TOWERS = ("text_width", "text_layers")  # fields of the recipe
RECIPE, BATCH = "recipe", "batch"
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
    captions to other images, chatty= puts captions among the words of a post. Of the starter data:
    heldout=0.33 leaves a third of the probe's concepts out of pre-training; captions=4 gives each
    image so many captions, of which an epoch draws one; teams=openmoji+fluent-emoji-flat takes
    these teams' drawings from pre-training and from what the probe is fitted to, and tests on them.
    Of methods with a text tower: text_width=128, text_layers=1.
    recipe=catlip trains every method by CatLIP's recipe, so that nothing but the method differs;
    batch=64 by the best of the method's own trials that had this batch, of --tuned.
    """
    tuned: Path = Path("runs/starter/tuning")
    """Folder of the records of `bench.study tuning`, for batch=."""
    images: Count = 64_000
    """How many images each training sees."""
    seeds: tuple[Seed, ...] = (0, 1, 2)
    """Seeds of the trainings and their probes; the noise is the same for all."""
    out: Path = Path("runs/starter/robustness")
    """Folder for the records, one per training."""


@dataclass(frozen=True)
class NoisyTraining(Training):
    noise: str
    images: int

    @property
    def name(self) -> str:
        noise = self.noise.replace("=", "-")
        return f"{self.method}-{noise}-{self.images}-seed{self.seed}"


def main(config: NoiseStudy) -> None:
    for noise in config.noises:
        if read_noise(noise)[0] in DIVIDING and not config.probe.startswith(STARTER):
            raise InputError(f"--noises {noise} needs the starter's probe: --probe {STARTER}DIR")
    config.check()
    trainings: dict[str, list[NoisyTraining]] = {noise: [] for noise in config.noises}
    for noise, method in product(config.noises, config.methods):
        kind, value = read_noise(noise)
        if kind == RECIPE:
            # Temperature and bias are of the method.
            changes: dict[str, Any] = {"temperature": None, "logit_bias": None}
            base = config.base_recipe(noise.removeprefix(f"{RECIPE}="))
        elif kind == BATCH:
            changes, base = {}, recipe_of_batch(config, method, int(value))
        else:
            changes = {kind: int(value)} if kind in TOWERS else {}
            base = config.base_recipe(method)
        recipe = config.of_length(replace(base, **changes), config.images)
        for seed in config.seeds:
            training = config.training(method, recipe, seed, config.vocabulary)
            own = NoisyTraining(**vars(training), noise=noise, images=config.images)
            trainings[noise].append(own)
    runs = []
    for noise, of_noise in trainings.items():
        prepare = partial(_noisy_data, config, noise)
        runs += run_trainings(config, of_noise, Robustness, measure, prepare)
    shutil.rmtree(_folder_of_data(config), ignore_errors=True)
    print_tables(robustness_table(runs))


def recipe_of_batch(config: NoiseStudy, method: str, batch: int) -> Recipe:
    """That of the method's best trial with so many images a step. Raises: InputError."""
    paths = sorted(config.tuned.glob(f"{method}-[0-9][0-9].json"))
    trials = [read_run(read_record(path), Trial) for path in paths]
    of_batch = [run for run in trials if run.metrics.drawn["images_per_step"] == batch]
    if not of_batch:
        raise InputError(f"--noises {BATCH}={batch}: no trial of {method} in {config.tuned} had it")
    best = max(of_batch, key=lambda run: run.metrics.score)
    return recipe_of(config.base_recipe(method), best.metrics.drawn, config.images)


def measure(config: NoiseStudy, training: NoisyTraining, folder: Path) -> Robustness:
    data_settings = _noisy_data(config, training.noise)
    changed = replace(training, **data_settings)
    pretrain, accuracies = train_and_probe(config, changed, folder)
    kind, value = read_noise(training.noise)
    if kind in DIVIDING:
        probe = read_run(read_record(folder / "probe.json"), LinearProbe)
        root = Path(changed.probe.removeprefix(STARTER))
        for whole, parts in parts_of_test(root, kind, value).items():
            for part in np.unique(parts):
                task = f"{whole}{TASK_PART_SEPARATOR}{part}"
                of_part = score_on(score_of(probe, whole), np.flatnonzero(parts == part).tolist())
                accuracies[task] = of_part.value / 100
                note_samples({IMAGES: [TestImages(task, part=packed(parts == part))]})
    clean = Vocabulary.load(training.vocabulary)
    noisy = Vocabulary.load(data_settings["vocabulary"])
    kept = {one.offset for one in clean.synsets} & {one.offset for one in noisy.synsets}
    return Robustness(
        method=training.method,
        noise=training.noise,
        seed=training.seed,
        samples=round(pretrain.images_seen / pretrain.epochs_seen),
        classes=len(noisy),
        classes_kept=len(kept) / len(clean),
        images_seen=pretrain.images_seen,
        final_loss=pretrain.final_loss,
        accuracies=accuracies,
    )


def _folder_of_data(config: NoiseStudy) -> Path:
    return config.out / "-".join(("data", *config.methods))  # so that two commands can share `out`


def _noisy_data(config: NoiseStudy, noise: str) -> dict[str, Any]:
    """The data with a noise, made if they are not there; those of another noise are removed."""
    if read_noise(noise)[0] in (NONE, RECIPE, BATCH, *TOWERS):
        return {"vocabulary": config.vocabulary}
    data = _folder_of_data(config)
    folder = data / noise
    settings: dict[str, Any] = {}
    if is_teams := noise.startswith("teams="):
        settings["probe"] = f"{STARTER}{folder / 'probe'}"
    shards, labels, vocabulary = folder / "shards", folder / "labels", folder / "vocabulary.json"
    if not vocabulary.exists():
        shutil.rmtree(data, ignore_errors=True)
        clean = Vocabulary.load(config.vocabulary)
        write_noisy(expand(config.shards), shards, noise, quiet=config.quiet)
        if is_teams:
            root = Path(config.probe.removeprefix(STARTER))
            teams = read_teams(noise.removeprefix("teams="))
            write_probe(root, expand(config.shards), folder / "probe", teams)
        threshold = clean.threshold
        if threshold and clean.source.captions and read_noise(noise)[0] in EDITIONS:
            # A class is as frequent as it was: three teams of five would else leave half of them.
            captions = sum(int(open_shard(path).num_captions.sum()) for path in expand(str(shards)))
            threshold = round(threshold * captions / clean.source.captions)
        build = BuildVocabulary(
            (labels,), vocabulary, threshold=threshold, top_k=clean.top_k, quiet=True
        )
        words = None
        if clean.words:
            words = folder / "words.csv"
            words.write_text("".join(f"{word},{synset}\n" for word, synset in clean.words))
        with redirect_stdout(io.StringIO()):
            label_captions(
                Label((str(shards),), clean.rule, labels_dir=labels, words=words, quiet=True)
            )
            build_from_labels(build)
    settings |= {"shards": (str(shards),), "labels_dir": labels, "vocabulary": vocabulary}
    return settings


def read_noise(spelling: str) -> tuple[str, float]:
    """`KIND=NUMBER`, `teams=NAMES` or `none`, as kind and number. Raises: InputError."""
    if spelling == NONE:
        return NONE, 0.0
    kind, _, number = spelling.partition("=")
    choose("noise", kind, {**KINDS, **dict.fromkeys((*EDITIONS, *TOWERS, RECIPE, BATCH))})
    if kind == RECIPE:
        choose("method", number, known_methods())
        return kind, 0.0
    if kind == "teams":
        read_teams(number)
        return kind, 0.0
    if kind in ("captions", BATCH, *TOWERS):
        if not number.isdecimal() or (kind == "captions" and int(number) < 2):
            raise InputError(f"--noises {spelling}: give how many, as {kind}=4")
        return kind, float(number)
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


def _changed(shard: Shard, noise: str, captions: Sequence[str], number: int) -> Captions:
    """The captions of the shard of this number with a noise, or in an edition."""
    kind, value = read_noise(noise)
    if kind == "heldout":
        return without(shard, captions, "name", held_out(value))
    if kind == "teams":
        return without(shard, captions, "source", read_teams(noise.removeprefix("teams=")))
    if kind == "captions":
        return several(shard, captions, int(value))
    return KINDS[kind](captions, value, streams.generator(0, streams.NOISE, number))


def write_noisy(shards: Sequence[Path], folder: Path, noise: str, *, quiet: bool) -> None:
    """Write the shards with noise, one file each; images stay as they are."""
    for number, path in enumerate(progress(shards, noise, disable=quiet, unit=" shards")):
        shard = open_shard(path)
        # Several captions of an image are a line each.
        captions = [
            "\n".join(" ".join(nonblank_lines(caption or "")) for caption in shard.captions(sample))
            for sample in range(len(shard))
        ]
        changed = _changed(shard, noise, captions, number)
        images = map(shard.image_bytes, range(len(shard)))
        samples = (
            (key, {SUFFIXES.get(image[:2], "jpg"): image, "txt": caption.encode()})
            for key, image, caption in zip(shard.keys, images, changed, strict=True)
            if caption is not None
        )
        write_shard(folder / f"{number:05}.tar", samples)
