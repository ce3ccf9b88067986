"""Detection: Mask R-CNN's parts and rates, what it sees of images, and its scores."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("detectron2", reason="./run_all.sh --only setup installs it")

from detectron2.structures import Boxes, Instances
from pycocotools.coco import COCO
from small_dense import DETECTION, IDS, TASKS, change_file, write_coco
from torch import nn
from torchvision.ops import roi_align

from bench.downstream.dense.annotations import CocoSplit
from bench.downstream.dense.detection import (
    ANNOTATIONS,
    Detect,
    MaskRCNN,
    TrainingImages,
    mask_rcnn,
    read_masks,
    register,
)
from bench.downstream.dense.feature_map import FeatureMap
from catlip.encoders.load import open_encoder
from catlip.recipes.dense import DETECTIONS, DetectionRecipe
from catlip.training.distributed import Rank
from catlip.training.schedule import adamw

CPU = torch.device("cpu")
ALONE = Rank(0, 1, CPU)
PLAIN = replace(DETECTION, scale_jitter=())
VIT = replace(PLAIN, resolution=32, proposals=(50, 400), grad_clip=0.0)
TABLE = replace(DETECTIONS["table_7e_b16"], pyramid_channels=16, fc_channels=16)
TINY = "random:vit_tiny16@64"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_coco(tmp_path / "coco")


def model_of(spelling: str, recipe: DetectionRecipe, classes: int = 3) -> MaskRCNN:
    return mask_rcnn(FeatureMap(open_encoder(spelling)), recipe, classes)


def stream_of(root: Path, recipe: DetectionRecipe = PLAIN, seed: int = 0) -> TrainingImages:
    name = register(read_masks(root, "train"), root / "train.json", is_main=True)
    return TrainingImages(name, recipe, seed)


# The model


@pytest.mark.parametrize(
    ("size", "released"), [("b", 111_559_099), ("l", 331_686_907), ("h", 662_682_171)]
)
def test_release_has_the_parameters_more_that_are_accounted_for(size, released) -> None:
    with torch.device("meta"):
        model = model_of(f"random:vit_{size}16_conv@224", DETECTIONS[f"table_7e_{size}16"], 80)
    convolution, biases, norms = 256 * 256 * 9 + 256 + 512, 8 * 256, 3 * 256
    background = 4 * (1024 + 1) + 257
    more = released - sum(p.numel() for p in model.parameters())
    assert more == convolution + biases + norms + background


def test_rates_and_decays_of_all_parameters() -> None:
    model = model_of(TINY, TABLE)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    found = {
        names[id(p)]: (group["lr_scale"], group["weight_decay"])
        for group in adamw(model, TABLE).param_groups
        for p in group["params"]
    }
    assert set(found) == set(names.values())
    vit = "backbone.net.features.vit."
    assert found[vit + "patch_embed.proj.weight"] == (pytest.approx(0.7**13), 0.1)
    assert found[vit + "blocks.3.attn.qkv.weight"] == (pytest.approx(0.7**9), 0.1)
    assert found[vit + "norm.weight"] == (pytest.approx(0.7), 0.0)
    assert found["range_augment.low.noise"] == (pytest.approx(0.7**13), 0.0)
    rest = {name: found[name] for name in found if not name.startswith((vit, "range_augment"))}
    assert [rate for rate, _ in rest.values()] == pytest.approx([1.0] * len(rest))
    matrices = {name for name in rest if dict(model.named_parameters())[name].ndim >= 2}
    decaying = {name for name, (_, decay) in rest.items() if decay == 0.1}
    of_pyramid = {f"backbone.simfp_{number}.weight" for number in ("2.0", "2.3", "3.0")}
    assert matrices - decaying == of_pyramid, "its transposed convolutions"
    assert len(decaying) == 25, "26 in the release, whose last level is a convolution"


def test_encoder_drops_paths_as_the_recipe_says() -> None:
    config = SimpleNamespace(recipe=replace(VIT, drop_path=0.3), quiet=True, seed=0)
    vit = Detect(config, ALONE, open_encoder(TINY)).build(["tree", "sea"]).backbone.net.features.vit
    assert vit.blocks[-1].drop_path1.drop_prob == pytest.approx(0.3)


def test_objects_are_pooled_as_in_the_release() -> None:
    """torchvision's RoIAlign takes 2 x 2 points a bin, without the shift by half a feature."""
    recipe = replace(VIT, pyramid_scales=(2.0, 1.0, 0.5), roi_sampling=2, roi_aligned=False)
    heads = model_of(TINY, recipe).roi_heads
    box = torch.tensor([[3.0, 5.0, 41.0, 30.0]])
    maps = [torch.randn(1, 16, 64 // stride, 64 // stride) for stride in (8, 16, 32)]
    for pooler, side in ((heads.box_pooler, 7), (heads.mask_pooler, 14)):
        how = {"spatial_scale": 1 / 8, "sampling_ratio": 2, "aligned": False}
        expected = roi_align(maps[0], [box], side, **how)
        torch.testing.assert_close(pooler(maps, [Boxes(box)]), expected)


def test_rate_warms_up_and_falls_twice() -> None:
    steps = [0, 125, 250, 21_999, 22_000, 23_999, 24_000, 24_999]
    rates = [TABLE.learning_rate(step, 25_000) / 3e-4 for step in steps]
    warm_up = [1e-5 / 3e-4, (1e-5 / 3e-4 + 1) / 2]
    assert rates == pytest.approx([*warm_up, 1, 1, 0.1, 0.1, 0.01, 0.01])
    at_once = replace(TABLE, epochs=1, warmup_iterations=0)
    assert at_once.learning_rate(0, 1) == 3e-4, "falls that come later change nothing"


def test_run_in_the_folder_of_its_data_leaves_the_annotations_there(root) -> None:
    before = {path: path.read_bytes() for path in root.rglob("*.json")}
    recipe = replace(DETECTION, epochs=1 / 3, lr_step_epochs=())
    TASKS["detection"].run(f"coco:{root}", root.with_suffix(".json"), recipe=recipe)
    assert len(before) == 2
    assert {path: path.read_bytes() for path in before} == before


# The data


def test_boxes_fit_the_masks_and_lie_on_the_squares(root) -> None:
    stream = stream_of(root)
    for position in range(12):
        mapped = stream.at(position, 48)
        image, found = mapped["image"], mapped["instances"]
        assert image.shape == (3, 48, 48)
        for box, mask in zip(found.gt_boxes, found.gt_masks, strict=True):
            left, top, right, bottom = box.int().tolist()
            assert mask.sum() == (right - left) * (bottom - top) == 16 * 16
            assert mask[top:bottom, left:right].all()
            is_coloured = (image[:, mask] != 128).any(dim=0)
            assert is_coloured.float().mean() > 0.9, "none of the grey around"


def test_objects_shrink_with_the_recipe_s_jitter(root) -> None:
    stream = stream_of(root, replace(DETECTION, scale_jitter=(0.5, 0.5)))
    boxes = torch.cat([stream.at(n, 48)["instances"].gt_boxes.tensor for n in range(12)])
    sides = (boxes[:, 2:] - boxes[:, :2]).numpy()
    np.testing.assert_allclose(sides, 8, atol=1)  # of 16


def test_micro_batch_has_the_squares_of_its_step(root) -> None:
    recipe = replace(PLAIN, square_sides=(32, 96, 3), micro_batch=3, num_devices=2, epochs=10)
    stream = stream_of(root, recipe)
    for number in range(16):
        step = stream.plan[number // 2]
        assert {image["side"] for image in stream[number].values} == {step.resolution}
        assert len(stream[number]) == len(stream[number].keys) == step.batch
    assert len({step.resolution for step in map(stream.plan.__getitem__, range(8))}) > 1


def test_ranks_share_the_micro_batches_of_a_step(root) -> None:
    stream = stream_of(root, replace(PLAIN, micro_batch=1, num_devices=4))
    alone = [stream[number].keys for number in range(8)]
    stream.accumulation, ranks = 2, []
    for stream.rank in (0, 1):
        ranks.append([stream[number].keys for number in range(4)])
    assert [*ranks[0][:2], *ranks[1][:2], *ranks[0][2:], *ranks[1][2:]] == alone


def test_sample_at_a_position_depends_on_the_seed_alone(root) -> None:
    def plain(image: dict[str, Any]) -> tuple[Any, ...]:
        boxes = image["instances"].gt_boxes.tensor.tolist()
        return image["image_id"], image["image"].sum().item(), boxes

    stream = stream_of(root, DETECTION)
    whole = [plain(stream.at(position, 48)) for position in range(12)]
    np.random.seed(1)  # what else draws numbers changes nothing
    assert plain(stream.at(5, 48)) == whole[5]
    assert sorted(image[0] for image in whole) == list(range(1, 13)), "each image once an epoch"
    another = stream_of(root, DETECTION, seed=1)
    assert [plain(another.at(position, 48)) for position in range(12)] != whole


# The score


class Oracle(nn.Module):
    """Finds what the annotations say, or what `change` makes of it."""

    def __init__(self, split: CocoSplit, truth: Path, change: Any):
        super().__init__()
        self.split, self.path, self.change = split, truth, change

    def forward(self, images: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [{"instances": self.change(self._found(image))} for image in images]

    def _found(self, image: dict[str, Any]) -> Instances:
        truth = COCO(self.path)
        annotations = truth.loadAnns(truth.getAnnIds(imgIds=[image["image_id"]], iscrowd=False))
        boxes = torch.tensor([a["bbox"] for a in annotations]).reshape(-1, 4)
        size = (image["height"], image["width"])
        masks = [torch.from_numpy(truth.annToMask(a)).bool() for a in annotations]
        classes = [self.split.class_ids[a["category_id"]] for a in annotations]
        return Instances(
            size,
            pred_boxes=Boxes(torch.cat([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], dim=1)),
            pred_masks=torch.stack([torch.zeros(size, dtype=torch.bool), *masks])[1:],
            pred_classes=torch.tensor(classes, dtype=torch.int64),
            scores=torch.linspace(0.99, 0.5, len(annotations)),
        )


def scores_of(root: Path, folder: Path, change: Any = lambda found: found) -> dict[str, Any]:
    val = read_masks(root, "val")
    config = SimpleNamespace(folder=folder, num_workers=0)
    task: Any = SimpleNamespace(config=config, recipe=DETECTION, rank=ALONE, hidden=True)
    return Detect.test(task, Oracle(val, folder / ANNOTATIONS / "val.json", change), val)


def test_truth_scores_one(root, tmp_path) -> None:
    def change(old: dict[str, Any]) -> dict[str, Any]:
        """A crowd, an image without objects, polygons, and a class without objects."""
        kept = [a for a in old["annotations"] if a["image_id"] != 1002]
        kept = [a for a in kept if a["category_id"] != IDS["sea"]]
        crowd = kept[0] | {"id": 999_999, "iscrowd": 1}
        for annotation in kept:
            if annotation["image_id"] == 1003:
                left, top, width, height = annotation["bbox"]
                right, low = left + width, top + height
                annotation["segmentation"] = [[left, top, right, top, right, low, left, low]]
        return old | {"annotations": [crowd, *kept]}

    change_file(root, "val", change)
    found = scores_of(root, tmp_path)
    for kind in ("box", "mask"):
        for measure in ("ap", "ap50", "ap_small"):
            assert found[f"{kind}_{measure}"] == 1.0
        assert found[f"{kind}_ap_by_class"] == [pytest.approx(1.0), 1.0, None]
        assert found[f"{kind}_ap_large"] is None


def renamed(found: Instances) -> Instances:
    """The same under the names of other classes."""
    fields = found.get_fields() | {"pred_classes": (found.pred_classes + 1) % 3}
    return Instances(found.image_size, **fields)


@pytest.mark.parametrize("change", [lambda found: found[:0], renamed])
def test_finding_nothing_or_the_wrong_classes_scores_nothing(root, tmp_path, change) -> None:
    def alone(old: dict[str, Any]) -> dict[str, Any]:
        """One object an image, so that another class is wrong."""
        first = {a["image_id"]: a for a in reversed(old["annotations"])}
        return old | {"annotations": [first[image["id"]] for image in old["images"]]}

    change_file(root, "val", alone)
    found = scores_of(root, tmp_path, change)
    assert found["box_ap"] == found["mask_ap"] == 0.0
    assert {ap for ap in found["mask_ap_by_class"] if ap is not None} == {0.0}
