"""Every baseline by name: the objectives in the modules of this package.

A new method is one file here, or in a folder that `CATLIP_METHODS` names (several folders with `:`
between them). Such folders hold only methods; CONTRIBUTING.md shows an example.
"""

from importlib import import_module

from baselines import method_names
from catlip.objective import Objective

# In the order of the modules' names and of their lines.
BASELINES: dict[str, type[Objective]] = {
    name: next(
        member
        for member in vars(import_module(module)).values()
        if isinstance(member, type) and issubclass(member, Objective) and member.name == name
    )
    for name, module in method_names().items()
}
