"""How the pruning threshold affects accuracy: pre-train and probe with vocabularies of several
sizes. (Figure 6)

A low threshold keeps rare synsets as classes, a high one leaves captions without labels. Each
threshold prunes the same labels, so nothing is labelled again. Each (threshold, seed) has a
pre-training run and a probe, in folders of their own below the record's; what is finished there is
not done again.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import tyro
from safetensors import safe_open

from bench.downstream import linear_probe
from bench.downstream.classify.datasets import load_tasks
from bench.downstream.linear_probe import RECIPES, LinearProbe
from bench.studies import threshold_result as result
from bench.studies.threshold_result import AtThreshold, Left, threshold_table
from catlip import pretrain
from catlip.cli import InputError, choose, run
from catlip.data.shards import expand, open_shard
from catlip.label.sidecar import Labels, read_labels, read_sidecar, sidecar_path
from catlip.label.sources import TarShard
from catlip.pretrain import PretrainCatLIP
from catlip.program.ranges import Natural, Seed
from catlip.recipes.pretrain import CATLIP, Recipe
from catlip.record import Record, plain
from catlip.system.engines import work_ahead
from catlip.table import print_tables
from catlip.training.distributed import barrier, find_place
from catlip.vocabulary import Vocabulary, build, vocabulary_identity
from catlip.vocabulary.counts import count

# These leave 1,507, 1,097, 488, 210 and 79 of the starter captions' 2,164 synsets.
STARTER_THRESHOLDS = (8, 16, 32, 64, 128)
PAPER_THRESHOLDS = (100, 500, 1000, 2500, 5000)  # Figure 6, x axis
CLASSIFIERS = 3  # probes of each encoder, whose mean is the result
ACCURACIES = ("_top1", "_top5")  # what the names of a probe's metrics end with
NO_MATTER = ("device", "num_workers", "quiet")  # settings that do not change a probe's result
# Metrics that are taken from a pre-training record; losses over different classes cannot be
# compared.
KEPT = ("train_seconds", "images_seen")


@dataclass(frozen=True)
class Threshold:
    """Pre-train CatLIP and probe it at each pruning threshold; run the same command again to go on
    where it stopped.

    python -m bench.threshold --shards data/starter/pretrain --labels-dir runs/starter/labels \\
        --probe starter:data/starter --seeds 0 1 --out runs/starter/threshold/threshold.json
    python -m bench.threshold --recipe cc3m_b16 --shards 'cc3m/{00000..00331}.tar' \\
        --labels-dir runs/cc3m/labels --probe imagenet:/data/imagenet \\
        --out runs/cc3m/threshold/threshold.json
    """

    recipe: tyro.conf.OmitArgPrefixes[Recipe]
    shards: tuple[str, ...] = ()
    """Image-caption shards: paths or URLs (s3:// ...), folders, globs or braces."""
    labels_dir: Path = Path("labels")
    """Where catlip.label put the labels of these shards."""
    rule: str = "paper"
    """Labelling rule whose labels are used."""
    thresholds: tuple[Natural, ...] = PAPER_THRESHOLDS
    """Keep the synsets that occur more often than this."""
    seeds: tuple[Seed, ...] = (0,)
    """Seeds of the pre-training runs of each threshold, and of their probes."""
    probe: str = "starter:data/starter"
    """Data to probe on: starter:DIR, fashion_mnist:, imagenet:DIR, places365:DIR, or
    any DIR with train/ and val/ or test/.
    """
    probe_recipe: str = "table_7a"
    """How to probe, one of bench.downstream.linear_probe's recipes."""
    out: Path = Path("runs/bench/threshold/threshold.json")
    """The record to write; the runs go into the folder of that name beside it."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    num_workers: Natural = 1
    """Processes that read and decode images, per rank."""
    restart: bool = False
    """Discard the runs that are in the folder instead of going on with them."""
    quiet: bool = False
    """No progress bar."""

    def folder(self, threshold: int) -> Path:
        """The folder of a threshold's vocabulary, runs and probes."""
        return self.out.with_suffix("") / f"above-{threshold}"

    def pretraining(self, threshold: int, seed: int) -> PretrainCatLIP:
        """The run of a threshold and seed, as `python -m catlip.pretrain` would do it."""
        return PretrainCatLIP(
            self.recipe,
            self.shards,
            out=self.folder(threshold) / f"catlip-seed{seed}",
            seed=seed,
            device=self.device,
            num_workers=self.num_workers,
            restart=self.restart,
            quiet=self.quiet,
            vocabulary=self.folder(threshold) / "vocabulary.json",
            labels_dir=self.labels_dir,
        )

    def probing(self, threshold: int, seed: int) -> LinearProbe:
        """The probe of that run, as `python -m bench.downstream.linear_probe` would do it."""
        return replace(
            choose("probe recipe", self.probe_recipe, RECIPES),
            encoder=str(self.pretraining(threshold, seed).out),
            data=self.probe,
            out=self.folder(threshold) / f"probe-seed{seed}.json",
            cached_features=True,
            seeds=CLASSIFIERS,
            seed=seed,
            num_workers=self.num_workers,
            device=self.device,
            quiet=self.quiet,
        )


def main(config: Threshold) -> None:
    """Prune, pre-train, probe, summarise. Under torchrun, ranks share only the pre-training."""
    _check(config)
    place = find_place(config.device)
    pairs = [(threshold, seed) for seed in config.seeds for threshold in config.thresholds]
    pruned = prune(config) if place.is_main else {}
    barrier()
    for threshold, seed in pairs:
        run_config = config.pretraining(threshold, seed)
        if config.restart or not is_trained(run_config):
            pretrain.main(run_config)
    if not place.is_main:
        return
    with Record(config.out, result.Threshold, config) as record:
        for threshold, seed in pairs:
            probe = config.probing(threshold, seed)
            if not is_probed(probe):
                # If there is a record, it is of another training or other settings; a probe does
                # not replace it.
                probe.out.unlink(missing_ok=True)
                linear_probe.main(probe)
        rows = [_row(config, threshold, seed) for threshold, seed in pairs]
        record.samples |= {name: [row[name] for row in rows] for name in rows[0]}
        reached = {t: _means(pruned[t], rows, t) for t in config.thresholds}
        measured = record.measured(result.Threshold(thresholds=reached))
    scale = config.out.resolve().parent.parent.name
    print_tables(threshold_table(measured, scale))
    print(f"wrote {record.path}")


def _check(config: Threshold) -> None:
    """Refuse now what would otherwise fail after days of training."""
    for name, values in (("thresholds", config.thresholds), ("seeds", config.seeds)):
        if not values or len(set(values)) < len(values):
            raise InputError(f"--{name} {' '.join(map(str, values))}: give one or more, each once")
    choose("probe recipe", config.probe_recipe, RECIPES)
    load_tasks(config.probe)


def prune(config: Threshold) -> dict[int, Left]:
    """Write each threshold's vocabulary. Returns: threshold -> what it leaves."""
    sidecars = [
        sidecar_path(TarShard(path), config.labels_dir, config.rule) for path in _labelled(config)
    ]
    counts = count(sidecars)
    vocabularies = {threshold: build(counts, threshold) for threshold in config.thresholds}
    for threshold, vocabulary in vocabularies.items():
        vocabulary.save(config.folder(threshold) / "vocabulary.json")
    return coverage(vocabularies, (labels for _, labels in work_ahead(read_sidecar, sidecars)))


def _labelled(config: Threshold) -> Iterator[Path]:
    """The shards.

    Raises: InputError at one whose labels are missing or made from another version of it.
    """
    for path in expand(config.shards):
        read_labels(open_shard(path), config.labels_dir, config.rule)
        yield path


def coverage(vocabularies: Mapping[int, Vocabulary], labels: Iterable[Labels]) -> dict[int, Left]:
    """Threshold -> what it leaves of the synsets, and of the labels of all captions."""
    left = {threshold: np.zeros(3, dtype=np.int64) for threshold in vocabularies}
    for each in labels:
        for threshold, vocabulary in vocabularies.items():
            kept = np.diff(vocabulary.encode(each.values, each.offsets)[1])
            left[threshold] += [len(kept), kept.sum(), (kept == 0).sum()]
    return {
        threshold: Left(
            classes=len(vocabularies[threshold]),
            captions=int(captions),
            labels_per_caption=float(kept / captions),
            captions_without_label=int(without),
        )
        for threshold, (captions, kept, without) in left.items()
    }


def is_trained(config: PretrainCatLIP) -> bool:
    """Whether the run in this folder is finished, with this recipe and vocabulary, and so on these
    captions.
    """
    assert config.vocabulary is not None, "it was made with one"
    weights = config.out / "weights.safetensors"
    if not (weights.exists() and _record_of(config).exists()):
        return False
    with safe_open(weights, "pt") as file:
        made_by = json.loads(file.metadata()["config"])
    wanted = config.recipe.identity() | {"vocabulary": vocabulary_identity(config.vocabulary)}
    return all(made_by.get(name) == value for name, value in wanted.items())


def is_probed(config: LinearProbe) -> bool:
    """Whether the probe was done with these settings, after the run that it probes had ended."""
    weights = Path(config.encoder) / "weights.safetensors"
    if not config.out.exists() or config.out.stat().st_mtime_ns < weights.stat().st_mtime_ns:
        return False
    done = json.loads(config.out.read_text())["config"]
    return all(
        done.get(name) == value for name, value in plain(config).items() if name not in NO_MATTER
    )


def _record_of(config: PretrainCatLIP) -> Path:
    return config.out.with_name(f"{config.out.name}.json")


def _row(config: Threshold, threshold: int, seed: int) -> dict[str, float]:
    """What one run cost and reached."""
    trained = json.loads(_record_of(config.pretraining(threshold, seed)).read_text())["metrics"]
    probed = json.loads(config.probing(threshold, seed).out.read_text())["metrics"]
    costs = {name: trained[name] for name in KEPT}
    accuracies = {name: value for name, value in probed.items() if name.endswith(ACCURACIES)}
    return {"threshold": threshold, "seed": seed, **costs, **accuracies}


def _means(left: Left, rows: Sequence[dict[str, float]], threshold: int) -> AtThreshold:
    """What a threshold leaves, and each number's mean over its seeds."""
    of_seeds = [row for row in rows if row["threshold"] == threshold]
    means = {name: float(np.mean([row[name] for row in of_seeds])) for name in of_seeds[0]}
    return AtThreshold(
        **vars(left),
        train_seconds=means["train_seconds"],
        images_seen=means["images_seen"],
        accuracies={name: mean for name, mean in means.items() if name.endswith(ACCURACIES)},
    )


STARTER = Threshold(CATLIP["starter"], thresholds=STARTER_THRESHOLDS, probe_recipe="starter")

if __name__ == "__main__":
    run(
        Threshold,
        main,
        {name: Threshold(recipe) for name, recipe in CATLIP.items()}
        | {name: replace(STARTER, recipe=CATLIP[name]) for name in ("starter", "photos")},
    )
