"""The sweep over encoders: one record each, nothing twice, and one that fails takes no other with
it.
"""

import json
import os
import shlex
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.downstream import data_efficiency
from bench.downstream.data_efficiency import TABLE_7, DataEfficiency, main
from catlip.cli import InputError

UNTRAINED = "random:hybrid_mini@32"


def config(encoders: tuple[str, ...], data: str, out: Path, **options: Any) -> DataEfficiency:
    plain: dict[str, Any] = {
        "recipe": "starter",
        "programs": ("linear_probe",),
        "fraction": (0.5, 1.0),
        "devices": ("cpu", "cpu"),
        "quiet": True,
    }
    few = {"options": "--alpha 0.5 --num-workers 0 --epochs 3"}
    return DataEfficiency(encoders, data, out=out, **plain | few | options)


def test_each_encoder_has_a_record_which_is_not_made_again_and_a_failure_is_named(
    make_run, cats_and_dogs, tmp_path, capfd
) -> None:
    run, out = make_run("my run"), tmp_path / "out"
    encoders = (str(run), UNTRAINED)
    with pytest.raises(InputError, match=r"1 of 3 .*no-such-run\.json"):
        main(config((str(run), "no such run", UNTRAINED), cats_and_dogs, out))
    assert "no such run/weights.safetensors" in capfd.readouterr().err
    records = {path.stem: json.loads(path.read_text()) for path in out.glob("linear_probe/*.json")}
    assert sorted(records) == ["my run", "random-seed0"]
    found = [(row["fraction"], row["init"]) for row in records["my run"]["samples"]["runs"]]
    assert found == [(0.5, "random"), (0.5, "transfer"), (1.0, "random"), (1.0, "transfer")]
    untrained = records["random-seed0"]["samples"]["runs"]
    assert [row["init"] for row in untrained] == ["random", "random"]
    assert [record["config"]["transfer"]["alpha"] for record in records.values()] == [0.5, 0.5]
    before = {path: path.stat().st_mtime_ns for path in out.glob("linear_probe/*.json")}
    main(config(encoders, cats_and_dogs, out))
    assert {path: path.stat().st_mtime_ns for path in out.glob("linear_probe/*.json")} == before


@pytest.fixture
def started(monkeypatch) -> list[list[str]]:
    """The commands that would be started."""
    commands: list[list[str]] = []

    class Done:
        returncode = 0

    monkeypatch.setattr(
        data_efficiency.subprocess, "run", lambda command, check: commands.append(command) or Done
    )
    return commands


def test_untrained_encoders_are_as_many_as_asked_for_and_a_trained_one_is_one(
    started, tmp_path
) -> None:
    numbers = {"seeds": 5, "untrained": 3}
    main(config(("timm:a/b", UNTRAINED), "folder:x", tmp_path, devices=("cpu",), **numbers))

    def given(flag: str) -> list[str]:
        return [command[command.index(f"--{flag}") + 1] for command in started]

    names = ("timm-a-b", "random-seed0", "random-seed1", "random-seed2")
    assert given("out") == [str(tmp_path / "linear_probe" / f"{name}.json") for name in names]
    assert given("encoder") == ["timm:a/b", *[UNTRAINED] * 3]
    assert given("seed") == ["0", "0", "1", "2"]
    assert given("seeds") == ["5"] * 4


@pytest.mark.parametrize("program", [*TABLE_7])
def test_each_program_is_started_with_its_recipe_its_options_and_a_device(
    program, started, tmp_path
) -> None:
    how = {"programs": (program,), "recipe": "", "devices": ("cuda:0", "cuda:1")}
    main(config(("a", "b"), "folder:x", tmp_path, **how))
    for command in started:
        assert command[1:5] == ["-m", f"bench.downstream.{program}", "--recipe", TABLE_7[program]]
        assert command[command.index("--alpha") + 1] == "0.5"
    assert {command[-1] for command in started} <= {"cuda:0", "cuda:1"}


def write_record(path: Path, command: list[str]) -> None:
    """A record that this command has made."""
    path.parent.mkdir()
    made_by = shlex.join(["python", *command[1:]])
    path.write_text(json.dumps({"kind": "linear_probe", "metrics": {}, "command": made_by}))


def test_a_record_of_another_command_is_made_anew(started, tmp_path) -> None:
    here = config(("a",), "folder:x", tmp_path, devices=("cpu",))
    main(here)
    write_record(tmp_path / "linear_probe/a.json", started[0])
    main(here)
    assert len(started) == 1
    main(config(("a",), "folder:x", tmp_path, fraction=(1.0,)))
    assert len(started) == 2


def test_a_record_older_than_the_weights_is_made_anew(started, tmp_path, make_run) -> None:
    run = make_run()
    here = config((str(run),), "folder:x", tmp_path, devices=("cpu",), quiet=False)
    main(here)
    record = tmp_path / "linear_probe" / f"{run.name}.json"
    write_record(record, started[0])
    main(replace(here, quiet=True))  # silence does not matter
    assert len(started) == 1
    os.utime(record, (0, 0))
    main(here)
    assert len(started) == 2


def test_two_encoders_of_one_name_are_refused(started, tmp_path) -> None:
    folders = [tmp_path / name / "catlip-seed0" for name in ("one", "other")]
    for folder in folders:
        folder.mkdir(parents=True)
    for encoders in (tuple(map(str, folders)), (UNTRAINED, "random:vit_tiny16@32")):
        with pytest.raises(InputError, match=r"--encoders.*--out"):
            main(config(encoders, "folder:x", tmp_path))
    assert started == []


@pytest.mark.parametrize(("code", "goes_on"), [(2, False), (75, True)])
def test_an_error_that_would_come_again_is_not_to_be_run_again(
    monkeypatch, tmp_path, code, goes_on
) -> None:
    ended = subprocess.CompletedProcess([], code)
    monkeypatch.setattr(data_efficiency.subprocess, "run", lambda command, check: ended)
    with pytest.raises(InputError, match="1 of 1 failed") as failed:
        main(config(("a",), "folder:x", tmp_path))
    assert ("go on" in str(failed.value)) == goes_on
