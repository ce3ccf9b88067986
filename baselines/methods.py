"""Every method by name: the objectives of this package, and CatLIP.

A new method is one file here, or in a folder that `CATLIP_METHODS` names (several folders with `:`
between them). Such folders hold only methods; CONTRIBUTING.md shows an example.
"""

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from catlip.cli import InputError
from catlip.objective import Objective
from catlip.program.methods import baseline_names, methods


def _method(name: str, module: str) -> type[Objective]:
    """Raises: InputError for a mistake in a file of the user; a bug here keeps its traceback."""
    try:
        for member in vars(import_module(module)).values():
            if isinstance(member, type) and issubclass(member, Objective) and member.name == name:
                return member
        raise LookupError(f"no subclass of Objective is named {name!r}")
    except (Exception, SystemExit) as error:
        file = getattr(find_spec(module), "origin", module)
        if Path(file).parent == Path(__file__).parent:
            raise
        raise InputError(f"{file} is not a method: {type(error).__name__}: {error}") from error


METHODS = {name: _method(name, facts.module) for name, facts in methods().items()}
BASELINES = {name: METHODS[name] for name in baseline_names()}
