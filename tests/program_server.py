"""Runs programs as `python -m MODULE ARGUMENTS` does, in processes forked from one that has
imported the large libraries.

The server reads a request a line on stdin, as JSON, and answers each with the exit code. Nothing of
this project is imported before the fork, so that a program's own imports are a part of what is
tried; the libraries take seconds each time, and are not.
"""

import contextlib
import gc
import importlib
import json
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

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
        repository = str(Path(__file__).parent.parent)
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
    ) -> int:
        """Run a program, with what it prints in two files. Returns: its exit code.

        Args:
            environment: variables that it has besides those of the server.
        """
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        request = {"module": module, "arguments": arguments}
        request |= {"cwd": str(cwd), "output": str(output), "errors": str(errors)}
        request |= {"environment": dict(environment), "longest_s": longest_s}
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def close(self) -> None:
        """End the server."""
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
        (output, 1, os.O_WRONLY | os.O_CREAT | os.O_TRUNC),
        (errors, 2, os.O_WRONLY | os.O_CREAT | os.O_TRUNC),
    ):
        os.dup2(os.open(name, flags, 0o644), descriptor)
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def serve() -> None:
    """Fork a process for each request. It ends as multiprocessing's do, without what Python does to
    modules at its end: with all these libraries, that takes seconds.
    """
    for line in sys.stdin:
        process = FORK.Process(target=become, kwargs=json.loads(line))
        process.start()
        process.join()
        print(json.dumps(process.exitcode), flush=True)


if __name__ == "__main__":
    for library in LIBRARIES:
        with contextlib.suppress(ImportError):  # an extra that is not installed
            importlib.import_module(library)
    gc.freeze()  # a process that collects garbage need not look through all of it
    serve()
