"""Segmentation: the paper's model, the recipe's data and training, and the score."""

import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("mmseg", reason=".venv/bin/pip install -e '.[segmentation]'")

from mmengine.dataset import pseudo_collate
from mmengine.structures import PixelData
from mmseg.datasets.transforms import RandomCrop
from PIL import Image
from small_dense import COLOURS, GREY, SEGMENTATION, files, write_ade20k, write_scene

from bench.downstream.dense.annotations import read_ade20k
from bench.downstream.dense.segmentation import (
    PROTOCOLS,
    SceneDataset,
    Segment,
    TrainingScenes,
    evaluation_pipeline,
    segmentor,
)
from catlip.encoders.load import open_encoder
from catlip.recipes.dense import TABLE_7D
from catlip.training.distributed import Rank

ALONE = Rank(0, 1, torch.device("cpu"))
VIT = "random:vit_two@32"
CROPS = replace(SEGMENTATION, short_side=(24, 64))
pytestmark = pytest.mark.usefixtures("vit_two")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_ade20k(tmp_path_factory.mktemp("data") / "ade20k")


def built(spelling=VIT, recipe=SEGMENTATION, num_classes=3):
    torch.manual_seed(0)
    return segmentor(open_encoder(spelling), recipe, num_classes)


# The data


def test_class_i_has_id_i_plus_1_and_no_class_is_not_judged(tmp_path):
    root = write_ade20k(tmp_path, val=20)
    annotated = np.array([[0, 1, 2, 3, 255, 254]], dtype=np.uint8).repeat(2, axis=0)
    write_scene(root, "val", "a_first", annotated)
    scenes = SceneDataset(read_ade20k(root, "val"), evaluation_pipeline("fixed", 32))
    labels = scenes[0]["data_samples"].gt_sem_seg.data[0].numpy()
    np.testing.assert_array_equal(labels[0], [255, 0, 1, 2, 255, 255])


def test_pixels_of_a_class_have_its_colour(root):
    """However a scene is resized, flipped and cropped, pixels of a class have its colour."""
    stream = TrainingScenes(read_ade20k(root, "train"), CROPS, seed=0)
    scenes = pseudo_collate([stream.at(position, 32) for position in range(24)])
    processed = built(recipe=CROPS).data_preprocessor(scenes, training=True)
    images = processed["inputs"]
    labels = torch.stack([sample.gt_sem_seg.data[0] for sample in processed["data_samples"]])
    assert images.shape == (24, 3, 32, 32)
    is_padding = (images == 0).all(dim=1)
    assert is_padding.any(), "some scenes were smaller than the crop"
    assert (labels[is_padding] == 255).all()
    for class_id, colour in enumerate([*COLOURS.values(), (GREY,) * 3]):
        of_class = labels == class_id if class_id < 3 else (labels == 255) & ~is_padding
        median = images.movedim(1, -1)[of_class].median(dim=0).values
        torch.testing.assert_close(median, torch.tensor(colour) / 255, atol=0.03, rtol=0)


def test_scenes_are_resized_flipped_and_cropped_as_the_recipe_says(root):
    recipe = replace(SEGMENTATION, short_side=(40, 44), longest_side=90, most_of_one_class=0.4)
    stream = TrainingScenes(read_ade20k(root, "train"), recipe, seed=0)
    scenes = [stream.at(position, 32)["data_samples"] for position in range(40)]
    factors = [factor for scene in scenes for factor in scene.scale_factor]
    assert (min(factors), max(factors)) == pytest.approx((1, 1.1), abs=0.02)  # of 40 pixels
    assert 10 < sum(scene.flip for scene in scenes) < 30
    (crop,) = (one for one in stream.scenes.pipeline.transforms if isinstance(one, RandomCrop))
    assert (crop.crop_size, crop.cat_max_ratio) == ((32, 32), 0.4)


def test_picture_that_a_camera_turned_stays_on_its_annotation(tmp_path):
    root = write_ade20k(tmp_path)
    image, _ = files(root, "val", "val_0000")
    with Image.open(image) as picture:
        exif = picture.getexif()
        exif[0x0112] = 6  # "turn me by 90 degrees"
        picture.save(image, exif=exif, quality=100)
    scene = SceneDataset(read_ade20k(root, "val"), evaluation_pipeline("slide", 32))[0]
    assert scene["data_samples"].ori_shape == (48, 40)


# The model


@pytest.mark.parametrize(
    ("name", "count"),
    [("vit_b16_conv", 98_751_644), ("vit_l16_conv", 320_435_356), ("vit_h16_conv", 652_396_700)],
)
def test_model_has_as_many_parameters_as_the_releases(name, count):
    with torch.device("meta"):
        model = segmentor(open_encoder(f"random:{name}@224"), TABLE_7D, 150)
    assert sum(parameter.numel() for parameter in model.parameters()) == count


def released_head(head, x):
    """Logits of features [B, D, H, W] by the release's head, with the weights of ours."""

    def convolved(module, x, dilation=1):
        weight, norm = module.conv.weight, module.bn
        padding = dilation * (weight.shape[-1] // 2)
        x = torch.nn.functional.conv2d(x, weight, dilation=dilation, padding=padding)
        mean, var, scale, shift = (
            tensor[:, None, None]
            for tensor in (norm.running_mean, norm.running_var, norm.weight, norm.bias)
        )
        x = (x - mean) / torch.sqrt(var + 1e-5) * scale + shift
        return x * (1 + torch.erf(x / math.sqrt(2))) / 2  # GELU

    dilated = zip(head.aspp_modules, (1, 12, 24, 36), strict=True)
    branches = [convolved(module, x, dilation) for module, dilation in dilated]
    pooled = convolved(head.image_pool[1], x.mean(dim=(2, 3), keepdim=True))
    # mmsegmentation puts the pooled branch first.
    mixed = convolved(head.bottleneck, torch.cat([pooled.expand_as(branches[0]), *branches], dim=1))
    return torch.nn.functional.conv2d(mixed, head.conv_seg.weight, head.conv_seg.bias)


def test_head_is_the_release_s():
    head = built("random:vit_tiny16@64", replace(TABLE_7D, head_channels=8)).eval().decode_head
    for name, tensor in head.state_dict().items():
        if tensor.is_floating_point():
            tensor.copy_(torch.randn(tensor.shape) / 4)
            if "running_var" in name:
                tensor.abs_().add_(0.5)
    features = torch.randn(2, 192, 8, 8)
    with torch.inference_mode():
        torch.testing.assert_close(
            head((features,)), released_head(head, features), rtol=1e-4, atol=1e-4
        )


def test_head_starts_as_mmsegmentation_s():
    config = SimpleNamespace(recipe=SEGMENTATION, quiet=True, seed=0)
    model = Segment(config, ALONE, open_encoder(VIT)).build(["tree", "sea"])
    assert model.decode_head.conv_seg.weight.std().item() == pytest.approx(0.01, rel=0.4)


# The score


class Oracle:
    """A segmentor that predicts what `predict` makes of the truth."""

    def __init__(self, predict):
        self.predict, self.sizes, self.protocols = predict, [], []

    def eval(self):
        return self

    def test_step(self, scenes):
        self.sizes.append(tuple(scenes["inputs"][0].shape))
        self.protocols.append(self.test_cfg)
        for found in scenes["data_samples"]:
            found.set_data({"pred_sem_seg": PixelData(data=self.predict(found.gt_sem_seg.data))})
        return scenes["data_samples"]


def scored(root, model) -> dict[str, Any]:
    config = SimpleNamespace(num_workers=0)
    task: Any = SimpleNamespace(config=config, recipe=SEGMENTATION, hidden=True)
    return Segment.test(task, model, read_ade20k(root, "val"))


@pytest.mark.parametrize(
    ("predict", "iou", "accuracy"),
    [
        (lambda truth: truth.clone(), [1, 1, 1], 1),
        # What is predicted where nothing is judged does not count.
        (lambda truth: torch.where(truth == 255, 2, truth), [1, 1, 1], 1),
        (torch.zeros_like, [1 / 3, 0, 0], 1 / 3),
    ],
)
def test_right_and_wrong_predictions_score_what_they_cover(root, predict, iou, accuracy):
    found = scored(root, Oracle(predict))
    for protocol in PROTOCOLS:
        assert found[f"iou_{protocol}"] == pytest.approx(iou)
        assert found[f"miou_{protocol}"] == pytest.approx(sum(iou) / 3)
        for name in ("accuracy", "class_accuracy"):
            assert found[f"{name}_{protocol}"] == pytest.approx(accuracy)


def test_fixed_is_of_squares_and_slide_of_the_shorter_side(tmp_path):
    root = write_ade20k(tmp_path / "ade20k", val=0)
    write_scene(root, "val", "wide", np.ones((20, 90), dtype=np.uint8))
    oracle = Oracle(lambda truth: truth)
    found = scored(root, oracle)
    assert (found["accuracy_slide"], found["iou_slide"]) == (1.0, [1.0, None, None])
    assert oracle.sizes == [(3, 32, 32), (3, 32, 144)]
    slide = {"mode": "slide", "crop_size": (32, 32), "stride": (21, 21)}
    assert oracle.protocols == [{"mode": "whole"}, slide]
