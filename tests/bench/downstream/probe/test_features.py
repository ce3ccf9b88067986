"""Features are the encoder's, accuracies torchmetrics'; broken pictures are left out by name."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small_data import png
from torch import Tensor, nn
from torchmetrics.functional.classification import multiclass_accuracy

from bench.downstream.probe.datasets import Split
from bench.downstream.probe.features import BATCH, Extractor, extract, extract_part, hits
from catlip.cli import InputError
from catlip.encoders.load import LoadedEncoder
from catlip.encoders.preprocess import central_square
from catlip.program.broken import MAX_BROKEN
from catlip.training.distributed import Rank


class Mean(nn.Module):
    """An encoder of one feature: how light a picture is."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, images: Tensor) -> Tensor:
        return images.float().mean((1, 2, 3))[:, None] * self.scale / 255


def split_of(pictures: list[bytes]) -> Split:
    keys = [f"{number}.png" for number in range(len(pictures))]
    labels = np.arange(len(pictures), dtype=np.int64) % 2
    return Split(Path("pictures"), keys, labels, pictures.__getitem__)


def reading(max_broken: float = MAX_BROKEN) -> SimpleNamespace:
    return SimpleNamespace(num_workers=0, quiet=True, max_broken=max_broken)


def loaded(module: nn.Module) -> LoadedEncoder:
    return LoadedEncoder(module, central_square(8), "mean", pretrain_seed=None)


def features_of(module: nn.Module, pictures: list[bytes], **options: Any):
    return extract(loaded(module), split_of(pictures), reading(**options))


@given(st.integers(1, 40), st.sampled_from([2, 3, 5, 6, 20]), st.integers(0, 2**31))
def test_top_1_and_top_5_are_those_of_torchmetrics(size, classes, seed) -> None:
    draw = torch.Generator().manual_seed(seed)
    scores = torch.randn(size, classes, generator=draw)
    labels = torch.randint(classes, (size,), generator=draw)
    found = hits(scores, labels).double().mean(0).tolist()
    for accuracy, top_k in zip(found, (1, min(5, classes)), strict=True):
        how = {"num_classes": classes, "top_k": top_k, "average": "micro"}
        expected = multiclass_accuracy(scores, labels, **how).item()
        assert accuracy == pytest.approx(expected)


def test_features_keep_the_order_of_the_images_over_batches() -> None:
    levels = np.random.default_rng(0).integers(30, 220, size=BATCH["cpu"] + 5)
    found = features_of(Mean(), [png(int(level), 0, (8, 8)) for level in levels])
    np.testing.assert_allclose(found.values[:, 0], levels / 255, atol=0.02)
    assert found.labels.tolist() == [number % 2 for number in range(BATCH["cpu"] + 5)]
    chosen = found.take(np.array([34, 7, 2]))
    assert chosen.numbers.tolist() == [2, 7, 34]
    assert torch.equal(chosen.values, found.values[[2, 7, 34]])


def test_each_rank_has_its_part_of_seven_images() -> None:
    pictures = [png(30 * number + 20, 0, (8, 8)) for number in range(7)]
    pictures[3] = b""
    whole, split = features_of(Mean(), pictures, max_broken=1.0), split_of(pictures)
    row_of = {number: row for row, number in enumerate(whole.numbers.tolist())}
    for rank, numbers in ((0, [0, 2, 4, 6]), (1, [1, 5])):
        rank = Rank(rank, 2, torch.device("cpu"))
        part = extract_part(loaded(Mean()), split, reading(1.0), rank)
        assert part.numbers.tolist() == numbers
        rows = [row_of[number] for number in numbers]
        assert torch.equal(part.values, whole.values[rows])
        assert torch.equal(part.labels, whole.labels[rows])


@pytest.mark.parametrize("broken", [b"", png(0, 0)[:200]])
def test_ten_broken_pictures_are_named_and_left_out(broken) -> None:
    pictures = [png(200, number, (8, 8)) for number in range(20)]
    for number in range(0, 20, 2):
        pictures[number] = broken
    found = features_of(Mean(), pictures)
    assert found.numbers.tolist() == list(range(1, 20, 2))
    assert found.labels.tolist() == [1] * 10
    assert (found.values > 0.5).all()
    keys = [f"pictures:{number}.png" for number in range(0, 20, 2)]
    assert [image.key for image in found.broken.images()] == keys


def test_more_broken_pictures_than_allowed_are_refused() -> None:
    few = [b""] * 11 + [png(200, 0, (8, 8))] * 20
    for pictures, options in ((few, {}), ([b"", b""], {}), (few[10:], {"max_broken": 0.0})):
        with pytest.raises(InputError):
            features_of(Mean(), pictures, **options)
    assert len(features_of(Mean(), few, max_broken=0.4)) == 20


def test_image_of_two_splits_is_encoded_once() -> None:
    pictures = [png(20 * number, number, (8, 8)) for number in range(12)]
    pictures[4] = b""
    whole = split_of(pictures)
    few, many = whole.take(np.array([9, 4, 2])), whole.take(np.array([3, 9, 0, 2, 4, 11]))
    encoder, encoded = Mean(), []
    encoder.register_forward_pre_hook(lambda _, inputs: encoded.append(len(inputs[0])))
    features = Extractor(loaded(encoder), reading())
    for split in (few, many):
        found, alone = features(split), extract(loaded(Mean()), split, reading())
        torch.testing.assert_close(found.values, alone.values)
        assert found.numbers.tolist() == alone.numbers.tolist()
        assert found.broken.images() == alone.broken.images()
    assert encoded == [2, 3]
    features(replace(many, path=Path("others")))
    assert encoded == [2, 3, 5]
