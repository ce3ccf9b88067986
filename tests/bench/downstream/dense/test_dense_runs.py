"""Runs of all dense tasks learn, resume exactly, and refuse what they cannot do."""

import itertools
import json
import math
import signal
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest
import torch
from safetensors.torch import load_file
from small_dense import TASKS, files, write_coco

from catlip import streams
from catlip.cli import InputError
from catlip.training import loop
from catlip.training.preempt import EXIT_CODE

LIBRARIES = {"segmentation": "mmseg", "detection": "detectron2"}
ALL = [
    pytest.param(
        name,
        marks=pytest.mark.skipif(
            name in LIBRARIES and not find_spec(LIBRARIES[name]), reason="is not installed"
        ),
    )
    for name in TASKS
]
BY_LIBRARIES = ALL[1:]
LONG = {
    "multilabel": {"epochs": 40, "max_lr": 3e-3},
    "segmentation": {"epochs": 40, "max_lr": 5e-3},
    "detection": {
        **{"epochs": 60, "lr_step_epochs": (52,), "scale_jitter": ()},
        **{"ema_decay": 0.8, "pyramid_channels": 32},
    },
}
REACHES = {
    "multilabel": {"map_macro": 0.95},
    "segmentation": {"miou_fixed": 0.5},
    "detection": {"box_ap50": 0.3, "mask_ap50": 0.3},
}
pytestmark = pytest.mark.usefixtures("vit_two")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Task -> the spelling of its data."""
    return {
        name: task.write_data(tmp_path_factory.mktemp(name) / "data")
        for name, task in TASKS.items()
    }


def ended(out: Path, record: dict[str, Any]) -> dict[str, Any]:
    """What a run came to, apart from its times."""
    metrics = {name: value for name, value in record["metrics"].items() if name != "seconds"}
    weights = load_file(out.with_suffix("") / "weights.safetensors")
    listed = {name: tensor.tolist() for name, tensor in weights.items()}
    return {"metrics": metrics, "samples": record["samples"], "weights": listed}


@pytest.mark.parametrize("name", ALL)
def test_run_learns_and_leaves_its_record_and_its_weights(name, data, tmp_path) -> None:
    task, out = TASKS[name], tmp_path / "run.json"
    record, _ = task.run(data[name], out, recipe=replace(task.recipe, **LONG[name]))
    metrics, samples = record["metrics"], record["samples"]
    for metric, least in REACHES[name].items():
        assert metrics[metric] > least
    losses = [loss for _, loss in samples["loss"]]
    assert losses[-1] < 0.7 * losses[0]
    assert losses[-1] == metrics["final_loss"]
    about = {"method": "random", "pretrain_seed": 0, "num_train": 12, "val_images": 6}
    assert about.items() <= metrics.items()
    assert samples["classes"] == ["person", "tree", "sea"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run", "run.json"]
    left = {path.name for path in (tmp_path / "run").iterdir() if not path.match("events*")}
    assert left == {"log.jsonl", "score.json", "threads.txt", "weights.safetensors"}

    finished = ended(out, record)
    _, printed = task.run(data[name], out, recipe=replace(task.recipe, **LONG[name]))
    assert "already there" in printed
    out.unlink()  # the folder of the finished run is there, too
    with pytest.raises(InputError, match="seed 0 there, 1 now"):
        task.run(data[name], out, recipe=replace(task.recipe, **LONG[name]), seed=1)
    again, _ = task.run(data[name], out, recipe=replace(task.recipe, **LONG[name]))
    assert ended(out, again) == finished


@pytest.mark.parametrize("name", ALL)
def test_every_step_has_the_numbers_of_its_recipe_and_seed(
    name, data, tmp_path, monkeypatch
) -> None:
    """At each step, what AdamW has of each group."""
    steps, seeds = [], []
    original = torch.optim.AdamW.step

    def step(self: torch.optim.AdamW, *arguments: Any, **options: Any) -> Any:
        steps.append([{**group} for group in self.param_groups])
        return original(self, *arguments, **options)

    def noted(draw: Any) -> Any:
        def of_seed(seed: int, *place: int, **options: Any) -> Any:
            seeds.append((seed, *place))
            return draw(seed, *place, **options)

        return of_seed

    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    for draw in (streams.generator, streams.seed_at, torch.manual_seed):
        module = torch if draw is torch.manual_seed else streams
        monkeypatch.setattr(module, draw.__name__, noted(draw))
    task = TASKS[name]
    recipe = replace(
        task.recipe,
        **{"epochs": 4, "micro_batch": 2, "num_devices": 2, "weight_decay": 0.1},
        **{"warmup_iterations": 2},  # of which there is one: at most a tenth of twelve steps
        **{"max_lr": 1e-2, "min_lr": 1e-5},
    )
    if name == "detection":  # it falls to a tenth after one of four epochs
        rates = [1e-5, *[1e-2] * 2, *[1e-3] * 9]
    else:
        cosines = [math.cos(math.pi * step / 11) for step in range(11)]
        rates = [1e-6, *(1e-5 + (1e-2 - 1e-5) * (1 + cosine) / 2 for cosine in cosines)]
    task.run(data[name], tmp_path / "run.json", recipe=recipe, seed=5)
    for rate, groups in zip(rates, steps, strict=True):
        assert {group["weight_decay"] for group in groups} == {0.0, 0.1}
        assert {1.0, 0.5} < {group["lr_scale"] for group in groups}
        for group in groups:
            assert group["lr"] == pytest.approx(rate * group["lr_scale"], rel=1e-6)
    # torch's own seed is given alone, and is a number of 32 bits where it follows from a step.
    assert {seed for seed, *place in seeds if place or seed < 1000} == {5}
    drawn = [tuple(place[1:]) for _, *place in seeds if place and place[0] == streams.OBJECTIVE]
    assert sorted(drawn) == [*itertools.product(range(12), range(2))]
    crops = (streams.DETECTION_CROPS, streams.SEGMENTATION_CROPS)
    positions = [place[1] for _, *place in seeds if place and place[0] in crops]
    assert sorted(positions) == ([] if name == "multilabel" else [*range(12 * 4)])


@pytest.mark.parametrize("name", BY_LIBRARIES)
def test_stopped_run_ends_as_another(name, data, tmp_path, monkeypatch, capfd) -> None:
    """SIGTERM after its fourth step stops it after the fifth; each has two micro-batches."""
    task = TASKS[name]
    random = {"range_augment": (40.0, 20.0), "drop_path": 0.2, "grad_clip": 1.0}
    recipe = replace(task.recipe, micro_batch=2, num_devices=2, **random)
    whole, _ = task.run(data[name], tmp_path / "whole.json", recipe=recipe)
    out, bar, steps = tmp_path / "stopped.json", MagicMock(), itertools.count(1)
    bar.__enter__.return_value = bar
    bar.update.side_effect = lambda: next(steps) == 4 and signal.raise_signal(signal.SIGTERM)
    with monkeypatch.context() as patch:
        patch.setattr(loop, "progress", lambda **_: bar)
        with pytest.raises(SystemExit, match=str(EXIT_CODE)):
            task.run(data[name], out, recipe=recipe)
    checkpoints = tmp_path / "stopped" / "checkpoints"
    assert [path.name for path in checkpoints.glob("*.pt")] == ["step-00000005.pt"]
    with pytest.raises(InputError, match="max_lr"):
        task.run(data[name], out, recipe=replace(recipe, max_lr=0.1))
    capfd.readouterr()
    resumed, printed = task.run(data[name], out, recipe=recipe, num_workers=1)
    assert (len(printed.splitlines()), capfd.readouterr().err) == (2, "")
    assert ended(out, resumed) == ended(tmp_path / "whole.json", whole)
    assert not checkpoints.exists()


@pytest.mark.parametrize("name", ALL)
def test_images_that_are_left_out_are_counted_and_listed_and_said(name, tmp_path) -> None:
    task, root = TASKS[name], tmp_path / "data"
    data, recipe = task.write_data(root), replace(task.recipe, epochs=0.4)
    if task.layout == "coco":
        (root / "val2017" / "000000001003.jpg").write_bytes(b"")
        (root / "val2017" / "000000001004.jpg").write_bytes(b"GIF89a")
        listed = ["val2017:000000001003.jpg (empty)", "val2017:000000001004.jpg (damaged)"]
    else:
        files(root, "val", "val_0002")[0].write_bytes(b"")
        files(root, "val", "val_0003")[0].write_bytes(b"GIF89a")
        listed = ["validation:val_0002.jpg (empty)", "validation:val_0003.jpg (damaged)"]
    record, printed = task.run(data, tmp_path / "run.json", recipe=recipe)
    assert record["metrics"]["broken"] == {"empty": 1, "damaged": 1}
    assert [key.split("/")[-1] for key in record["samples"]["broken_keys"]] == listed
    assert record["metrics"]["num_val"] == 4
    assert "left out: " in printed
    with pytest.raises(InputError, match="max-broken 0"):
        task.run(data, tmp_path / "none.json", max_broken=0.0)
    assert not (tmp_path / "none.json.partial").exists()


def test_two_ranks_score_seven_images_as_one(succeed, tmp_path) -> None:
    data = f"coco:{write_coco(tmp_path / 'data', val=7)}"
    script = Path(__file__).with_name("dense_ranks.py")
    for ranks in (1, 2):
        succeed(script, "multilabel", data, tmp_path / f"{ranks}.json", ranks=ranks)
    one, two = (json.loads((tmp_path / f"{ranks}.json").read_text()) for ranks in (1, 2))
    assert one["metrics"]["num_val"] == two["metrics"]["num_val"] == 7
    by_class = [record["samples"]["ap_by_class"] for record in (one, two)]
    assert by_class[1] == pytest.approx(by_class[0])
    assert len({*by_class[0]}) > 1, "the order of the images decides"


@pytest.mark.slow
@pytest.mark.parametrize("name", BY_LIBRARIES)
def test_two_ranks_train_and_test_as_one(name, succeed, data, tmp_path) -> None:
    """Apart from rounding, on an encoder whose batch norms would see other batches."""
    script = Path(__file__).with_name("dense_ranks.py")
    for ranks in (1, 2):
        succeed(script, name, data[name], tmp_path / f"{ranks}.json", ranks=ranks)
    one, two = (load_file(tmp_path / f"{ranks}/weights.safetensors") for ranks in (1, 2))
    for parameter, expected in one.items():
        if "running" not in parameter and "num_batches" not in parameter:
            torch.testing.assert_close(two[parameter], expected, rtol=1e-3, atol=1e-4)
    first, second = (json.loads((tmp_path / f"{ranks}.json").read_text()) for ranks in (1, 2))
    assert first["metrics"].keys() == second["metrics"].keys()
