"""Without network, the benches need only what docs/accelerators.md lists, beside torch."""

import json
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

REPOSITORY = Path(__file__).parent.parent
MODULES = (
    *("bench.device", "bench.step_time.measure", "bench.waterfall.measure", "bench.memory.measure"),
    *("bench.communication.measure", "catlip.pretrain", "baselines.pretrain"),
    "catlip.pretraining.run",
)
SCRIPT = """
import json, sys
from importlib import import_module
from importlib.machinery import PathFinder

modules, missing = map(json.loads, sys.argv[1:])

class Finder(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        is_missing = name.partition(".")[0] in missing
        return None if is_missing else super().find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = Finder
for module in modules:
    import_module(module)
from bench.measuring.statistics import PAIRED_ROUNDS, ratio

print(ratio([3.0] * PAIRED_ROUNDS, [2.0] * PAIRED_ROUNDS).low)  # a package is imported late
"""


def with_requirements(names: list[str]) -> set[str]:
    """These distributions, and those that they require here."""
    found: set[str] = set()
    while names:
        name = canonicalize_name(names.pop())
        if name not in found:
            found.add(name)
            for requirement in map(Requirement, metadata.requires(name) or []):
                if not requirement.marker or requirement.marker.evaluate({"extra": ""}):
                    names.append(requirement.name)
    return found


def test_benches_run_with_the_listed_packages_alone() -> None:
    text = (REPOSITORY / "docs" / "accelerators.md").read_text()
    listed = re.search(r"--no-deps ([^`]+?)\n```", text)
    assert listed
    there = {canonicalize_name(name) for name in listed[1].replace("\\", " ").split()}
    there |= with_requirements(["torch", "torchvision", "numpy"]) | {"catlip-bench"}
    missing = [
        module
        for module, names in metadata.packages_distributions().items()
        if not there & set(map(canonicalize_name, names))
    ]
    assert {"pandas", "tensorboard", "nltk"} <= {*missing}
    command = [sys.executable, "-c", SCRIPT, json.dumps(MODULES), json.dumps(missing)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) == 1.5
