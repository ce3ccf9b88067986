"""One step: when it runs, when it is skipped, and what becomes of what an older step made."""

import json
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from types import FrameType

from pipeline.inputs import digest_of_code, digest_of_data

CLOCK_SKEW = 2.0  # seconds by which a file's time may be before ours


@dataclass(frozen=True)
class Step:
    """One program of the pipeline.

    Attributes:
        name: of the step; what is known of it is kept in `.steps/NAME.json`. program: a module of
        this repository. arguments: what determines the result, beside the code and the contents of
        `reads`. other_arguments: what does not: where the result goes, the device, no progress
        bars. reads: paths and shard patterns. In `arguments` they count by what they hold, not by
        where they lie. makes: files that must be there, and folders that must hold what they held
        when the step ended. owns: what to move aside when an older version of this step made it;
        the files that it made, unless given. updates: changes, named as in `identity`, after which
        the program itself knows what of its results to keep. also: programs that this one starts,
        whose code counts as well. hardware: what the result is a measurement of, if it is one.
        processes: more than 1 starts it with torchrun. always: run it each time.
    """

    name: str
    program: str
    arguments: Sequence[str] = ()
    other_arguments: Sequence[str] = ()
    reads: Sequence[str] = ()
    makes: Sequence[Path] = ()
    owns: Sequence[Path] = ()
    updates: Sequence[str] = ()
    also: Sequence[str] = ()
    hardware: str = ""
    processes: int = 1
    always: bool = False

    def command(self, python: str) -> list[str]:
        """What is run, in a shell's words."""
        launcher = [
            "-m",
            "torch.distributed.run",
            "--standalone",
            "--nproc-per-node",
            str(self.processes),
        ]
        started = launcher if self.processes > 1 else []
        return [python, *started, "-m", self.program, *self.arguments, *self.other_arguments]

    def identity(self) -> dict[str, str]:
        """What determines the result: if this is unchanged, the result is."""
        contents = {path: digest_of_data(path) for path in self.reads}
        command = shlex.join([self.program, *self.arguments])
        for path in sorted(contents, key=len, reverse=True):
            command = command.replace(path, "INPUT")
        return {
            "command": command,
            "inputs": " ".join(contents.values()),
            "code": digest_of_code([self.program, *self.also]),
            "hardware": self.hardware,
        }


@dataclass
class Stamp:
    """What is known of a step: what it was when it last began, whether it ended, and the files that
    it made.
    """

    identity: dict[str, str]
    done: bool = False
    files: Sequence[str] = ()

    @staticmethod
    def read(path: Path) -> "Stamp | None":
        """The stamp at `path`; None if there is none that can be read."""
        try:
            found = json.loads(path.read_text())
            return Stamp(
                dict(found["identity"]), bool(found["done"]), [str(file) for file in found["files"]]
            )
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def write(self, path: Path) -> None:
        """Put it at `path`, whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(".tmp")
        temporary.write_text(json.dumps(asdict(self), indent=1))
        temporary.replace(path)


class StepFailedError(Exception):
    """A program ended with another exit code than 0."""

    def __init__(self, name: str, code: int):
        super().__init__(
            f"step '{name}' stopped with exit code {code}; run the same command to go on from there"
        )
        self.code = (
            code if code > 0 else 128 - code
        )  # as a shell does for a program that a signal ended


def run_step(step: Step, runs: Path, python: str) -> None:
    """Run a step, unless it is done. Raises: StepFailedError."""
    path = runs / ".steps" / f"{step.name}.json"
    before, identity = Stamp.read(path), step.identity()
    if before and not step.always:
        changed = [name for name in identity if before.identity.get(name) != identity[name]]
        made = {*(runs / file for file in before.files), *step.makes}
        lost = sorted(path for path in made if not path.exists())
        if before.done and not changed and not lost:
            say(f"{step.name}: unchanged, skipped")
            return
        if changed:
            say(f"{step.name}: {' and '.join(changed)} changed, so it runs again")
        elif before.done:
            say(f"{step.name}: {lost[0]} is gone, so it runs again")
        if not set(changed) <= set(step.updates):
            move_aside(step.owns or made)
    Stamp(identity, files=before.files if before else ()).write(path)
    command = step.command(python)
    say(f"{step.name}: {shlex.join(command)}")
    began = time.time()
    if code := run_command(command):
        raise StepFailedError(step.name, code)
    files = _written(step.makes, began, runs) or _written(step.makes, 0, runs)
    kept = [file for file in before.files if (runs / file).exists()] if before else []
    Stamp(identity, done=True, files=sorted({*files, *kept})).write(path)
    say(f"{step.name}: done in {time.time() - began:.0f} s")


def move_aside(paths: Iterable[Path]) -> None:
    """Rename what is there to NAME.old-DATE, and say so; records with such a name are not read by
    the reports.
    """
    for path in sorted(paths):
        if path.exists():
            older = path.with_name(f"{path.name}.old-{datetime.now():%Y%m%d-%H%M%S}")
            path.rename(older)
            say(f"what an older version of this step made is now {older}")


def run_command(command: Sequence[str]) -> int:
    """Run a command to its end, pass on what stops us, and return its exit code."""
    process = subprocess.Popen(command)

    def stop(number: int, frame: FrameType | None) -> None:
        process.send_signal(number)

    previous = signal.signal(signal.SIGTERM, stop)
    try:
        return process.wait()
    except KeyboardInterrupt:  # Ctrl-C reaches the program as well, which ends in its own way
        process.wait()
        raise
    finally:
        signal.signal(signal.SIGTERM, previous)


def say(line: str) -> None:
    print(f"== {line}", file=sys.stderr, flush=True)


def _written(paths: Iterable[Path], since: float, runs: Path) -> list[str]:
    """The files at and below `paths` that were written since then; those in `runs` relative to it,
    so that it may move.
    """
    files = [file for path in paths for file in (path, *path.rglob("*")) if file.is_file()]
    new = [file for file in files if file.stat().st_mtime >= since - CLOCK_SKEW]
    return [
        str(file.relative_to(runs) if file.is_relative_to(runs) else file.absolute())
        for file in new
    ]
