"""Command lines: flags reach their fields, and a mistake is one line and exit code 2."""

import dataclasses
import os
import resource
import runpy
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from one_line import one_line_exit

from catlip.architectures import ENCODERS
from catlip.cli import run
from catlip.pretrain import PretrainCatLIP
from catlip.recipes.pretrain import CATLIP

DEFAULTS = {name: PretrainCatLIP(recipe) for name, recipe in CATLIP.items()}


@dataclass(frozen=True)
class ToFile:
    out: Path = Path("runs/record.json")


def read(monkeypatch, *arguments: str) -> PretrainCatLIP:
    """What `python -m catlip.pretrain` makes of the arguments."""
    monkeypatch.setattr(sys, "argv", ["prog", *arguments])
    found: list[PretrainCatLIP] = []
    run(PretrainCatLIP, found.append, DEFAULTS)
    return found[0]


@pytest.mark.parametrize(
    ("arguments", "length"),
    [
        ("--iterations 5", (5, 0)),
        ("--iterations=5", (5, 0)),
        ("--epochs 2.5", (0, 2.5)),
        ("--recipe datacomp_b16 --epochs 2", (0, 2)),
        ("--recipe=datacomp_b16 --iterations 7", (7, 0)),
        ("--iterations 5 --epochs 0", (5, 0)),
        ("", (0, 5)),
    ],
)
def test_length_that_is_given_replaces_the_recipes_other(monkeypatch, arguments, length) -> None:
    recipe = read(monkeypatch, *arguments.split()).recipe
    assert (recipe.iterations, recipe.epochs) == length


def test_every_flag_reaches_its_field(monkeypatch) -> None:
    flags = "--recipe cc3m_b16 --betas 0.8 0.95 --flip 0.2 --drop-path 0.1 --seed 3"
    config = read(monkeypatch, *flags.split())
    expected = dataclasses.replace(CATLIP["cc3m_b16"], betas=(0.8, 0.95), flip=0.2, drop_path=0.1)
    assert (config.recipe, config.seed) == (expected, 3)


def test_help_has_every_recipe_encoder_and_setting(monkeypatch, capsys) -> None:
    with pytest.raises(SystemExit):
        read(monkeypatch, "--help")
    help = capsys.readouterr().out
    assert all(f"{name}: {recipe.about[:20]}" in help for name, recipe in CATLIP.items())
    assert all(name in help for name in ENCODERS)
    flags = [f"--{name.replace('_', '-')}" for name in vars(CATLIP["starter"])]
    assert [flag for flag in flags if flag not in help] == ["--about", "--source"]


def test_other_systems_get_one_line(monkeypatch, capsys) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    with one_line_exit(capsys, "Linux"):
        read(monkeypatch, "--help")


@pytest.mark.parametrize(
    ("program", "words"),
    [
        # With as many classes as the paper's vocabulary has.
        ("catlip.pretrain starter", "steps: 5 epochs|parameters: 3,639,824"),
        ("bench.downstream.linear_probe table_7a", '"max_lr"'),
        ("bench.downstream.finetune table_7b", '"max_lr"'),
        ("bench.downstream.multilabel table_7c", '"max_lr"'),
        ("bench.downstream.segmentation table_7d", '"max_lr"'),
        ("bench.downstream.detection table_7e_b16", '"max_lr"'),
    ],
)
def test_dry_run_needs_no_data(monkeypatch, capsys, tmp_path, program, words) -> None:
    module, *arguments = program.split()
    monkeypatch.chdir(tmp_path)
    command = [module, "--recipe", *arguments, "--dry-run", "--device", "cpu"]
    monkeypatch.setattr(sys, "argv", command)
    runpy.run_module(module, run_name="__main__", alter_sys=True)
    printed = capsys.readouterr().out
    assert all(word in printed for word in words.split("|"))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["made", "made/below", "n" * 300])
def test_file_that_cannot_be_opened_is_named(monkeypatch, capsys, tmp_path, name) -> None:
    path = tmp_path / "made"
    path.mkdir() if name == "made" else path.touch()
    monkeypatch.setattr(sys, "argv", ["prog"])
    with one_line_exit(capsys, tmp_path / name):
        run(ToFile, lambda config: (tmp_path / name).read_text())


def test_too_many_open_files_are_one_line(monkeypatch, capsys, tmp_path) -> None:
    def main(config: object) -> None:
        files = []
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
        try:
            files += [open(tmp_path / str(number), "w") for number in range(64)]  # noqa: SIM115
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    monkeypatch.setattr(sys, "argv", ["prog"])
    with one_line_exit(capsys, tmp_path):
        run(ToFile, main)


@pytest.mark.parametrize(
    ("module", "moment"),
    [
        *(("catlip.pretrain", "tyro"), ("bench.step_time", "tyro"), ("reports", "tyro")),
        *(("catlip.pretrain", "zipfile"), ("pipeline", "shlex")),  # first of all
    ],
)
def test_interrupt_of_the_imports_is_one_line(tmp_path, module, moment) -> None:
    """At a moment that is the same each time: when this module is imported."""
    (tmp_path / f"{moment}.py").write_text("raise KeyboardInterrupt\n")
    path = os.pathsep.join([str(tmp_path), os.getcwd()])
    done = subprocess.run(
        [sys.executable, "-m", module],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert done.returncode in (130, -signal.SIGINT)
    assert done.stderr == "stopped\n"
