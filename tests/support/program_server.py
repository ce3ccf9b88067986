"""Runs programs as `python -m MODULE` or `python FILE` does, on one rank or several, in processes
forked from one that has imported the large libraries, but nothing of this project.

A request is a line of JSON on stdin: {"start": a program}, which is answered with the ids of its
processes, or {"poll": these} or {"wait": these}, which are answered with their exit code.
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
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

FORK = multiprocessing.get_context("fork")
LONGEST_S = 300  # of a program, which is then killed
LIBRARIES = (
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

    def start(
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
    ) -> "Started":
        """Start a program, with what it prints in two files."""
        request = {"module": module, "arguments": arguments}
        request |= {"cwd": str(cwd), "output": str(output), "errors": str(errors)}
        request |= {"environment": dict(environment), "longest_s": longest_s, "ranks": ranks}
        return Started(self, self.ask({"start": request}))

    def run(self, module: str, arguments: list[str], **how: Any) -> int:
        """Run a program as `start` does; its exit code."""
        return self.start(module, arguments, **how).wait()

    def ask(self, request: dict[str, Any]) -> Any:
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def close(self) -> None:
        # Not by the end of its stdin, which a forked worker of this process may hold open.
        self.process.communicate(json.dumps({"end": None}) + "\n")


@dataclass(frozen=True)
class Started:
    """A program of a server, and the process of each rank."""

    server: ProgramServer
    pids: list[int]

    def poll(self) -> int | None:
        """Its exit code, if it has ended."""
        return self.server.ask({"poll": self.pids})

    def wait(self) -> int:
        return self.server.ask({"wait": self.pids})

    def send_signal(self, number: int) -> None:
        for pid in self.pids:
            os.kill(pid, number)


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
    if "HF_ENDPOINT" in environment:  # which was read when timm imported this
        for name in [name for name in sys.modules if name.startswith("huggingface_hub")]:
            del sys.modules[name]
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


def start(request: dict[str, Any]) -> list[multiprocessing.Process]:
    """Fork a process for each rank."""
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
    return processes


def exit_code(processes: list[multiprocessing.Process]) -> int | None:
    """That of the rank that fared worst; None if one has not ended."""
    codes = [process.exitcode for process in processes]
    return None if None in codes else max(codes, key=abs)


def serve() -> None:
    started: dict[int, multiprocessing.Process] = {}
    for line in sys.stdin:
        ((kind, request),) = json.loads(line).items()
        if kind == "end":
            return
        if kind == "start":
            processes = {process.pid: process for process in start(request)}
            started |= processes
            answer = [*processes]
        else:
            processes = [started[pid] for pid in request]
            for process in processes if kind == "wait" else ():
                process.join()
            answer = exit_code(processes)
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    for library in LIBRARIES:
        with contextlib.suppress(ImportError):  # an extra that is not installed
            importlib.import_module(library)
    gc.freeze()  # a process that collects garbage need not look through all of it
    serve()
