"""Does the answer depend on the data? Samples lost, captions shuffled or chatty; with the starter
data also concepts that pre-training never shows, and other teams of drawers to test on.

For each condition, the shards are written with it and labelled, and the labels are pruned to a
vocabulary in the same way as for the given one; then each method trains on them. If an image has
several captions, they are lines of one text, and each is changed for itself.

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
    images_of,
    parts_of,
    score_of,
    score_on,
)
from bench.study.editions import (
    captions_without,
    held_out_concepts,
    read_teams,
    seen_or_held_out,
    write_probe,
)
from bench.study.engine import (
    StudyOfMethods,
    Training,
    known_methods,
    run_trainings,
    train_and_probe,
)
from bench.study.result import NONE, ConditionTraining, Trial, conditions_table
from bench.study.tuning import recipe_of
from catlip import streams
from catlip.cli import InputError, choose
from catlip.data.shards import Shard, expand, open_shard, write_shard
from catlip.data.starter.probe_tasks import TASKS
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

STARTER = "starter:"
EDITIONS = ("heldout", "teams")  # of the starter data; they divide its test images
RECIPE, BATCH = "recipe", "batch"
POSTS = (
    "So happy with this one! {} Follow for more, link in bio",
    "Good morning everybody, what do you think? {} Tag a friend",
)
# First bytes of an image -> suffix; else JPEG.
SUFFIXES = {b"\x89P": "png", b"RI": "webp", b"GI": "gif"}
Captions = list[str | None]  # None where the sample is lost


@dataclass(frozen=True, kw_only=True)
class Conditions(StudyOfMethods):
    """Train on the shards as they are and under other conditions; run the same command again to go
    on.

    python -m bench.study conditions --shards data/starter/pretrain \\
        --labels-dir runs/starter/labels --vocabulary runs/starter/vocabulary.json \\
        --probe starter:data/starter

    The changed shards need as much disk as the shards themselves, for one condition at a time.
    """

    conditions: tuple[str, ...] = (NONE, "lost=0.4", "shuffled=0.2", "chatty=1")
    """none, or a condition and its fraction: lost= leaves out samples, as links rot, shuffled=
    gives captions to other images, chatty= puts captions among the words of a post. For the starter
    data: heldout=0.33 leaves a third of the probe's concepts out of pre-training;
    teams=openmoji+fluent-emoji-flat takes these teams' drawings from pre-training and from what the
    probe is fitted to, and tests on them.
    recipe=catlip trains every method by CatLIP's recipe, so that nothing but the method differs;
    batch=64 trains by the best of the method's own trials that had this batch, of --tuned.
    """
    tuned: Path = Path("runs/starter/tuning")
    """Folder of the records of `bench.study tuning`, for batch=."""
    images: Count = 64_000
    """How many images each training sees."""
    seeds: tuple[Seed, ...] = (0, 1, 2)
    """Seeds of the trainings and their probes; the changes of the data are the same for all."""
    out: Path = Path("runs/starter/robustness")
    """Folder for the records, one per training."""


@dataclass(frozen=True)
class ConditionedTraining(Training):
    condition: str
    images: int

    @property
    def name(self) -> str:
        condition = self.condition.replace("=", "-")
        return f"{self.method}-{condition}-{self.images}-seed{self.seed}"

    def config(self) -> dict[str, Any]:  # `noise` in records is the condition
        config = super().config()
        return {name.replace("condition", "noise"): value for name, value in config.items()}


def main(config: Conditions) -> None:
    for condition in config.conditions:
        if read_condition(condition)[0] in EDITIONS and not _is_starter(config.probe):
            raise InputError(
                f"--conditions {condition} needs the starter's probe alone: --probe {STARTER}DIR"
            )
    config.check()
    trainings: dict[str, list[ConditionedTraining]] = {name: [] for name in config.conditions}
    for condition, method in product(config.conditions, config.methods):
        recipe = config.recipe_of_length(recipe_under(config, method, condition), config.images)
        for seed in config.seeds:
            training = config.training(method, recipe, seed, config.vocabulary)
            trainings[condition].append(
                ConditionedTraining(**vars(training), condition=condition, images=config.images)
            )
    runs = []
    for condition, same in trainings.items():
        prepare = partial(prepare_data, config, condition)
        runs += run_trainings(config, same, ConditionTraining, measure, prepare)
    shutil.rmtree(_data_folder(config), ignore_errors=True)
    print_tables(conditions_table(runs))


def recipe_under(config: Conditions, method: str, condition: str) -> Recipe:
    """The method's recipe of the usual length under a condition. Raises: InputError."""
    kind, value = read_condition(condition)
    if kind == RECIPE:
        # Temperature and bias belong to the method.
        return replace(config.base_recipe(value), temperature=None, logit_bias=None)
    base = config.base_recipe(method)
    if kind == BATCH:
        return recipe_of(base, best_draw(config, method, value), config.images)
    return base


def best_draw(config: Conditions, method: str, batch: int) -> dict[str, float]:
    """What the method's best trial with so many images a step has drawn. Raises: InputError."""
    paths = sorted(config.tuned.glob(f"{method}-[0-9][0-9].json"))
    trials = [read_run(read_record(path), Trial).metrics for path in paths]
    same = [trial for trial in trials if trial.drawn["images_per_step"] == batch]
    if not same:
        raise InputError(
            f"--conditions {BATCH}={batch}: no trial of {method} in {config.tuned} had it"
        )
    return max(same, key=lambda trial: trial.score).drawn


def measure(config: Conditions, training: ConditionedTraining, folder: Path) -> ConditionTraining:
    changed = replace(training, **prepare_data(config, training.condition))
    pretrain, accuracies = train_and_probe(config, changed, folder)
    kind, value = read_condition(training.condition)
    if kind in EDITIONS:
        probe = read_run(read_record(folder / "probe.json"), LinearProbe)
    if kind == "teams":
        teams = [images.task for images in images_of(probe) if images.part]
        accuracies |= {task: score_of(probe, task).value / 100 for task in teams}
    if kind == "heldout":
        root = Path(changed.probe[0].removeprefix(STARTER))
        for whole in TASKS:
            names = seen_or_held_out(root, whole, held_out_concepts(value))
            note_samples({IMAGES: parts_of(whole, names)})
            for part in np.unique(names):
                score = score_on(score_of(probe, whole), np.flatnonzero(names == part).tolist())
                accuracies[f"{whole}{TASK_PART_SEPARATOR}{part}"] = score.value / 100
    usual, vocabulary = map(Vocabulary.load, (training.vocabulary, changed.vocabulary))
    kept = {one.offset for one in usual.synsets} & {one.offset for one in vocabulary.synsets}
    return ConditionTraining(
        method=training.method,
        condition=training.condition,
        seed=training.seed,
        samples=round(pretrain.images_seen / pretrain.epochs_seen),
        classes=len(vocabulary),
        classes_kept=len(kept) / len(usual),
        images_seen=pretrain.images_seen,
        final_loss=pretrain.final_loss,
        accuracies=accuracies,
    )


def _is_starter(probe: tuple[str, ...]) -> bool:
    return len(probe) == 1 and probe[0].startswith(STARTER)


def _data_folder(config: Conditions) -> Path:
    return config.out / "-".join(("data", *config.methods))  # so that two commands can share `out`


def prepare_data(config: Conditions, condition: str) -> dict[str, Any]:
    """The fields of a training that name the data under a condition. If these are missing, they are
    made, and the data of other conditions are removed.
    """
    kind, value = read_condition(condition)
    if kind in (NONE, RECIPE, BATCH):
        return {}
    folder = _data_folder(config) / condition
    shards, labels, vocabulary = folder / "shards", folder / "labels", folder / "vocabulary.json"
    if not vocabulary.exists():
        shutil.rmtree(folder.parent, ignore_errors=True)
        given = Vocabulary.load(config.vocabulary)
        write_shards(expand(config.shards), shards, condition, quiet=config.quiet)
        if kind == "teams":
            root = Path(config.probe[0].removeprefix(STARTER))
            write_probe(root, expand(config.shards), folder / "probe", value)
        threshold = given.threshold
        if threshold and given.source.captions and kind in EDITIONS:
            # Else fewer captions would drop classes that are as common as they were.
            captions = sum(int(open_shard(path).num_captions.sum()) for path in expand(str(shards)))
            threshold = round(threshold * captions / given.source.captions)
        words = None
        if given.words:
            words = folder / "words.csv"
            words.write_text("".join(f"{word},{synset}\n" for word, synset in given.words))
        with redirect_stdout(io.StringIO()):
            label_captions(
                Label((str(shards),), given.rule, labels_dir=labels, words=words, quiet=True)
            )
            build_from_labels(
                BuildVocabulary(
                    (labels,), vocabulary, threshold=threshold, top_k=given.top_k, quiet=True
                )
            )
    probe = {"probe": (f"{STARTER}{folder / 'probe'}",)} if kind == "teams" else {}
    return {"shards": (str(shards),), "labels_dir": labels, "vocabulary": vocabulary, **probe}


def read_condition(spelling: str) -> tuple[str, Any]:
    """The kind of a condition, and what follows `=`: a fraction or a number, for `teams` the set of
    their names, for `recipe` a method; of `none` nothing. Raises: InputError.
    """
    kind, _, value = spelling.partition("=")
    if spelling == NONE:
        return NONE, ""
    choose("condition", kind, {**CHANGES, **dict.fromkeys((*EDITIONS, RECIPE, BATCH))})
    if kind == RECIPE:
        choose("method", value, known_methods())
        return kind, value
    if kind == "teams":
        return kind, read_teams(value)
    if kind == BATCH:
        if not value.isdecimal():
            raise InputError(f"--conditions {spelling}: give how many, as {kind}=4")
        return kind, int(value)
    try:
        fraction = float(value)
    except ValueError:
        fraction = 0.0
    if not 0 < fraction <= 1 or (kind == "lost" and fraction == 1):
        raise InputError(f"--conditions {spelling}: give a fraction, as {kind}=0.2")
    return kind, fraction


def _lose(captions: Sequence[str], fraction: float, draw: np.random.Generator) -> Captions:
    kept = draw.random(len(captions)) >= fraction
    return [caption if keep else None for caption, keep in zip(captions, kept, strict=True)]


def _shuffle(captions: Sequence[str], fraction: float, draw: np.random.Generator) -> Captions:
    moved = draw.permutation(np.flatnonzero(draw.random(len(captions)) < fraction))
    changed: Captions = list(captions)
    for number, other in zip(moved.tolist(), np.roll(moved, 1).tolist(), strict=True):
        changed[number] = captions[other]
    return changed


def _chat(captions: Sequence[str], fraction: float, draw: np.random.Generator) -> Captions:
    chosen = np.flatnonzero(draw.random(len(captions)) < fraction)
    posts = draw.integers(len(POSTS), size=len(captions)).tolist()
    changed: Captions = list(captions)
    for number in chosen.tolist():
        lines = nonblank_lines(captions[number]) or [""]
        changed[number] = "\n".join(POSTS[posts[number]].replace("{}", line) for line in lines)
    return changed


# Condition -> how it changes a fraction of the captions.
CHANGES: dict[str, Callable[[Sequence[str], float, np.random.Generator], Captions]] = {
    "lost": _lose,
    "shuffled": _shuffle,
    "chatty": _chat,
}


def _change(shard: Shard, number: int, captions: Sequence[str], condition: str) -> Captions:
    """The captions of the shard of this number under a condition."""
    kind, value = read_condition(condition)
    if kind == "heldout":
        return captions_without(shard, captions, "name", held_out_concepts(value))
    if kind == "teams":
        return captions_without(shard, captions, "source", value)
    return CHANGES[kind](captions, value, streams.generator(0, streams.NOISE, number))


def write_shards(shards: Sequence[Path], folder: Path, condition: str, *, quiet: bool) -> None:
    """Write the shards under a condition, one file each; images stay as they are."""
    for number, path in enumerate(progress(shards, condition, disable=quiet, unit=" shards")):
        shard = open_shard(path)
        captions = [
            "\n".join(" ".join(nonblank_lines(caption or "")) for caption in shard.captions(sample))
            for sample in range(len(shard))
        ]
        changed = _change(shard, number, captions, condition)
        images = map(shard.image_bytes, range(len(shard)))
        samples = (
            (key, {SUFFIXES.get(image[:2], "jpg"): image, "txt": caption.encode()})
            for key, image, caption in zip(shard.keys, images, changed, strict=True)
            if caption is not None
        )
        write_shard(folder / f"{number:05}.tar", samples)
