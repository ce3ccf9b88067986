"""Segmentation: the model is the paper's, its training is the recipe's and can be stopped, and its
score is what it says.
"""

import copy
import math
import signal
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import segmentation_ranks
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from one_line import one_line_error
from safetensors.torch import load_file
from segmentation_ranks import Teller
from small_ade20k import files, write_ade20k, write_scene
from small_data import ON_A_CPU

from bench.downstream import segmentation
from bench.downstream.dense import harness
from bench.downstream.dense.ade20k import read_ade20k
from bench.downstream.dense.segment import task, training
from bench.downstream.dense.segment.evaluation import PROTOCOLS, SceneIoU, protocol_config, score
from bench.downstream.dense.segment.model import fitting_stride, segmentor
from bench.downstream.encoders.feature_map import FeatureMap
from bench.downstream.encoders.load import open_encoder, weights_digest
from bench.downstream.segmentation import Segmentation
from catlip.cli import InputError
from catlip.fidelity import warmup_steps
from catlip.recipes.dense import STARTER_SEGMENTATION, TABLE_7D
from catlip.record import read_record
from catlip.training.distributed import Place
from catlip.training.schedule import learning_rate
from catlip.training.trainer import WeightAverage

VIT = "random:vit_two@32"
CPU = Place(0, 1, torch.device("cpu"))
SMALL = replace(
    STARTER_SEGMENTATION,
    **{"resolution": 32, "short_side": (32, 48), "longest_side": 100},
    **{"micro_batch": 4, "head_channels": 16},
    **{"epochs": 2, "warmup_iterations": 2, "output_stride": 8, "ema_decay": 0.5},
)


@pytest.fixture(autouse=True)
def _vit_two(vit_two):
    """Every test can have it."""


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_ade20k(tmp_path_factory.mktemp("data") / "ade20k")


@pytest.fixture
def run_small(root, tmp_path):
    """Runs it on the small data; what it was started with, and its record."""

    def run(name="run", recipe=SMALL, **changes):
        options = ON_A_CPU | {"encoder": VIT, "data": f"ade20k:{root}", "draw": 2}
        config = Segmentation(recipe=recipe, out=tmp_path / f"{name}.json", **options | changes)
        segmentation.main(config)
        return read_record(config.out)

    return run


def built(spelling=VIT, recipe=SMALL, num_classes=3):
    torch.manual_seed(0)
    return segmentor(FeatureMap(open_encoder(spelling), recipe.output_stride), recipe, num_classes)


def batch(height=32, width=32, count=4, num_classes=3, seed=0):
    """Images in [0, 1], and mmsegmentation's samples of random labels, a fifth of them not
    judged.
    """
    rng = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, num_classes, (count, height, width), generator=rng)
    labels[torch.rand(labels.shape, generator=rng) < 0.2] = 255
    return torch.rand(count, 3, height, width, generator=rng), [sample(found) for found in labels]


def sample(labels):
    found = SegDataSample(metainfo={"ori_shape": labels.shape, "img_shape": labels.shape})
    found.set_data({"gt_sem_seg": PixelData(data=labels[None])})
    return found


# The model


@pytest.mark.parametrize(
    ("name", "count"),
    [("vit_b16_conv", 98_751_644), ("vit_l16_conv", 320_435_356), ("vit_h16_conv", 652_396_700)],
)
def test_the_model_has_as_many_parameters_as_the_releases(name, count):
    with torch.device("meta"):
        model = segmentor(FeatureMap(open_encoder(f"random:{name}@224"), 8), TABLE_7D, 150)
    assert sum(parameter.numel() for parameter in model.parameters()) == count


def test_the_encoders_weights_are_the_loaded_ones_also_when_mmengine_has_initialised_the_model():
    encoder = open_encoder("random:hybrid_mini@48", seed=3)
    expected = copy.deepcopy(encoder.module.state_dict())
    model = segmentor(FeatureMap(encoder, 8), SMALL, 3)
    model.init_weights()
    found = model.backbone.features.vit.state_dict()
    assert found.keys() == expected.keys()
    for name, tensor in found.items():
        assert torch.equal(tensor, expected[name]), name


def test_the_head_of_the_release_s_recipe_starts_as_torch_s_convolutions_do():
    deviations = {}
    for initialization in ("own", "release"):
        recipe = replace(SMALL, initialization=initialization, head_channels=64)
        head = built(recipe=recipe, num_classes=200).decode_head
        head.init_weights()
        convolutions = {
            name: m for name, m in head.named_modules() if isinstance(m, torch.nn.Conv2d)
        }
        deviations[initialization] = {
            name: float(m.weight.std() * math.sqrt(3 * m.weight[0].numel()))
            for name, m in convolutions.items()
        }
    assert len(deviations["release"]) == 7
    assert [*deviations["release"].values()] == pytest.approx([1] * 7, rel=0.05)
    assert deviations["own"]["conv_seg"] == pytest.approx(0.01 * math.sqrt(3 * 64), rel=0.05)


@pytest.mark.parametrize(
    ("stride", "side", "dilations"), [(8, 8, (12, 24, 36)), (16, 4, (6, 12, 18))]
)
def test_at_twice_the_stride_the_head_sees_as_many_pixels(stride, side, dilations):
    recipe = replace(TABLE_7D, output_stride=stride, head_channels=8)
    model = built("random:vit_tiny16@64", recipe).eval()
    assert model.backbone(torch.rand(1, 3, 64, 64))[0].shape == (1, 192, side, side)
    convolutions = [module.conv for module in model.decode_head.aspp_modules]
    assert [conv.kernel_size for conv in convolutions] == [(1, 1), (3, 3), (3, 3), (3, 3)]
    assert [conv.dilation[0] for conv in convolutions] == [1, *dilations]
    assert model.decode_head(model.backbone(torch.rand(1, 3, 64, 64))).shape == (1, 3, side, side)


def released_head(own, x):
    """Logits of features [B, D, H, W] by the release's head, read off its weights under its own
    names.
    """

    def convolved(name, x, dilation=1):
        weight = own[f"{name}.block.conv.weight"]
        padding = dilation * (weight.shape[-1] // 2)
        x = torch.nn.functional.conv2d(x, weight, dilation=dilation, padding=padding)
        mean, var, scale, shift = (
            own[f"{name}.block.norm.{what}"][:, None, None]
            for what in ("running_mean", "running_var", "weight", "bias")
        )
        x = (x - mean) / torch.sqrt(var + 1e-5) * scale + shift
        return x * (1 + torch.erf(x / math.sqrt(2))) / 2  # GELU

    branches = [convolved(f"convs.{i}", x, dilation) for i, dilation in enumerate((1, 12, 24, 36))]
    pooled = convolved("convs.4.aspp_pool.conv_1x1", x.mean(dim=(2, 3), keepdim=True))
    mixed = convolved("project", torch.cat([*branches, pooled.expand_as(branches[0])], dim=1))
    weight, bias = own["classifier.block.conv.weight"], own["classifier.block.conv.bias"]
    return torch.nn.functional.conv2d(mixed, weight, bias)


def test_the_head_is_the_release_s():
    """Weights under the release's names, random ones, give the same logits there and here."""
    head = built("random:vit_tiny16@64", replace(TABLE_7D, head_channels=8)).eval().decode_head
    names = {f"aspp_modules.{i}": f"convs.{i}" for i in range(4)}
    names |= {"image_pool.1": "convs.4.aspp_pool.conv_1x1", "bottleneck": "project"}
    own, draw = {}, torch.Generator().manual_seed(0)
    for here, there in names.items():
        module = head.get_submodule(here)
        weight = torch.randn(module.conv.weight.shape, generator=draw) / 4
        own[f"{there}.block.conv.weight"] = weight
        # mmsegmentation puts the pooled branch first.
        module.conv.weight.data.copy_(weight.roll(8, dims=1) if there == "project" else weight)
        for what in ("running_mean", "running_var", "weight", "bias"):
            drawn = torch.randn(8, generator=draw)
            drawn = drawn.abs() + 0.5 if what == "running_var" else drawn
            own[f"{there}.block.norm.{what}"] = drawn
            module.bn.state_dict()[what].copy_(drawn)
    for name, tensor in head.conv_seg.state_dict().items():
        tensor.copy_(torch.randn(tensor.shape, generator=draw))
        own[f"classifier.block.conv.{name}"] = tensor
    features = torch.randn(2, 192, 8, 8, generator=draw)
    with torch.inference_mode():
        found, expected = head((features,)), released_head(own, features)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_what_cannot_be_built_is_refused():
    with pytest.raises(InputError, match=r"resolution 40.* 16 .*--resolution 32"):
        built(recipe=replace(SMALL, resolution=40))
    with pytest.raises(InputError, match=r"--dilations.*--output-stride 4"):
        built(recipe=replace(SMALL, dilations=(1, 2, 3)))


@pytest.mark.parametrize(
    "spelling",
    ["random:vit_tiny16@64", "random:timm/vit_tiny_patch16_224", "random:hybrid_mini@48"],
)
def test_a_vit_of_any_stride_segments_by_the_starter_s_recipe(spelling):
    """Its dilations are for features 8 pixels apart, half of these encoders' patches."""
    encoder = open_encoder(spelling)
    assert fitting_stride(encoder, STARTER_SEGMENTATION) == 8
    features = FeatureMap(encoder, 8)
    model = segmentor(features, STARTER_SEGMENTATION, 3).eval()
    assert features.output_stride == 8
    assert model(torch.rand(1, 3, 80, 80)).shape == (1, 3, 10, 10)


def test_the_record_says_so_where_a_stride_was_halved(run_small):
    record = run_small(recipe=replace(SMALL, epochs=1, output_stride=0))
    assert [note for note in record["notes"] if note.startswith("output stride")] == [
        "output stride: 8 pixels, half of the encoder's, where the recipe's dilations fit"
    ]
    assert math.isfinite(record["metrics"]["miou_fixed"])


def test_the_loss_is_the_mean_over_the_pixels_that_are_judged():
    model, (images, samples) = built().eval(), batch()
    how = {"size": (32, 32), "mode": "bilinear", "align_corners": True}
    logits = torch.nn.functional.interpolate(model(images, mode="tensor"), **how)
    labels = torch.stack([found.gt_sem_seg.data[0] for found in samples])
    expected = torch.nn.functional.cross_entropy(logits, labels, ignore_index=255)
    torch.testing.assert_close(model(images, samples, mode="loss")["decode.loss_ce"], expected)


def test_a_batch_without_a_class_has_no_loss():
    images, samples = batch()
    for found in samples:
        found.gt_sem_seg.data.fill_(255)
    assert built()(images, samples, mode="loss")["decode.loss_ce"] == 0


def test_range_augment_has_its_loss_in_training_and_changes_nothing_in_a_test():
    images, samples = batch()
    plain, augmented = built(), built(recipe=replace(SMALL, range_augment=(40.0, 20.0)))
    assert torch.equal(augmented.eval()(images), plain.eval()(images))
    assert "loss_range_augment" not in plain.train()(images, samples, mode="loss")
    augmented.progress = 0.5
    for name in ("loss_range_augment", "decode.loss_ce"):  # the head sees augmented images
        augmented.zero_grad()
        augmented.train()(images, samples, mode="loss")[name].backward()
        for parameter in augmented.range_augment.parameters():
            assert parameter.grad.abs() > 0, name


# The recipe


def test_each_layer_learns_at_its_own_rate_and_only_matrices_decay():
    recipe = replace(SMALL, layer_decay=0.5, weight_decay=0.1, range_augment=(40.0, 20.0))
    model = built(recipe=recipe)
    names = {parameter: name for name, parameter in model.named_parameters()}
    groups = training.optim_wrapper(model, recipe, 1).optimizer.param_groups
    found = {
        names[parameter]: (group["lr_scale"], group["weight_decay"])
        for group in groups
        for parameter in group["params"]
    }
    assert found.keys() == set(names.values())
    vit = "backbone.features.vit."
    expected = {
        f"{vit}patch_embed.proj.weight": (0.125, 0.1),
        f"{vit}blocks.0.attn.qkv.weight": (0.25, 0.1),
        f"{vit}blocks.1.mlp.fc1.bias": (0.5, 0.0),
        f"{vit}norm.weight": (0.5, 0.0),
        "decode_head.conv_seg.weight": (1.0, 0.1),
        "decode_head.bottleneck.bn.weight": (1.0, 0.0),
        "range_augment.low.noise": (0.125, 0.0),
    }
    assert expected.items() <= found.items()


class Watch(Hook):
    """Notes rates, progress and weights at each micro-batch."""

    priority = "LOWEST"

    def __init__(self, model):
        self.model, self.rates, self.progress, self.weights = model, [], [], []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        groups = runner.optim_wrapper.optimizer.param_groups
        self.rates.append({group["lr_scale"]: group["lr"] for group in groups})
        self.progress.append(self.model.progress)

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.weights.append(copy.deepcopy(self.model.state_dict()))


@pytest.fixture
def watched(root, tmp_path, monkeypatch):
    """Trains a model by a recipe; what was seen of it, and it."""

    def run(recipe, num_steps):
        model = built(recipe=recipe)
        watch, register = Watch(model), Runner.register_hooks

        def register_hooks(self, default_hooks=None, custom_hooks=None):
            register(self, default_hooks, [*custom_hooks, watch])

        monkeypatch.setattr(training.SegmentationRunner, "register_hooks", register_hooks)
        stream = task.Stream(read_ade20k(root, "train"), recipe, 0)
        positions = task.Positions(recipe.micro_batch, num_steps * recipe.accumulation(1), CPU)
        loader = task.training_loader(stream, positions, 0)
        how = training.Training(
            recipe=recipe,
            num_steps=num_steps,
            folder=tmp_path / "run" / "work",
            identity={},
            place=CPU,
            seed=0,
            checkpoint_every=100,
            hidden=True,
        )
        losses, _ = training.train(model, loader, how)
        return watch, model, losses

    return run


def test_rates_and_weights_change_by_the_step_however_many_micro_batches_it_takes(watched):
    of_three = {"num_devices": 3, "micro_batch": 2, "warmup_iterations": 1}
    recipe = replace(SMALL, **of_three, layer_decay=0.5, range_augment=(40.0, 20.0))
    watch, _, losses = watched(recipe, num_steps=10)
    expected = [learning_rate(number // 3, 10, recipe) for number in range(30)]
    assert [rates[1.0] for rates in watch.rates] == pytest.approx(expected)
    assert [rates[0.125] for rates in watch.rates] == pytest.approx([rate / 8 for rate in expected])
    assert watch.progress == pytest.approx([number // 3 / 10 for number in range(30)])
    assert len(losses) == 10
    heads = [weights["decode_head.conv_seg.weight"] for weights in watch.weights]
    changes = [not torch.equal(before, after) for before, after in pairwise(heads)]
    assert changes == [(number + 1) % 3 == 2 for number in range(29)]


@pytest.mark.parametrize("rising", [False, True])
def test_the_average_is_that_of_pre_training(watched, rising):
    recipe = replace(SMALL, num_devices=2, micro_batch=2, ema_decay=0.8, ema_rising=rising)
    watch, model, _ = watched(recipe, num_steps=6)
    shadow = built(recipe=recipe)
    average = WeightAverage(shadow, 0.8, rising)
    for step, weights in enumerate(watch.weights[1::2]):
        shadow.load_state_dict(weights)
        average.update(step)
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point():
            torch.testing.assert_close(tensor, average.values[name], msg=name)


def test_without_averaging_the_last_weights_are_tested(watched):
    watch, model, _ = watched(replace(SMALL, ema_decay=0.0), num_steps=2)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, watch.weights[-1][name]), name


def test_a_short_run_warms_up_for_a_tenth_of_it():
    assert warmup_steps(replace(SMALL, warmup_iterations=500), 100) == 10
    assert warmup_steps(replace(SMALL, warmup_iterations=500), 31_578) == 500


# The score


def scored(root, model, draw=0):
    split = read_ade20k(root, "val")
    return score(model, split, 32, draw=draw, num_workers=0, hidden=True)


def told(root, predict):
    """The score of what `predict` makes of the truth."""
    return scored(root, Teller(predict))


def test_the_truth_scores_1_by_both_protocols(root):
    found = told(root, lambda truth: truth.clone())
    for protocol in PROTOCOLS:
        assert found[f"iou_{protocol}"] == [1.0, 1.0, 1.0]
        for name in ("miou", "accuracy", "class_accuracy"):
            assert found[f"{name}_{protocol}"] == 1.0


def test_fixed_is_of_squares_and_slide_of_the_shorter_side(tmp_path):
    root = write_ade20k(tmp_path / "ade20k", val=0)
    write_scene(root, "val", "wide", np.ones((20, 90), dtype=np.uint8))
    sizes = []

    class Looker(Teller):
        def test_step(self, scenes):
            sizes.append(tuple(scenes["inputs"][0].shape))
            return super().test_step(scenes)

    found = scored(root, Looker(lambda truth: truth))
    assert sizes == [(3, 32, 32), (3, 32, 144)]
    assert found["accuracy_slide"] == 1.0


def test_what_is_predicted_where_nothing_is_judged_does_not_count(root):
    found = told(root, lambda truth: torch.where(truth == 255, 2, truth))
    assert found["miou_fixed"] == 1.0


def test_one_class_everywhere_scores_what_it_covers(root):
    found = told(root, torch.zeros_like)
    assert found["iou_fixed"][1:] == [0.0, 0.0]
    assert found["iou_fixed"][0] == pytest.approx(1 / 3)
    assert found["miou_slide"] == pytest.approx(1 / 9)


def test_only_wrong_classes_score_0(root):
    found = told(root, lambda truth: torch.where(truth == 255, 255, (truth + 1) % 3))
    assert found["miou_fixed"] == 0


def test_a_class_that_is_nowhere_does_not_count(tmp_path):
    root = write_ade20k(tmp_path / "ade20k", val=0)
    write_scene(root, "val", "two", np.array([[1, 2]] * 8, dtype=np.uint8))
    found = told(root, lambda truth: truth.clone())
    assert (found["iou_fixed"], found["miou_fixed"]) == ([1.0, 1.0, None], 1.0)
    assert told(root, lambda truth: torch.full_like(truth, 2))["iou_fixed"] == [0.0, 0.0, 0.0]


def by_hand(truths, predictions, num_classes):
    """IoU by class from a confusion matrix, pixel by pixel."""
    confusion = [[0] * num_classes for _ in range(num_classes)]
    for truth, prediction in zip(truths, predictions, strict=True):
        if truth != 255:
            confusion[truth][prediction] += 1
    found = []
    for k in range(num_classes):
        union = sum(confusion[k]) + sum(row[k] for row in confusion) - confusion[k][k]
        found.append(confusion[k][k] / union if union else None)
    return found


@settings(max_examples=50, deadline=None)
@given(st.data(), st.integers(2, 6), st.integers(1, 3))
def test_iou_is_that_of_a_confusion_matrix(data, num_classes, count):
    pixels = st.lists(
        st.tuples(st.sampled_from([*range(num_classes), 255]), st.integers(0, num_classes - 1)),
        min_size=1,
    )
    scenes = [data.draw(pixels) for _ in range(count)]
    metric = SceneIoU()
    metric.dataset_meta = {"classes": list(range(num_classes))}
    for scene in scenes:
        truth, predicted = (torch.tensor(values)[None] for values in zip(*scene, strict=True))
        metric.process({}, [{"pred_sem_seg": {"data": predicted}, "gt_sem_seg": {"data": truth}}])
    truths, predictions = zip(*[pixel for scene in scenes for pixel in scene], strict=True)
    expected = by_hand(truths, predictions, num_classes)
    found = metric.evaluate(count)
    assert found["iou"] == pytest.approx(expected)
    counted = [value for value in expected if value is not None]
    assert found["miou"] == pytest.approx(np.mean(counted) if counted else math.nan, nan_ok=True)


def test_a_picture_of_any_size_is_predicted_whole(tmp_path):
    """Windows slide over it in both directions, and both protocols judge every pixel."""
    root = write_ade20k(tmp_path / "ade20k", val=0)
    for number, size in enumerate([(20, 90), (90, 20), (32, 32), (33, 47)]):
        write_scene(root, "val", f"{number}", np.ones(size, dtype=np.uint8))
    model = built()
    model.decode_head.conv_seg.bias.data[:] = torch.tensor([100.0, 0.0, 0.0])
    found = scored(root, model, draw=4)
    assert (found["accuracy_fixed"], found["accuracy_slide"]) == (1.0, 1.0)
    assert [picture["key"] for picture in found["pictures"]] == ["0", "1", "2", "3"]


def test_a_window_slides_by_two_thirds_of_its_side():
    expected = {"mode": "slide", "crop_size": (512, 512), "stride": (341, 341)}
    assert protocol_config("slide", 512) == expected


# Several processes


@pytest.fixture(scope="module")
def two_ranks(succeed, tmp_path_factory):
    """The data, the folder, and what each of two ranks found and trained; five test images are not
    shared evenly.
    """
    folder = tmp_path_factory.mktemp("ranks")
    root = write_ade20k(folder / "ade20k", val=5)
    succeed(Path(__file__).with_name("segmentation_ranks.py"), root, folder, ranks=2)
    return root, folder, [torch.load(folder / f"{rank}.pt") for rank in range(2)]


def test_ranks_together_find_what_one_finds_alone(two_ranks):
    root, folder, ranks = two_ranks
    alone = segmentation_ranks.found_in(root)
    assert [found for found, _ in ranks] == [alone, alone]
    written = sorted(path.name for path in folder.iterdir())
    assert written == ["0.pt", "1.pt", "ade20k", "checkpoints"]


def test_ranks_together_train_what_one_trains_alone(two_ranks, tmp_path):
    root, _, ranks = two_ranks
    alone = segmentation_ranks.trained_on(root, tmp_path, CPU)
    for _, together in ranks:
        torch.testing.assert_close(together, alone, rtol=1e-4, atol=2e-5)


# The program


def test_a_run_learns_leaves_its_weights_and_says_two_lines(
    run_small, root, tmp_path, capfd, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    record = run_small(recipe=replace(SMALL, epochs=40, max_lr=5e-3), quiet=False)
    said = capfd.readouterr()
    fixed, slide = (record["metrics"][f"miou_{protocol}"] for protocol in ("fixed", "slide"))
    assert said.out.splitlines() == [
        f"random   mIoU fixed {fixed:.3f}  slide {slide:.3f}",
        f"wrote {tmp_path / 'run.json'}",
    ]
    for line in filter(None, said.err.replace("\r", "\n").splitlines()):
        assert line.strip().startswith(("run:", "fixed:", "slide:"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run", "run.json"]
    written = sorted(path.name for path in (tmp_path / "run").iterdir())
    assert written == ["score.json", "threads.txt", "weights.safetensors"]
    losses = [loss for _, loss in record["samples"]["loss"]]
    assert len(losses) == 120
    assert losses[-1] < 0.5 * losses[0]
    assert fixed > 0.5
    assert record["samples"]["classes"] == ["person", "tree", "sea"]
    assert len(record["samples"]["iou_slide"]) == 3
    found = load_file(tmp_path / "run" / "weights.safetensors")
    assert weights_digest(found) == record["metrics"]["weights_digest"]
    assert "decode_head.conv_seg.weight" in found


def test_the_record_says_what_was_transferred_to_what(run_small):
    record = run_small(recipe=replace(SMALL, epochs=1))
    found = {"method": "random", "pretrain_seed": 0, "encoder_digest": open_encoder(VIT).digest()}
    found |= {"num_train": 12, "num_val": 6, "num_classes": 3}
    found |= {"train_images": 12, "val_images": 6, "val_unknown_pixels": 0}
    assert found.items() <= record["metrics"].items()
    pictures = record["samples"]["pictures"]
    assert [picture["key"] for picture in pictures] == ["val_0000", "val_0003"]
    assert all(picture.keys() == {"key", "image", "truth", "predicted"} for picture in pictures)
    assert any("warm-up: 0" in note for note in record["notes"])


def test_scenes_that_are_left_out_are_counted_and_listed_and_said(tmp_path, run_small, capfd):
    root = write_ade20k(tmp_path / "some")
    files(root, "val", "val_0002")[0].write_bytes(b"")
    files(root, "train", "train_0001")[1].unlink()
    record = run_small(data=f"ade20k:{root}", recipe=replace(SMALL, epochs=1))
    assert record["metrics"]["broken"] == {"no annotation": 1, "empty": 1}
    assert [key.split("/")[-1] for key in record["samples"]["broken_keys"]] == [
        "training:train_0001.jpg (no annotation)",
        "validation:val_0002.jpg (empty)",
    ]
    assert (record["metrics"]["num_train"], record["metrics"]["num_val"]) == (11, 5)
    assert "1 no annotation, 1 empty" in capfd.readouterr().out
    with pytest.raises(InputError, match="--max-broken 0"):
        run_small("none", data=f"ade20k:{root}", max_broken=0.0)


def test_overfitting_tests_what_was_trained_on(run_small):
    record = run_small(overfit=4, recipe=replace(SMALL, epochs=6))
    expected = {"overfit": 4, "num_train": 4, "num_val": 4, "train_images": 12}
    assert expected.items() <= record["metrics"].items()
    keys = [picture["key"] for picture in record["samples"]["pictures"]]
    assert keys == ["train_0000", "train_0002"]


@pytest.mark.parametrize(
    ("num_workers", "num_devices", "stopped_by", "saved"),
    [(0, 1, "SIGINT", 4), (2, 2, "SIGINT", 4), (0, 2, "SIGTERM", 5)],
)
def test_a_run_that_was_stopped_ends_as_one_that_was_not(
    run_small, tmp_path, monkeypatch, num_workers, num_devices, stopped_by, saved
):
    """By Ctrl-C, or by SIGTERM, after which it saves."""
    random = {"range_augment": (40.0, 20.0), "drop_path": 0.2, "grad_clip": 1.0}
    recipe = replace(SMALL, micro_batch=4 // num_devices, num_devices=num_devices, **random)
    options = {"recipe": recipe, "num_workers": num_workers, "checkpoint_every": 2}
    whole = run_small("whole", **options)
    step = training.Steps.after_train_iter

    def stop(self, runner, *args, **kwargs):
        step(self, runner, *args, **kwargs)
        if runner.iter == 5 * num_devices - 1:
            signal.raise_signal(signal.Signals[stopped_by])

    with monkeypatch.context() as patch:
        patch.setattr(training.Steps, "after_train_iter", stop)
        with pytest.raises(KeyboardInterrupt if stopped_by == "SIGINT" else SystemExit):
            run_small("stopped", **options)
    latest = (tmp_path / "stopped" / "checkpoints" / "last_checkpoint").read_text()
    assert latest.endswith(f"iter_{saved * num_devices}.pth")
    resumed = run_small("stopped", **options)
    for name in ("loss", "iou_fixed", "iou_slide", "pictures"):
        assert resumed["samples"][name] == whole["samples"][name]
    assert resumed["metrics"]["weights_digest"] == whole["metrics"]["weights_digest"]


def stopped_before_its_test(run_small, monkeypatch, name="run"):
    def stop(*args, **kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(task, "score", stop)
        with pytest.raises(KeyboardInterrupt):
            run_small(name)


def test_resuming_says_nothing(run_small, monkeypatch, capfd):
    stopped_before_its_test(run_small, monkeypatch)
    run_small()
    said = capfd.readouterr()
    assert said.err == ""
    assert len(said.out.splitlines()) == 2


def test_a_finished_run_is_not_repeated(run_small, monkeypatch):
    first = run_small()
    monkeypatch.setattr(task, "train", None)
    again = run_small()
    assert again["samples"] == first["samples"]
    assert again["metrics"] == first["metrics"]


def test_without_a_name_the_record_has_those_of_encoder_and_data(root):
    named = Segmentation(encoder=VIT, data=f"ade20k:{root}")
    assert named.out == Path("runs/bench/segmentation/random-vit_two@32-ade20k.json")
    assert named.folder == Path("runs/bench/segmentation/random-vit_two@32-ade20k")


def test_a_record_of_another_run_is_refused_and_stays(run_small, tmp_path):
    run_small()
    before = (tmp_path / "run.json").read_bytes()
    for change in ({"seed": 1}, {"recipe": replace(SMALL, max_lr=0.002)}):
        with pytest.raises(InputError, match=r"run\.json"):
            run_small(**change)
    assert (tmp_path / "run.json").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run", "run.json"]


def test_a_folder_of_another_run_is_refused(run_small, monkeypatch, tmp_path):
    run_small()
    (tmp_path / "run.json").unlink()
    with pytest.raises(InputError, match="seed 0 there, 1 now"):
        run_small(seed=1)
    stopped_before_its_test(run_small, monkeypatch, "half")
    with pytest.raises(InputError, match=r"half .*\(max_lr 0\.001 there, 0\.002 now\)"):
        run_small("half", recipe=replace(SMALL, max_lr=0.002))


def test_a_loss_that_is_not_finite_stops_the_run(run_small):
    with pytest.raises(InputError, match=r"nan .*step 1.*--seed"):
        run_small(recipe=replace(SMALL, max_lr=1e30, grad_clip=0.0, warmup_iterations=0))


def test_what_mmengine_cannot_do_on_a_cpu_is_refused(run_small, monkeypatch):
    with pytest.raises(InputError, match="precision bf16"):
        run_small(recipe=replace(SMALL, precision="bf16"))
    monkeypatch.setattr(harness, "find_place", lambda device: Place(0, 2, torch.device("cpu")))
    with pytest.raises(InputError, match="GPUs"):
        run_small()


def test_without_mmsegmentation_one_line_says_what_to_install(tmp_path):
    code = (
        "import sys; sys.modules['mmseg'] = None; from bench.downstream.segmentation import *; "
        "run(Segmentation, main, RECIPES)"
    )
    options = ["--encoder", VIT, "--data", f"ade20k:{tmp_path}", "--out", f"{tmp_path}/out.json"]
    command = [sys.executable, "-c", code, *options]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert ended.stdout == ""
    one_line_error(ended, "mmsegmentation", "pip install 'catlip-bench[segmentation]'")
