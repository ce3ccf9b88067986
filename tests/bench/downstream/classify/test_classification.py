"""Training a classifier: the loss, which weights learn and how fast, and which are left alone."""

import itertools
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from bench.downstream.classify.accuracy import extract, hits
from bench.downstream.classify.classification import Classification, evaluate, train_classifier
from bench.downstream.classify.datasets import load_tasks
from bench.downstream.classify.fit import Run
from bench.downstream.classify.heads import random_head
from bench.downstream.encoders.load import LoadedEncoder, load_encoder
from bench.downstream.probe.result import unpacked
from catlip.cli import InputError
from catlip.data.loader import Batch, RaggedLabels
from catlip.range_augment import Augmented, RangeAugment
from catlip.training.distributed import Place
from catlip.training.schedule import adamw
from catlip.training.trainer import Trainer

CPU = torch.device("cpu")
HERE = Place(0, 1, CPU)
READING = SimpleNamespace(num_workers=0, quiet=True, max_broken=0.01)
R = 0.65


def classification(spelling: str, recipe, frozen: bool = False) -> Classification:
    encoder = load_encoder(spelling, 0, CPU)
    return Classification(encoder.module, random_head(encoder.num_features, 3, 0), recipe, frozen)


def batch_of(count: int = 4, side: int = 32) -> Batch:
    labels = RaggedLabels(torch.arange(count) % 3, torch.arange(count + 1))
    draw = torch.Generator().manual_seed(0)
    images = torch.randint(256, (count, 3, side, side), generator=draw, dtype=torch.uint8)
    return Batch(images, [str(number) for number in range(count)], labels)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("frozen", [False, True])
def test_the_loss_is_torch_s_cross_entropy_of_the_head_s_logits(
    tiny_recipe, vit_two, smoothing, frozen
) -> None:
    made = classification(vit_two, replace(tiny_recipe, label_smoothing=smoothing), frozen)
    batch = batch_of()
    logits = made.head(made.image_encoder(batch.images))
    expected = F.cross_entropy(logits, batch.labels.values, label_smoothing=smoothing)
    torch.testing.assert_close(made(batch), expected)


def rates(module: nn.Module, recipe) -> dict[str, float]:
    """Name -> what its learning rate is multiplied by, from the optimizer's own groups."""
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    groups = adamw(module, recipe).param_groups
    found = [
        (names[id(parameter)], group["lr_scale"])
        for group in groups
        for parameter in group["params"]
    ]
    assert len(found) == len(dict(found)) == len(names)
    return dict(found)


@pytest.mark.parametrize("wrapped", [False, True])
def test_rates_fall_from_the_head_to_the_stem_block_by_block(tiny_recipe, wrapped) -> None:
    recipe = replace(tiny_recipe, layer_decay=R)
    made: nn.Module = classification("random:vit_tiny16@32", recipe)
    if wrapped:
        made = Augmented(made, RangeAugment())
    found = rates(made, recipe)
    prefix = "objective." if wrapped else ""
    vit = f"{prefix}image_encoder."
    expected = {f"{prefix}head.weight": 1, f"{vit}norm.weight": R}
    expected |= {f"{vit}blocks.{i}.attn.qkv.weight": R ** (12 - i) for i in range(12)}
    stem = ("cls_token", "pos_embed", "patch_embed.proj.weight", "patch_embed.proj.bias")
    expected |= {f"{vit}{name}": R**13 for name in stem}
    assert {name: found[name] for name in expected} == pytest.approx(expected)
    assert set(found.values()) == {1.0, *(R**power for power in range(1, 14))}
    if wrapped:
        assert {found[name] for name in found if name.startswith("range_augment.")} == {1.0}


@pytest.mark.parametrize(
    ("spelling", "depth", "stem", "last"),
    [
        ("random:hybrid_mini@32", 1, "patch_embed.proj.3.conv1.weight", "fc_norm.weight"),
        ("random:timm/test_vit", 6, "encoder.patch_embed.proj.weight", "encoder.norm.weight"),
        ("random:openclip/ViT-S-32", 12, "encoder.conv1.weight", "encoder.ln_post.weight"),
    ],
)
def test_any_row_of_blocks_has_a_stem_before_it_and_a_norm_behind(
    tiny_recipe, spelling, depth, stem, last
) -> None:
    made = classification(spelling, replace(tiny_recipe, layer_decay=R))
    assert made.lr_scale(f"image_encoder.{stem}") == pytest.approx(R ** (depth + 1))
    assert made.lr_scale(f"image_encoder.{last}") == pytest.approx(R)


@pytest.mark.parametrize("name", ["test_resnet", "test_convnext"])
def test_an_encoder_without_one_row_of_blocks_has_no_layers_to_decay(tiny_recipe, name) -> None:
    classification(f"random:timm/{name}", tiny_recipe)
    with pytest.raises(InputError, match="--layer-decay"):
        classification(f"random:timm/{name}", replace(tiny_recipe, layer_decay=R))


def test_without_decay_there_are_the_two_groups_of_any_objective(tiny_recipe, vit_two) -> None:
    made = classification(vit_two, tiny_recipe)
    decayed, free = adamw(made, tiny_recipe).param_groups
    assert all(parameter.ndim >= 2 for parameter in decayed["params"])
    assert {parameter.ndim for parameter in free["params"]} == {1}
    assert (decayed["weight_decay"], free["weight_decay"]) == (tiny_recipe.weight_decay, 0)
    assert decayed["lr_scale"] == free["lr_scale"] == 1
    assert len(decayed["params"]) + len(free["params"]) == len(list(made.parameters()))


def test_the_trainer_multiplies_the_rate_of_each_group(tiny_recipe, vit_two) -> None:
    recipe = replace(tiny_recipe, layer_decay=0.5, warmup_iterations=0)
    made = classification(vit_two, recipe)
    before = {name: parameter.detach().clone() for name, parameter in made.named_parameters()}
    trainer = Trainer(made, replace(recipe, weight_decay=0.0), 10, place=HERE)
    trainer.train_step(iter([batch_of()]))
    assert {group["lr"] for group in trainer.optimizer.param_groups} == {
        recipe.max_lr * 0.5**power for power in range(4)
    }
    moved = {
        name: (parameter.detach() - before[name]).abs().max().item()
        for name, parameter in made.named_parameters()
    }
    powers = {"head.weight": 0, "image_encoder.norm.weight": 1, "image_encoder.cls_token": 3}
    for name, power in powers.items():  # AdamW's first step has the rate's size
        assert moved[name] == pytest.approx(recipe.max_lr * 0.5**power, rel=0.05), name


def test_a_frozen_encoder_stays_in_evaluation_mode_and_out_of_the_optimizer(tiny_recipe) -> None:
    made = classification("random:hybrid_mini@32", tiny_recipe, frozen=True)
    made.train()
    assert made.head.training
    assert not any(module.training for module in made.image_encoder.modules())
    learning = itertools.chain(
        *(group["params"] for group in adamw(made, tiny_recipe).param_groups)
    )
    assert {*map(id, learning)} == {*map(id, made.head.parameters())}
    free = classification("random:hybrid_mini@32", tiny_recipe)
    assert free.image_encoder.training
    assert all(parameter.requires_grad for parameter in free.parameters())


def trained(
    folder: Path, spelling: str, data: str, recipe, frozen: bool
) -> tuple[LoadedEncoder, nn.Linear]:
    """An encoder and its head after a run, which is kept as `run` in the folder."""
    encoder = load_encoder(spelling, 0, CPU)
    head = random_head(encoder.num_features, 2, 0)
    (task,) = load_tasks(data)
    run = Run(folder / "run", recipe, {}, frozen, seed=0, place=HERE, num_workers=0, quiet=True)
    train_classifier(run, encoder, head, task.train, task)
    return encoder, head


@pytest.mark.parametrize("ranges", [(), (40.0, 20.0)])
@pytest.mark.parametrize("frozen", [True, False])
def test_a_probe_leaves_the_encoder_as_it_is_and_fine_tuning_does_not(
    cats_and_dogs, tiny_recipe, tmp_path, frozen, ranges
) -> None:
    recipe = replace(tiny_recipe, range_augment=ranges)
    before = load_encoder("random:hybrid_mini@32", 0, CPU)
    encoder, head = trained(tmp_path, "random:hybrid_mini@32", cats_and_dogs, recipe, frozen)
    assert (encoder.digest() == before.digest()) == frozen  # batch norm's statistics are part of it
    assert not torch.equal(head.weight, random_head(encoder.num_features, 2, 0).weight)
    weights = load_file(tmp_path / "run" / "weights.safetensors")
    prefix = "objective." if ranges else ""
    # What is tested is the average that is kept.
    assert torch.equal(weights[f"{prefix}head.weight"], head.weight)
    if frozen:
        assert not [name for name in weights if "image_encoder." in name]
    else:
        assert weights[f"{prefix}image_encoder.patch_embed.proj.1.num_batches_tracked"] == 4


class Recording(nn.Module):
    """Writes down in which mode it is asked."""

    def __init__(self, encoder: nn.Module):
        super().__init__()
        self.encoder = encoder
        self.modes: list[bool] = []

    def forward(self, images: Tensor) -> Tensor:
        self.modes.append(self.training)
        return self.encoder(images)


def test_accuracy_is_measured_in_evaluation_mode_over_the_images_that_can_be_read(
    cats_and_dogs, tiny_recipe
) -> None:
    encoder = load_encoder("random:hybrid_mini@32", 0, CPU)
    head = random_head(encoder.num_features, 2, 0)
    made = Classification(Recording(encoder.module), head, tiny_recipe, frozen=False)
    (task,) = load_tasks(cats_and_dogs)
    run = SimpleNamespace(place=HERE, **vars(READING))
    found = evaluate(made, encoder.preprocess, task.test, run=run)
    assert made.image_encoder.modes == [False]
    features = extract(encoder.module, encoder.preprocess, task.test, reading=READING)
    with torch.inference_mode():
        right = hits(made.head(features.values), features.labels)
    assert [found["top1"], found["top5"]] == pytest.approx(right.double().mean(0).tolist())
    assert unpacked(found["correct"], 8).tolist() == right[:, 0].tolist()
