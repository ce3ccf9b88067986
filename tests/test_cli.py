"""Command lines: flags reach their fields, and a mistake is one line and exit code 2."""

import dataclasses
import importlib
import os
import resource
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from one_line import one_line_error, one_line_exit

from catlip.architectures import ENCODERS
from catlip.cli import InputError, check_out, run
from catlip.data.shards import write_shard
from catlip.pretrain import PretrainCatLIP, main
from catlip.recipes.pretrain import CATLIP

DEFAULTS = {name: PretrainCatLIP(recipe) for name, recipe in CATLIP.items()}
TRANSFERS = ("linear_probe", "finetune", "multilabel", "segmentation", "detection")


@dataclass(frozen=True)
class ToFile:
    out: Path = Path("runs/record.json")


@dataclass(frozen=True)
class ToFolder:
    out: Path = Path("runs/folder")
    dry_run: bool = False


def read(monkeypatch, *arguments: str, main: Any = None) -> PretrainCatLIP:
    """What `python -m catlip.pretrain` makes of the arguments; or call `main` with it."""
    monkeypatch.setattr(sys, "argv", ["prog", *arguments])
    found: list[PretrainCatLIP] = []
    run(PretrainCatLIP, main or found.append, DEFAULTS)
    return found[0] if found else None


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


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ("--iterations 5 --epochs 3", "--iterations or --epochs"),
        ("--recipe imagenet", "starter, photos, cc3m_b16"),
        ("--max-broken 2", "--max-broken 2.0"),
        ("--seed -1", "--seed -1"),
        ("--flip 7", "--flip 7.0"),
        ("--crop-scale 1 0.1", "--crop-scale"),
        ("--micro-batch 0", "--micro-batch 0"),
        ("--checkpoint-every 0", "--checkpoint-every 0"),
        ("--checkpoint-every 10hours", "10min"),
        ("--ema-decay 1", "--ema-decay 1.0"),
        ("--max-lr inf", "--max-lr inf"),
        ("--recipe cc3m_b16 --betas 0.9 nan", "--betas nan"),
        ("--mirror runs/copy", "file://"),
        ("--per-epoch --iterations 9", "--per-epoch"),
        ("--shards x", "--vocabulary"),
        ("--vocabulary nowhere.json", "nowhere.json"),
        ("--out file/run", "file"),
    ],
)
def test_wrong_command_line_says_what_is_wrong(monkeypatch, capsys, tmp_path, arguments, error):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    with one_line_exit(capsys, error):
        read(monkeypatch, *arguments.split(), main=main)


def test_other_systems_get_one_line(monkeypatch, capsys) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    with one_line_exit(capsys, "Linux"):
        read(monkeypatch, "--help", main=main)


@pytest.mark.parametrize(
    ("module", "arguments", "errors"),
    [
        ("baselines.pretrain", "--method dino --shards nowhere", ["clip"]),
        ("baselines.pretrain", "--shards nowhere/*.tar", ["nowhere/*.tar"]),
        *(("baselines.pretrain", f"--shards x --device {d}", [d]) for d in ("tpu", "cuda:x")),
        ("bench.downstream.linear_probe", "--encoder nowhere --data starter:x", ["nowhere"]),
        ("catlip.label", "nowhere/{0..2}.tar", ["nowhere/0.tar"]),
    ],
)
def test_mistake_that_a_program_finds_is_one_line(program, module, arguments, errors) -> None:
    done = program(module, *arguments.split())
    one_line_error(done, *errors)
    assert done.stdout == ""


def test_folder_whose_name_is_not_utf8_is_one_line(program, tmp_path) -> None:
    folder = tmp_path / os.fsdecode(b"photos-\xff")
    write_shard(folder / "0.tar", [("0", {"txt": b"a dog"})])
    one_line_error(program("catlip.label", folder / "0.tar"), "photos-", "not UTF-8")


@pytest.mark.parametrize("name", TRANSFERS)
def test_dry_run_of_a_transfer_needs_no_data(monkeypatch, capsys, tmp_path, name) -> None:
    module = importlib.import_module(f"bench.downstream.{name}")
    recipe = next(name for name in module.RECIPES if name.startswith("table_7"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["prog", "--recipe", recipe, "--dry-run"])
    place = "probe.sweep" if name in ("linear_probe", "finetune") else "dense.harness"
    run(type(module.RECIPES[recipe]), f"bench.downstream.{place}:main", module.RECIPES)
    assert '"max_lr"' in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("recipe", "steps", "parameters"),
    [
        ("datacomp_b16_release", "200,000", "104,657,414"),
        ("cc3m_b16 --encoder vit_tiny16", "25 epochs", ""),
    ],
)
def test_dry_run_needs_no_data(monkeypatch, capsys, tmp_path, recipe, steps, parameters) -> None:
    monkeypatch.chdir(tmp_path)
    read(monkeypatch, "--recipe", *recipe.split(), "--dry-run", "--device", "cpu", main=main)
    lines = capsys.readouterr().out.splitlines()
    printed = dict(line.split(": ", 1) for line in lines if ": " in line)
    assert not list(tmp_path.iterdir())
    assert printed["steps"].startswith(steps)
    assert printed["parameters"].startswith(parameters)


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


def test_interrupted_program_ends_with_130(monkeypatch) -> None:
    def main(config: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(sys, "argv", ["prog"])
    with pytest.raises(SystemExit) as ended:
        run(ToFile, main)
    assert ended.value.code == 130


def test_out_of_the_wrong_kind_is_refused_and_none_is_made(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("here")
    check_out(ToFolder(tmp_path / "folder"))
    check_out(ToFile(tmp_path / "file"))
    check_out(ToFile(tmp_path / "a" / "b" / "record.json"))
    wrong = [ToFile(tmp_path / "folder"), ToFolder(tmp_path / "file")]
    wrong += [ToFolder(tmp_path / "file" / "run" / "deep"), ToFile(Path("s3://bucket/record.json"))]
    wrong += [kind(Path(out)) for kind in (ToFile, ToFolder) for out in ("", "/", "..")]
    for config in wrong:
        with pytest.raises(InputError, match="--out"):
            check_out(config)
    assert len(list(tmp_path.iterdir())) == 2
