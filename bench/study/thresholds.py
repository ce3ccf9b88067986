"""How the pruning threshold affects accuracy. (Figure 6)

A low threshold keeps rare synsets as classes, a high one leaves captions without labels. Each
threshold prunes the same labels, so nothing is labelled again. Beside the record of all thresholds,
a folder of its name holds their vocabularies and a record of each training.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

import numpy as np

from bench.study.engine import Study, Training, of_length, run_trainings, train_and_probe
from catlip.program.ranges import Natural, Seed
from catlip.record import Record
from catlip.table import print_tables

if TYPE_CHECKING:
    from bench.study.result import AtThreshold, Left, ThresholdTraining

PAPER_THRESHOLDS = (100, 500, 1000, 2500, 5000)  # Figure 6, x axis
# These leave 1,507, 1,097, 488, 210 and 79 of the starter captions' 2,164 synsets.
SMALL_THRESHOLDS = (8, 16, 32, 64, 128)
SMALL_RECIPES = ("starter", "photos")


@dataclass(frozen=True, kw_only=True)
class Thresholds(Study):
    """Train CatLIP and probe it at each pruning threshold; run the same command again to go on.

    python -m bench.study thresholds --shards data/starter/pretrain \\
        --labels-dir runs/starter/labels --probe starter:data/starter --seeds 0 1
    python -m bench.study thresholds --recipe cc3m_b16 --shards 'cc3m/{00000..00331}.tar' \\
        --labels-dir runs/cc3m/labels --probe imagenet:/data/imagenet --probe-recipe table_7a \\
        --out runs/cc3m/threshold
    """

    rule: str = "paper"
    """Labelling rule whose labels are used."""
    thresholds: tuple[Natural, ...] = ()
    """Keep the synsets that occur more often than this; by default 8 to 128 with the recipes
    starter and photos, else the paper's 100 to 5,000.
    """
    images: Natural = 0
    """How many images each training sees; 0: as many as with the recipe."""
    seeds: tuple[Seed, ...] = (0,)
    """Seeds of the trainings and their probes."""
    out: Path = Path("runs/starter/threshold")
    """Folder for the record threshold.json, and for those of the trainings."""


@dataclass(frozen=True)
class PrunedTraining(Training):
    """What determines one training; the path of a vocabulary does not say what is in it."""

    threshold: int
    vocabulary_identity: str

    @property
    def name(self) -> str:
        return f"above-{self.threshold}-seed{self.seed}"


def main(config: Thresholds) -> None:
    """Prune, train, probe, summarise."""
    from bench.study.result import Threshold, ThresholdTraining, threshold_table
    from catlip.vocabulary import vocabulary_identity

    if not config.thresholds:
        small = config.recipe in SMALL_RECIPES
        config = replace(config, thresholds=SMALL_THRESHOLDS if small else PAPER_THRESHOLDS)
    config.check()
    recipe = config.base_recipe("catlip")
    if config.images:
        recipe = of_length(recipe, config.images)
    # The page does not read the folder of a record's name.
    path, folder = config.out / "threshold.json", config.out / "threshold"
    vocabularies = {t: folder / f"vocabulary-above-{t}.json" for t in config.thresholds}
    left = prune(config, vocabularies)
    identities = {t: vocabulary_identity(vocabulary) for t, vocabulary in vocabularies.items()}
    trainings = [
        PrunedTraining(
            **vars(config.training("catlip", recipe, seed, vocabulary=vocabularies[threshold])),
            threshold=threshold,
            vocabulary_identity=identities[threshold],
        )
        for seed, threshold in product(config.seeds, config.thresholds)
    ]

    def measure(training: PrunedTraining, folder: Path) -> "ThresholdTraining":
        outcome = train_and_probe(config, training, folder)
        return ThresholdTraining(
            method="catlip",
            threshold=training.threshold,
            seed=training.seed,
            train_seconds=outcome.pretrain.train_seconds,
            images_seen=outcome.pretrain.images_seen,
            accuracies=outcome.accuracies,
        )

    # The reports know the trainings' encoder and length from the recipe.
    with Record(path, Threshold, {**vars(config), "recipe": recipe}) as record:
        runs = run_trainings(
            replace(config, out=folder), trainings, ThresholdTraining, measure=measure
        )
        results = [run.measured for run in runs]
        rows = [result.row() for result in results]
        record.samples |= {name: [row[name] for row in rows] for name in rows[0]}
        summary = {}
        for threshold in config.thresholds:
            of_threshold = [result for result in results if result.threshold == threshold]
            summary[threshold] = _at_threshold(left[threshold], of_threshold)
        run = record.measured(Threshold(thresholds=summary))
    print_tables(threshold_table(run, config.out.resolve().parent.name))
    print(f"wrote {path}")


def _at_threshold(left: "Left", results: Sequence["ThresholdTraining"]) -> "AtThreshold":
    """What a threshold leaves, and each number's mean over its seeds."""
    from bench.study.result import AtThreshold

    names = [name for name in results[0].row() if name.endswith("_top1")]
    return AtThreshold(
        **vars(left),
        train_seconds=fmean(result.train_seconds for result in results),
        images_seen=fmean(result.images_seen for result in results),
        accuracies={name: fmean(result.row()[name] for result in results) for name in names},
    )


def prune(config: Thresholds, paths: Mapping[int, Path]) -> "dict[int, Left]":
    """Write the vocabulary of each threshold. Returns: threshold -> what it leaves of the synsets,
    and of the labels of all captions.

    Raises: InputError at a shard whose labels are missing or made from another version of it.
    """
    from bench.study.result import Left
    from catlip.label.sidecar import read_sidecar
    from catlip.system.engines import work_ahead
    from catlip.vocabulary import build
    from catlip.vocabulary.counts import count

    sidecars = list(_sidecars(config))
    counts = count(sidecars)
    vocabularies = {threshold: build(counts, threshold) for threshold in paths}
    kept = {threshold: np.zeros(3, dtype=np.int64) for threshold in paths}
    for threshold, path in paths.items():
        vocabularies[threshold].save(path)
    for _, labels in work_ahead(read_sidecar, sidecars):
        for threshold, vocabulary in vocabularies.items():
            each = np.diff(vocabulary.encode(labels.values, labels.offsets)[1])
            kept[threshold] += [len(each), each.sum(), (each == 0).sum()]
    return {
        threshold: Left(
            classes=len(vocabularies[threshold]),
            captions=int(captions),
            labels_per_caption=float(number / captions),
            captions_without_label=int(without),
        )
        for threshold, (captions, number, without) in kept.items()
    }


def _sidecars(config: Thresholds) -> Iterator[Path]:
    from catlip.data.shards import expand, open_shard
    from catlip.label.sidecar import read_labels, sidecar_path
    from catlip.label.sources import TarShard

    for path in expand(config.shards):
        read_labels(open_shard(path), config.labels_dir, config.rule)
        yield sidecar_path(TarShard(path), config.labels_dir, config.rule)
