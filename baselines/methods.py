"""Every baseline by name: the objectives in the modules of this package.

A new method is one file here, or in a folder that `CATLIP_METHODS` names (several folders with `:`
between them). Such folders hold only methods; CONTRIBUTING.md shows an example.
"""

import importlib
import pkgutil

import baselines
from catlip.objective import Objective

NO_METHODS = ("idf", "methods", "openclip", "pretrain")  # modules of this package without methods


# Every objective with a name, in the order of the modules' names and of their lines.
BASELINES: dict[str, type[Objective]] = {}
for _module in sorted(module.name for module in pkgutil.iter_modules(baselines.__path__)):
    if _module not in NO_METHODS:
        _source = importlib.import_module(f"baselines.{_module}")
        for _member in vars(_source).values():
            _is_objective = isinstance(_member, type) and issubclass(_member, Objective)
            if _is_objective and _member.__module__ == _source.__name__ and _member.name:
                BASELINES[_member.name] = _member
