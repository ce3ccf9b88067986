"""The command of a pre-training of twelve steps on the CPU."""

from pathlib import Path
from typing import Any

SHORT = "--epochs 0 --iterations 12 --micro-batch 8 --warmup-iterations 3 --device cpu --quiet"


def command(method: str, starter: Any, out: Path, *extra: object) -> list[str]:
    """Its module and arguments; `extra` ones come last and win."""
    program = ["catlip.pretrain"]
    if method != "catlip":
        program = ["baselines.pretrain", "--method", method]
    labels = ("--vocabulary", starter.vocabulary, "--labels-dir", starter.labels)
    arguments = (*SHORT.split(), "--shards", starter.shards, "--out", out, *labels, *extra)
    return [*program, *map(str, arguments)]
