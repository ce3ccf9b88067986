"""What several stages have in common."""

import os
from collections.abc import Sequence
from pathlib import Path

from pipeline.options import Options, count_gpus

TRANSFER = "bench.downstream"  # the package of the transfer programs


class Plan:
    """Folders, names, and the options of all programs."""

    def __init__(self, options: Options):
        self.options = options
        self.runs = options.runs
        self.starter = options.scale == "starter"
        self.small = options.small
        self.recipe = options.scale if self.small else f"{options.scale}_b16"
        self.gpus = count_gpus(options.device)
        # Programs of a small encoder are too small for several cores each.
        self.beside = self.small and not self.gpus and hasattr(os, "sched_getaffinity")
        # Seeds of the slow steps after pre-training; by default one, so that a whole run takes half
        # an hour.
        brief = self.small and not (options.full or options.study)
        self.few_seeds = 1 if brief else options.seeds
        self.quiet = ("--quiet",) if options.quiet else ()
        self.device = ("--device", options.device, *self.quiet)
        self.labels = self.runs / "labels"
        self.vocabulary = self.runs / "vocabulary.json"
        self.probe_data = options.probe.partition(":")[2] or options.probe
        encoder = options.encoder or ("hybrid_mini" if self.small else "vit_b16")
        self.encoder, self.resolution = encoder, 48 if self.small else 224
        self.untrained = f"random:{self.encoder}@{self.resolution}"

    def trained(self, method: str, seed: int) -> Path:
        """The folder of a pre-training run."""
        return self.runs / "pretrain" / f"{method}-seed{seed}"

    def all_trained(self, methods: Sequence[str], seeds: int) -> list[Path]:
        """The folders of the pre-training runs of these methods, with seeds 0 to `seeds` - 1."""
        return [self.trained(method, seed) for method in methods for seed in range(seeds)]

    def record(self, kind: str, name: str) -> Path:
        return self.runs / kind / f"{name}.json"
