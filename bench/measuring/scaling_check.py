"""Is `bench.arithmetic.scaling` right? Compares real steps on 1, 2 and 4 ranks of this machine with
what it predicts.

The programs that a user would run measure everything: bench.step_time one rank, bench.communication
several ranks and the link between them. Ranks share cores: if there are more ranks than cores,
compute is predicted to take ranks / cores times as long. The link is fitted to bare all-reduces of
the same number of ranks, so that it shares the cores in the same way.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from bench.arithmetic.exchanges import sent
from bench.arithmetic.flops import step_flops
from bench.arithmetic.scaling import BACKWARD_SHARE, exposed_ms, measured_compute, measured_link
from bench.measuring.statistics import summarise
from bench.plan.projection_result import Validation
from catlip.cli import InputError
from catlip.program.progress import progress

RANKS = (1, 2, 4)
METHODS = ("catlip", "clip")
STEP = {"--model": "hybrid_mini", "--resolution": 64, "--batch-size": 16, "--precision": "fp32"}


def validate(rounds: int = 3, num_steps: int = 6, quiet: bool = False) -> list[Validation]:
    """Predicted and measured step time of each method and number of ranks.

    Args:
        rounds: how often each number of ranks is measured, in turns, so that what slows the machine
            for a while slows all.
        num_steps: timed steps of each measurement.
    """
    with tempfile.TemporaryDirectory() as folder:
        turns = [(turn, ranks) for turn in range(rounds) for ranks in RANKS]
        paths: dict[int, list[Path]] = {ranks: [] for ranks in RANKS}
        for turn, ranks in progress(turns, desc="validate", unit="run", disable=quiet):
            paths[ranks].append(_measure(ranks, num_steps, Path(folder) / f"{turn}-{ranks}"))
        return [_compare(method, ranks, paths) for method in METHODS for ranks in RANKS]


def _measure(ranks: int, num_steps: int, out: Path) -> Path:
    """Measure in a process of its own. Returns: the path of the record."""
    options = {**STEP, "--num-steps": num_steps, "--num-warmup": 3, "--device": "cpu", "--out": out}
    launch, program = [sys.executable, "-m"], "bench.step_time"
    if ranks > 1:
        launch += ["torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks), "-m"]
        program = "bench.communication"
    launch += [program, "--quiet", "--methods", *METHODS]
    launch += [str(word) for option in options.items() for word in option]
    done = subprocess.run(
        launch, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True
    )
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise InputError(f"the measurement of {ranks} ranks failed: {reason}")
    (path,) = out.glob("*.json")
    return path


def _compare(method: str, ranks: int, paths: dict[int, list[Path]]) -> Validation:
    factors = measured_compute(paths[1][0], [method])[method].factors
    alone_ms = summarise(_steps_ms(method, 1, paths[1])).median
    compute_ms = alone_ms * step_flops(factors, ranks) / step_flops(factors) * contention(ranks)
    waited_ms = 0.0
    if ranks > 1:
        exchanges, backward_ms = sent(factors, ranks, "cpu"), BACKWARD_SHARE * compute_ms
        links = map(measured_link, paths[ranks])
        waited_ms = statistics.median(exposed_ms(exchanges, backward_ms, link) for link in links)
    measured_ms = summarise(_steps_ms(method, ranks, paths[ranks]))
    return Validation(
        method=method,
        world_size=ranks,
        predicted_ms=compute_ms + waited_ms,
        predicted_exposed_ms=waited_ms,
        measured_ms=measured_ms,
        error=(compute_ms + waited_ms) / measured_ms.median - 1,
    )


def contention(ranks: int) -> float:
    """How many times as long compute takes because ranks share this machine's cores."""
    return max(1.0, ranks / len(os.sched_getaffinity(0)))


def _steps_ms(method: str, ranks: int, paths: Iterable[Path]) -> list[float]:
    name = f"{method}_{'total' if ranks == 1 else 'step'}_ms"
    return [ms for path in paths for ms in json.loads(path.read_bytes())["samples"][name]]
