"""Annotation files of COCO and ADE20k: what they mean, and which images and objects are used where
something is wrong with them.
"""

import json
import os
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

from bench.downstream.dense import annotations
from bench.downstream.dense.annotations import (
    ade20k_names,
    check_masks,
    read_ade20k,
    read_coco,
)
from catlip.cli import InputError


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    return write_coco(tmp_path / "coco")


@pytest.fixture
def ade(tmp_path: Path) -> Path:
    return write_ade20k(tmp_path / "ade20k")


# COCO


def test_class_ids_follow_the_ids_of_the_file_whatever_their_order_and_gaps(coco) -> None:
    change_file(coco, "val", lambda old: old | {"categories": old["categories"][::-1]})
    for split in ("train", "val"):
        found = read_coco(coco, split)
        assert found.names == ["person", "tree", "sea"]
        assert found.class_ids == {1: 0, 11: 1, 78: 2}
    raw = json.loads(annotations_file(coco, "val").read_text())
    for image, of_image in zip(found.images, found.annotations, strict=True):
        assert of_image == [a for a in raw["annotations"] if a["image_id"] == image["id"]]
    assert found.counts["objects"] == len(raw["annotations"])


def test_what_a_file_of_coco_lacks_is_counted(coco) -> None:
    def mutilate(old: dict[str, Any]) -> dict[str, Any]:
        first, second = (image["id"] for image in old["images"][:2])
        others = [a for a in old["annotations"] if a["image_id"] != first]
        crowds = [a | {"iscrowd": int(a["image_id"] == second)} for a in others]
        return old | {"annotations": crowds}

    change_file(coco, "train", mutilate)
    (coco / "train2017" / "000000000012.jpg").unlink()
    found = read_coco(coco, "train")
    assert [image["id"] for image in found.images] == list(range(1, 12))
    assert found.counts["crowds"] > 0
    names = ("images", "absent", "without_objects")
    assert [found.counts[name] for name in names] == [12, 1, 2]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda old: old["annotations"], r"instances_train2017\.json"),
        (lambda old: {"images": old["images"]}, "categories"),
        (lambda old: old | {"annotations": [{"image_id": 1, "category_id": 1}]}, "bbox"),
        (lambda old: old | {"images": []}, " 0 images"),
        (lambda old: old | {"images": old["images"] * 2}, " 12 images"),
        (lambda old: old | {"images": old["images"][:5]}, r"image \d+ .*category \d+"),
    ],
)
def test_a_file_of_coco_that_means_nothing_is_refused(coco, change, named) -> None:
    change_file(coco, "train", change)
    with pytest.raises(InputError, match=named):
        read_coco(coco, "train")


def test_ten_missing_images_are_borne_and_one_more_is_not(tmp_path) -> None:
    root = write_coco(tmp_path, train=30)
    for number in np.arange(1, 11):
        (root / "train2017" / f"{number:012d}.jpg").unlink()
    assert read_coco(root, "train").counts["absent"] == 10
    (root / "train2017" / f"{11:012d}.jpg").write_bytes(b"")
    with pytest.raises(InputError, match=r"10 missing, 1 empty.* 30 .*--max-broken 0\.01"):
        read_coco(root, "train")
    split = read_coco(root, "train", max_broken=0.5)
    assert split.broken.counts() == {"missing": 10, "empty": 1}
    assert (len(split.images), split.counts["images"]) == (19, 30)
    assert split.broken.listed()[-1] == f"{root / 'train2017'}:000000000011.jpg (empty)"


def test_annotations_that_cannot_be_scored_are_refused(coco, monkeypatch) -> None:
    *_, last = json.loads(annotations_file(coco, "val").read_text())["annotations"]
    change_each(coco, "val", lambda a: a | {"segmentation": []} if a == last else a)
    assert check_masks(read_coco(coco, "val")).counts["without_mask"] == 1
    for change, named in (
        (lambda a: a | {"id": 1}, r"\bid\b"),
        (lambda a: {key: value for key, value in a.items() if key != "area"}, "area"),
        (lambda a: a | {"segmentation": []}, "train2017"),
    ):
        change_each(coco, "train", change)
        monkeypatch.setattr(annotations, "FEW", 1)
        with pytest.raises(InputError, match=named):
            check_masks(read_coco(coco, "train"))
        coco = write_coco(coco.with_name(f"{coco.name}-again"))


def test_what_cannot_be_decoded_is_left_out_and_counted(coco, tmp_path, monkeypatch) -> None:
    pytest.importorskip("detectron2")
    from bench.downstream.dense.detection import usable

    mark, program = tmp_path / "started", tmp_path / "bin" / "gs"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\ntouch {mark}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    paths = [coco / "train2017" / f"{number:012d}.jpg" for number in range(1, 7)]
    paths[0].write_bytes(b"no image")
    paths[1].write_bytes(paths[1].read_bytes()[:-200])
    Image.new("RGB", (20, 48)).save(paths[2])
    Image.open(paths[3]).convert("L").save(paths[3])
    Image.new("RGB", (48, 48)).save(paths[4], "EPS")
    Image.fromarray(np.full((48, 48), 9000, dtype=np.uint16)).save(paths[5], "PNG")
    found = usable(read_coco(coco, "train"))
    assert [image["id"] for image in found.images] == [4, *range(7, 13)]
    assert found.counts["unreadable"] == 5
    assert found.broken.counts() == {
        "not a JPEG, PNG, WebP or GIF": 2,
        "cut short": 1,
        "of another size than listed": 1,
        "grey of 16 bits, which detectron2 makes white": 1,
    }
    assert not mark.exists(), "PostScript is not run"
    with pytest.raises(InputError, match="--max-broken 0"):
        usable(read_coco(coco, "train"), max_broken=0.0)


# ADE20k


def test_without_a_list_the_classes_are_ade20ks(ade) -> None:
    pytest.importorskip("mmseg")
    (ade / "objectInfo150.txt").unlink()
    names = ade20k_names(ade)
    assert (len(names), names[0], names[12], names[149]) == (150, "wall", "person", "flag")


@pytest.mark.parametrize(
    "text",
    [
        f"{HEADER}\n1\t0\t0\t0\t0\twall\n3\t0\t0\t0\t0\tsky\n",
        "Number\tWord\n1\twall\n2\tsky\n",
    ],
)
def test_a_list_of_classes_that_is_none_is_refused(ade, text) -> None:
    (ade / "objectInfo150.txt").write_text(text)
    with pytest.raises(InputError, match="objectInfo150"):
        ade20k_names(ade)


def test_ids_that_no_class_has_are_counted_and_many_are_refused(ade) -> None:
    annotated = np.array([[1, 2, 3, 4, 254]], dtype=np.uint8).repeat(2, axis=0)
    write_scene(ade, "train", "a_first", annotated)
    split = read_ade20k(ade, "train")
    assert split.counts["unknown_pixels"] == 4
    assert split.scenes[0].unknown == (4, 254)
    write_names(ade, "person", "tree")
    with pytest.raises(InputError, match=r"33%.* 2\b"):
        read_ade20k(ade, "train")


WIDE = np.ones((48, 40), dtype=np.uint16)
# What is done to a scene, and why it is left out.
FAULTS: list[tuple[Any, str]] = [
    (lambda image, ids: ids.unlink(), "no annotation"),
    (lambda image, ids: image.unlink(), "annotation without an image"),
    (lambda image, ids: Image.new("L", (48, 40)).save(ids), "annotation of another size"),
    (lambda image, ids: image.write_bytes(image.read_bytes()[:-200]), "cut short"),
    (lambda image, ids: image.write_bytes(b"<html>"), "not a JPEG, PNG, WebP or GIF"),
    (lambda image, ids: ids.write_bytes(b""), "annotation empty"),
    (lambda image, ids: Image.fromarray(WIDE).save(ids), "annotation not of 8-bit ids"),
]


@pytest.mark.parametrize(("spoil", "cause"), FAULTS)
def test_a_scene_with_a_fault_is_counted_and_left_out(ade, spoil, cause) -> None:
    spoil(*files(ade, "train", "train_0003"))
    split = read_ade20k(ade, "train")
    assert (split.counts["images"], len(split)) == (12, 11)
    assert "train_0003" not in [scene.image.stem for scene in split.scenes]
    assert split.broken.listed() == [f"{ade / 'images/training'}:train_0003.jpg ({cause})"]
