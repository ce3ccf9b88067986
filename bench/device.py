"""Check this device, then run the benches of cost on it within a budget, the most telling first.

An accelerator is often rented for minutes. One process pays once for imports and for the device's
start, and measures part after part; this one waits for it, and never touches the device. So a part
that hangs, dies or breaks the device costs its own time and one more start, and no other record.
"""

import io
import multiprocessing
import os
import signal
import socket
import sys
import tarfile
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import redirect_stdout, suppress
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, TypeVar

from bench.communication.config import Communication
from bench.measuring.deadline import time_limit
from bench.measuring.factors import FOUR
from bench.memory.config import Memory
from bench.self_check.config import SelfCheck
from bench.step_time.config import StepTime
from bench.waterfall.config import Waterfall
from catlip.cli import InputError, run
from catlip.program.ranges import Count
from catlip.records.record import read_record
from catlip.records.table import Column, Table, print_tables
from catlip.system.machine import processors

Bench = SelfCheck | StepTime | Waterfall | Memory | Communication
B = TypeVar("B", SelfCheck, StepTime, Waterfall, Memory, Communication)
SELF_CHECK = "self-check"
BEGIN = time.monotonic()
START_S = 15.0  # in which a new process imports torch and starts the device, about
MIN_S = 5.0  # less time is not worth a start; a part that can ends so long before it is cut off
RESERVE_S = 10.0  # at the end, to kill what hangs, and to pack
PATIENCE = 2  # times the expected seconds that each part may take
GRACE_S = 5.0  # after which a part that cannot be cut off is killed


@dataclass(frozen=True)
class Part:
    """One thing to measure, or what is `missing` for it."""

    name: str
    seconds: float  # on an H100 or on two cores of a CPU, about
    measure: Callable[[], object]  # is sent to another process
    missing: str = ""
    keeps_rounds: bool = False  # so a third of these seconds is worth a start


@dataclass(frozen=True)
class Device:
    """Measure what a training step costs on this device, the most telling parts first, and end in
    time.

    python -m bench.device --budget 540 --data '/data/cc3m/{00000..00009}.tar'
    python -m bench.device --only memory waterfall
    python -m bench.device --dry-run      # what fits into the budget
    """

    budget: Count = 540
    """Seconds for everything, the start of the program included."""
    data: str = ""
    """Image-caption shards from which steps are timed end to end; without them, that is left out.
    """
    only: tuple[str, ...] = ()
    """Measure only the parts whose names hold one of these words; by default all."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto, cpu or cuda."""
    out: Path = Path("runs/bench/device")
    """Folder for the records, one folder per kind; the archive of all of them lies beside it."""
    dry_run: bool = False
    """Print the plan and measure nothing."""
    quiet: bool = False
    """No tables of the parts, and no progress bars."""


def main(config: Device) -> None:
    """Measure part after part, say how each ended, and pack the records after each."""
    end = BEGIN + config.budget - RESERVE_S
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C
    worker, log = Worker(), ""
    rows: list[dict[str, Any]] = []
    try:
        seconds = max(MIN_S, end - time.monotonic())
        ended, gpus = worker.run(partial(gpu_names, config.device), seconds)
        if not isinstance(gpus, list):
            raise InputError(ended.removeprefix("failed: InputError: "))
        parts = [
            part
            for part in parts_of(config, len(gpus))
            if not config.only or any(word in part.name for word in config.only)
        ]
        later = sum(part.seconds for part in parts if not part.missing)
        for part in parts:
            left = end - time.monotonic()
            later -= 0 if part.missing else part.seconds
            needed = part.seconds / 3 if part.keeps_rounds and not config.dry_run else part.seconds
            if part.missing:
                ended = f"left out: {part.missing}"
            elif left < max(needed, MIN_S):
                ended = f"left out: only {max(0, left):.0f} s were left"
                if config.dry_run and part.seconds < config.budget - START_S - RESERVE_S:
                    ended = "only if what is before it ends early"
            elif config.dry_run:
                ended, end = "fits", end - part.seconds
            else:
                worker = worker if worker.pid else Worker()
                # On a slow device a part takes more, if what follows still fits.
                seconds = min(left, max(START_S + PATIENCE * part.seconds, left - later))
                ended, details = worker.run(part.measure, seconds)
                log += f"{part.name}: {ended}\n{details or ''}"
                pack(config.out, log)
            rows.append({"part": part.name, "expected": part.seconds, "ended": ended})
    finally:
        if worker.pid:
            worker.end()
        archive = pack(config.out, log)  # after Ctrl-C with the partial record
    title = f"{config.budget} s on {', '.join(gpus) or 'a CPU'}"
    columns = [
        Column("What", "part"),
        Column("Expected (s)", "expected", 0),
        Column("How it ended", "ended"),
    ]
    print_tables([Table("device", title, "", columns, rows)])
    if archive:
        print(f"wrote {', '.join(map(str, [*sorted(config.out.glob('*/*.json')), archive]))}")
    if config.dry_run:
        return
    outcomes = {row["part"]: row["ended"] for row in rows if not row["ended"].startswith("left")}
    # One that is cut off has failed nowhere, up to there.
    if (check := outcomes.get(SELF_CHECK, "")).startswith(("failed", "killed")):
        raise InputError(
            f"{SELF_CHECK} {check}; the other numbers of this device are worth nothing"
        )
    if not outcomes:
        raise InputError("nothing was measured; give a larger --budget, or other words for --only")
    if not any(ended.startswith("measured") for ended in outcomes.values()):
        raise InputError(f"no part was measured; {config.out}/parts.txt says why")


def pack(out: Path, log: str) -> Path | None:
    """Replace the archive of the log and of all records; `.json.partial` is an unfinished one."""
    if not log or not any(out.glob("*/*.json*")):
        return None
    (out / "parts.txt").write_text(log)
    whole = Path(f"{out}.new.tar.gz")
    with tarfile.open(whole, "w:gz") as archive:  # without the user's name: it may be sent on
        archive.add(
            out,
            out.name,
            filter=lambda f: f.replace(uid=0, gid=0, uname="", gname="", deep=False),
        )
    return whole.replace(f"{out}.tar.gz")


class Worker:
    """A process that runs what it is given, until something does not end well: that may have left
    the device broken. It and all that it starts are one session, which ends as a whole.
    """

    def __init__(self) -> None:
        # CUDA does not survive a fork.
        self.pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), os.setsid)
        self.pid = self.pool.submit(os.getpid).result()

    def run(self, task: Callable[[], object], seconds: float) -> tuple[str, Any]:
        """How the task ended, and its result or traceback. If it failed, this process is ended."""
        try:
            future = self.pool.submit(run_in_time, task, seconds)
            ended, result = future.result(seconds + GRACE_S)
        except TimeoutError:
            ended, result = "killed: it hung", None
        except BrokenProcessPool:
            ended, result = "failed: its process died", None
        if not ended.startswith("measured"):
            self.end()
        return ended, result

    def end(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self.pid = 0


def run_in_time(task: Callable[[], object], seconds: float) -> tuple[str, Any]:
    """How a task ended, and its result or traceback."""
    begin = time.monotonic()
    # A KeyboardInterrupt, because libraries catch other exceptions; Ctrl-C does not come here.
    signal.signal(signal.SIGALRM, signal.default_int_handler)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        # A part that notices in time that it will not end keeps what it has; else it is cut off.
        with time_limit(seconds - MIN_S):
            result = task()
        ended = f"measured in {time.monotonic() - begin:.0f} s"
    except KeyboardInterrupt:
        ended, result = "cut off: out of time", traceback.format_exc()
    except BaseException as error:
        first = (str(error).strip().splitlines() or [""])[0]
        ended, result = f"failed: {type(error).__name__}: {first}", traceback.format_exc()
    signal.setitimer(signal.ITIMER_REAL, 0)
    return ended, result


def parts_of(config: Device, gpus: int) -> list[Part]:
    """The parts to measure, the most telling first; on a CPU (no `gpus`) all of them are small."""

    def part(
        name: str,
        seconds: int,
        bench: B,
        how: Callable[[B], object] = run_bench,
        missing: str = "",
    ) -> Part:
        """The part that measures what `python -m bench.KIND` would with this config."""
        out = config.out / bench.out.name
        bench = replace(bench, quiet=config.quiet, out=out, device=config.device)
        # Compiling, and each rank that joins, may take longer than a third.
        keeps_rounds = how is run_bench and not isinstance(bench, Memory)
        return Part(name, seconds, partial(how, bench), missing, keeps_rounds)

    check = part(SELF_CHECK, 20, SelfCheck())
    no_data, no_ranks = "" if config.data else "needs --data", "" if gpus > 1 else "needs two GPUs"
    pair = ("catlip", "clip")
    if gpus:
        workers = max(1, processors() - 2)
        eager, both = StepTime(num_steps=20, compile=False), StepTime(packed_captions=True)
        time_compiled = partial(run_bench, eager=False)
        large, huge = (replace(both, model=m, num_steps=20) for m in ("vit_l16", "vit_h16"))
        from_shards = replace(eager, data=config.data, workers=workers)
        forward = Waterfall(batch_size=128, orders=("forward",))
        ranks = partial(spawn_ranks, ranks=gpus)
        return [
            check,
            part("step time, B/16", 20, eager),
            part("step time, B/16, compiled", 50, StepTime(), time_compiled),
            part("step time, B/16, captions packed too", 25, replace(eager, packed_captions=True)),
            part("waterfall, forward, all image sizes", 165, forward),
            part("memory and largest batch, B/16", 40, Memory(largest=True)),
            part("step time at the largest batch, B/16", 15, eager, time_largest_batch),
            part("step time from shards, B/16", 40, from_shards, missing=no_data),
            part("step time, L/16, compiled", 35, replace(large, batch_size=128), time_compiled),
            part("step time, H/16, compiled", 45, replace(huge, batch_size=64), time_compiled),
            part("step time, B/16, four methods", 20, replace(eager, methods=FOUR)),
            part("step time, B/16, blocks in 16 bits", 20, replace(eager, parallel="fsdp")),
            part("communication", 60, Communication(methods=pair), ranks, missing=no_ranks),
            part("step time, B/16, once more for drift", 15, replace(eager, again=True)),
        ]
    small = StepTime("vit_tiny16", 96, batch_size=8, num_steps=8)
    from_shards = replace(small, data=config.data, workers=1)
    ranks, two = partial(spawn_ranks, ranks=2), Communication("vit_tiny16", methods=pair)
    return [
        check,
        part("step time, ViT-Tiny, four methods", 12, replace(small, methods=FOUR)),
        part("memory, ViT-Tiny", 10, Memory("vit_tiny16", 96, batch_sizes=(8,))),
        part("communication of 2 ranks", 30, two, ranks),
        part("step time, B/16", 60, StepTime(num_steps=6)),
        part("step time from shards, ViT-Tiny", 30, from_shards, missing=no_data),
        part("waterfall, hybrid", 240, Waterfall("hybrid_mini", batch_size=8)),
    ]


def gpu_names(device: str) -> list[str]:
    import torch

    from catlip.training.distributed import default_device, init_distributed

    if device == "auto" and (reason := default_device()[1]):
        raise InputError(f"{reason}; --device cpu measures the CPU")
    number = torch.cuda.device_count() if init_distributed(device).device.type == "cuda" else 0
    return [torch.cuda.get_device_name(i) for i in range(number)]


def run_bench(bench: Bench, **options: bool) -> None:
    from bench.measuring.training_step import free_memory

    free_memory()  # what the part before has left
    with redirect_stdout(io.StringIO() if bench.quiet else sys.stdout):
        module = import_module(type(bench).__module__.replace(".config", ".measure"))
        module.main(bench, **options)


def time_largest_batch(bench: StepTime) -> None:
    """Time each method by itself at nearly the largest batch that was found on this card."""
    from catlip.records.record import build_name
    from catlip.training.distributed import init_distributed

    card = build_name(init_distributed(bench.device).device)
    largest: dict[str, Any] = {}
    for path in (bench.out.parent / "memory").glob(f"{bench.model}-*-{card}.json"):
        largest |= read_record(path)["metrics"].get("largest", {})
    if not largest:
        raise InputError("no memory record of this card says which batch is the largest")
    for method, found in largest.items():
        nearly = max(1, 8 * int(0.95 * found["images"] / 8))  # memory has gaps
        run_bench(replace(bench, methods=(method,), batch_size=nearly))


def spawn_ranks(bench: Bench, ranks: int) -> None:
    """Run a bench on several ranks. Not by torchrun: its ranks are sessions of their own, and would
    run on beside the next part if this one was killed.
    """
    from torch.multiprocessing import spawn

    with socket.create_server(("localhost", 0)) as server:
        port = server.getsockname()[1]
    spawn(run_rank, (bench, str(ranks), str(port)), nprocs=ranks)


def run_rank(rank: int, bench: Bench, ranks: str, port: str) -> None:
    import torch

    os.environ |= dict.fromkeys(("RANK", "LOCAL_RANK"), str(rank))
    os.environ |= dict.fromkeys(("WORLD_SIZE", "LOCAL_WORLD_SIZE"), ranks)
    os.environ |= {"MASTER_ADDR": "localhost", "MASTER_PORT": port}
    torch.set_num_threads(1)
    run_bench(bench)


if __name__ == "__main__":
    run(Device, main)
