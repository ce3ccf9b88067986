"""How little data does an encoder need, and does Transfer Init help?  (Figures 5 and 7)

A linear probe or fine-tuning of each encoder with each share of the data and each start of the
classifier: one program run and one record an encoder, several at a time where there are several
devices. What has its record is not run again.
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
from catlip.cli import InputError, run
from catlip.program.ranges import Count, Natural, PositiveFraction
from catlip.record import read_record

TABLE_7 = {"linear_probe": "table_7a", "finetune": "table_7b"}
UNTRAINED = "random:"


@dataclass(frozen=True)
class DataEfficiency:
    """Sweep shares of the data and starts of the classifier over encoders; run the same command
    again to go on.

    python -m bench.downstream.data_efficiency --recipe starter --data starter:data/starter \\
        --out runs/starter \\
        --encoders runs/starter/pretrain/catlip-seed0 runs/starter/pretrain/clip-seed0 \\
        random:hybrid_mini@48

    python -m bench.downstream.data_efficiency --programs finetune --data imagenet:/data/imagenet \\
        --devices cuda:0 cuda:1 --encoders released:vit_b16 released:vit_l16 \\
        --options="--vocabulary datacomp_1_2B_vocab.pkl"
    """

    encoders: tuple[str, ...]
    """What to transfer; spellings as of bench.downstream.linear_probe."""
    data: str
    """starter:DIR, fashion_mnist:, or imagenet:DIR, places365:DIR, folder:DIR with train/ and
    val/.
    """
    programs: tuple[Literal["linear_probe", "finetune"], ...] = ("linear_probe", "finetune")
    """Figure 5 is of linear probes, Figure 7 of fine-tuning."""
    recipe: str = ""
    """Of these programs; by default Table 7's of each."""
    out: Path = Path("runs/data_efficiency")
    """Folder of the records, PROGRAM/ENCODER.json."""
    fraction: tuple[PositiveFraction, ...] = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0)
    """Shares of the training images of each class."""
    init: tuple[Init, ...] = ("random", "transfer")
    """Starts of the classifier; transfer where the encoder has a classifier of its own."""
    seeds: Count = 1
    """Classifiers of each kind on an encoder, each on another choice of the data."""
    untrained: Natural = 1
    """How many encoders `random:` means, of other seeds."""
    devices: tuple[str, ...] = ("auto",)
    """One encoder at a time on each."""
    options: str = ""
    """Further options of the program, in one word: --options="--cached-features --alpha 0.5"."""
    quiet: bool = False
    """No progress bars."""


def main(config: DataEfficiency) -> None:
    """Run what has no record yet."""
    jobs, free = list(_jobs(config)), Queue[str]()
    if len({path for path, _ in jobs}) < len(jobs):
        raise InputError(
            "two of --encoders have the same name; give them in two runs with different --out"
        )
    for device in config.devices:
        free.put(device)

    def work(job: tuple[Path, list[str]]) -> int:
        path, command = job
        if is_done(path, command):
            print(f"{path} is there", flush=True)
            return 0
        device = free.get()
        try:
            return subprocess.run([*command, "--device", device], check=False).returncode
        finally:
            free.put(device)

    with ThreadPoolExecutor(len(config.devices)) as pool:
        codes = list(pool.map(work, jobs))
    if failed := [str(path) for (path, _), code in zip(jobs, codes, strict=True) if code]:
        raise InputError(
            f"{len(failed)} of {len(jobs)} failed, see above: {', '.join(failed)}; run it again to "
            "go on"
        )


def _jobs(config: DataEfficiency) -> Iterator[tuple[Path, list[str]]]:
    """Each record with the command that makes it; an untrained encoder is another one for each
    seed.
    """
    for program, spelling in itertools.product(config.programs, config.encoders):
        untrained = spelling.startswith(UNTRAINED)
        for seed in range(config.untrained) if untrained else [0]:
            name = f"random-seed{seed}" if untrained else _name(spelling)
            path = config.out / program / f"{name}.json"
            yield path, _command(config, program, spelling, path=path, seed=seed)


def _command(
    config: DataEfficiency, program: str, spelling: str, path: Path, seed: int
) -> list[str]:
    command = [
        sys.executable,
        "-m",
        f"bench.downstream.{program}",
        "--recipe",
        config.recipe or TABLE_7[program],
    ]
    command += ["--encoder", spelling, "--data", config.data, "--out", str(path)]
    command += ["--seed", str(seed), "--seeds", str(config.seeds)]
    command += [
        "--fraction",
        *map(str, config.fraction),
        "--init",
        *config.init,
        *shlex.split(config.options),
    ]
    return [*command, "--quiet"] if config.quiet else command


def _name(spelling: str) -> str:
    """A run by its folder's name, anything else by its spelling without what a file's name cannot
    have.
    """
    path = Path(spelling)
    return path.name if path.is_dir() else re.sub(r"[^A-Za-z0-9_.@-]+", "-", spelling)


def is_done(path: Path, command: list[str]) -> bool:
    """Whether the record is there, of the same command, and no older than the weights that it is
    about.
    """
    if not path.is_file() or _what_matters(
        shlex.split(read_record(path)["command"])
    ) != _what_matters(command):
        return False
    encoder = Path(command[command.index("--encoder") + 1])
    weights = encoder / "weights.safetensors" if encoder.is_dir() else encoder
    return not weights.exists() or weights.stat().st_mtime <= path.stat().st_mtime


def _what_matters(command: list[str]) -> list[str]:
    """The options of a command but for the device and the silence."""
    words = command[1:]
    if "--device" in words:
        at = words.index("--device")
        del words[at : at + 2]
    return [word for word in words if word != "--quiet"]


if __name__ == "__main__":
    run(DataEfficiency, main)
