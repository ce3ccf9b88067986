"""COCO's images as Mask R-CNN sees them, and what COCO's scores make of right, wrong and missing
answers.
"""

import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip("detectron2", reason="./run_all.sh --only setup installs it")

from detectron2.structures import Boxes, Instances
from pycocotools.coco import COCO
from small_coco import IDS, change_annotations, change_each, write_coco
from small_detection import SMALL, micro_batches
from torch import nn

from bench.downstream.dense.coco import CocoSplit, read_coco
from bench.downstream.dense.detect import data
from bench.downstream.dense.detect.data import (
    Stream,
    TrainingMapper,
    register,
    train_loader,
    usable,
)
from bench.downstream.dense.detect.evaluation import Pictures, score
from catlip.cli import InputError
from catlip.data.sampler import ImageSize, StepPlan
from catlip.recipes.dense import DetectionRecipe
from catlip.training.distributed import Place

PLAIN = replace(SMALL, scale_jitter=())
CPU = torch.device("cpu")
ALONE = Place(0, 1, CPU)


def mapper_of(recipe: DetectionRecipe) -> TrainingMapper:
    plan = StepPlan(recipe.sizes(), recipe.num_devices, num_steps=100, seed=0)
    return TrainingMapper(recipe, plan, seed=0)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_coco(tmp_path / "coco")


def stream_of(root: Path, folder: Path, seed: int = 0) -> Stream:
    split = usable(read_coco(root, "train"))
    return Stream(register(split, folder / "train.json", is_main=True), seed)


def without(annotation: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in annotation.items() if key != name}


def polygons(annotation: dict[str, Any]) -> dict[str, Any]:
    """The same square, outlined."""
    left, top, width, height = annotation["bbox"]
    right, bottom = left + width, top + height
    return annotation | {"segmentation": [[left, top, right, top, right, bottom, left, bottom]]}


@pytest.mark.parametrize(
    "recipe",
    [PLAIN, replace(SMALL, scale_jitter=(1.0, 1.0)), replace(SMALL, scale_jitter=(2.0, 2.0))],
)
def test_polygons_and_run_lengths_give_the_same_masks_and_boxes(root, tmp_path, recipe) -> None:
    stream, mapper = stream_of(root, tmp_path / "rle"), mapper_of(recipe)
    change_each(root, "train", polygons)
    outlined = stream_of(root, tmp_path / "polygons")
    for position in range(12):
        of_rle, of_polygons = (mapper(found[position])["instances"] for found in (stream, outlined))
        assert torch.equal(of_rle.gt_classes, of_polygons.gt_classes)
        assert torch.equal(of_rle.gt_masks.tensor, of_polygons.gt_masks.tensor)
        assert torch.equal(of_rle.gt_boxes.tensor, of_polygons.gt_boxes.tensor)


def test_boxes_fit_the_masks_and_lie_on_the_squares(root, tmp_path) -> None:
    stream, mapper = stream_of(root, tmp_path), mapper_of(PLAIN)
    for position in range(12):
        mapped = mapper(stream[position])
        image, found = mapped["image"], mapped["instances"]
        assert image.shape == (3, 48, 48)
        assert mapped["dropped"] == 0
        for box, mask in zip(found.gt_boxes, found.gt_masks, strict=True):
            left, top, right, bottom = box.int().tolist()
            assert mask.sum() == (right - left) * (bottom - top) == 16 * 16
            assert mask[top:bottom, left:right].all()
            is_coloured = (image[:, mask] != 128).any(dim=0)
            assert is_coloured.float().mean() > 0.9, "none of the grey around"


def test_crowds_are_not_trained_on_and_images_without_objects_are_left_out(root, tmp_path) -> None:
    def change(old: dict[str, Any]) -> dict[str, Any]:
        kept = [a for a in old["annotations"] if a["image_id"] != 1]
        kept = [a | {"iscrowd": int(a["image_id"] == 2)} for a in kept]
        first = next(a for a in kept if a["image_id"] == 3)
        crowd = first | {"id": 999_999, "iscrowd": 1}
        return old | {"annotations": [*kept, crowd]}

    change_annotations(root, "train", change)
    stream = stream_of(root, tmp_path)
    seen = {stream[position]["image_id"]: stream[position] for position in range(10)}
    assert set(seen) == set(range(3, 13))
    mapped = mapper_of(PLAIN)(seen[3])
    assert len(mapped["instances"]) == len(seen[3]["annotations"]) - 1
    assert mapped["dropped"] == 0


def test_a_pixel_is_an_object_until_it_vanishes(root, tmp_path) -> None:
    mask = {"size": [48, 48], "counts": [48 * 20 + 20, 1, 48 * 48 - 48 * 20 - 21]}
    pixel = {"bbox": [20.0, 20.0, 1.0, 1.0], "segmentation": mask, "area": 1}
    change_each(root, "train", lambda a: a | pixel)
    stream = stream_of(root, tmp_path)
    mapped = mapper_of(PLAIN)(stream[0])
    boxes = mapped["instances"].gt_boxes.tensor
    assert len(boxes) > 0
    assert mapped["dropped"] == 0
    assert ((boxes[:, 2:] - boxes[:, :2]) == 1).all()
    small = mapper_of(replace(SMALL, scale_jitter=(0.1, 0.1)))
    for position in range(12):
        found = small(stream[position])
        assert found["dropped"] + len(found["instances"]) == len(stream[position]["annotations"])
        assert found["dropped"] > 0


def as_numbers(batches: Iterable[list[dict[str, Any]]]) -> list[Any]:
    """Each image of each batch, in a form that can be compared."""

    def plain(image: dict[str, Any]) -> tuple[Any, ...]:
        boxes = image["instances"].gt_boxes.tensor.tolist()
        return image["image_id"], image["image"].sum().item(), boxes

    return [[plain(image) for image in batch] for batch in batches]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_what_a_step_sees_depends_on_the_seed_and_the_step_alone(
    root, tmp_path, num_workers
) -> None:
    recipe, stream = replace(SMALL, micro_batch=2, num_devices=2), stream_of(root, tmp_path)

    def seen(first_step: int, seed: int = 0, num_workers: int = 0) -> list[Any]:
        positions = micro_batches(recipe, first_step, 8, ALONE)
        return as_numbers(train_loader(stream, recipe, positions, seed, num_workers))

    whole = seen(0)
    np.random.seed(1)  # what else draws numbers changes nothing
    later = seen(3, num_workers=num_workers)
    assert len(whole) == 16
    assert later == whole[6:]
    of_an_epoch = sorted(image[0] for batch in whole[:6] for image in batch)
    assert of_an_epoch == list(range(1, 13)), "an epoch sees each image once"
    assert seen(0, seed=1) != whole


def test_ranks_share_the_micro_batches_of_a_step() -> None:
    recipe = replace(SMALL, micro_batch=2, num_devices=4)
    alone = list(micro_batches(recipe, 1, 3, ALONE))
    first, second = (list(micro_batches(recipe, 1, 3, Place(rank, 2, CPU))) for rank in (0, 1))
    assert [position for batch in alone for position in batch] == list(range(8, 24))
    assert sorted(first + second) == alone
    assert first[:2] == [[8, 9], [12, 13]]
    assert second[:2] == [[10, 11], [14, 15]]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_squares_and_batches_differ_from_step_to_step_only(root, tmp_path, num_workers) -> None:
    recipe = replace(PLAIN, resolution=64, square_sides=(32, 96, 3), micro_batch=2, num_devices=2)
    assert recipe.sizes() == [ImageSize(32, 8), ImageSize(64, 2), ImageSize(96, 1)]
    stream = stream_of(root, tmp_path)

    def batches_from(first_step: int) -> list[Any]:
        positions = micro_batches(recipe, first_step, 12, ALONE)
        return list(train_loader(stream, recipe, positions, 0, num_workers))

    batches = batches_from(0)
    drawn = [{(len(batch), *image["image"].shape[1:]) for image in batch} for batch in batches]
    steps = list(zip(drawn[::2], drawn[1::2], strict=True))
    assert len(steps) == 12
    assert all(first == second and len(first) == 1 for first, second in steps)
    assert set().union(*drawn) == {(8, 32, 32), (2, 64, 64), (1, 96, 96)}
    seen = [image["image_id"] for batch in batches for image in batch]
    expected = [stream[position]["image_id"] for position in range(len(seen))]
    assert seen == expected, "the whole stream, in its order"
    assert as_numbers(batches_from(5)) == as_numbers(batches[10:])


def test_what_cannot_be_read_is_left_out_and_counted(root) -> None:
    folder = root / "train2017"
    whole = (folder / "000000000002.jpg").read_bytes()
    (folder / "000000000001.jpg").write_bytes(b"no image")
    (folder / "000000000002.jpg").write_bytes(whole[:-200])
    Image.new("RGB", (20, 48)).save(folder / "000000000003.jpg")  # not of the size listed
    Image.open(folder / "000000000004.jpg").convert("L").save(folder / "000000000004.jpg")

    def last_without_a_mask(old: dict[str, Any]) -> dict[str, Any]:
        *others, last = old["annotations"]
        return old | {"annotations": [*others, without(last, "segmentation")]}

    change_annotations(root, "train", last_without_a_mask)
    found = usable(read_coco(root, "train"))
    assert [image["id"] for image in found.images] == list(range(4, 13))
    assert (found.counts["unreadable"], found.counts["without_mask"]) == (3, 1)
    causes = ("not a JPEG, PNG, WebP or GIF", "cut short", "of another size than listed")
    assert found.broken.counts() == dict.fromkeys(causes, 1)
    with pytest.raises(InputError, match="--max-broken 0"):
        usable(read_coco(root, "train"), max_broken=0.0)


def test_postscript_is_not_run_and_sixteen_bits_of_grey_are_not_taken_for_white(
    root, tmp_path, monkeypatch
) -> None:
    mark, program = tmp_path / "started", tmp_path / "bin" / "gs"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\ntouch {mark}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    folder = root / "train2017"
    Image.new("RGB", (48, 48)).save(folder / "000000000001.jpg", "EPS")
    grey = Image.fromarray(np.full((48, 48), 9000, dtype=np.uint16))
    grey.save(folder / "000000000002.jpg", "PNG")
    assert usable(read_coco(root, "train")).counts["unreadable"] == 2
    assert not mark.exists()


def test_a_grey_picture_has_three_channels(root, tmp_path) -> None:
    for path in (root / "train2017").iterdir():
        Image.open(path).convert("L").save(path)
    image = mapper_of(PLAIN)(stream_of(root, tmp_path)[0])["image"]
    assert image.shape == (3, 48, 48)
    assert torch.equal(image[0], image[2])


def test_annotations_that_cannot_be_scored_are_refused(root, monkeypatch) -> None:
    change_each(root, "train", lambda a: a | {"id": 1})
    with pytest.raises(InputError, match=r"\bid\b"):
        usable(read_coco(root, "train"))
    change_each(root, "val", lambda a: without(a, "area"))
    with pytest.raises(InputError, match="area"):
        usable(read_coco(root, "val"))
    change_each(root, "train", lambda a: a | {"segmentation": []})
    monkeypatch.setattr(data, "FEW", 1)
    with pytest.raises(InputError, match="train2017"):
        usable(read_coco(root, "train"))


class Oracle(nn.Module):
    """Finds what the annotations say, or what `change` makes of it."""

    def __init__(self, split: CocoSplit, truth: COCO, change: Any = lambda found: found):
        super().__init__()
        self.split, self.truth, self.change = split, truth, change

    def forward(self, images: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [{"instances": self.change(self._found(image))} for image in images]

    def _found(self, image: dict[str, Any]) -> Instances:
        ids = self.truth.getAnnIds(imgIds=[image["image_id"]], iscrowd=False)
        annotations = self.truth.loadAnns(ids)
        boxes = torch.tensor([a["bbox"] for a in annotations]).reshape(-1, 4)
        size = (image["height"], image["width"])
        masks = [torch.from_numpy(self.truth.annToMask(a)).bool() for a in annotations]
        classes = [self.split.class_ids[a["category_id"]] for a in annotations]
        return Instances(
            size,
            pred_boxes=Boxes(torch.cat([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], dim=1)),
            pred_masks=torch.stack([torch.zeros(size, dtype=torch.bool), *masks])[1:],
            pred_classes=torch.tensor(classes, dtype=torch.int64),
            scores=torch.linspace(0.99, 0.5, len(annotations)),
        )


def scores_of(root: Path, folder: Path, change: Any = lambda found: found) -> dict[str, Any]:
    """The scores of an oracle, with the first picture and the fourth."""
    val = usable(read_coco(root, "val"))
    name = register(val, folder / "val.json", is_main=True)
    oracle = Oracle(val, COCO(folder / "val.json"), change)
    loader = data.test_loader(name, SMALL, 0)
    return score(oracle, loader, name, Pictures(val, [0, 3]), hidden=True)


def test_the_truth_scores_one(root, tmp_path) -> None:
    def change(old: dict[str, Any]) -> dict[str, Any]:
        """A crowd, an image without objects, polygons, and a class without objects."""
        kept = [a for a in old["annotations"] if a["image_id"] != 1002]
        kept = [a for a in kept if a["category_id"] != IDS["microwave"]]
        crowd = kept[0] | {"id": 999_999, "iscrowd": 1}
        outlined = [polygons(a) if a["image_id"] == 1003 else a for a in kept]
        return old | {"annotations": [crowd, *outlined]}

    change_annotations(root, "val", change)
    found = scores_of(root, tmp_path)
    for kind in ("box", "mask"):
        for measure in ("ap", "ap50", "ap_small", "ar100"):
            assert found[f"{kind}_{measure}"] == 1.0
        assert found[f"{kind}_ap_by_class"] == [pytest.approx(1.0), 1.0, None]
        assert found[f"{kind}_ap_large"] is None
    assert found["classes_without_objects"] == 1


def renamed(found: Instances, by: int = 1) -> Instances:
    """The same under the names of other classes, and the less sure the further these are."""
    other = {"pred_classes": (found.pred_classes + by) % 3, "scores": found.scores / by}
    return Instances(found.image_size, **found.get_fields() | other)


@pytest.mark.parametrize(
    ("change", "whatever_class"),
    [
        (lambda found: found[:0], 0.0),
        (lambda found: renamed(found), 1.0),
        (lambda found: Instances.cat([renamed(found), renamed(found, by=2)]), 1.0),
    ],
)
def test_finding_nothing_or_the_wrong_classes_scores_nothing(
    root, tmp_path, change, whatever_class
) -> None:
    def alone(old: dict[str, Any]) -> dict[str, Any]:
        """One object an image, so that another class is wrong."""
        first = {a["image_id"]: a for a in reversed(old["annotations"])}
        return old | {"annotations": [first[image["id"]] for image in old["images"]]}

    change_annotations(root, "val", alone)
    found = scores_of(root, tmp_path, change)
    assert found["box_ap"] == found["mask_ap"] == found["mask_ar100"] == 0.0
    assert {ap for ap in found["mask_ap_by_class"] if ap is not None} == {0.0}
    assert found["mask_ap_large"] is None
    for kind in ("box", "mask"):
        assert found[f"{kind}_ap_class_agnostic"] == pytest.approx(whatever_class)


def test_pictures_show_the_truth_and_the_best_of_what_was_found(root, tmp_path) -> None:
    def unsure(found: Instances) -> Instances:
        many = Instances.cat([found] * 20)
        many.scores = torch.linspace(0.9, 0.1, len(many))
        return many

    first, fourth = scores_of(root, tmp_path, unsure)["pictures"]
    val = read_coco(root, "val")
    assert [first["key"], fourth["key"]] == [val.images[0]["file_name"], val.images[3]["file_name"]]
    assert (first["width"], first["height"]) == (48, 48)
    left, top, width, height = val.annotations[0][0]["bbox"]
    assert first["truth"][0]["box"] == [left, top, left + width, top + height]
    assert len(first["predicted"]) == len(first["truth"])
    scores = [found["score"] for found in first["predicted"]]
    assert scores == sorted(scores, reverse=True)
    assert first["predicted"][0] | {"score": 0} == first["truth"][0] | {"score": 0}
