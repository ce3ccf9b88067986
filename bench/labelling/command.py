"""What the whole labelling command takes: its speed by number of processes, its start-up, and its
memory.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from itertools import cycle, islice
from pathlib import Path

from bench.labelling.result import Processes
from bench.measuring.statistics import summarise
from catlip.cli import InputError
from catlip.data.shards import expand, open_shard, write_shard
from catlip.results.kind import Summary

# Prints the peak of this process image alone: what wait() tells includes the memory of the process
# that started it.
LABEL_AND_TELL_PEAK = """
import re, runpy
runpy.run_module("catlip.label", run_name="__main__", alter_sys=True)
print(re.search(r"VmHWM:\\s*(\\d+)", open("/proc/self/status").read())[1])
"""
SCALING_SHARDS = 16  # what the whole command labels


def over_processes(rule: str, captions: Sequence[str], total: int, quiet: bool) -> Processes:
    """Captions a second of `python -m catlip.label` on shards, by number of processes, start-up
    included.
    """
    rates, per_shard = {}, max(1, total // SCALING_SHARDS)
    with tempfile.TemporaryDirectory() as folder:
        source = cycle(captions)
        for shard in range(SCALING_SHARDS):
            block = islice(source, per_shard)
            write_shard(
                Path(folder, f"{shard:02d}.tar"),
                ((f"{i:06d}", {"txt": text.encode()}) for i, text in enumerate(block)),
            )
        for path in expand(folder):
            open_shard(path)  # makes its index, which every run then reads
        for workers in _doubling(len(os.sched_getaffinity(0))):
            out = Path(folder, f"labels-{workers}")
            seconds, _ = _command(
                folder, "--rule", rule, "--labels-dir", str(out), "--workers", str(workers)
            )
            rates[workers] = SCALING_SHARDS * per_shard / seconds
            if not quiet:
                processes = f"{workers} process{'es' * (workers != 1)}"
                print(f"{rule}: {processes}, {rates[workers]:,.0f} captions/s")
    efficiency = {n: rate / (n * rates[1]) for n, rate in rates.items()}
    return Processes(captions_per_s=rates, efficiency=efficiency)


def start_up_s(rule: str, starts: int) -> dict[str, Summary]:
    """Seconds from a new interpreter to the first label, ours and NLTK's, in turns."""
    programs = {
        "ours": f"from catlip.captions import Labeller; Labeller({rule!r})('a dog')",
        "nltk": f"from bench.wording import nltk_rules; nltk_rules.{rule}('a dog')",
    }
    taken: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(starts):
        for name, program in programs.items():
            begin = time.perf_counter()
            subprocess.run([sys.executable, "-c", program], check=True)
            taken[name].append(time.perf_counter() - begin)
    return {name: summarise(times) for name, times in taken.items()}


def peak_mib(rule: str, captions: Sequence[str], size: int) -> float:
    """Peak resident memory, in MiB, of `python -m catlip.label` in one process on a file of `size`
    captions.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"{size}.txt")
        with open(path, "w", encoding="utf-8") as file:
            file.writelines(
                f"{i} {' '.join(text.split())}\n"
                for i, text in enumerate(islice(cycle(captions), size))
            )
        _, peak = _command(
            str(path), "--rule", rule, "--labels-dir", f"{folder}/labels", "--workers", "1"
        )
    return peak


def _command(*arguments: str) -> tuple[float, float]:
    """Run `python -m catlip.label`; seconds, and peak MiB of its main process."""
    begin = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", LABEL_AND_TELL_PEAK, *arguments, "--quiet"],
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise InputError(
            f"`python -m catlip.label {' '.join(arguments)}` failed: {done.stderr.strip()}"
        )
    return time.perf_counter() - begin, int(done.stdout.split()[-1]) / 1024


def _doubling(most: int) -> list[int]:
    return sorted({*(2**n for n in range(most.bit_length())), most})
