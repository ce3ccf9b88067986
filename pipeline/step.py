"""One step: when it runs, when it is skipped, and what happens to the files of an older one."""

import json
import shlex
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from pipeline.inputs import digest_of_code, digest_of_data
from pipeline.programs import Cores, run_command

USER_ERROR = 2  # the exit code of our programs for what the user can correct
CLOCK_SKEW = 2.0  # seconds by which a file's time may be before ours


@dataclass(frozen=True)
class Step:
    """One program of the pipeline.

    Attributes:
        name: of the step; its state is stored in `.steps/NAME.json`.
        program: a module of this repository.
        arguments: those that determine the result, beside the code and the contents of `reads`.
        other_arguments: those that do not: where the result goes, the device, no progress bars.
        reads: paths and shard patterns; in `arguments` they count by their contents, not by their
            paths.
        makes: files and folders of the result. The step runs again if one of them, or a file that
            the last run wrote there, is gone.
        owns: paths to move aside if an older version of this step made them; by default the files
            that it made.
        updates: changes, named as in `identity`, after which the program itself decides which
            results to keep.
        also: modules that the program starts or imports by name, whose code counts as well.
        hardware: the hardware that the step measures, if it is a measurement.
        processes: how many processes; more than 1 are started with torchrun.
        always: run it each time.
        beside: whether the step may run at the same time as neighbours in its stage that allow it
            too, each on cores of its own.
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
    beside: bool = False

    def command(self, python: str) -> list[str]:
        """The command line, as a list of words."""
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
        return {
            "command": command,
            "inputs": " ".join(contents.values()),
            "code": digest_of_code([self.program, *self.also]),
            "hardware": self.hardware,
        }


@dataclass
class Stamp:
    """The stored state of a step.

    Attributes:
        identity: the step's identity when it last began.
        done: whether it ended.
        files: the files that it made.
    """

    identity: dict[str, str]
    done: bool = False
    files: Sequence[str] = ()

    @staticmethod
    def read(path: Path) -> "Stamp | None":
        """The stamp at `path`; None if there is none that can be read."""
        try:
            stamp = json.loads(path.read_text())
            files = [str(file) for file in stamp["files"]]
            return Stamp(dict(stamp["identity"]), bool(stamp["done"]), files)
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def write(self, path: Path) -> None:
        """Write the stamp to `path`, atomically."""
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(".tmp")
        temporary.write_text(json.dumps(asdict(self), indent=1))
        temporary.replace(path)


class StepFailedError(Exception):
    """A program ended with another exit code than 0."""

    def __init__(self, name: str, code: int):
        what = f"stopped with exit code {code}; run the same command to go on from there"
        if code == USER_ERROR:  # which the same command would meet again
            what = "refused its input, for the reason above"
        super().__init__(f"step '{name}' {what}")
        # As a shell does for a program that a signal ended.
        self.code = code if code > 0 else 128 - code


def run_step(step: Step, runs: Path, python: str, *, cores: Cores | None = None) -> None:
    """Run a step, on some cores or on all, unless it is done. Raises: StepFailedError."""
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
    if code := run_command(command, cores):
        raise StepFailedError(step.name, code)
    files = _written(step.makes, began, runs) or _written(step.makes, 0, runs)
    earlier = [file for file in before.files if (runs / file).exists()] if before else []
    Stamp(identity, done=True, files=sorted({*files, *earlier})).write(path)
    say(f"{step.name}: done in {time.time() - began:.0f} s")


def move_aside(paths: Iterable[Path]) -> None:
    """Rename existing paths to NAME.old-DATE, and say so; the reports do not read such records."""
    for path in sorted(paths):
        if path.exists():
            older = path.with_name(f"{path.name}.old-{datetime.now():%Y%m%d-%H%M%S}")
            path.rename(older)
            say(f"moved the results of an older version of this step to {older}")


def say(line: str) -> None:
    print(f"== {line}", file=sys.stderr, flush=True)


def _written(paths: Iterable[Path], since: float, runs: Path) -> list[str]:
    """The files at and below `paths` that were written since then.

    Those in `runs` are relative to it, so that it can be moved.
    """
    files = [file for path in paths for file in (path, *path.rglob("*")) if file.is_file()]
    new = [file for file in files if file.stat().st_mtime >= since - CLOCK_SKEW]
    return [
        str(file.relative_to(runs) if file.is_relative_to(runs) else file.absolute())
        for file in new
    ]
