"""How the pruning threshold affects accuracy (Figure 6): a low one keeps rare synsets as classes, a
high one leaves captions without labels. Beside the record of all thresholds, a folder of its name
holds their vocabularies and a record of each training.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from statistics import fmean

import numpy as np

from bench.study.engine import Study, Training, run_trainings, train_and_probe
from bench.study.result import THRESHOLDS, Threshold, ThresholdTraining
from catlip.data.shards import expand, open_shard
from catlip.label.sidecar import read_labels, read_sidecar, sidecar_path
from catlip.label.sources import TarShard
from catlip.program.ranges import Natural, Seed
from catlip.records.record import Record
from catlip.records.table import print_tables
from catlip.vocabulary import build, count, vocabulary_identity

SAMPLES = ("threshold", "seed", "train_seconds", "images_seen")  # of each training


@dataclass(frozen=True, kw_only=True)
class Thresholds(Study):
    """Train CatLIP and probe it at each pruning threshold; run the same command again to go on.

    python -m bench.study thresholds --shards data/starter/pretrain \\
        --labels-dir runs/starter/labels --probe starter:data/starter --seeds 0 1
    """

    rule: str = "paper"
    """Labelling rule whose labels are used."""
    thresholds: tuple[Natural, ...] = (8, 16, 32, 64, 128)
    """Keep the synsets that occur more often than this; the paper's are 100 500 1000 2500 5000."""
    images: Natural = 0
    """How many images each training sees; 0: as many as with the recipe."""
    seeds: tuple[Seed, ...] = (0,)
    """Seeds of the trainings and their probes."""
    out: Path = Path("runs/starter/threshold")
    """Folder for the record threshold.json, and for the records of the trainings."""


@dataclass(frozen=True)
class PrunedTraining(Training):
    """The path of a vocabulary does not say what is in it, so its identity is compared too."""

    threshold: int
    vocabulary_identity: str

    @property
    def name(self) -> str:
        return f"above-{self.threshold}-seed{self.seed}"


def main(config: Thresholds) -> None:
    config.check()
    recipe = config.base_recipe("catlip")
    if config.images:
        recipe = config.recipe_of_length(recipe, config.images)
    # The page does not read the folder of a record's name.
    path, folder = config.out / "threshold.json", config.out / "threshold"
    vocabularies = {t: folder / f"vocabulary-above-{t}.json" for t in config.thresholds}
    counts = prune(config, vocabularies)
    trainings = [
        config.training(
            PrunedTraining,
            method="catlip",
            recipe=recipe,
            seed=seed,
            vocabulary=vocabularies[threshold],
            threshold=threshold,
            vocabulary_identity=vocabulary_identity(vocabularies[threshold]),
        )
        for seed, threshold in product(config.seeds, config.thresholds)
    ]

    # The reports know the trainings' encoder and length from the recipe.
    with Record(path, Threshold, {**vars(config), "recipe": recipe}) as record:
        runs = run_trainings(replace(config, out=folder), trainings, ThresholdTraining, measure)
        rows = [
            {name: getattr(run.metrics, name) for name in SAMPLES}
            | {f"{task}_top1": top1 for task, top1 in run.metrics.accuracies.items()}
            for run in runs
        ]
        record.samples |= {name: [row[name] for row in rows] for name in rows[0]}
        summary = {}
        for threshold in config.thresholds:
            seeds = [row for row in rows if row["threshold"] == threshold]
            summary[threshold] = counts[threshold] | {
                name: fmean(row[name] for row in seeds)
                for name in rows[0]
                if name not in ("threshold", "seed")
            }
        run = record.finish(Threshold(thresholds=summary))
    print_tables([THRESHOLDS.fill([run])])
    print(f"wrote {path}")


def measure(config: Thresholds, training: PrunedTraining, folder: Path) -> ThresholdTraining:
    pretrain, accuracies = train_and_probe(config, training, folder)
    return ThresholdTraining(
        method="catlip",
        threshold=training.threshold,
        seed=training.seed,
        train_seconds=pretrain.train_seconds,
        images_seen=pretrain.images_seen,
        accuracies=accuracies,
    )


def prune(config: Thresholds, paths: Mapping[int, Path]) -> dict[int, dict[str, float]]:
    """Write the vocabulary of each threshold. Returns: threshold -> what it leaves. Raises:
    InputError for labels that are missing or of another version of a shard.
    """
    sidecars = []
    for shard in expand(config.shards):
        read_labels(open_shard(shard), config.labels_dir, config.rule)  # checks them
        sidecars.append(sidecar_path(TarShard(shard), config.labels_dir, config.rule))
    counts = count(sidecars)
    vocabularies = {threshold: build(counts, threshold) for threshold in paths}
    kept = {threshold: np.zeros(3, dtype=np.int64) for threshold in paths}
    for threshold, path in paths.items():
        vocabularies[threshold].save(path)
    for labels in map(read_sidecar, sidecars):
        for threshold, vocabulary in vocabularies.items():
            numbers = np.diff(vocabulary.encode(labels.values, labels.offsets)[1])
            kept[threshold] += [len(numbers), numbers.sum(), (numbers == 0).sum()]
    return {
        threshold: {
            "classes": len(vocabularies[threshold]),
            "captions": int(captions),
            "labels_per_caption": float(number / captions),
            "captions_without_label": int(without),
        }
        for threshold, (captions, number, without) in kept.items()
    }
