"""Run the benches of cost on this device within a time budget, the most telling first.

An accelerator is often rented for minutes: one process pays once for imports and for the device's
start, and each record is written as soon as it is measured.
"""

import io
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from bench.measuring.deadline import time_limit
from bench.measuring.factors import FOUR
from bench.memory.__main__ import Memory
from bench.step_time.__main__ import StepTime
from bench.waterfall.__main__ import Waterfall
from catlip.cli import InputError, run
from catlip.program.ranges import Count
from catlip.table import Cell, Table, print_tables, shown

MIN_S = 5.0  # less time is not worth a start
START_S = time.monotonic()  # before torch is imported


class OutOfTimeError(Exception):
    """The budget ended while a part was being measured."""


@dataclass(frozen=True)
class Part:
    """One thing to measure, or what is `missing` for it."""

    name: str
    seconds: float  # on an H100 or on two cores of a CPU, about
    measure: Callable[[float], object]  # is called with the seconds that are left
    missing: str = ""


@dataclass(frozen=True)
class Device:
    """Measure what a training step costs on this device, the most telling parts first, and end in
    time.

    python -m bench.device --budget 540 --data '/data/cc3m/{00000..00009}.tar'
    python -m bench.device --only memory waterfall
    python -m bench.device --dry-run      # the plan, with expected seconds
    """

    budget: Count = 540
    """Seconds for everything, the start of the program included."""
    data: str = ""
    """Image-caption shards from which steps are timed end to end; without them, that is left out.
    """
    only: tuple[str, ...] = ()
    """Measure only the parts whose names hold one of these words; by default all."""
    device: str = "auto"
    """auto, cpu or cuda."""
    out: Path = Path("runs/bench/device")
    """Folder for the records, one folder per kind; the archive of all of them lies beside it."""
    dry_run: bool = False
    """Print the plan and measure nothing."""
    quiet: bool = False
    """No tables of the parts, and no progress bars."""


def main(config: Device) -> None:
    """Measure part after part, say how each ended, and pack the records."""
    from catlip.training.distributed import find_place

    end = START_S + config.budget
    device_type = find_place(config.device).device.type
    title = "Plan" if config.dry_run else f"In {config.budget} s on {device_type}"
    rows = []
    for part in parts_of(config, gpu=device_type == "cuda"):
        if config.only and not any(word in part.name for word in config.only):
            continue
        ended = part.missing or "planned"
        if not config.dry_run:
            ended = measure_in_time(part, end, quiet=config.quiet)
        rows.append([Cell(part.name), Cell(shown(part.seconds, 0)), Cell(ended)])
    print_tables([Table("device", title, ["What", "Expected (s)", "How it ended"], rows=rows)])
    if config.dry_run:
        return
    records = sorted(config.out.glob("*/*.json"))
    if not records:
        raise InputError("nothing was measured; give a larger --budget, or other words for --only")
    archive = shutil.make_archive(str(config.out), "gztar", config.out.parent, config.out.name)
    print(f"wrote {', '.join(map(str, records))}, and {archive} with all of them")


def measure_in_time(part: Part, end: float, *, quiet: bool) -> str:
    """Measure a part unless the time is too short for it. Returns: how that ended."""
    from bench.measuring.training_step import free_memory

    def cut_off(*_: object) -> None:
        raise OutOfTimeError

    begin = time.monotonic()
    left = end - begin
    if part.missing:
        return f"left out: {part.missing}"
    if left < max(part.seconds, MIN_S):
        return f"left out: only {max(0, left):.0f} s were left"
    signal.signal(signal.SIGALRM, cut_off)
    signal.setitimer(signal.ITIMER_REAL, left)
    try:
        # A part that notices in time that it will not end keeps what it has; else it is cut off.
        with time_limit(left - MIN_S), redirect_stdout(io.StringIO() if quiet else sys.stdout):
            part.measure(left)
        return f"measured in {time.monotonic() - begin:.0f} s"
    except OutOfTimeError:
        return "cut off: out of time"
    except (InputError, RuntimeError, subprocess.SubprocessError) as error:
        return f"failed: {(str(error).splitlines() or [type(error).__name__])[0]}"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        free_memory()  # the models of a part that failed


def parts_of(config: Device, *, gpu: bool) -> list[Part]:
    """The parts to measure, the most telling first; on a CPU all of them are small."""
    import torch

    part = partial(_part, config)
    no_data = "" if config.data else "needs --data"
    if gpu:
        workers = max(1, len(os.sched_getaffinity(0)) - 2)
        large = StepTime("vit_l16", batch_size=128, num_steps=20)
        huge = StepTime("vit_h16", batch_size=64, num_steps=20)
        from_shards = StepTime(data=config.data, workers=workers, compile=False)
        forward = Waterfall(orders=("forward",))
        return [
            part("step time, B/16, four methods", 35, StepTime(methods=FOUR, compile=False)),
            part("step time, B/16, eager and compiled", 70, StepTime()),
            part("step time, L/16", 60, large),
            part("step time, H/16", 75, huge),
            part("memory and largest batch, B/16", 60, Memory(largest=True)),
            part("memory, L/16", 40, Memory("vit_l16", batch_sizes=(128,))),
            part("step time from shards, B/16", 45, from_shards, missing=no_data),
            communication(config, 60, ranks=torch.cuda.device_count(), model="vit_b16"),
            part("waterfall, forward", 120, forward),
        ]
    small = StepTime("vit_tiny16", 96, batch_size=8, num_steps=8)
    from_shards = replace(small, data=config.data, workers=1)
    return [
        part("step time, ViT-Tiny, four methods", 12, replace(small, methods=FOUR)),
        part("memory, ViT-Tiny", 10, Memory("vit_tiny16", 96, batch_sizes=(8,))),
        communication(config, 30, ranks=2, model="vit_tiny16"),
        part("step time, B/16", 60, StepTime(num_steps=6)),
        part("step time from shards, ViT-Tiny", 30, from_shards, missing=no_data),
        part("waterfall, hybrid", 240, Waterfall("hybrid_mini", batch_size=8)),
    ]


def _part(config: Device, name: str, seconds: float, bench: Any, *, missing: str = "") -> Part:
    """The part that measures what `python -m bench.KIND` would with this config."""
    kind = bench.out.name
    chosen = replace(bench, device=config.device, quiet=config.quiet, out=config.out / kind)
    main = import_module(f"bench.{kind}.__main__").main
    return Part(name, seconds, lambda _: main(chosen), missing)


def communication(config: Device, seconds: float, *, ranks: int, model: str) -> Part:
    """The part that measures the collectives of a step, in processes of their own."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node", str(ranks), "-m", "bench.communication", "--model", model]
    command += ["--methods", "catlip", "clip", "--device", config.device]
    command += ["--out", str(config.out / "communication"), "--quiet"]

    def measure(left: float) -> None:
        done = subprocess.run(command, capture_output=True, text=True, timeout=left)
        if done.returncode:
            raise InputError((done.stderr.splitlines() or ["a rank died"])[-1])
        print(done.stdout)

    missing = "" if ranks > 1 else "needs two GPUs"
    return Part(f"communication of {ranks} ranks", seconds, measure, missing)


if __name__ == "__main__":
    run(Device, main)
