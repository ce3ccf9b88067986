"""The sweep over encoders: one record each, nothing twice, and one that fails takes no other with it."""

import json
from pathlib import Path
from typing import Any

import pytest

from bench.downstream import data_efficiency
from bench.downstream.data_efficiency import PROGRAMS, DataEfficiency, main
from catlip.cli import InputError

UNTRAINED = "random:hybrid_tiny@32"


def config(encoders: tuple[str, ...], data: str, out: Path, **options: Any) -> DataEfficiency:
    plain: dict[str, Any] = {"recipe": "starter", "fraction": (0.5, 1.0), "devices": ("cpu", "cpu"), "quiet": True}
    few = {"options": "--alpha 0.5 --num-workers 0 --epochs 3"}
    return DataEfficiency(encoders, data, out=out, **plain | few | options)


def test_each_encoder_has_a_record_which_is_not_made_again_and_a_failure_is_named(
    make_run, cats_and_dogs, tmp_path, capfd
) -> None:
    run, out = make_run("my run"), tmp_path / "out"
    encoders = (str(run), UNTRAINED)
    with pytest.raises(InputError, match=r"1 of 3 failed, see above: .*no-such-run\.json; run it again to go on"):
        main(config((str(run), "no such run", UNTRAINED), cats_and_dogs, out))
    assert "no weights at no such run/weights.safetensors" in capfd.readouterr().err
    records = {path.stem: json.loads(path.read_text()) for path in out.glob("*.json")}
    assert sorted(records) == ["my run", "random-seed0"]
    found = [(row["fraction"], row["init"]) for row in records["my run"]["samples"]["runs"]]
    assert found == [(0.5, "random"), (0.5, "transfer"), (1.0, "random"), (1.0, "transfer")]
    assert [row["init"] for row in records["random-seed0"]["samples"]["runs"]] == ["random", "random"]
    assert [record["config"]["transfer"]["alpha"] for record in records.values()] == [0.5, 0.5]
    before = {path: path.stat().st_mtime_ns for path in out.glob("*.json")}
    main(config(encoders, cats_and_dogs, out))
    assert {path: path.stat().st_mtime_ns for path in out.glob("*.json")} == before
    assert capfd.readouterr().out.count("is there") == 2


@pytest.fixture
def started(monkeypatch) -> list[list[str]]:
    """The commands that would be started."""
    commands: list[list[str]] = []

    class Done:
        returncode = 0

    monkeypatch.setattr(data_efficiency.subprocess, "run", lambda command, check: commands.append(command) or Done)
    return commands


def test_untrained_encoders_are_as_many_as_asked_for_and_a_trained_one_is_one(started, tmp_path) -> None:
    main(config(("timm:a/b", UNTRAINED), "folder:x", tmp_path, seeds=5, untrained=3, devices=("cpu",)))
    said = [
        {name: command[command.index(f"--{name}") + 1] for name in ("encoder", "out", "seed", "seeds")} for command in started
    ]
    places = [tmp_path / f"{name}.json" for name in ("timm-a-b", "random-seed0", "random-seed1", "random-seed2")]
    assert [Path(one["out"]) for one in said] == places
    assert [(one["encoder"], one["seed"], one["seeds"]) for one in said] == [
        ("timm:a/b", "0", "5"), *((UNTRAINED, str(seed), "1") for seed in range(3))
    ]  # fmt: skip


@pytest.mark.parametrize("program", [*PROGRAMS])
def test_each_program_is_started_with_its_recipe_its_options_and_a_device(program, started, tmp_path) -> None:
    main(config(("a", "b"), "folder:x", tmp_path, program=program, recipe="", devices=("cuda:0", "cuda:1")))
    for command in started:
        assert command[1:5] == ["-m", f"bench.downstream.{program}", "--recipe", PROGRAMS[program]]
        assert command[command.index("--alpha") + 1] == "0.5"
    assert {command[-1] for command in started} <= {"cuda:0", "cuda:1"}


def test_a_record_of_another_command_is_made_anew(started, tmp_path) -> None:
    here = config(("a",), "folder:x", tmp_path, devices=("cpu",))
    main(here)
    words = [word if " " not in word else f"'{word}'" for word in started[0][1:]]
    (tmp_path / "a.json").write_text(
        json.dumps({"kind": "linear_probe", "metrics": {}, "command": " ".join(["python", *words])})
    )
    main(here)
    assert len(started) == 1
    main(config(("a",), "folder:x", tmp_path, fraction=(1.0,)))
    assert len(started) == 2


def test_two_encoders_of_one_name_are_refused(started, tmp_path) -> None:
    for name in ("one", "other"):
        (tmp_path / name / "catlip-seed0").mkdir(parents=True)
    folders = tuple(str(tmp_path / name / "catlip-seed0") for name in ("one", "other"))
    for encoders in (folders, (UNTRAINED, "random:vit_tiny16@32")):
        with pytest.raises(
            InputError, match="two of --encoders have the same name; give them in two runs with different --out"
        ):
            main(config(encoders, "folder:x", tmp_path))
    assert started == []
