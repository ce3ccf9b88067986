"""Fine-tuning: whatever stops it or however many share it, it ends alike; it learns; and nothing is
trained twice.
"""

import json
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from small_data import ON_A_CPU

from bench.downstream import linear_probe
from bench.downstream.classify import fit
from bench.downstream.classify.fit import fitting
from bench.downstream.encoders.load import load_encoder
from bench.downstream.finetune import Finetune, main
from catlip.cli import InputError
from catlip.program.ranges import check_ranges
from catlip.recipes.transfer import STARTER_FINETUNE, TABLE_7B
from catlip.training.trainer import Trainer

HERE = Path(__file__).parent
FIT = "data-1-random-seed0"  # a run's name


def test_killed_and_gone_on_with_is_undisturbed_bit_for_bit(cats_and_dogs, tmp_path) -> None:
    command = [sys.executable, HERE / "small_finetune.py", cats_and_dogs, tmp_path]
    done = subprocess.run(
        [*map(str, command)], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    left = {*found["left"]}
    assert {"checkpoints", "log.jsonl"} <= left
    assert not {"score.json", "weights.safetensors"} & left, "the run was not done"
    assert found["killed"] == found["whole"]


def test_two_ranks_are_one_that_accumulates_with_learnt_augmentation_too(
    succeed, cats_and_dogs, tiny_recipe, tmp_path
) -> None:
    recipe = replace(
        tiny_recipe,
        micro_batch=2,
        num_devices=2,
        range_augment=(40.0, 20.0),
        layer_decay=0.7,
        eps=1e-3,  # Adam makes whole steps of gradients of rounding alone, as of a key's bias
    )
    encoder = "random:vit_tiny16@32"  # without batch norm, which sees each micro-batch alone
    main(Finetune(recipe, encoder, cats_and_dogs, tmp_path / "one.json", **ON_A_CPU))
    options = []
    for name, value in asdict(recipe).items():
        if value != getattr(STARTER_FINETUNE, name):
            values = value if isinstance(value, tuple) else (value,)
            options += [f"--{name.replace('_', '-')}", *values]
    done = succeed(
        "bench.downstream.finetune", *options,
        "--encoder", encoder, "--data", cats_and_dogs, "--out", tmp_path / "two.json", "--device",
        "cpu", "--quiet", ranks=2,
    )  # fmt: skip
    assert done.stdout.count("wrote ") == 1
    one, two = (load_file(tmp_path / name / FIT / "weights.safetensors") for name in ("one", "two"))
    assert one.keys() == two.keys()
    assert sum(name.startswith("range_augment.") for name in one) == 6
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, rtol=1e-4, atol=2e-6, msg=name)
    scores = [
        json.loads((tmp_path / name / FIT / "score.json").read_text())["score"]
        for name in ("one", "two")
    ]
    assert scores[1]["final_loss"] == pytest.approx(scores[0]["final_loss"], rel=2e-3)
    assert scores[1]["top1"] == scores[0]["top1"]


@pytest.fixture
def finetune(cats_and_dogs, tiny_recipe, tmp_path):
    """Fine-tunes in this process; its record."""

    def start(
        recipe=tiny_recipe, encoder="random:hybrid_mini@32", data=cats_and_dogs, **options: Any
    ) -> dict[str, Any]:
        out = tmp_path / "tune.json"
        main(Finetune(recipe, encoder, data, out, **ON_A_CPU | options))
        return json.loads(out.read_text())

    return start


def test_a_finished_run_is_not_trained_again_and_one_of_another_recipe_is_refused(
    finetune, tiny_recipe, tmp_path, monkeypatch
) -> None:
    first = finetune()
    run = tmp_path / "tune" / FIT
    for name in ("score.json", "weights.safetensors", "log.jsonl"):
        assert (run / name).is_file()
    assert not (run / "checkpoints").exists()
    monkeypatch.setattr(fit, "train", lambda *_: pytest.fail("it trains again"))
    assert finetune()["samples"] == first["samples"]
    assert "wall_s" in first["environment"]
    (tmp_path / "tune.json").unlink()
    again = finetune()
    assert again["metrics"] == first["metrics"]
    assert "wall_s" not in again["environment"]
    faster = replace(tiny_recipe, max_lr=0.5)
    for changes, says in (
        ({"recipe": faster}, f"max_lr {tiny_recipe.max_lr} there, 0.5 now"),
        ({"encoder": "random:hybrid_mini@48"}, "encoder 'random:hybrid_mini@32' there"),
    ):
        with pytest.raises(InputError, match=rf"tune\.json .*{says}.*--out"):
            finetune(**changes)
    assert (run / "weights.safetensors").exists()


def test_an_unfinished_run_of_another_recipe_is_refused(finetune, tiny_recipe, monkeypatch) -> None:
    original = Trainer.train_step

    def stop(trainer: Trainer, *arguments: Any) -> Any:
        if trainer.step == 3:
            raise KeyboardInterrupt
        return original(trainer, *arguments)

    monkeypatch.setattr(Trainer, "train_step", stop)
    with pytest.raises(KeyboardInterrupt):
        finetune(checkpoint_every=2)
    monkeypatch.setattr(Trainer, "train_step", original)
    with pytest.raises(InputError, match=r"\(layer_decay 1\.0 there, 0\.9 now\)"):
        finetune(replace(tiny_recipe, layer_decay=0.9))
    assert finetune()["metrics"]["data_num_train"] == 8


def start(
    program: Any, recipe: Any, encoder: Path, data: str, out: Path, **options: Any
) -> list[dict[str, Any]]:
    """The rows of a sweep."""
    config = {main: Finetune, linear_probe.main: linear_probe.LinearProbe}[program]
    program(config(recipe, str(encoder), data, out, **ON_A_CPU | options))
    return json.loads(out.read_text())["samples"]["runs"]


@pytest.mark.parametrize("program", [main, linear_probe.main])
def test_every_run_of_a_sweep_begins_where_it_would_alone(
    program, tiny_recipe, make_run, cats_and_dogs, tmp_path
) -> None:
    run = make_run()
    both = {"fraction": (0.5, 1.0), "init": ("random", "transfer")}
    rows = start(program, tiny_recipe, run, cats_and_dogs, tmp_path / "all.json", seeds=2, **both)
    assert [(row["fraction"], row["init"], row["seed"]) for row in rows[:4]] == [
        (0.5, "random", 0), (0.5, "transfer", 0), (1.0, "random", 0), (1.0, "transfer", 0)
    ]  # fmt: skip
    assert [row["num_train"] for row in rows] == [4, 4, 8, 8] * 2
    out = tmp_path / "alone.json"
    (alone,) = start(program, tiny_recipe, run, cats_and_dogs, out, init=("transfer",))
    one, other = (
        load_file(tmp_path / name / "data-1-transfer-seed0/weights.safetensors")
        for name in ("all", "alone")
    )
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert alone | {"seconds": 0} == rows[3] | {"seconds": 0}


def test_a_fine_tuned_run_of_ours_is_an_encoder_again(finetune, make_run, tmp_path) -> None:
    run = make_run()
    finetune(encoder=str(run))
    tuned, before = (
        load_encoder(str(path), 0, torch.device("cpu")) for path in (tmp_path / "tune" / FIT, run)
    )
    assert (tuned.method, tuned.resolution) == ("catlip fine-tuned", 32)
    assert tuned.module.state_dict().keys() == before.module.state_dict().keys()
    assert tuned.digest() != before.digest()


def test_test_images_are_resized_and_cropped_as_the_recipe_says(finetune, tiny_recipe) -> None:
    recipe = replace(tiny_recipe, test_resize=36)
    assert (
        "images: shorter side to 36 (bilinear), central 32; pixels in [0, 1]"
        in (finetune(recipe)["notes"])
    )
    with pytest.raises(InputError, match="--test-resize 31"):
        replace(tiny_recipe, test_resize=31)


def test_ten_images_are_learnt_by_heart(finetune, tiny_recipe, tmp_path) -> None:
    for number in range(10):
        noise = np.random.default_rng(number).integers(256, size=(32, 32, 3), dtype=np.uint8)
        for split in ("train", "val"):
            (tmp_path / "noise" / split / str(number)).mkdir(parents=True)
            Image.fromarray(noise).save(tmp_path / "noise" / split / str(number) / "0.png")
    still = {"crop_scale": (1.0, 1.0), "flip": 0.0, "label_smoothing": 0.0}
    fast = {"iterations": 40, "micro_batch": 10, "max_lr": 2e-3, "min_lr": 2e-3, "ema_decay": 0.5}
    recipe = replace(tiny_recipe, **fast, **still)
    record = finetune(recipe, data=f"folder:{tmp_path / 'noise'}")
    assert record["metrics"]["noise_top1"] == 1
    assert "NaN" not in json.dumps(record)


def test_an_encoder_of_one_size_is_trained_on_that_size_and_the_record_says_so(
    finetune, tiny_recipe
) -> None:
    sizes = {"resolution": 64, "min_resolution": 32, "max_resolution": 96}
    recipe = replace(tiny_recipe, **sizes, num_scales=3, scale_multiple=32, iterations=2)
    one_size = finetune(recipe, encoder="random:openclip/ViT-S-32")
    told = "takes images of one size, so it was trained without the other sizes"
    assert any(told in note for note in one_size["notes"])
    encoder = load_encoder("random:openclip/ViT-S-32", 0, torch.device("cpu"), 64)
    assert [size.resolution for size in fitting(recipe, encoder).sizes()] == [64]
    any_size = load_encoder("random:hybrid_mini@32", 0, torch.device("cpu"), 64)
    assert [size.resolution for size in fitting(recipe, any_size).sizes()] == [32, 64, 96]


@pytest.mark.parametrize(
    "changes",
    [{"fraction": (0.0,)}, {"fraction": (1.1,)}, {"fraction": ()}, {"init": ()}, {"seeds": 0}],
)
def test_a_sweep_of_nothing_is_refused(changes, tiny_recipe) -> None:
    with pytest.raises(InputError, match=f"--{next(iter(changes))}"):
        check_ranges(Finetune(tiny_recipe, "", "", **changes))


@pytest.mark.slow
def test_a_step_of_vit_b16_at_512_pixels(succeed, tmp_path) -> None:
    for split in ("train", "val"):
        for number, name in enumerate(("cat", "dog")):
            (tmp_path / "data" / split / name).mkdir(parents=True)
            Image.new("RGB", (600, 550), (200 * number, 100, 50)).save(
                tmp_path / "data" / split / name / "0.jpg"
            )
    succeed(
        "bench.downstream.finetune", "--recipe", "table_7b_512", "--encoder", "random:vit_b16@224",
        "--iterations", 1, "--epochs", 0, "--micro-batch", 1, "--min-resolution", 512,
        "--data", f"folder:{tmp_path / 'data'}", "--out", tmp_path / "tune.json", "--device", "cpu",
        "--quiet",
    )  # fmt: skip
    record = json.loads((tmp_path / "tune.json").read_text())
    assert "512" in record["notes"][0]
    assert record["config"]["recipe"]["resolution"] == 512 > TABLE_7B.resolution
    assert 0 <= record["metrics"]["data_top1"] <= 1
