"""Training a classifier: its loss, which weights learn and how fast, and what it finds."""

import io
import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file
from small_data import ON_A_CPU
from torch import nn

from bench.downstream.probe.datasets import Split, load_tasks
from bench.downstream.probe.features import Features
from bench.downstream.probe.result import unpacked
from bench.downstream.probe.sweep import (
    Classification,
    Fit,
    Training,
    data_path,
    fit_linear,
    random_head,
    recipe_for_encoder,
    train_classifier,
    train_objective,
)
from catlip.cli import InputError
from catlip.data.augment import Augmentation, draws_at, random_crop
from catlip.data.sampler import SampleOrder, StepPlan
from catlip.encoders.load import load_encoder
from catlip.range_augment import AugmentedObjective, RangeAugment
from catlip.recipes.transfer import STARTER_PROBE
from catlip.training.distributed import Rank

CPU = torch.device("cpu")
HERE = Rank(0, 1, CPU)
OPTIONS = SimpleNamespace(**ON_A_CPU, max_broken=0.01, compile=False, checkpoint_every=200)
R = 0.65
# A rate at which a few steps are enough.
PROBE = replace(STARTER_PROBE, max_lr=1e-2, micro_batch=64, min_steps=0)


def classification(spelling: str, recipe, frozen: bool = False) -> Classification:
    encoder = load_encoder(spelling, 0, CPU)
    return Classification(encoder.module, random_head(encoder.num_features, 3, 0), recipe, frozen)


def test_rates_stay_those_of_the_layers_beside_range_augment(tiny_recipe, vit_two) -> None:
    plain = classification(vit_two, replace(tiny_recipe, layer_decay=R))
    made = AugmentedObjective(plain, RangeAugment())
    for name, _ in made.named_parameters():
        bare = name.removeprefix("objective.")
        assert made.lr_scale(name) == (plain.lr_scale(bare) if bare != name else 1.0)


def test_encoder_without_one_row_of_blocks_has_no_layers_to_decay(tiny_recipe) -> None:
    classification("random:timm/test_resnet", tiny_recipe)
    with pytest.raises(InputError):
        classification("random:timm/test_resnet", replace(tiny_recipe, layer_decay=R))


@pytest.mark.parametrize(("frozen", "ranges"), [(True, ()), (False, ()), (False, (40.0, 20.0))])
def test_probe_leaves_the_encoder_as_it_is(cats_and_dogs, tiny_recipe, tmp_path, frozen, ranges):
    recipe = replace(tiny_recipe, range_augment=ranges)
    encoder = load_encoder("random:hybrid_mini@32", 0, CPU)
    before, head = encoder.digest(), random_head(encoder.num_features, 2, 0)
    (task,) = load_tasks(cats_and_dogs)
    training = Training(tmp_path / "run", recipe, {}, seed=0, rank=HERE, options=OPTIONS)
    fit = Fit(task, 1.0, "random", 0, task.train, head)
    train_classifier(training, encoder, fit, frozen=frozen)
    assert (encoder.digest() == before) == frozen  # batch norm's statistics are part of it
    assert not torch.equal(head.weight, random_head(encoder.num_features, 2, 0).weight)
    weights = load_file(tmp_path / "run" / "weights.safetensors")
    prefix = "objective." if ranges else ""
    # What is tested is the average that is kept.
    assert torch.equal(weights[f"{prefix}head.weight"], head.weight)
    if frozen:
        assert not [name for name in weights if "image_encoder." in name]
    else:
        assert weights[f"{prefix}image_encoder.patch_embed.proj.1.num_batches_tracked"] == 4


def whole_pictures(split: Split, side: int) -> torch.Tensor:
    """[N, 3, side, side] uint8, as a crop of the whole picture is resized."""
    pictures = [np.array(Image.open(io.BytesIO(split.image_bytes(n)))) for n in range(len(split))]
    images = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)
    return F.interpolate(images, (side, side), mode="bilinear", antialias=True)


def test_fine_tuning_is_plain_torch(cats_and_dogs, tiny_recipe, vit_two, tmp_path) -> None:
    """Each step is on all images: neither their order nor their crops are of account. A warm-up is
    at most a tenth of the steps, here none.
    """
    recipe = replace(
        tiny_recipe,
        **{"iterations": 5, "micro_batch": 8, "warmup_iterations": 1, "layer_decay": 0.5},
        **{"max_lr": 1e-2, "min_lr": 1e-3, "betas": (0.6, 0.8), "eps": 1e-3, "weight_decay": 0.1},
        **{"grad_clip": 0.5, "ema_decay": 0.9, "ema_rising": False, "label_smoothing": 0.1},
        **{"crop_scale": (1.0, 1.0), "flip": 0.0},
    )
    (task,) = load_tasks(cats_and_dogs)
    made, plain = (classification(vit_two, recipe) for _ in range(2))
    before = {name: parameter.clone() for name, parameter in plain.named_parameters()}
    vit = "image_encoder."
    scales = {f"{vit}blocks.0.": 0.25, f"{vit}blocks.1.": 0.5, f"{vit}norm.": 0.5, "head.": 1.0}
    groups = []
    for name, parameter in plain.named_parameters():
        scale = next((scales[start] for start in scales if name.startswith(start)), 0.125)
        decay = 0.1 if parameter.ndim >= 2 else 0.0
        groups.append({"params": [parameter], "weight_decay": decay, "scale": scale})
    optimizer = torch.optim.AdamW(groups, betas=(0.6, 0.8), eps=1e-3)
    images, losses, average = whole_pictures(task.train, 32), [], {}
    for step in range(5):
        for group in optimizer.param_groups:
            cosine = (1 + math.cos(math.pi * step / 5)) / 2
            group["lr"] = (1e-3 + (1e-2 - 1e-3) * cosine) * group["scale"]
        optimizer.zero_grad()
        logits = plain.head(plain.image_encoder(images))
        labels = torch.from_numpy(task.train.labels)
        loss = F.cross_entropy(logits, labels, label_smoothing=0.1)
        losses.append(loss.item())
        loss.backward()
        nn.utils.clip_grad_norm_(plain.parameters(), 0.5)
        optimizer.step()
        for name, parameter in plain.named_parameters():
            now = parameter.detach().clone()
            average[name] = now if step == 0 else 0.9 * average[name] + 0.1 * now

    training = Training(tmp_path / "run", recipe, {}, seed=0, rank=HERE, options=OPTIONS)
    lines = train_objective(training, made, data_path(training, task.train))
    assert lines[-1]["loss"] == pytest.approx(np.mean(losses), rel=1e-4)
    found = dict(made.named_parameters())
    assert found.keys() == average.keys()
    for name, parameter in found.items():
        moved = (average[name] - before[name]).abs().max()
        assert (parameter - average[name]).abs().max() < 0.02 * moved, name


class Eye(nn.Module):
    """The mean colour of an image as its features, and the images that it has seen."""

    def __init__(self) -> None:
        super().__init__()
        self.scale, self.seen = nn.Parameter(torch.ones(3)), []

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.seen.append(images)
        return self.scale * images.float().mean((2, 3))


def test_fine_tuning_sees_the_images_of_its_seed_as_its_recipe_crops_them(
    cats_and_dogs, tiny_recipe, tmp_path
) -> None:
    recipe = replace(
        tiny_recipe,
        **{"min_resolution": 16, "max_resolution": 64, "num_scales": 3, "micro_batch": 3},
        **{"iterations": 6, "num_devices": 2, "crop_scale": (0.3, 0.6), "flip": 0.2},
    )
    (task,) = load_tasks(cats_and_dogs)
    eye, crops = Eye(), Augmentation(crop_scale=(0.3, 0.6), flip=0.2)
    made = Classification(eye, nn.Linear(3, 2), recipe, frozen=False)
    training = Training(tmp_path / "run", recipe, {}, seed=5, rank=HERE, options=OPTIONS)
    train_objective(training, made, data_path(training, task.train))
    order, plan = SampleOrder([8], seed=5), StepPlan(recipe.sizes(), 2, 6, seed=5)
    expected = []
    for step in map(plan.__getitem__, range(6)):
        for start in (step.start, step.start + step.batch):
            _, numbers = order(np.arange(start, start + step.batch))
            draws = draws_at(5, start, step.batch)
            pixels = [
                random_crop(task.train.image_bytes(number), step.resolution, crops, draws[i])
                for i, number in enumerate(numbers)
            ]
            expected.append(torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2))
    assert len({images.shape for images in expected}) > 1
    assert all(map(torch.equal, eye.seen, expected))
    assert len(eye.seen) == len(expected)


def test_encoder_of_one_size_is_trained_on_that_size(tiny_recipe) -> None:
    recipe = replace(tiny_recipe, resolution=64, max_resolution=96, num_scales=3, scale_multiple=32)
    for spelling, sizes in (
        ("random:openclip/ViT-S-32", [64]),
        ("random:hybrid_mini@32", [32, 64, 96]),
    ):
        encoder = load_encoder(spelling, 0, CPU, 64)
        assert [size.resolution for size in recipe_for_encoder(recipe, encoder).sizes()] == sizes


# On features that were computed once


def clusters(count: int, seed: int, spread: float = 0.1) -> Features:
    """Twenty clouds of points, one a class."""
    draw = np.random.default_rng(seed)
    centres = np.random.default_rng(0).normal(size=(20, 32)) * 3
    labels = np.arange(count) % 20
    values = torch.from_numpy(centres[labels] + draw.normal(size=(count, 32)) * spread).float()
    return Features(values, torch.from_numpy(labels), np.arange(count))


def fitted(train: Features, test: Features, recipe=PROBE, seed: int = 0):
    head = random_head(train.values.shape[1], 20, seed)
    return fit_linear(train, test, head, "random", recipe, seed)


def test_five_steps_on_features_are_those_of_plain_torch() -> None:
    """Plain AdamW takes standardised features, in an order of the seed and the epoch."""
    train, test = clusters(50, 1, spread=3), clusters(40, 2, spread=3)
    sizes = torch.logspace(-1, 1, 32)
    train, test = (replace(part, values=part.values * sizes + 5) for part in (train, test))
    recipe = replace(
        PROBE,
        **{"epochs": 0, "iterations": 5, "max_lr": 0.1, "min_lr": 0.01, "weight_decay": 0.1},
        **{"label_smoothing": 0.1, "micro_batch": 8, "num_devices": 2},
    )
    score = fitted(train, test, recipe, seed=3)

    classifier, draw = random_head(32, 20, 3), torch.Generator().manual_seed(3)
    batches = [rows for _ in range(2) for rows in torch.randperm(50, generator=draw).split(16)]
    mean, deviation = train.values.mean(0), train.values.std(0, correction=0)
    optimizer = torch.optim.AdamW(classifier.parameters(), weight_decay=0.1)
    for step, rows in enumerate(batches[:5]):
        cosine = math.cos(math.pi * step / 5)
        optimizer.param_groups[0]["lr"] = 0.01 + (0.1 - 0.01) * (1 + cosine) / 2
        optimizer.zero_grad()
        logits = classifier((train.values[rows] - mean) / deviation)
        loss = F.cross_entropy(logits, train.labels[rows], label_smoothing=0.1)
        loss.backward()
        optimizer.step()
    predicted = classifier((test.values - mean) / deviation).argmax(1)
    assert score.final_loss == pytest.approx(loss.item(), rel=1e-5)
    assert (unpacked(score.correct, len(test)) == (predicted == test.labels).numpy()).all()
    assert score.top1 == (predicted == test.labels).double().mean().item()


def test_transferred_head_fits_standardised_features():
    train, head = clusters(400, 1), random_head(32, 20, 0)
    stretch = torch.linspace(0.1, 3, 32)
    with torch.no_grad():  # the right classifier of the stretched features, far from their mean
        centres = torch.stack([train.values[train.labels == label].mean(0) for label in range(20)])
        head.weight.copy_(centres / stretch)
        head.bias.copy_(-centres.square().sum(1) / 2)
    still = replace(PROBE, max_lr=1e-12, min_lr=0.0, iterations=1, epochs=0)
    shifted = replace(train, values=train.values * stretch)
    starts = ("transfer", "names", "random")
    *pretrained, random = (
        fit_linear(shifted, shifted, head, init, still, 0).top1 for init in starts
    )
    assert pretrained == [1, 1]
    assert random < 1


@pytest.mark.parametrize(
    ("changes", "steps"),
    [
        ({"epochs": 0.5}, 4),
        ({"epochs": 0, "iterations": 5, "min_steps": 9}, 5),
        ({"epochs": 1e-6}, 1),
        ({"epochs": 1, "min_steps": 9}, 9),
        ({"epochs": 2, "min_steps": 9}, 14),
    ],
)
def test_recipe_of_epochs_or_of_iterations_trains_as_long_as_it_says(changes, steps, monkeypatch):
    rates = []
    original = torch.optim.AdamW.step

    def step(self: torch.optim.AdamW) -> None:
        rates.append(self.param_groups[0]["lr"])
        original(self)

    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    # Seven batches an epoch.
    fitted(clusters(400, 1), clusters(40, 2), replace(PROBE, **changes))
    assert len(rates) == steps
    assert rates[0] == PROBE.max_lr


def test_random_start_with_one_image_a_class_is_as_good_as_class_means() -> None:
    draw = np.random.default_rng(0)
    # As an encoder's, features depend on each other: some directions hold more than others.
    turn = np.linalg.qr(draw.normal(size=(128, 128)))[0] / np.arange(1, 129)[:, None] ** 0.75
    centres = draw.normal(size=(100, 128))

    def drawn(count: int) -> Features:
        labels = np.arange(count) % 100
        values = (centres[labels] + draw.normal(size=(count, 128)) / 2) @ turn
        return Features(torch.from_numpy(values).float(), torch.from_numpy(labels), labels)

    train, test = drawn(100), drawn(2_000)
    means, deviation = train.values.mean(0), train.values.std(0, correction=0)
    prototypes, values = ((part.values - means) / deviation for part in (train, test))
    nearest = (F.normalize(values, dim=1) @ F.normalize(prototypes, dim=1).T).argmax(1)
    by_means = (train.labels[nearest] == test.labels).double().mean().item()
    assert by_means > 0.5
    few = fit_linear(train, test, random_head(128, 100, 0), "random", STARTER_PROBE, 0)
    assert few.top1 > by_means - 0.03
