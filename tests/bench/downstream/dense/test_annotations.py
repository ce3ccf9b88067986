"""Annotations of COCO and ADE20k: what they mean, and what is left out where they are wrong."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from small_dense import (
    HEADER,
    annotations_file,
    change_each,
    change_file,
    files,
    write_ade20k,
    write_coco,
    write_names,
    write_scene,
)

from bench.downstream.dense.annotations import read_ade20k, read_coco
from catlip.cli import InputError


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    return write_coco(tmp_path / "coco")


@pytest.fixture
def ade(tmp_path: Path) -> Path:
    return write_ade20k(tmp_path / "ade20k")


# COCO


def test_class_ids_follow_the_ids_of_the_file(coco) -> None:
    change_file(coco, "val", lambda old: old | {"categories": old["categories"][::-1]})
    for split in ("train", "val"):
        found = read_coco(coco, split)
        assert found.names == ["person", "tree", "sea"]
        assert found.class_ids == {1: 0, 11: 1, 78: 2}
    raw = json.loads(annotations_file(coco, "val").read_text())
    for image, of_image in zip(found.images, found.annotations, strict=True):
        assert of_image == [a for a in raw["annotations"] if a["image_id"] == image["id"]]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda old: {"images": old["images"]}, "categories"),
        (lambda old: old | {"annotations": [{"image_id": 1, "category_id": 1}]}, "bbox"),
        (lambda old: old | {"images": old["images"] * 2}, "twice"),
        (lambda old: old | {"images": old["images"][:5]}, r"image \d+ .*category \d+"),
        (lambda old: old | {"annotations": []}, "no object"),
    ],
)
def test_file_of_coco_that_means_nothing_is_refused(coco, change, named) -> None:
    change_file(coco, "train", change)
    with pytest.raises(InputError, match=rf"instances_train2017\.json.*{named}"):
        read_coco(coco, "train")


def test_ten_missing_images_are_borne_and_one_more_is_not(tmp_path) -> None:
    root = write_coco(tmp_path, train=30)
    for number in range(1, 11):
        (root / "train2017" / f"{number:012d}.jpg").unlink()
    assert len(read_coco(root, "train")) == 20
    (root / "train2017" / f"{11:012d}.jpg").write_bytes(b"")
    with pytest.raises(InputError, match=r"10 missing, 1 empty.* 30 .*max-broken 0\.01"):
        read_coco(root, "train")
    split = read_coco(root, "train", max_broken=0.5)
    assert split.broken.counts() == {"missing": 10, "empty": 1}
    assert (len(split), split.listed) == (19, 30)


def test_objects_without_a_mask_are_left_out(coco) -> None:
    pytest.importorskip("detectron2")
    from bench.downstream.dense.detection import read_masks

    change_each(coco, "val", lambda a: a | {"segmentation": []} if a["image_id"] == 1001 else a)
    assert read_masks(coco, "val").annotations[0] == []
    change_each(coco, "train", lambda a: a | {"iscrowd": int(a["image_id"] == 1)})
    assert [image["id"] for image in read_masks(coco, "train").images] == list(range(2, 13))
    for change in ({"segmentation": []}, {"id": 1}):
        change_each(coco, "train", lambda a, change=change: a | change)
        with pytest.raises(InputError, match="train2017"):
            read_masks(coco, "train")


def test_undecodable_images_are_counted(coco) -> None:
    pytest.importorskip("detectron2")
    from bench.downstream.dense.detection import read_masks

    paths = [coco / "train2017" / f"{number:012d}.jpg" for number in range(1, 6)]
    paths[0].write_bytes(paths[0].read_bytes()[:-200])
    Image.new("RGB", (20, 48)).save(paths[1])
    Image.open(paths[2]).convert("L").save(paths[2])
    Image.new("RGB", (48, 48)).save(paths[3], "EPS")
    Image.fromarray(np.full((48, 48), 9000, dtype=np.uint16)).save(paths[4], "PNG")
    found = read_masks(coco, "train")
    assert [image["id"] for image in found.images] == [3, *range(6, 13)]
    assert found.broken.counts() == {
        "not a JPEG, PNG, WebP or GIF": 1,
        "cut short": 1,
        "of another size than listed": 1,
        "grey of 16 bits, which detectron2 makes white": 1,
    }


# ADE20k


@pytest.mark.parametrize("text", [f"{HEADER}\n1\t0\t0\t0\t0\twall\n3\t0\t0\t0\t0\tsky\n", ""])
def test_list_of_classes_that_is_none_is_refused(ade, text) -> None:
    (ade / "objectInfo150.txt").write_text(text)
    with pytest.raises(InputError, match="objectInfo150"):
        read_ade20k(ade, "train")


def test_ids_that_no_class_has_are_ignored_and_many_are_refused(ade) -> None:
    annotated = np.array([[1, 2, 3, 4, 254]], dtype=np.uint8).repeat(2, axis=0)
    write_scene(ade, "train", "a_first", annotated)
    split = read_ade20k(ade, "train")
    assert split.images[0].unknown == (4, 254)
    write_names(ade, "person", "tree")
    with pytest.raises(InputError, match=r"33%.* 2\b"):
        read_ade20k(ade, "train")


WIDE = np.ones((48, 40), dtype=np.uint16)
# What is done to a scene, and why it is left out.
FAULTS: list[tuple[Any, str]] = [
    (lambda image, ids: ids.unlink(), "annotation file not readable (No such file or directory)"),
    (lambda image, ids: image.unlink(), "file not readable (No such file or directory)"),
    (lambda image, ids: Image.new("L", (48, 40)).save(ids), "annotation of another size"),
    (lambda image, ids: image.write_bytes(image.read_bytes()[:-200]), "cut short"),
    (lambda image, ids: ids.write_bytes(b""), "annotation empty"),
    (lambda image, ids: Image.fromarray(WIDE).save(ids), "annotation not of 8-bit ids"),
]


@pytest.mark.parametrize(("spoil", "cause"), FAULTS)
def test_scene_with_a_fault_is_counted_and_left_out(ade, spoil, cause) -> None:
    spoil(*files(ade, "train", "train_0003"))
    split = read_ade20k(ade, "train")
    assert (split.listed, len(split)) == (12, 11)
    assert split.broken.listed() == [f"{ade / 'images/training'}:train_0003.jpg ({cause})"]
