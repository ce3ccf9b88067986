"""RangeAugment reads as the release's, and augments alike however a run is cut up."""

import math
from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from bench.measuring import methods
from bench.measuring.factors import Factors
from catlip import range_augment
from catlip.range_augment import AugmentedObjective, Draws, RangeAugment, draw
from catlip.training.distributed import init_distributed
from catlip.training.schedule import Optimization
from catlip.training.trainer import Trainer

NAMES = ("brightness", "contrast", "noise")


def pictures(count: int, side: int = 8, dtype: torch.dtype = torch.float32) -> Tensor:
    seeded = torch.Generator().manual_seed(0)
    return torch.rand(count, 3, side, side, generator=seeded, dtype=dtype)


def drawn_with(seed: int, images: Tensor) -> Draws:
    torch.manual_seed(seed)
    return draw(images)


def augmented_with(seed: int, images: Tensor, progress: float = 0.5) -> tuple[Tensor, Tensor]:
    torch.manual_seed(seed)
    return RangeAugment()(images, progress)


def by_hand(images: np.ndarray, draws: Draws) -> np.ndarray:
    """The release's operations with its initial ranges, image by image."""

    def sigmoid(x: float) -> float:
        return 1 / (1 + math.exp(-x))

    scaling = (0.1 + 0.8 * sigmoid(0.5), 1.1 + 8.9 * sigmoid(1.5))
    noise = (5e-5 / 2, 1e-4 + (1 - 1e-4) * sigmoid(0.1))
    ranges = {"brightness": scaling, "contrast": scaling, "noise": noise}
    images = images.copy()
    for name in draws.order:
        low, high = ranges[name]
        for turn, i in enumerate(draws.chosen[name].tolist()):
            m = low + draws.where[name][turn].item() * (high - low)
            for channel in range(3):
                x = images[i, channel]
                if name == "brightness":
                    images[i, channel] = m * x
                elif name == "contrast":
                    images[i, channel] = (1 - m) * x.mean() + m * x
                else:
                    images[i, channel] = x + m * draws.noise[turn, channel].numpy()
    return np.minimum(np.maximum(images, 0), 1)


@pytest.mark.parametrize("count", [1, 2, 7])
@pytest.mark.parametrize("seed", range(4))
def test_images_and_loss_are_those_of_a_reading_by_hand(count, seed) -> None:
    images, augment = pictures(count, dtype=torch.float64), RangeAugment(psnr=(40, 20))
    expected = by_hand(images.numpy(), drawn_with(seed, images))
    torch.manual_seed(seed)
    augmented, loss = augment(images, progress=0.25)
    np.testing.assert_allclose(augmented.detach().numpy(), expected, atol=1e-6)

    error = (((expected - images.numpy()) * 255) ** 2).reshape(count, -1).mean(axis=1)
    target = 65_025 / 10**2 + (65_025 / 10**4 - 65_025 / 10**2) * (1 + math.cos(math.pi / 4)) / 2
    away = np.abs(error - target)
    smooth = np.where(away < 1, away**2 / 2, away - 0.5)
    assert loss.item() == pytest.approx(100 / 65_025 * smooth.mean(), rel=1e-5)
    decibels = 10 * math.log10(65_025 / error.mean())
    assert augment.psnr_db.item() == pytest.approx(decibels, abs=1e-4)


def ends_of(augment: RangeAugment) -> list[float]:
    """The lower and the upper end of each range."""
    return [end.item() for name in NAMES for end in augment.ranges()[name].values()]


@pytest.mark.parametrize("raw", [-100.0, 100.0])
def test_ranges_stay_within_their_bounds_whatever_is_learnt(raw) -> None:
    augment = RangeAugment()
    at_start = [0.598, 8.376, 0.598, 8.376, 2.5e-5, 0.525]  # the release's
    assert ends_of(augment) == pytest.approx(at_start, abs=5e-4)
    with torch.no_grad():
        for parameter in augment.parameters():
            parameter.fill_(raw)
    bounds = [0.1, 1.1, 0.1, 1.1, 0, 1e-4] if raw < 0 else [0.9, 10, 0.9, 10, 5e-5, 1]
    assert ends_of(augment) == pytest.approx(bounds, abs=1e-6)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("count", "half"), [(1, 1), (2, 1), (7, 3), (8, 4)])
def test_each_operation_changes_half_of_the_images(name, count, half) -> None:
    images = pictures(count)
    drawn = drawn_with(5, images)
    alone = RangeAugment().augment(images, replace(drawn, order=[name]))
    changed = (alone != images).flatten(1).any(dim=1)
    assert sorted(drawn.chosen[name].tolist()) == changed.nonzero().flatten().tolist()
    assert changed.sum() == half


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_autocast_and_half_precision_leave_the_error_in_full_precision(dtype) -> None:
    images = pictures(6).to(dtype)
    plain, loss = augmented_with(2, images.float())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast, cast_loss = augmented_with(2, images)
    assert cast.dtype == cast_loss.dtype == torch.float32
    assert torch.equal(cast, plain)
    assert torch.equal(cast_loss, loss)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_memory_layout_stays_and_changes_nothing(layout) -> None:
    images = pictures(6).contiguous(memory_format=layout)
    augmented, _ = augmented_with(2, images)
    assert augmented.stride() == images.stride()
    draws = drawn_with(2, images)
    assert torch.equal(augmented, RangeAugment().augment(pictures(6), draws))


@pytest.mark.parametrize("method", methods.METHODS)
def test_every_method_can_be_augmented_and_does_not_know(method) -> None:
    plain, augment = (
        methods.build(Factors(method, "hybrid_mini", 16, num_classes=20, seed=0)),
        RangeAugment(),
    )
    batch = methods.synthetic_batch(Factors("catlip", "hybrid_mini", 16, 4, num_classes=20), seed=0)
    objective = AugmentedObjective(plain, augment)
    assert (objective.needs, objective.whole_step) == (plain.needs, plain.whole_step)
    assert objective.image_encoder is plain.image_encoder

    objective.set_progress(0.75)
    as_before = deepcopy(plain)  # a method may count the captions that it has seen
    torch.manual_seed(3)
    loss = objective(batch)
    torch.manual_seed(3)
    images, own = augment(batch.images, 0.75)
    expected = as_before(replace(batch, images=images)) + own
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    loss.backward()
    assert all(parameter.grad is not None for parameter in objective.parameters())
    ends = {f"{name}_{end}" for name in NAMES for end in ("low", "high")}
    assert objective.metrics().keys() == {"psnr_db", *ends, *plain.metrics()}
    objective.eval()
    assert torch.equal(objective(batch), plain(batch))


def drawn_alike_in_parts(images: Tensor) -> Draws:
    """Four images at a time: of eight, the draws of both halves."""
    seeded = torch.Generator().manual_seed(7)
    parts = len(images) // 4
    begins = 4 * torch.arange(parts)[:, None]
    chosen = {name: (begins + torch.tensor([i, 3])).flatten() for i, name in enumerate(NAMES)}
    where = {name: torch.rand(2, generator=seeded).repeat(parts) for name in NAMES}
    noise = torch.randn(2, *images.shape[1:], generator=seeded).repeat(parts, 1, 1, 1)
    return Draws([*NAMES], chosen, where, noise=noise)


def test_two_micro_batches_of_clip_are_one_batch_of_double_size(monkeypatch) -> None:
    monkeypatch.setattr(range_augment, "draw", drawn_alike_in_parts)
    # An encoder without batch norm, which sees each micro-batch alone.
    factors = Factors("clip", "vit_tiny16", 16, batch_size=4, num_classes=20)
    parts = [methods.synthetic_batch(factors, seed=seed) for seed in (0, 1)]
    images, tokens = (
        torch.cat([getattr(part, name) for part in parts]) for name in ("images", "tokens")
    )
    whole = replace(parts[0], images=images, tokens=tokens, labels=None)
    found = []
    for batches in (parts, [whole]):
        trainer = Trainer(
            AugmentedObjective(methods.build(factors), RangeAugment()),
            Optimization(precision="fp32"),
            10,
            rank=init_distributed("cpu"),
            accumulation=len(batches),
        )
        step = trainer.train_step(iter(batches))
        gradients = {name: p.grad for name, p in trainer.objective.named_parameters()}
        assert sum(name.startswith("range_augment.") for name in gradients) == 6
        found.append({"loss": torch.tensor(step.loss), **gradients})
    torch.testing.assert_close(found[0], found[1], rtol=2e-4, atol=1e-6)
