"""Every command line: a frozen dataclass read by tyro, and one-line errors.

A module's `if __name__ == "__main__"` consists of `run(Config, main)`. An error of the user is
raised as `InputError` and ends as one line on stderr with exit code 2; a bug keeps its traceback.
"""

import dataclasses
import errno
import inspect
import io
import itertools
import os
import re
import signal
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import redirect_stderr
from typing import Any, TypeVar

import tyro

from catlip import __version__
from catlip.program.errors import InputError as InputError  # for all that import it from here
from catlip.program.flags import view_of
from catlip.program.out import check_out
from catlip.program.ranges import check_ranges
from catlip.system.foreign import printable
from catlip.system.urls import take_credentials, with_urls

C = TypeVar("C")
Program = tuple[type[Any], Callable[[Any], object]]  # a config and the function called with it

# A full or forbidden disk and a wrong path are for the user to correct; any other OSError is a bug
# and keeps its traceback.
USER_ERRORS = {
    "ENOSPC": "the disk of {path} is full; free some space or choose another one",
    "EDQUOT": "your quota on the disk of {path} is used up; free some space or choose another one",
    "EFBIG": "{path} would exceed the largest file size allowed here",
    "EACCES": (
        "{path} cannot be opened: you lack the permission; choose another place or change its "
        "permissions"
    ),
    "EPERM": (
        "{path} cannot be changed: you lack the permission; choose another place or change its "
        "permissions"
    ),
    "EROFS": "{path} cannot be written: its disk is read-only; choose another place",
    "ENOENT": "{path} is not there: no such file or folder",
    "EEXIST": "{path} exists already; choose another name",
    "EISDIR": "{path} is a folder, but a file is needed; give the path of a file",
    "ENOTDIR": (
        "{path} is not possible: a part of this path is a file and not a folder; choose another "
        "place"
    ),
}
EXAMPLE_STARTS = ("python -m ", "torchrun ", "./run_all.sh")
# The beginnings of torch's messages that a loader's process was killed or does not answer.
DEAD_WORKERS = ("DataLoader worker", "DataLoader timed out")


def run(
    config: type[C],
    main: Callable[[C], object],
    defaults: Mapping[str, C] | None = None,
    subcommands: Mapping[str, Program] | None = None,
) -> None:
    """Read the command line into `config` and call `main` with it.

    Args:
        config: a frozen dataclass; its docstring is the help, examples included, and the docstrings
            of its fields are the help of the flags.
        main: the program.
        defaults: named instances, chosen by `--recipe NAME` (the first is the default); any field
            can still be overridden. A dry run needs none of the fields that are required.
        subcommands: other programs of this module, each chosen by its name as the first argument.
    Exits: 2 after one line on stderr for an error that the user can correct, 130 on Ctrl-C.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:  # see catlip/__init__.py
        signal.signal(signal.SIGINT, signal.default_int_handler)
    # First of all, so that no credentials of a URL get into a record or a message.
    sys.argv[1:] = map(take_credentials, sys.argv[1:])
    prog, arguments = module_name(), sys.argv[1:]
    if arguments == ["--version"]:
        print(f"catlip-bench {__version__}")
        return
    if subcommands and arguments[:1] and arguments[0] in subcommands:
        prog, (config, main) = f"{prog} {arguments[0]}", subcommands[arguments[0]]
        arguments = arguments[1:]
    try:
        default = None
        if defaults:
            default = choose("recipe", _recipe_name(arguments, defaults), defaults)
            arguments = _only_one_length(arguments, default)
            if "--dry-run" in arguments and hasattr(default, "dry_run"):
                default = _without_required(default)
        given = _parse(config, prog, arguments, default, defaults or {})
        check_ranges(given)
        check_out(given)
        main(given)
    except InputError as error:
        _stop(str(error))
    except BrokenPipeError:  # the reader of the output, for example `head`, has ended
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        sentence = USER_ERRORS.get(errno.errorcode.get(error.errno or 0, ""))
        if sentence is None:
            raise
        message = sentence.format(path=error.filename)
        if error.strerror != os.strerror(error.errno or 0):  # the message already says what to do
            message = f"{error.strerror}: {error.filename}"
        _stop(message if error.filename else str(error))
    except RuntimeError as error:
        if not str(error).startswith(DEAD_WORKERS):
            raise
        _stop(
            "a process that reads images died or hangs; if memory ran out, give fewer "
            f"--num-workers, or 0 ({error})"
        )
    except KeyboardInterrupt:
        # Only the programs whose help says so take up what they began.
        goes_on = re.search(r"\bgo(es)?\s+on\b", config.__doc__ or "")
        go_on = "; run the same command again to go on" if goes_on else ""
        print(f"stopped{go_on}", file=sys.stderr)
        sys.exit(130)


def module_name() -> str:
    """How the running program was started, as the user typed it: `python -m catlip.pretrain`."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    if spec is None:
        return sys.argv[0]
    return f"python -m {spec.name.removesuffix('.__main__')}"


def one_of(choices: Iterable[str]) -> Any:
    """For `Annotated[str, one_of(ENCODERS)]`: the help of that flag lists the choices."""
    named = f"one of: {', '.join(choices)}"

    def hint(default: str) -> str:
        return f"({named})" if default in ("", "''") else f"({named}; default: {default})"

    return tyro.conf.arg(help_behavior_hint=hint)


def choose(kind: str, name: str, choices: Mapping[str, C]) -> C:
    """`choices[name]`, or an InputError that lists them."""
    if name not in choices:
        raise InputError(f"no {kind} is called {name!r}; choose one of: {', '.join(choices)}")
    return choices[name]


def with_example_lines(description: str) -> str:
    """`description` with each command on a line of its own, indented.

    tyro joins all other lines to paragraphs.
    """
    lines: list[str] = []
    in_example = False
    for line in description.splitlines():
        was_example, in_example = in_example, _is_example(line, lines)
        if in_example:
            while lines and not lines[-1]:
                lines.pop()  # tyro would make two empty lines of one before an indented line
            lines.append(f"    {line}")
        else:
            lines += ["", line] if was_example and line else [line]
    return "\n".join(lines)


def _is_example(line: str, before: list[str]) -> bool:
    """Whether a line is a command, or continues the command of the line before."""
    previous = before[-1] if before else ""
    continues = previous.startswith("    ") and previous.endswith("\\")
    return continues or line.startswith(EXAMPLE_STARTS)


def _parse(
    config: type[C], prog: str, arguments: Sequence[str], default: Any, recipes: Mapping[str, C]
) -> C:
    """The config that tyro reads from the arguments.

    Raises: InputError with tyro's message on one line; tyro itself prints it in a box.
    """
    printed, description = io.StringIO(), with_example_lines(inspect.getdoc(config) or "")
    view = view_of(config, default, recipes)
    if recipes:
        description += "\n\nEvery default below is set by --recipe NAME:"
    for name, named in recipes.items():
        about = getattr(getattr(named, "recipe", None), "about", "")
        description += f"\n\n{name}: {about}"
    try:
        with redirect_stderr(printed):
            given = tyro.cli(
                view.shown,
                prog=prog,
                args=arguments,
                description=description,
                config=(tyro.conf.DisallowNone,),
            )
    except SystemExit as end:
        if not end.code:
            raise
    else:
        return view.config(given)
    raise InputError(f"{_complaint(printed.getvalue())} (see {prog} --help)")


def _complaint(box: str) -> str:
    """What tyro's box says, on one line: flags that are missing, unknown and probably meant."""
    rule = ("─", "---")  # the edge of tyro's box; dashes where a box cannot be drawn
    sections: list[list[str]] = []
    for line in box.splitlines():
        line = line.strip("│╭╮╰╯|").rstrip()
        if line.strip().startswith(rule):
            sections.append([])
        elif sections:
            sections[-1].append(line)
    said, meant = [], []
    for section in filter(None, sections):
        # In the box, a flag is indented by four below the title of a section, its help by more.
        flags = [line.split()[0].rstrip(",") for line in section if re.match(r" {5,6}\S", line)]
        match section[0].split():
            case "Missing", "from", *_:
                said.append(f"missing: {', '.join(flags)}")
            case "Unrecognized", "options:":
                said.append(f"unknown: {', '.join(flags)}")
            case ("Perhaps", "you", "meant:") | ("Arguments", "similar", "to", _):
                meant += flags[:1]
            case _ if section is sections[0]:
                said.append(" ".join(" ".join(section).split()))
    if meant:
        said.append(f"did you mean {', '.join(sorted(meant))}?")
    return "; ".join(said)


def _only_one_length(arguments: Sequence[str], default: Any) -> list[str]:
    """The arguments; if they give one of a recipe's two alternatives, the other is set to 0.

    For example, --iterations on the command line replaces the epochs of the recipe.
    """
    completed = list(arguments)
    alternatives = getattr(getattr(default, "recipe", None), "ALTERNATIVES", ())
    for flag, alternative in itertools.permutations(alternatives, 2):
        if _is_given(f"--{flag}", arguments) and not _is_given(f"--{alternative}", arguments):
            completed += [f"--{alternative}", "0"]
    return completed


def _is_given(flag: str, arguments: Sequence[str]) -> bool:
    return any(argument == flag or argument.startswith(f"{flag}=") for argument in arguments)


def _without_required(default: Any) -> Any:
    """The config with an empty string for each required field."""
    missing = [name for name, value in vars(default).items() if value is tyro.MISSING]
    return dataclasses.replace(default, **dict.fromkeys(missing, ""))


def _recipe_name(arguments: Sequence[str], defaults: Mapping[str, C]) -> str:
    name = next(iter(defaults))
    for argument, following in itertools.pairwise([*arguments, ""]):
        if argument == "--recipe":
            name = following
        elif argument.startswith("--recipe="):
            name = argument.removeprefix("--recipe=")
    return name


def _stop(message: str) -> None:
    # In one call, because other ranks may be writing at the same time.
    sys.stderr.write(f"error: {' '.join(with_urls(printable(message)).split())}\n")
    sys.exit(2)
