"""A pre-training of twelve steps on the CPU, and what it comes to."""

import json
import subprocess
import time
from hashlib import sha256
from pathlib import Path
from typing import Any

from program_server import Started

SHORT = "--epochs 0 --iterations 12 --micro-batch 8 --warmup-iterations 3 --device cpu --quiet"


def command(method: str, starter: Any, out: Path, *extra: object) -> list[str]:
    """The module and arguments; `extra` ones come last and win."""
    program = ["catlip.pretrain"]
    if method != "catlip":
        program = ["baselines.pretrain", "--method", method]
    labels = ("--vocabulary", starter.vocabulary, "--labels-dir", starter.labels)
    arguments = (*SHORT.split(), "--shards", starter.shards, "--out", out, *labels, *extra)
    return [*program, *map(str, arguments)]


def outcome(out: Path) -> tuple[list[float], str]:
    """Loss curve, bit for bit, and digest of the weights."""
    losses = [json.loads(line)["loss"] for line in (out / "log.jsonl").read_text().splitlines()]
    return losses, sha256((out / "weights.safetensors").read_bytes()).hexdigest()


def digests(folder: Path, pattern: str = "*") -> dict[str, str]:
    """The path of each file below a folder -> the digest of its content."""
    files = (path for path in sorted(folder.rglob(pattern)) if path.is_file())
    return {str(f.relative_to(folder)): sha256(f.read_bytes()).hexdigest() for f in files}


def wait_for_lines(
    log: Path, count: int, process: subprocess.Popen[Any] | Started, *, longest_s: float
) -> None:
    """Until the log has so many lines, the process has ended, or the time is over."""
    deadline = time.monotonic() + longest_s
    while process.poll() is None and time.monotonic() < deadline:
        if log.exists() and log.read_text().count("\n") >= count:
            return
        time.sleep(0.005)
