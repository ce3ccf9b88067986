"""How much one busy process on a core slows a training on a CPU, and what can be done about it.

OpenMP's threads wait for each other after each small piece of work, and spin while they wait.
Beside another process, one thread may spin on its core while the thread that it waits for has no
core. This bench times steps of one small training alone and beside one process that does nothing
but count, with several ways to wait, in turns. Each time is taken in a process of its own, because
libgomp reads its settings when torch is loaded.
"""

import contextlib
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import catlip
from bench.measuring.statistics import ratio, summarise
from bench.measuring.training_step import Factors, batch_of, build
from bench.step_time import busy_machine_result as result
from bench.step_time.busy_machine_result import busy_machine_table
from catlip.cli import InputError, run
from catlip.program.progress import progress
from catlip.record import Record, build_name
from catlip.table import as_text
from catlip.training.distributed import find_place, use_threads

STEP = Factors(
    model="hybrid_mini", resolution=48, batch_size=64, precision="fp32", num_classes=1_000
)
NUM_WARMUP = 5
WAITING = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "OMP_NUM_THREADS")


@dataclass(frozen=True)
class Setting:
    """One way to wait: the environment of the process, and whether the number of threads is chosen
    as for a training.
    """

    name: str
    environment: dict[str, str]
    chosen_threads: bool = False


# The first is what the others are compared with.
SETTINGS = (
    Setting("libgomp's own", {"GOMP_SPINCOUNT": "300000"}),
    Setting("fewer spins", {"GOMP_SPINCOUNT": catlip.SPIN_COUNT}),
    Setting("fewer spins, threads chosen (default)", {}, chosen_threads=True),
    Setting("no spins", {"OMP_WAIT_POLICY": "PASSIVE"}),
)


@dataclass(frozen=True)
class BusyMachine:
    """Time a small training on the CPU alone and beside one busy process, with several ways to
    wait.

    python -m bench.busy_machine
    """

    num_steps: int = 200
    """Timed steps of each training, after at most 5 that are not counted."""
    num_rounds: int = 3
    """How often each way to wait is timed, in turns."""
    out: Path = Path("runs/bench/busy_machine")
    """Folder for the record."""
    quiet: bool = False
    """No progress bar."""

    def __post_init__(self) -> None:
        if min(self.num_steps, self.num_rounds) < 1:
            raise InputError("--num-steps and --num-rounds must be at least 1")


@dataclass(frozen=True)
class Steps:
    """Time the steps of one training in this process and print the seconds as JSON; the bench
    starts this.

    python -m bench.busy_machine steps --num-steps 20
    """

    num_steps: int = 200
    """Timed steps."""
    chosen_threads: bool = False
    """Use as many threads as a training would choose, instead of all."""
    busy: bool = False
    """Run beside a process that keeps one core busy."""


def main(config: BusyMachine) -> None:
    """Measure, print, and write the record."""
    name = f"{STEP.model}-b{STEP.batch_size}-{build_name('cpu')}"
    with Record(config.out / f"{name}.json", kind=result.BusyMachine, config=config) as record:
        cases = [(setting, busy) for setting in SETTINGS for busy in (False, True)]
        rounds = list(itertools.product(range(config.num_rounds), cases))
        rows = record.samples["runs"] = []
        for number, (setting, busy) in progress(
            rounds, "busy_machine", unit="run", disable=config.quiet
        ):
            timed = time_in_a_process(setting, config.num_steps, busy)
            rows.append({"setting": setting.name, "busy": busy, "round": number, **timed})
            record.save()
        ways = [waiting(rows, setting) for setting in SETTINGS]
        measured = record.measured(result.BusyMachine(num_steps=config.num_steps, settings=ways))
    print(as_text(busy_machine_table("busy_machine", [measured])))
    print(f"wrote {record.path}")


def time_steps(config: Steps) -> None:
    """Time the steps of one training in this process."""
    place = find_place("cpu")
    with busy_process() if config.busy else contextlib.nullcontext():
        if config.chosen_threads:
            with tempfile.TemporaryDirectory() as folder:
                use_threads(Path(folder), place)
        trainer, stream = build(STEP, place), itertools.repeat(batch_of(STEP, place))
        for _ in range(min(NUM_WARMUP, config.num_steps)):
            trainer.train_step(stream)
        begin = time.perf_counter()
        for _ in range(config.num_steps):
            trainer.train_step(stream)
        seconds = time.perf_counter() - begin
    print(json.dumps({"seconds": seconds, "threads": torch.get_num_threads()}))


@contextlib.contextmanager
def busy_process() -> Iterator[None]:
    """Keep one core busy with another process, which ends with the block, or once this process is
    gone.
    """
    count = f"import os\nwhile os.getppid() == {os.getpid()}: sum(range(10_000))"
    process = subprocess.Popen([sys.executable, "-c", count])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def time_in_a_process(setting: Setting, num_steps: int, busy: bool = False) -> dict[str, Any]:
    """Seconds of `num_steps` steps, and the number of threads, in a process with this setting. The
    user's own values of WAITING are not passed on.
    """
    command = [sys.executable, "-m", "bench.busy_machine", "steps", "--num-steps", str(num_steps)]
    if setting.chosen_threads:
        command.append("--chosen-threads")
    if busy:
        command.append("--busy")
    inherited = {name: value for name, value in os.environ.items() if name not in WAITING}
    done = subprocess.run(
        command, env=inherited | setting.environment, stdout=subprocess.PIPE, text=True, check=True
    )
    timed: dict[str, Any] = json.loads(done.stdout)
    return timed


def waiting(rows: list[dict[str, Any]], setting: Setting) -> result.Waiting:
    """Seconds alone and beside the busy process, and the ratio of each to the first setting's
    seconds alone.
    """
    alone, beside = _seconds(rows, setting, busy=False), _seconds(rows, setting, busy=True)
    before = _seconds(rows, SETTINGS[0], busy=False)
    threads = [row["threads"] for row in rows if row["setting"] == setting.name and row["busy"]]
    return result.Waiting(
        name=setting.name,
        environment=setting.environment,
        alone_s=summarise(alone),
        busy_s=summarise(beside),
        alone_ratio=ratio(alone, before),
        busy_ratio=ratio(beside, before),
        busy_threads=max(threads),
    )


def _seconds(rows: list[dict[str, Any]], setting: Setting, *, busy: bool) -> list[float]:
    return [
        row["seconds"] for row in rows if row["setting"] == setting.name and row["busy"] == busy
    ]


if __name__ == "__main__":
    run(BusyMachine, main, subcommands={"steps": (Steps, time_steps)})
