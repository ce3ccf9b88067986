"""How little data does an encoder need, and does Transfer Init help?  (Figures 5 and 7)

Runs linear probes and fine-tuning of each encoder, with each fraction of the training data and each
initialisation of the classifier. Each encoder and program is one process and one record; several
encoders run at a time if there are several devices. What has a record already is not run again.
"""

import itertools
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import Queue
from typing import Literal

from bench.downstream.classify.heads import Init
from bench.downstream.outputs import DataSpelling
from catlip.cli import InputError, run
from catlip.program.ranges import Count, Natural, PositiveFraction
from catlip.record import read_record

TABLE_7 = {"linear_probe": "table_7a", "finetune": "table_7b"}
UNTRAINED = "random:"


@dataclass(frozen=True)
class DataEfficiency:
    """Sweep fractions of the data and initialisations of the classifier over encoders; run the same
    command again to go on where it stopped.

    python -m bench.downstream.data_efficiency --recipe starter --data starter:data/starter \\
        --out runs/starter \\
        --encoders runs/starter/pretrain/catlip-seed0 runs/starter/pretrain/clip-seed0 \\
        random:hybrid_mini@48

    python -m bench.downstream.data_efficiency --programs finetune --data imagenet:/data/imagenet \\
        --devices cuda:0 cuda:1 --encoders released:vit_b16 released:vit_l16 \\
        --options="--vocabulary datacomp_1_2B_vocab.pkl"
    """

    encoders: tuple[str, ...]
    """Encoders to transfer, spelt as for bench.downstream.linear_probe."""
    data: DataSpelling
    programs: tuple[Literal["linear_probe", "finetune"], ...] = ("linear_probe", "finetune")
    """Programs to run: linear_probe for Figure 5, finetune for Figure 7."""
    recipe: str = ""
    """Recipe of the programs; by default table_7a for linear_probe and table_7b for finetune."""
    out: Path = Path("runs/data_efficiency")
    """Folder of the records, which are named PROGRAM/ENCODER.json."""
    fraction: tuple[PositiveFraction, ...] = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0)
    """Fractions of the training images of each class."""
    init: tuple[Init, ...] = ("random", "transfer")
    """Initialisations of the classifier. With both, transfer is skipped for encoders without a
    classifier over a vocabulary.
    """
    seeds: Count = 1
    """Classifiers per encoder, fraction and initialisation; each seed chooses other training
    images.
    """
    untrained: Natural = 1
    """Number of encoders that `random:` stands for, each with another seed."""
    devices: tuple[str, ...] = ("auto",)
    """Devices to use; each runs one encoder at a time."""
    options: str = ""
    """More options for the programs, as one argument: --options="--cached-features --alpha 0.5"."""
    quiet: bool = False
    """No progress bars."""


def main(config: DataEfficiency) -> None:
    """Run each encoder and program that has no record yet."""
    jobs = list(_jobs(config))
    if len({path for path, _ in jobs}) < len(jobs):
        raise InputError(
            "two of --encoders have the same name; give them in two runs with different --out"
        )
    free = Queue[str]()
    for device in config.devices:
        free.put(device)

    def work(job: tuple[Path, list[str]]) -> int:
        path, command = job
        if is_done(path, command):
            print(f"{path} is already there", flush=True)
            return 0
        device = free.get()
        try:
            return subprocess.run([*command, "--device", device], check=False).returncode
        finally:
            free.put(device)

    with ThreadPoolExecutor(len(config.devices)) as pool:
        codes = list(pool.map(work, jobs))
    if failed := [str(path) for (path, _), code in zip(jobs, codes, strict=True) if code]:
        # 2 is an error that the same command would meet again.
        go_on = "" if 2 in codes else "; run it again to go on"
        raise InputError(
            f"{len(failed)} of {len(jobs)} failed, see above: {', '.join(failed)}{go_on}"
        )


def _jobs(config: DataEfficiency) -> Iterator[tuple[Path, list[str]]]:
    """The path of each record, and the command that makes it; `random:` gives one for each seed."""
    for program, spelling in itertools.product(config.programs, config.encoders):
        untrained = spelling.startswith(UNTRAINED)
        for seed in range(config.untrained) if untrained else [0]:
            name = f"random-seed{seed}" if untrained else _name(spelling)
            path = config.out / program / f"{name}.json"
            yield path, _command(config, program, spelling, path=path, seed=seed)


def _command(
    config: DataEfficiency, program: str, spelling: str, path: Path, seed: int
) -> list[str]:
    command = [sys.executable, "-m", f"bench.downstream.{program}"]
    command += ["--recipe", config.recipe or TABLE_7[program]]
    command += ["--encoder", spelling, "--data", config.data, "--out", str(path)]
    command += ["--seed", str(seed), "--seeds", str(config.seeds)]
    command += ["--fraction", *map(str, config.fraction), "--init", *config.init]
    command += shlex.split(config.options)
    return [*command, "--quiet"] if config.quiet else command


def _name(spelling: str) -> str:
    """The name of an encoder in a file name: for a run that of its folder, else the spelling with
    special characters replaced by hyphens.
    """
    path = Path(spelling)
    return path.name if path.is_dir() else re.sub(r"[^A-Za-z0-9_.@-]+", "-", spelling)


def is_done(path: Path, command: list[str]) -> bool:
    """Whether there is a record, made by the same command, that is not older than the encoder's
    weights.
    """
    if not path.is_file():
        return False
    before = shlex.split(read_record(path)["command"])
    if _what_matters(before) != _what_matters(command):
        return False
    encoder = Path(command[command.index("--encoder") + 1])
    weights = encoder / "weights.safetensors" if encoder.is_dir() else encoder
    return not weights.exists() or weights.stat().st_mtime <= path.stat().st_mtime


def _what_matters(command: list[str]) -> list[str]:
    """The arguments of a command, without --device and --quiet."""
    words = command[1:]
    if "--device" in words:
        at = words.index("--device")
        del words[at : at + 2]
    return [word for word in words if word != "--quiet"]


if __name__ == "__main__":
    run(DataEfficiency, main)
