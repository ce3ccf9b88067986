"""A run that is what its log says passes; one line or one weight that is not is found."""

import json
import shutil
import signal
import time
from functools import reduce
from operator import getitem
from pathlib import Path

import pytest
import torch
from one_line import one_line_error
from short_training import command, digests

ALL = ("--steps", 1000)


@pytest.fixture(scope="module")
def runs(succeed, starter, tmp_path_factory) -> dict[str, Path]:
    """Method -> a finished run with a line every 2 steps and checkpoints after 10 and 12."""
    folder = tmp_path_factory.mktemp("trained")
    pace = ("--log-every", 2, "--checkpoint-every", 5)
    for method in ("catlip", "clip"):
        succeed(*command(method, starter, folder / method, *pace))
    return {method: folder / method for method in ("catlip", "clip")}


@pytest.fixture
def run_copy(runs, tmp_path) -> Path:
    """A copy of CatLIP's run, with its record."""
    shutil.copytree(runs["catlip"], tmp_path / "run")
    shutil.copy(runs["catlip"].with_name("catlip.json"), tmp_path / "run.json")
    return tmp_path / "run"


def differing(printed: str) -> list[str]:
    """The steps of the rows that do not agree."""
    return [line.split()[0] for line in printed.splitlines() if "  no: " in line]


def change(path: Path, key: str, value: object) -> None:
    """Set a key of a JSON file, as a.b."""
    content = json.loads(path.read_text())
    *above, last = key.split(".")
    reduce(getitem, above, content)[last] = value
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(("method", "suffix"), [("catlip", ""), ("clip", ".json")])
def test_honest_run_passes_and_its_folder_stays(succeed, runs, method, suffix) -> None:
    run = runs[method]
    before = digests(run.parent)
    done = succeed("catlip.verify", f"{run}{suffix}", *ALL)
    assert digests(run.parent) == before
    for what in ("step-00000010.pt", "step-00000012.pt", "weights.safetensors", "bit for bit"):
        assert what in done.stdout
    assert done.stdout.count(" loss ") == len((run / "log.jsonl").read_text().splitlines())


def test_numbers_of_a_record_that_are_not_the_logs_are_found(program, run_copy) -> None:
    record = run_copy.with_name("run.json")
    metrics = json.loads(record.read_text())["metrics"]
    change(record, "metrics.final_loss", metrics["final_loss"] * 1.001)
    change(record, "metrics.parameters_total", 7)
    change(record, "samples.peak_gib", [1.0])
    done = program("catlip.verify", run_copy, "--steps", 5)
    assert done.returncode == 1
    for name in ("final_loss", "parameters_total", "peak_gib"):
        assert f"\n{name}: " in done.stdout
    assert "differences: 3" in done.stdout


def test_damaged_checkpoint_is_found_and_the_others_are_used(program, run_copy) -> None:
    path = run_copy / "checkpoints/step-00000010.pt"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    done = program("catlip.verify", run_copy, *ALL)
    assert (done.returncode, differing(done.stdout)) == (1, ["10"])
    assert "step-00000012.pt" in done.stdout


def test_one_weight_of_a_checkpoint_that_is_another_is_found(program, run_copy) -> None:
    path = run_copy / "checkpoints/step-00000010.pt"
    saved = torch.load(path, weights_only=True)
    saved["state"]["average"]["classifier.weight"][3, 5] *= -1
    torch.save(saved, path)
    done = program("catlip.verify", run_copy, *ALL)
    assert done.returncode == 1, done.stderr
    assert "10" in differing(done.stdout)


def test_run_that_was_killed_and_went_on_passes(start, succeed, starter, tmp_path) -> None:
    """Its checkpoints lie between the lines of its log."""
    out = tmp_path / "run"
    arguments = command("catlip", starter, out, "--log-every", 4, "--checkpoint-every", 1)
    process = start(*arguments)
    deadline = time.monotonic() + 120
    while not (out / "checkpoints/step-00000006.pt").exists() and time.monotonic() < deadline:
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    succeed("catlip.verify", out, *ALL)
    succeed(*arguments)
    done = succeed("catlip.verify", out, *ALL)
    assert "step-00000011.pt" in done.stdout


SMALLER = """
import runpy, sys
from catlip.architectures import ENCODERS, Architecture
ENCODERS["vit_mini16"] = Architecture(width=64, depth=2, heads=1)
del sys.argv[0]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""


def test_two_sharding_ranks_agree_to_the_bit_and_one_within_a_tolerance(succeed, starter, tmp_path):
    """The position embedding of the encoder has one row, so one rank has no part of it."""
    (program := tmp_path / "program.py").write_text(SMALLER)
    fewer = ("--iterations", 4, "--micro-batch", 4, "--num-devices", 2, "--num-workers", 0)
    arguments = command("catlip", starter, tmp_path / "run", "--encoder", "vit_mini16", *fewer)
    succeed(program, *arguments, "--parallel", "fsdp", "--checkpoint-every", 2, ranks=2)
    two = succeed(program, "catlip.verify", tmp_path / "run", *ALL, ranks=2)
    assert "apart" not in two.stdout
    one = succeed(program, "catlip.verify", tmp_path / "run", *ALL)
    assert "ranks 2 there, 1 now" in one.stdout


@pytest.mark.parametrize("key", ["packages.torch", "cpu_instructions"])
def test_losses_elsewhere_agree_within_a_tolerance(program, succeed, run_copy, key) -> None:
    change(run_copy.with_name("run.json"), f"environment.{key}", "1.0")
    done = succeed("catlip.verify", run_copy, *ALL)
    assert "'1.0' there" in done.stdout
    # In the log and in the record, so that only executing the steps tells.
    lines = [json.loads(line) for line in (run_copy / "log.jsonl").read_text().splitlines()]
    lines[2]["loss"] += 1.0
    (run_copy / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    change(run_copy.with_name("run.json"), "samples.loss", [line["loss"] for line in lines])
    found = program("catlip.verify", run_copy, *ALL)
    assert (found.returncode, differing(found.stdout)) == (1, ["5"])


def test_other_data_are_refused(program, succeed, starter, small_shards, runs, tmp_path) -> None:
    shutil.copytree(starter.shards, tmp_path / "moved")
    succeed("catlip.verify", runs["clip"], "--shards", tmp_path / "moved")
    other = ("--shards", small_shards, "--quiet")
    one_line_error(program("catlip.verify", runs["clip"], *other), "data")
    one_line_error(program("catlip.verify", runs["clip"], "--steps", 1, "--quiet"), "--steps")
