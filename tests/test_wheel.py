"""The wheel: what `pip install` of this repository gives runs without the checkout."""

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

REPOSITORY = Path(__file__).parent.parent
PACKAGES = ("catlip", "baselines", "bench", "reports", "pipeline")
OF_THE_CHECKOUT = ("reports/records/", "reports/headline.png")  # records, and README's picture
STEP_TIMES = REPOSITORY / "tests/reports/golden/records/starter/step_time"
Installed = Callable[..., str]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, because a build leaves folders in its tree; it needs no network."""
    tree, out = tmp_path_factory.mktemp("tree"), tmp_path_factory.mktemp("wheel")
    unwanted = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for package in PACKAGES:
        shutil.copytree(REPOSITORY / package, tree / package, ignore=unwanted)
    for name in ("pyproject.toml", "README.md", "LICENSE", "NOTICE"):
        shutil.copy(REPOSITORY / name, tree)
    command = [sys.executable, "-m", "pip", "wheel", str(tree), "--no-deps", "--no-index", "-q"]
    command += ["--no-build-isolation", "--wheel-dir", str(out)]
    subprocess.run(command, check=True, capture_output=True, text=True)
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """Runs Python with the wheel's packages, and with torch and all else of this environment, from
    a folder of someone's git repository that is not ours.
    """
    if not shutil.which("git"):
        pytest.skip("needs git")
    project = tmp_path_factory.mktemp("project")
    git = ["git", "-C", str(project), "-c", "user.name=x", "-c", "user.email=x@x"]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "theirs"], check=True)
    command = [sys.executable, "-m", "pip", "install", str(wheel), "--no-deps", "--no-index", "-q"]
    subprocess.run([*command, "--target", str(project / "site")], check=True, capture_output=True)

    def run(*words: object) -> str:
        environment = os.environ | {"PYTHONPATH": str(project / "site")}
        command = [sys.executable, *map(str, words)]
        done = subprocess.run(
            command, cwd=project, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_every_file_of_the_packages_is_in_the_wheel_and_no_record(wheel: Path) -> None:
    inside = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    files = [
        path.relative_to(REPOSITORY).as_posix()
        for package in PACKAGES
        for path in (REPOSITORY / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    ]
    assert inside == {name for name in files if not name.startswith(OF_THE_CHECKOUT)}


def test_the_library_and_the_programs_run_from_the_wheel(installed: Installed) -> None:
    label = "import catlip; print(catlip.__file__); print(catlip.Labeller('paper')('a dog'))"
    where, nouns = installed("-c", label).splitlines()
    assert Path(where).parts[-3:] == ("site", "catlip", "__init__.py")
    assert "dog.n.01" in nouns
    for module in ("bench.step_time", "reports", "catlip.pretrain"):
        assert f"usage: python -m {module}" in installed("-m", module, "--help")


def test_the_page_is_made_from_the_wheel_s_claims_templates_and_published_numbers(
    installed: Installed, tmp_path: Path
) -> None:
    installed("-m", "reports", "--records", STEP_TIMES, "--out", tmp_path / "report")
    assert "CatLIP" in (tmp_path / "report/index.html").read_text()


def test_a_record_does_not_take_the_revision_of_a_repository_around_the_wheel(
    installed: Installed,
) -> None:
    ask = "from catlip.records.record import environment as e; print(e()['revision'], e()['dirty'])"
    assert installed("-c", ask).split() == ["unknown", "False"]


# --- Without network, the benches need only what docs/accelerators.md lists, beside torch.


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
