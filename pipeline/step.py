"""One step: when it runs, when it is skipped, and what happens to the files of an older one."""

import json
import shlex
import signal
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from catlip.program.errors import InputError
from catlip.program.methods import methods
from catlip.system.files import write_atomically
from catlip.system.foreign import read_json
from pipeline.inputs import digest_of_code, digest_of_data
from pipeline.programs import Slot, run_command, stopped

USER_ERROR = 2  # the exit code of our programs for what the user can correct
CLOCK_SKEW = 2.0  # seconds by which a file's time may be before ours


@dataclass(frozen=True)
class Step:
    """One program of the pipeline; its state is stored in `.steps/NAME.json`.

    Attributes:
        arguments: those that determine the result, beside the code and the contents of `reads`.
        other_arguments: those that do not: where the result goes, the device, no progress bars.
        reads: paths and shard patterns; in `arguments` they count by their contents, not by their
            paths.
        makes: files, folders and, with a `*` in the name, patterns of files of the result. The step
            runs again if a file or folder, or a file that the last run wrote there, is gone.
        owns: paths to move aside if an older version of this step made them; by default the files
            that it made.
        updates: changes, named as in `identity`, after which the program itself decides which
            results to keep.
        methods: those that it runs, whose code counts as well: it is imported by name.
        hardware: the hardware that the step measures, if it is a measurement.
        processes: how many processes; more than 1 are started with torchrun.
        always: run it each time.
        beside: whether the step, if it is one process, may run at the same time as its neighbours
            in the stage, each on its own cores and GPU.
    """

    name: str
    program: str
    arguments: Sequence[str] = ()
    other_arguments: Sequence[str] = ()
    reads: Sequence[str] = ()
    makes: Sequence[Path] = ()
    owns: Sequence[Path] = ()
    updates: Sequence[str] = ()
    methods: Sequence[str] = ()
    hardware: str = ""
    processes: int = 1
    always: bool = False
    beside: bool = False

    def command(self, python: str) -> list[str]:
        launcher: list[str] = []
        if self.processes > 1:
            launcher = ["-m", "torch.distributed.run", "--standalone"]
            launcher += ["--nproc-per-node", str(self.processes)]
        return [python, *launcher, "-m", self.program, *self.arguments, *self.other_arguments]

    def identity(self) -> dict[str, str]:
        """What determines the result: if this is unchanged, so is the result."""
        contents = {path: digest_of_data(path) for path in self.reads}
        command = shlex.join([self.program, *self.arguments])
        for path in sorted(contents, key=len, reverse=True):
            command = command.replace(path, "INPUT")
        modules = [methods()[name].module for name in self.methods]
        return {
            "command": command,
            "inputs": " ".join(contents.values()),
            "code": digest_of_code([self.program, *modules]),
            "hardware": self.hardware,
        }


class StepFailedError(Exception):
    """A program ended with another exit code than 0."""

    def __init__(self, name: str, code: int):
        what = f"stopped with exit code {code}; run the same command to go on from there"
        if code == USER_ERROR:  # which the same command would meet again
            what = "refused its input, for the reason above"
        super().__init__(f"step '{name}' {what}")
        # As a shell does for a program that a signal ended.
        self.code = code if code > 0 else 128 - code


class StoppedError(StepFailedError):
    """A signal has stopped the programs, with this exit code."""

    def __init__(self, code: int):
        super().__init__("", code)
        self.args = ("stopped; run the same command again to go on",)


def run_step(step: Step, runs: Path, python: str, *, slot: Slot | None = None) -> None:
    """Run a step, in a slot or in the whole machine, unless it is done.

    Raises: StepFailedError; StoppedError once a signal has stopped the programs.
    """
    if stopped.is_set():
        raise StoppedError(-signal.SIGTERM)
    stamp = runs / ".steps" / f"{step.name}.json"
    stamp.parent.mkdir(parents=True, exist_ok=True)
    before: dict[str, Any] = {}
    try:
        if stamp.exists():
            fix = "the step runs as if for the first time"
            before = read_json(stamp, fix, identity=dict, done=bool, files=list)
    except InputError as error:
        say(str(error))
    files_before: list[str] = before.get("files", [])
    identity = step.identity()
    if before and not step.always:
        changed = [name for name in identity if before["identity"].get(name) != identity[name]]
        results = {runs / file for file in files_before}
        results.update(path for path in step.makes if "*" not in path.name)
        lost = sorted(path for path in results if not path.exists())
        if before["done"] and not changed and not lost:
            say(f"{step.name}: unchanged, skipped")
            return
        if changed:
            say(f"{step.name}: {' and '.join(changed)} changed, so it runs again")
        elif before["done"]:
            say(f"{step.name}: {lost[0]} is gone, so it runs again")
        if not set(changed) <= set(step.updates):
            for path in sorted(step.owns or results.union(_matches(step.makes))):
                if path.exists():  # the reports do not read records of such a name
                    older = path.with_name(f"{path.name}.old-{datetime.now():%Y%m%d-%H%M%S}")
                    path.rename(older)
                    say(f"moved the results of an older version of this step to {older}")

    def write(**state: Any) -> None:
        write_atomically(stamp, json.dumps({"identity": identity, **state}, indent=1).encode())

    write(done=False, files=files_before)
    command = step.command(python)
    say(f"{step.name}: {shlex.join(command)}")
    began = time.time()
    code = run_command(command, slot)
    if code and stopped.is_set():
        raise StoppedError(code)
    if code:
        raise StepFailedError(step.name, code)
    made = [file for path in _matches(step.makes) for file in (path, *path.rglob("*"))]
    files = [file for file in made if file.is_file()]
    new = [file for file in files if file.stat().st_mtime >= began - CLOCK_SKEW] or files
    # Names of files in `runs` are relative to it, so that the folder can be moved.
    names = [
        str(file.relative_to(runs) if file.is_relative_to(runs) else file.absolute())
        for file in new
    ]
    kept = [file for file in files_before if (runs / file).exists()]
    write(done=True, files=sorted({*names, *kept}))
    say(f"{step.name}: done in {time.time() - began:.0f} s")


def say(line: str) -> None:
    print(f"== {line}", file=sys.stderr, flush=True)


def _matches(paths: Iterable[Path]) -> list[Path]:
    return [match for path in paths for match in path.parent.glob(path.name)]
