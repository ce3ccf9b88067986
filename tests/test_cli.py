"""What a user gets wrong ends as one line that says what to do, and exit code 2."""

import runpy
import sys
from pathlib import Path

import pytest
from one_line import one_line_error, one_line_exit

from catlip import __version__
from catlip.cli import run
from catlip.data.shards import write_shard
from catlip.recipes.__main__ import WriteRecipes

REPOSITORY = Path(__file__).parent.parent
NO_WEIGHTS = "nowhere/weights.safetensors"


@pytest.mark.parametrize(
    ("module", "arguments", "says"),
    [
        ("catlip.pretrain", "--recipe imagenet", "starter, photos, cc3m_b16"),
        ("catlip.pretrain", "--shards nowhere/*.tar", "nowhere/*.tar"),
        ("catlip.pretrain", "--vocabulary nowhere.json", "nowhere.json"),
        ("catlip.pretrain", "--precision fp8", "fp32, bf16, fp16"),
        ("baselines.pretrain", "--method dino", "clip"),
        ("baselines.pretrain", "--shards nowhere --device tpu", "tpu"),
        ("bench.step_time", "--model resnet50", "vit_b16"),
        ("bench.step_time", "--methods catlip moco", "moco"),
        ("linear_probe", "--encoder nowhere --data starter:x", NO_WEIGHTS),
        ("linear_probe", "--encoder random:vit_tiny16@64 --data cifar:x", "imagenet:DIR"),
        ("linear_probe", "--encoder random:vit_tiny16 --data folder:x", "resolution"),
        ("finetune", "--encoder nowhere --data starter:x", NO_WEIGHTS),
        ("readouts", "--encoder random:hybrid_mini@48 --data cifar:x", "imagenet:DIR"),
        ("longer_training", "nowhere --data starter:x", "nowhere"),
        ("data_efficiency", "--encoders random:a random:b --data starter:x", "--encoders"),
        ("catlip.label", "nowhere/{0..2}.tar", "nowhere/0.tar"),
    ],
)
def test_a_mistake_is_one_line_and_exit_2(
    program, starter, tmp_path, module, arguments, says
) -> None:
    words: list[object] = arguments.split()
    if module == "catlip.pretrain" and "--shards" in words:
        words += ["--vocabulary", starter.vocabulary]
    is_transfer = "." not in module
    if module != "catlip.label":
        writes_record = is_transfer and module != "data_efficiency"
        words += ["--out", tmp_path / ("probe.json" if writes_record else "run")]
    done = program(f"bench.downstream.{module}" if is_transfer else module, *words)
    one_line_error(done, says)
    assert done.stdout == ""


def test_an_unwritable_out_says_so(program, tmp_path, starter) -> None:
    (tmp_path / "file").write_text("in the way")
    paths = ("--shards", starter.shards, "--out", tmp_path / "file" / "run")
    done = program("baselines.pretrain", *paths, "--iterations", 1, "--epochs", 0)
    one_line_error(done, tmp_path / "file")


@pytest.mark.parametrize("name", ["made", "made/below"])
def test_a_file_that_cannot_be_opened_is_one_line_that_names_it(
    monkeypatch, capsys, tmp_path, name
) -> None:
    path = tmp_path / "made"
    path.mkdir() if name == "made" else path.touch()
    monkeypatch.setattr(sys, "argv", ["prog"])
    with one_line_exit(capsys, tmp_path / name):
        run(WriteRecipes, lambda config: (tmp_path / name).read_text())


@pytest.mark.parametrize(
    ("module", "option"),
    [
        ("catlip.examples", "--vocabulary"),
        ("catlip.transfer_init", "--vocabulary"),
        ("bench.plan.__main__", "--step-time"),
        ("bench.plan.__main__", "--link"),
    ],
)
def test_a_folder_given_as_a_file_is_one_line_that_names_it(
    module, option, monkeypatch, capsys, tmp_path
) -> None:
    monkeypatch.chdir(tmp_path)
    first = {"catlip.examples": ["shards"]}.get(module, [])
    monkeypatch.setattr(sys, "argv", ["prog", *first, *([option] if option else []), str(tmp_path)])
    with one_line_exit(capsys, tmp_path, "folder"):
        runpy.run_module(module, run_name="__main__")
    assert list(tmp_path.iterdir()) == []


def test_shards_with_nothing_readable_are_refused(program, tmp_path) -> None:
    write_shard(
        tmp_path / "0.tar", [(str(i), {"png": b"not a picture", "txt": b"a dog"}) for i in range(4)]
    )
    done = program(
        "baselines.pretrain", "--shards", tmp_path, "--out", tmp_path / "run", "--micro-batch", 4
    )
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("error: ")


def test_an_interrupted_program_ends_with_130(monkeypatch) -> None:
    def main(config: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(sys, "argv", ["prog"])
    with pytest.raises(SystemExit) as ended:
        run(WriteRecipes, main)
    assert ended.value.code == 130


def test_a_program_says_which_version_it_is_of(monkeypatch, capsys) -> None:
    monkeypatch.setattr(sys, "argv", ["prog", "--version"])
    run(WriteRecipes, lambda config: pytest.fail("it starts"))
    assert capsys.readouterr().out == f"catlip-bench {__version__}\n"
