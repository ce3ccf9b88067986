"""Every command line: a frozen dataclass read by tyro, and one-line errors.

A program's module ends in `run(Config, main)`. tyro boxes what is wrong with a flag; an error of
the user that a config or the program finds is raised as `InputError` and ends as one line on
stderr. Both exit with code 2. A bug keeps its traceback.
"""

import argparse
import dataclasses
import importlib
import inspect
import io
import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any, TypeVar

import tyro

from catlip import __version__
from catlip.program.errors import InputError as InputError  # for all that import it from here
from catlip.program.errors import in_words
from catlip.program.ranges import check_ranges
from catlip.program.user_file import names_file, other_lengths, user_recipe
from catlip.system.foreign import printable
from catlip.system.urls import is_remote, show_urls, take_credentials

C = TypeVar("C")
# A config, and the function called with it, or its name.
Program = tuple[type[Any], Callable[[Any], object] | str]

# The beginnings of torch's messages that a loader's process was killed or does not answer.
DEAD_WORKERS = ("DataLoader worker", "DataLoader timed out")


def run(
    config: type[C],
    main: Callable[[C], object] | str,
    defaults: Mapping[str, C] | None = None,
    subcommands: Mapping[str, Program] | None = None,
) -> None:
    """Read the command line into `config` and call `main` with it.

    Args:
        config: a frozen dataclass; its docstring is the help, examples included, and the docstrings
            of its fields are the help of the flags.
        main: called with it; as "package.module:function" it is imported after the command line is
            read, because torch takes seconds to load.
        defaults: named instances, chosen by `--recipe NAME` (the first is the default). A dry run
            needs none of the fields that are required.
        subcommands: other programs of this module, chosen by their names as the first argument.
    Exits: 2 for an error that the user can correct, 130 on Ctrl-C.
    """
    try:
        if sys.platform != "linux":
            raise InputError("CatLIP Bench runs on Linux; elsewhere, in a container of it")
        # First of all, so that no credentials of a URL get into a record or a message.
        sys.argv[1:] = map(take_credentials, sys.argv[1:])
        prog, arguments = module_name(), sys.argv[1:]
        if arguments == ["--version"]:
            print(f"catlip-bench {__version__}")
            return
        if subcommands and arguments and arguments[0] in subcommands:
            prog, (config, main) = f"{prog} {arguments[0]}", subcommands[arguments[0]]
            arguments, defaults = arguments[1:], None
        options = _read(config, prog, arguments, defaults)
        check_ranges(options)
        check_out(options)
        if isinstance(main, str):
            module, _, function = main.partition(":")
            getattr(importlib.import_module(module), function)(options)
        else:
            main(options)
    except InputError as error:
        _stop(str(error))
    except BrokenPipeError:  # the reader of the output, for example `head`, has ended
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        _stop(in_words(error))
    except UnicodeEncodeError as error:  # of a path of the user's
        if not (name := re.search(r".*[\ud800-\udfff].*", error.object)):
            raise
        _stop(f"{name[0]!a} is not UTF-8: rename it")
    except RuntimeError as error:
        if not str(error).startswith(DEAD_WORKERS):
            raise
        _stop(
            "a process that reads images died or hangs; if memory ran out, give fewer "
            f"--num-workers, or 0 ({error})"
        )
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        sys.exit(130)


def check_out(config: Any) -> None:
    """Raises InputError, before any work, when the config's `out` cannot be written. It is a file
    if the default has a suffix, else a folder.
    """
    out = getattr(config, "out", None)
    if not isinstance(out, Path) or getattr(config, "dry_run", False):
        return
    if is_remote(out) or out.name in ("", ".."):
        raise InputError(f"--out '{out}': give the path of a new file or folder on this machine")
    default = type(config).__dataclass_fields__["out"].default
    if isinstance(default, Path) and out.exists() and out.is_dir() == bool(default.suffix):
        actual, expected = ("folder", "file") if out.is_dir() else ("file", "folder")
        raise InputError(f"--out {out} is a {actual}; give the path of a {expected}")
    above = next(folder for folder in out.absolute().parents if os.path.lexists(folder))
    inside = out if out.is_dir() else above
    if not inside.is_dir() or not os.access(inside, os.W_OK | os.X_OK):
        raise InputError(f"--out {out}: {inside} is not a folder that you may write to")


def module_name() -> str:
    """How the running program was started, as the user typed it: `python -m catlip.pretrain`."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    if spec is None:
        return sys.argv[0]
    return f"python -m {spec.name.removesuffix('.__main__')}"


def one_of(choices: Iterable[str]) -> Any:
    """For `Annotated[str, one_of(ENCODERS)]`: the help of that flag lists the choices."""
    names = f"one of: {', '.join(choices)}"

    def hint(default: str) -> str:
        return f"({names})" if default in ("", "''") else f"({names}; default: {default})"

    return tyro.conf.arg(help_behavior_hint=hint)


def choose(kind: str, name: str, choices: Mapping[str, C]) -> C:
    """`choices[name]`, or an InputError that lists them."""
    if name not in choices:
        raise InputError(f"no {kind} is called {name!r}; choose one of: {', '.join(choices)}")
    return choices[name]


def take_option(arguments: Sequence[str], name: str, default: str) -> tuple[str, list[str]]:
    """The value of --NAME, which other defaults depend on, and the arguments without it."""
    parser = argparse.ArgumentParser(module_name(), add_help=False, allow_abbrev=False)
    parser.add_argument(f"--{name}", dest="value", default=default)
    known, others = parser.parse_known_args(arguments)
    return known.value, others


def _read(config: type[C], prog: str, arguments: list[str], defaults: Mapping[str, C] | None) -> C:
    # Examples are indented, because tyro joins all other lines to paragraphs.
    examples = re.compile(r"^(?=python -m |torchrun |\./run_all\.sh)", re.MULTILINE)
    description = examples.sub("    ", inspect.getdoc(config) or "")
    options: dict[str, Any] = {}
    if defaults:
        name, arguments = take_option(arguments, "recipe", next(iter(defaults)))
        default: Any
        if names_file(name):
            default = user_recipe(name, defaults)
        else:
            default = choose("recipe", name, defaults)
        given = {argument.partition("=")[0][2:] for argument in arguments if argument[:2] == "--"}
        for other, length in other_lengths(getattr(default, "recipe", None), given).items():
            arguments += [f"--{other}", str(length)]
        if "--dry-run" in arguments:
            missing = [key for key, value in vars(default).items() if value is tyro.MISSING]
            default = dataclasses.replace(default, **dict.fromkeys(missing, ""))
        options["default"] = default
        description += (
            "\n\n--recipe NAME sets the defaults of all flags; FILE.py:NAME is one of your own, a "
            "recipe, a dict of what differs, or a function that returns either:"
        )
        for name, named in defaults.items():
            about = getattr(getattr(named, "recipe", None), "about", "")
            description += f"\n\n{name}: {about}"
    box = io.StringIO()
    try:
        with redirect_stderr(box):
            return tyro.cli(
                config,
                prog=prog,
                args=arguments,
                description=description,
                config=(tyro.conf.OmitArgPrefixes, tyro.conf.DisallowNone),
                **options,
            )
    except SystemExit as end:
        # tyro would box an InputError of __post_init__, like any ValueError: show it as it is.
        error: BaseException | None = end
        while error is not None:
            if isinstance(error, InputError):
                raise error from None
            error = error.__context__
        sys.stderr.write(box.getvalue())
        raise


def _stop(message: str) -> None:
    # In one call, because other ranks may be writing at the same time.
    sys.stderr.write(f"error: {' '.join(show_urls(printable(message)).split())}\n")
    sys.exit(2)
