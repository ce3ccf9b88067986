"""Broken images in the record of a pre-training run, and how many are too many."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bench.step_time.measure import EvenLabels
from catlip.categorical import Categorical
from catlip.cli import InputError
from catlip.data.shards import write_shard
from catlip.pretraining.config import PretrainRun
from catlip.pretraining.method import Classes, Method, encoder_of
from catlip.pretraining.run import pretrain
from catlip.program.ranges import check_ranges
from catlip.recipes.pretrain import STARTER
from catlip.record import read_record

SIDE_32 = {"resolution": 32, "min_resolution": 32, "max_resolution": 32}
SHORT = {"iterations": 4, "epochs": 0, "micro_batch": 4, "warmup_iterations": 1}
CLASSES = 30


def picture(number: int) -> bytes:
    buffer, draw = io.BytesIO(), np.random.default_rng(number)
    pixels = draw.integers(256, size=(40, 40, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def run(folder: Path, **options) -> dict:
    pictures = [picture(number) for number in range(12)]
    pictures[1] = b""
    pictures[2] = pictures[2][:300]
    samples = [(str(key), {"png": image, "txt": b""}) for key, image in enumerate(pictures)]
    write_shard(folder / "0.tar", samples)
    recipe = replace(STARTER, **SIDE_32, **SHORT, precision="fp32")
    config = PretrainRun(
        recipe, (str(folder),), folder / "run", device="cpu", num_workers=0, quiet=True, **options
    )
    classes = Classes(torch.full((CLASSES,), 0.1), identity={}, labels=EvenLabels(CLASSES))
    method = Method(lambda: Categorical(encoder_of(recipe), classes.base_rates), classes)
    return read_record(pretrain(config, method))


def test_broken_images_are_in_the_record_each_once(tmp_path) -> None:
    record = run(tmp_path)
    assert record["metrics"]["broken"] == {"empty": 1, "cut short": 1}
    assert sorted(record["samples"]["broken_keys"]) == [
        f"{tmp_path}/0.tar:1 (empty)",
        f"{tmp_path}/0.tar:2 (cut short)",
    ]


def test_max_broken_of_0_ends_the_run_with_a_line_that_says_what_to_do(tmp_path) -> None:
    with pytest.raises(InputError, match=r"0\.tar:[12] .*--max-broken"):
        run(tmp_path, max_broken=0.0)


@pytest.mark.parametrize("share", [-0.1, 1.5, float("nan")])
def test_a_share_that_is_none_is_refused(share) -> None:
    with pytest.raises(InputError, match="--max-broken"):
        check_ranges(PretrainRun(STARTER, max_broken=share))
