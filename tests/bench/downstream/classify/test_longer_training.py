"""Probes along a run know how far it was, at each of the weights that it kept."""

import json
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from small_data import ON_A_CPU

from bench.downstream.longer_training import RECIPES, LongerTraining, main
from catlip.cli import InputError
from catlip.recipes.transfer import STARTER_PROBE
from catlip.training.checkpoint import save_weights


def probed(out: Path, runs: list[Path], data: str, **options: Any) -> dict[str, Any]:
    main(LongerTraining(STARTER_PROBE, tuple(runs), data, out, **ON_A_CPU | options))
    assert "NaN" not in out.read_text()
    return json.loads(out.read_text())


def test_each_of_a_run_s_weights_has_a_row_at_its_place(trained, cats_and_dogs, tmp_path) -> None:
    record = probed(tmp_path / "longer.json", [trained["catlip"]], cats_and_dogs, seeds=2)
    rows = record["samples"]["runs"]
    whole = json.loads(trained["catlip"].with_suffix(".json").read_text())
    epochs = whole["config"]["recipe"]["epochs"] or whole["metrics"]["epochs_seen"]
    # Four images a step, and two snapshots of four steps.
    assert [row["images_seen"] for row in rows] == [8, 8, 16, 16]
    assert [row["epochs"] for row in rows] == pytest.approx([epochs / 2] * 2 + [epochs] * 2)
    assert [row["annealed"] for row in rows] == [False, False, True, True]
    seconds = whole["samples"]["seconds"]
    assert [row["seconds"] for row in rows] == pytest.approx([seconds[1]] * 2 + [seconds[3]] * 2)
    assert [row["seed"] for row in rows] == [0, 1, 0, 1]
    assert {(row["task"], row["run"]) for row in rows} == {("data", "catlip-seed0")}
    assert all(row["top1"] == 1 for row in rows)
    assert (record["metrics"]["method"], record["metrics"]["pretrain_seed"]) == ("catlip", 0)
    for what in ("learning rate", "augmentation"):
        assert any(what in note for note in record["notes"])


def test_a_run_without_snapshots_is_one_row_and_needs_no_warning(
    trained, cats_and_dogs, tmp_path
) -> None:
    record = probed(tmp_path / "longer.json", [trained["clip"]], cats_and_dogs)
    (row,) = record["samples"]["runs"]
    assert (row["images_seen"], row["annealed"]) == (8, True)
    assert not any("learning rate" in note for note in record["notes"])


def test_what_is_no_finished_run_of_the_same_method_is_refused_in_one_line(
    trained, cats_and_dogs, tmp_path
) -> None:
    with pytest.raises(InputError, match=r"clip-seed0/weights\.safetensors .* clip.* catlip"):
        probed(tmp_path / "both.json", [trained["catlip"], trained["clip"]], cats_and_dogs)
    (tmp_path / "unfinished").mkdir()
    with pytest.raises(InputError, match=r"unfinished .*weights\.safetensors") as caught:
        probed(tmp_path / "none.json", [tmp_path / "unfinished"], cats_and_dogs)
    assert "\n" not in str(caught.value)
    weights = load_file(trained["catlip"] / "weights.safetensors")
    config = {"encoder": "hybrid_mini", "resolution": 48, "method": "catlip"}
    save_weights(tmp_path / "unfinished/weights.safetensors", weights, config)
    with pytest.raises(InputError, match="unfinished"):
        probed(tmp_path / "old.json", [tmp_path / "unfinished"], cats_and_dogs)
    assert not [*tmp_path.glob("*.json")]


def test_the_recipes_are_those_of_the_probe() -> None:
    assert [*RECIPES] == ["starter", "table_7a"]
