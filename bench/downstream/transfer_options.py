"""What do the options change that the paper leaves open in Transfer Init: alpha, ties, bias and
scale?

One option at a time differs from the defaults. For each given encoder, linear probes are trained on
cached features, with the fewest images (one of each class) and with all. The result is the gain in
accuracy over a random head of the same seed.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from bench.downstream.classify.cached_features import CACHED_NOTE, CachedFeatures
from bench.downstream.classify.datasets import load_tasks
from bench.downstream.classify.heads import Init, TransferOptions, random_head, transfer_head
from bench.downstream.classify.sweep import Fit
from bench.downstream.encoders.load import LoadedEncoder, load_encoder
from bench.downstream.outputs import BY_NAME, DataSpelling, filled_in, is_written
from bench.downstream.probe import transfer_options_result as result
from bench.downstream.probe.transfer_options_result import Gain, transfer_options_table
from catlip.cli import run
from catlip.program.broken import MAX_BROKEN, BrokenImages, MaxBroken
from catlip.program.ranges import Count, Natural
from catlip.recipes.transfer import PROBES, TransferRecipe
from catlip.record import Record
from catlip.table import as_text
from catlip.training.distributed import find_place

CHOICES: dict[str, tuple[Any, ...]] = {
    "alpha": (0.2, 0.5, 1.0),
    "ties": ("mean",),
    "bias": ("copy", "fresh"),
    "scale": ("fresh", "unit"),
}
LEAST, ALL = 1e-9, 1.0  # fractions of the data: one image of each class, and all


@dataclass(frozen=True)
class Options:
    """Measure Transfer Init with each of its options.

    python -m bench.downstream.transfer_options --data starter:data/starter \\
        --encoders runs/starter/pretrain/catlip-seed0 runs/starter/pretrain/catlip-seed1
    """

    recipe: tyro.conf.OmitArgPrefixes[TransferRecipe]
    encoders: tuple[str, ...]
    """Encoders pre-trained by CatLIP."""
    data: DataSpelling
    out: Path = Path("runs/bench/transfer_options") / BY_NAME
    """The record to write."""
    vocabulary: Path | None = None
    """Vocabulary of the encoders' classifiers; by default the one that the records of their runs
    name.
    """
    seeds: Count = 3
    """Classifiers per encoder, fraction and option; each seed chooses other training images, if not
    all are used.
    """
    num_workers: Natural = 1
    """Processes that decode images."""
    max_broken: MaxBroken = MAX_BROKEN
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    quiet: bool = False
    """No progress bars."""

    def __post_init__(self) -> None:
        if self.encoders != tyro.MISSING:
            object.__setattr__(self, "out", filled_in(self.out, self.data, *self.encoders))


def variants(vocabulary: Path | None) -> dict[str, TransferOptions]:
    """Name -> options: the defaults, and the defaults with each other value of one option."""
    default = TransferOptions(vocabulary)
    others = {
        f"{name} {value}": replace(default, **{name: value})
        for name, values in CHOICES.items()
        for value in values
    }
    return {"default": default} | others


def main(config: Options) -> None:
    """Measure, print the gains, write the record."""
    device = find_place(config.device).device
    encoders = {spelling: load_encoder(spelling, 0, device) for spelling in config.encoders}
    digest = "+".join(encoder.digest() for encoder in encoders.values())
    if is_written(config.out, config, digest):
        return
    with Record(config.out, kind=result.TransferOptions, config=config) as record:
        record.notes.append(CACHED_NOTE)
        broken = BrokenImages()
        rows = [
            row
            for spelling, encoder in encoders.items()
            for row in _of_encoder(config, spelling, encoder, broken=broken)
        ]
        broken.note(record)
        record.samples["runs"] = rows
        measured = record.measured(
            result.TransferOptions(
                broken=broken.counts(),
                encoder_digest=digest,
                default={name: getattr(TransferOptions(), name) for name in CHOICES},
                gains=_gains(rows),
            )
        )
    print(as_text(transfer_options_table("transfer_options", "one", measured)))
    print(f"wrote {record.path}")


def _of_encoder(
    config: Options, spelling: str, encoder: LoadedEncoder, broken: BrokenImages
) -> Iterator[dict[str, Any]]:
    fit = CachedFeatures(encoder, config.recipe, config)
    for task in load_tasks(config.data):
        for seed in range(config.seeds):
            heads = {"random": random_head(encoder.num_features, task.num_classes, seed)}
            for name, variant in variants(config.vocabulary).items():
                head, _ = transfer_head(encoder, spelling, task.labels, options=variant, seed=seed)
                heads[name] = head
            for share in (LEAST, ALL):
                part = task.train.subset(share, seed)
                for name, head in heads.items():
                    init: Init = "random" if name == "random" else "transfer"
                    score = fit(Fit(task, share, init, seed=seed, train=part, head=head))
                    broken.add(score.broken)
                    yield {
                        "encoder": spelling,
                        "variant": name,
                        "seed": seed,
                        "task": task.name,
                        "share": "least" if share == LEAST else "all",
                        "num_train": len(part),
                        "top1": score.top1,
                    }


def _gains(rows: list[dict[str, Any]]) -> dict[str, dict[str, Gain]]:
    """Variant -> task and fraction -> the gain in top-1 accuracy over a random head."""
    random = {_pair(row): row["top1"] for row in rows if row["variant"] == "random"}
    # Variant -> task and fraction -> encoder -> the gain with each seed.
    gains: dict[str, dict[str, dict[str, list[float]]]] = {}
    for row in rows:
        if row["variant"] != "random":
            of_variant = gains.setdefault(row["variant"], {})
            of_encoder = of_variant.setdefault(f"{row['task']}, {row['share']}", {})
            of_encoder.setdefault(row["encoder"], []).append(row["top1"] - random[_pair(row)])
    summary: dict[str, dict[str, Gain]] = {}
    for variant, of_variant in gains.items():
        summary[variant] = {}
        for place, of_encoder in of_variant.items():
            summary[variant][place] = _spread([float(np.mean(own)) for own in of_encoder.values()])
    return summary


def _pair(row: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(row[name] for name in ("encoder", "task", "share", "seed"))


def _spread(values: list[float]) -> Gain:
    spread = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    return Gain(mean=float(np.mean(values)), spread=spread, n=len(values))


RECIPES = {
    name: Options(recipe, encoders=tyro.MISSING, data=tyro.MISSING)
    for name, recipe in PROBES.items()
}

if __name__ == "__main__":
    run(Options, main, RECIPES)
