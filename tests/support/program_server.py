"""Runs programs as `python -m MODULE` or `python FILE` does, on one rank or several, in processes
forked from one that has imported the large libraries, but nothing of this project.

A request is a line of JSON on stdin; each is answered with the exit code.
"""

import contextlib
import gc
import importlib
import json
import multiprocessing
import os
import runpy
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

FORK = multiprocessing.get_context("fork")
LONGEST_S = 300  # of a program, which is then killed
LIBRARIES = (
    "torch",
    "torchvision",
    "timm",
    "torch.utils.tensorboard",
    "torchmetrics.functional.classification",
    "open_clip",
    "pandas",
    "pyarrow.parquet",
    "matplotlib.pyplot",
    "jinja2",
    "nltk",
    "safetensors.torch",
    "simplejpeg",
    "tyro",
)


class ProgramServer:
    """A server of this file in another process."""

    def __init__(self) -> None:
        repository = str(Path(__file__).parents[2])
        self.process = subprocess.Popen(
            [sys.executable, __file__],
            env=os.environ | {"PYTHONPATH": repository},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(
        self,
        module: str,
        arguments: list[str],
        *,
        cwd: Path,
        output: Path,
        errors: Path,
        environment: Mapping[str, str] = MappingProxyType({}),
        longest_s: int = LONGEST_S,
        ranks: int = 1,
    ) -> int:
        """Run a program, with what it prints in two files; its exit code."""
        request = {"module": module, "arguments": arguments}
        request |= {"cwd": str(cwd), "output": str(output), "errors": str(errors)}
        request |= {"environment": dict(environment), "longest_s": longest_s, "ranks": ranks}
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def close(self) -> None:
        self.process.communicate()


def become(
    module: str,
    arguments: list[str],
    cwd: str,
    output: str,
    errors: str,
    environment: dict[str, str],
    longest_s: int,
) -> None:
    """Be that program: its folder, its command line, its output in files."""
    signal.alarm(longest_s)
    os.chdir(cwd)
    os.environ.update(environment)
    for name, descriptor, flags in (
        (os.devnull, 0, os.O_RDONLY),
        (output, 1, os.O_WRONLY | os.O_APPEND),
        (errors, 2, os.O_WRONLY | os.O_APPEND),
    ):
        os.dup2(os.open(name, flags), descriptor)
    sys.argv = [module, *arguments]
    if module.endswith(".py"):
        sys.path.insert(0, str(Path(module).parent))
        runpy.run_path(module, run_name="__main__")
    else:
        runpy.run_module(module, run_name="__main__", alter_sys=True)


def run(request: dict[str, Any]) -> int:
    """Fork a process for each rank; the exit code of the rank that fared worst."""
    for name in ("output", "errors"):
        Path(request[name]).write_bytes(b"")
    count, shared = request.pop("ranks"), {}
    if count > 1:  # as torchrun does
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
        shared |= {"WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count)}
    processes = []
    for rank in range(count):
        place = shared and shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)}
        environment = request["environment"] | place
        process = FORK.Process(target=become, kwargs=request | {"environment": environment})
        process.start()
        processes.append(process)
    for process in processes:
        process.join()
    return max((process.exitcode for process in processes), key=abs)


def serve() -> None:
    for line in sys.stdin:
        print(json.dumps(run(json.loads(line))), flush=True)


if __name__ == "__main__":
    for library in LIBRARIES:
        with contextlib.suppress(ImportError):  # an extra that is not installed
            importlib.import_module(library)
    gc.freeze()  # a process that collects garbage need not look through all of it
    serve()
