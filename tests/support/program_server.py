"""Runs programs as `python -m MODULE` or `python FILE` does, on one rank or several, in processes
forked from one that has imported the large libraries, but nothing of this project.
"""

import gc
import multiprocessing
import os
import runpy
import signal
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from types import MappingProxyType

REPOSITORY = Path(__file__).parents[2]
LONGEST_S = 300  # of a program, which is then killed
# One that is not installed is passed over.
LIBRARIES = [
    "torch",
    "torch.distributed.checkpoint.state_dict",
    "torch.distributed.fsdp",
    "torch.utils.flop_counter",
    "torch.utils.tensorboard",
    "torchvision",
    "timm",
    "torchmetrics.functional.classification",
    "open_clip",
    "pandas",
    "pyarrow.parquet",
    "matplotlib.pyplot",
    "jinja2",
    "msgspec",
    "nltk",
    "safetensors.torch",
    "simplejpeg",
    "typeguard",
    "tyro",
    "tyro._backends._tyro_backend",
]
FORKED = multiprocessing.get_context("forkserver")
FORKED.set_forkserver_preload(LIBRARIES)


@dataclass(frozen=True)
class Started:
    """A program: the process of each rank."""

    ranks: list[ForkServerProcess]

    @property
    def pids(self) -> list[int | None]:
        return [process.pid for process in self.ranks]

    def poll(self) -> int | None:
        """The exit code of the rank that fared worst; None if one has not ended."""
        codes = [process.exitcode for process in self.ranks]
        return None if None in codes else max(codes, key=abs)

    def wait(self) -> int:
        for process in self.ranks:
            process.join()
        return self.poll()

    def send_signal(self, number: int) -> None:
        for pid in self.pids:
            os.kill(pid, number)


def start(
    module: object,
    *arguments: object,
    cwd: Path,
    output: Path,
    errors: Path,
    environment: Mapping[str, str] = MappingProxyType({}),
    longest_s: int = LONGEST_S,
    ranks: int = 1,
) -> Started:
    """Start a program, with what it prints in two files."""
    for path in (output, errors):
        path.write_bytes(b"")
    environment = {"PYTHONPATH": str(REPOSITORY), **environment}
    if ranks > 1:  # as torchrun does
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            environment |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
        environment |= {"WORLD_SIZE": str(ranks), "LOCAL_WORLD_SIZE": str(ranks)}
    processes = []
    for rank in range(ranks):
        of_rank = {"RANK": str(rank), "LOCAL_RANK": str(rank)} if ranks > 1 else {}
        command = [*map(str, (module, *arguments))]
        how = (command, cwd, output, errors, environment | of_rank, longest_s)
        processes.append(FORKED.Process(target=become, args=how))
        processes[-1].start()
    return Started(processes)


def become(
    command: list[str],
    cwd: Path,
    output: Path,
    errors: Path,
    environment: dict[str, str],
    longest_s: int,
) -> None:
    """Be that program: its folder, its command line, its output in files."""
    # Python has set its own way, by which a program's workers would import everything again.
    multiprocessing.set_start_method("fork", force=True)
    gc.freeze()  # a process that collects garbage need not look through all of the libraries
    signal.alarm(longest_s)
    os.chdir(cwd)
    os.environ.update(environment)
    if "HF_ENDPOINT" in environment:  # which was read when timm imported this
        for name in [name for name in sys.modules if name.startswith("huggingface_hub")]:
            del sys.modules[name]
    for path, descriptor in ((output, 1), (errors, 2)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_APPEND), descriptor)
    sys.path.insert(0, str(REPOSITORY))
    sys.argv, module = command, command[0]
    if module.endswith(".py"):
        sys.path.insert(0, str(Path(module).parent))
        runpy.run_path(module, run_name="__main__")
    else:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
