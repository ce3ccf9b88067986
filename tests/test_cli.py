"""What a user gets wrong ends as one line that says what to do, and exit code 2."""

import contextlib
import errno
import importlib
import inspect
import os
import runpy
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from one_line import one_line_error, one_line_exit
from smallest_programs import config_of

from bench.measuring.methods import METHODS
from catlip import __version__
from catlip.cli import run
from catlip.data.shards import write_shard
from catlip.encoder import ENCODERS
from catlip.label import Label
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


@pytest.mark.parametrize("module", ["catlip.pretrain", "baselines.pretrain", "bench.step_time"])
def test_help_shows_an_example(program, module) -> None:
    done = program(module, "--help")
    assert done.returncode == 0
    assert f"python -m {module}" in done.stdout


@pytest.mark.parametrize(
    "name",
    [
        "linear_probe",
        "finetune",
        "readouts",
        "longer_training",
        "data_efficiency",
        "transfer_options",
    ],
)
def test_the_examples_of_a_transfer_bench_are_in_its_help_and_can_be_read(
    monkeypatch, capsys, name
) -> None:
    module = importlib.import_module(f"bench.downstream.{name}")
    config = config_of(module)
    lines = inspect.getdoc(config).replace("\\\n", " ").splitlines()
    examples = [line.partition(f"-m bench.downstream.{name} ")[2] for line in lines]
    examples = [arguments for arguments in examples if arguments]
    assert examples
    read: list[object] = []
    for arguments in ["--help", *examples]:
        monkeypatch.setattr(sys, "argv", ["prog", *shlex.split(arguments)])
        with contextlib.suppress(SystemExit):
            run(config, read.append, getattr(module, "RECIPES", None))
    assert f"python -m bench.downstream.{name}" in capsys.readouterr().out
    assert [type(found) for found in read] == [config] * len(examples)


HELPED = {
    "catlip.label": "Label",
    "catlip.vocabulary.__main__": "BuildVocabulary",
    "catlip.weights.__main__": "Convert",
    "catlip.transfer_init.__main__": "TransferInit",
    "bench.step_time": "StepTime",
    "bench.waterfall": "Waterfall",
    "bench.downstream.linear_probe": "LinearProbe",
    "reports.__main__": "Report",
}


@pytest.mark.parametrize(("module", "name"), HELPED.items())
def test_every_example_in_a_help_has_a_line_of_its_own(
    monkeypatch, capsys, module: str, name: str
) -> None:
    loaded = importlib.import_module(module)
    config = getattr(loaded, name)
    monkeypatch.setattr(sys, "argv", ["prog", "--help"])
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit):
        run(config, print, getattr(loaded, "RECIPES", None))
    shown = capsys.readouterr().out.splitlines()
    starts = ("python -m", "torchrun", "    --", "    python -m")
    examples = [line for line in inspect.getdoc(config).splitlines() if line.startswith(starts)]
    assert len(examples) >= 2
    for example in examples:
        assert example.strip() in [line.strip() for line in shown], example


@pytest.mark.parametrize(
    "name",
    [
        "step_time",
        "memory",
        "waterfall",
        "communication",
        "loop_overhead",
    ],
)
def test_the_help_of_a_bench_lists_the_encoders_and_methods(monkeypatch, capsys, name: str) -> None:
    config = config_of(importlib.import_module(f"bench.{name}"))
    monkeypatch.setattr(sys, "argv", ["prog", "--help"])
    monkeypatch.setenv("COLUMNS", "400")
    with pytest.raises(SystemExit):
        run(config, print)
    shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert ", ".join(ENCODERS) in shown
    assert (", ".join(METHODS) in shown) == ("methods" in vars(config)["__dataclass_fields__"])


@pytest.mark.parametrize(
    ("make", "number", "says"),
    [
        (Path.mkdir, errno.EISDIR, "is a folder"),
        (Path.touch, errno.ENOTDIR, "a file and not a folder"),
    ],
)
def test_a_folder_for_a_file_and_the_reverse_are_a_sentence(
    monkeypatch, capsys, tmp_path, make, number, says
) -> None:
    made = tmp_path / "made"
    make(made)

    def main(config: object) -> None:
        (made / "below" if number == errno.ENOTDIR else made).read_text()

    monkeypatch.setattr(sys, "argv", ["prog"])
    with one_line_exit(capsys, made, says):
        run(WriteRecipes, main)


@pytest.mark.parametrize(
    ("module", "option"),
    [
        ("catlip.examples", "--vocabulary"),
        ("catlip.transfer_init", "--vocabulary"),
        ("bench.plan", "--step-time"),
        ("bench.plan", "--link"),
        ("bench.compare", ""),
    ],
)
def test_a_folder_given_as_a_file_is_one_line_that_names_it(
    module, option, monkeypatch, capsys, tmp_path
) -> None:
    monkeypatch.chdir(tmp_path)
    first = {"catlip.examples": ["shards"], "bench.compare": [str(tmp_path)]}.get(module, [])
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


@pytest.mark.parametrize(("config", "goes_on"), [(WriteRecipes, False), (Label, True)])
def test_only_what_goes_on_says_so_when_it_is_interrupted(
    monkeypatch, capsys, config, goes_on
) -> None:
    def main(config: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(sys, "argv", ["prog"])
    with pytest.raises(SystemExit) as ended:
        run(config, main)
    assert ended.value.code == 130
    assert ("go on" in capsys.readouterr().err) == goes_on


def test_a_program_says_which_version_it_is_of(monkeypatch, capsys) -> None:
    monkeypatch.setattr(sys, "argv", ["prog", "--version"])
    run(WriteRecipes, lambda config: pytest.fail("it starts"))
    assert capsys.readouterr().out == f"catlip-bench {__version__}\n"


@pytest.mark.parametrize(
    ("module", "imports"),
    [
        ("catlip.pretrain", "torch"),
        ("baselines.pretrain", "torch"),
        ("bench.device", "torch"),
        ("catlip.label", "tyro"),
        ("reports", "tyro"),
    ],
)
def test_ctrl_c_while_a_program_is_imported_ends_it_without_a_word(
    tmp_path, module: str, imports: str
) -> None:
    """The package that it imports is one that takes a minute."""
    slow = (
        f"import pathlib, time; pathlib.Path({str(tmp_path / 'begun')!r}).touch(); time.sleep(60)"
    )
    (tmp_path / f"{imports}.py").write_text(slow)
    process = subprocess.Popen(
        [sys.executable, "-m", module],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(REPOSITORY)])},
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        while not (tmp_path / "begun").exists():
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=30)[1] == b""
    finally:
        process.kill()
    assert process.returncode == -signal.SIGINT  # 130 in a shell
