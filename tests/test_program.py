"""What programs share: progress, broken images, a start without heavy packages, users' recipes."""

import json
import re
import subprocess
import sys
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from catlip.__main__ import programs
from catlip.cli import InputError
from catlip.pretrain import PretrainCatLIP
from catlip.program.broken import BrokenImage, BrokenImages, BrokenLog, read_broken
from catlip.program.progress import progress
from catlip.program.user_file import user_recipe
from catlip.recipes.pretrain import CATLIP


def test_updates_off_a_terminal_are_one_line(capsys) -> None:
    with progress(total=2000, desc="catlip-seed0", unit="step") as bar:
        for step in range(2000):
            bar.update()
            bar.set_postfix(loss=f"{step / 1000:.3f}", refresh=False)
    written = capsys.readouterr().err
    assert re.fullmatch(
        r"catlip-seed0: 2000/2000 in 00:0\d, [\d.]+step/s, 00:00 left, loss=1.999\n", written
    )


def test_progress_off_a_terminal_is_a_line_every_thirty_seconds(capsys, monkeypatch) -> None:
    now = [1.0]
    monkeypatch.setattr("tqdm.std.time", lambda: now[0])
    with progress(total=10, desc="train", leave=False) as bar:
        for step in range(10):
            now[0] += 10
            bar.update()
            bar.set_postfix(loss=str(step), refresh=False)
    counts = re.findall(r"^train: (\d+)/10 ", capsys.readouterr().err, re.MULTILINE)
    assert counts == ["3", "6", "9"]


# --- What cannot be read is counted by cause, survives a resume, and too much ends a run.


def some(count: int, cause: str = "cut short", first: int = 0) -> list[BrokenImage]:
    return [BrokenImage(f"0.tar:{number}", cause) for number in range(first, first + count)]


@pytest.mark.parametrize(
    ("count", "seen", "fraction", "is_refused"),
    [
        (10, 20, 0.01, False),
        (11, 1_099, 0.01, True),
        (11, 1_100, 0.01, False),
        (1, 10_000, 0.0, True),
        (0, 10, 0.0, False),
    ],
)
def test_ten_broken_images_are_never_too_many(count, seen, fraction, is_refused) -> None:
    broken = BrokenImages()
    broken.add(some(count))
    with pytest.raises(InputError) if is_refused else nullcontext():
        broken.check(seen, fraction)


def test_resumed_run_knows_what_it_met_before_its_checkpoint(tmp_path: Path) -> None:
    log = BrokenLog(tmp_path, 0, writes=True)
    log.add(5, some(2))
    log.add(10, some(3))
    with open(tmp_path / "broken.jsonl", "a") as file:
        file.write('{"step": 10, "key": "half a li')  # a kill
    resumed = BrokenLog(tmp_path, 5, writes=True)
    assert resumed.met.images() == some(2)
    resumed.add(10, some(3))
    assert read_broken(tmp_path).images() == some(3)
    other_rank = BrokenLog(tmp_path, 10, writes=False)
    other_rank.add(15, some(9))
    assert len(other_rank.met) == 9
    assert len(read_broken(tmp_path)) == 3


# --- The command line of every program is read before torch and other heavy packages are imported.


REPOSITORY = Path(__file__).parent.parent
HEAVY = ("torch", "timm", "torchvision", "open_clip", "matplotlib", "pandas", "scipy")
ALL = [module for module, _ in programs()]

# Each program runs in a fork of one process, which has imported what most of them need.
SCRIPT = """
import io, json, os, runpy, sys
from contextlib import redirect_stderr, redirect_stdout
import catlip.records.record, catlip.recipes.transfer

def ends(module, flag):
    sys.argv = [module, flag]
    printed = io.StringIO()
    try:
        with redirect_stdout(printed), redirect_stderr(printed):
            runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        return end.code or 0, printed.getvalue()
    return 0, printed.getvalue()

for module in sys.argv[1:]:
    if os.fork():
        os.wait()
        continue
    wrong, _ = ends(module, "--no-such-flag")
    code, help = ends(module, "--help")
    print(json.dumps([module, wrong, code, help, sorted(sys.modules)]), flush=True)
    os._exit(0)
"""


@pytest.fixture(scope="module")
def started() -> dict[str, tuple[int, int, str, list[str]]]:
    """Program -> exit codes of a wrong flag and of --help, the help, and the modules imported."""
    command = [sys.executable, "-c", SCRIPT, *ALL]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    return {name: ended for name, *ended in map(json.loads, done.stdout.splitlines())}


@pytest.mark.parametrize("module", ALL)
def test_help_and_a_wrong_flag_need_no_heavy_package(started, module: str) -> None:
    wrong, code, help, imported = started[module]
    assert (wrong, code) == (2, 0)
    assert module.removesuffix(".__main__") in help
    assert not set(HEAVY) & set(imported)


# --- `--recipe FILE.py:NAME`: a recipe of one's own trains, and is recorded, as a built-in one.


DEFAULTS = {name: PretrainCatLIP(recipe) for name, recipe in CATLIP.items()}
FIRST, STARTER = next(iter(CATLIP.values())), CATLIP["starter"]
FILE = """
from dataclasses import replace
from catlip.recipes.pretrain import CATLIP
whole = replace(CATLIP["starter"], max_lr=0.5, about="mine")
some = {"recipe": "starter", "iterations": 7}
few = dict(max_lr=0.5)
def made(): return replace(CATLIP["starter"], range_augment=(30, 10))
"""


@pytest.fixture
def file(tmp_path):
    (tmp_path / "mine.py").write_text(FILE)
    return tmp_path / "mine.py"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("whole", replace(STARTER, max_lr=0.5)),
        ("some", replace(STARTER, iterations=7, epochs=0)),
        ("few", replace(FIRST, max_lr=0.5)),
        ("made", replace(STARTER, range_augment=(30.0, 10.0))),
    ],
)
def test_a_recipe_a_dict_and_a_function_give_a_recipe(file, name, expected):
    recipe = user_recipe(f"{file}:{name}", DEFAULTS).recipe
    assert recipe.identity() == expected.identity()
    assert recipe.source == "own"
    assert asdict(recipe).keys() == asdict(STARTER).keys()


def test_a_training_records_the_fields_and_flags_come_first(program, small_shards, file, tmp_path):
    file.write_text('small = {"recipe": "starter", "max_lr": 0.5, "micro_batch": 4}')
    words = ("--method", "clip", "--recipe", f"{file}:small", "--shards", small_shards)
    words += ("--iterations", 1, "--max-lr", 0.25, "--device", "cpu", "--quiet", "--out")
    done = program("baselines.pretrain", *words, tmp_path / "run")
    assert done.returncode == 0, done.stderr
    recipe = json.loads((tmp_path / "run.json").read_text())["config"]["recipe"]
    assert (recipe["max_lr"], recipe["micro_batch"], recipe["source"]) == (0.25, 4, "own")
    assert (recipe["iterations"], recipe["epochs"]) == (1, 0)
