"""Every baseline by name: the objectives in the modules of this package.

A new method is one file here, or in a folder that `CATLIP_METHODS` names (several folders with `:`
between them). Such folders hold only methods; CONTRIBUTING.md shows an example.
"""

import importlib
import pkgutil

import baselines
from catlip.objective import Objective

NO_METHODS = ("idf", "methods", "openclip", "pretrain")  # modules of this package without methods


def objectives() -> dict[str, type[Objective]]:
    """Every objective with a name, in the order of the modules' names and of their lines."""
    by_name: dict[str, type[Objective]] = {}
    for module in sorted(module.name for module in pkgutil.iter_modules(baselines.__path__)):
        if module in NO_METHODS:
            continue
        contents = vars(importlib.import_module(f"baselines.{module}"))
        for member in contents.values():
            is_objective = isinstance(member, type) and issubclass(member, Objective)
            if is_objective and member.__module__ == contents["__name__"] and member.name:
                if member.name in by_name:
                    raise ValueError(f"two methods are called {member.name}: rename one of them")
                by_name[member.name] = member
    return by_name


BASELINES = objectives()
