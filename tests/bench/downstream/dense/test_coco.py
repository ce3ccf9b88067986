"""COCO's annotation files: what is there is read, what is missing is counted, what is wrong is
refused in one line.
"""

import json

import numpy as np
import pytest
from small_coco import annotations_file, change_annotations, change_each, write_coco

from bench.downstream.dense.coco import coco_root, read_coco
from catlip.cli import InputError

UNKNOWN = r"annotation.* image \d+ .*category \d+"


@pytest.fixture
def root(tmp_path):
    return write_coco(tmp_path / "coco")


def test_class_ids_follow_the_ids_of_the_file_whatever_their_order_and_gaps(root):
    change_annotations(root, "val", lambda old: old | {"categories": old["categories"][::-1]})
    for split in ("train", "val"):
        found = read_coco(root, split)
        assert found.names == ["person", "fire hydrant", "microwave"]
        assert found.class_ids == {1: 0, 11: 1, 78: 2}


def test_every_annotation_stands_with_its_image(root):
    found = read_coco(root, "train")
    raw = json.loads(annotations_file(root, "train").read_text())
    for image, annotations in zip(found.images, found.annotations, strict=True):
        assert annotations == [a for a in raw["annotations"] if a["image_id"] == image["id"]]
    assert found.counts["objects"] == len(raw["annotations"])


def test_what_a_file_lacks_is_counted(root):
    def mutilate(old):
        first, second = (image["id"] for image in old["images"][:2])
        small, *others = [a for a in old["annotations"] if a["image_id"] != first]
        crowds = [a | {"iscrowd": int(a["image_id"] == second)} for a in others]
        return {
            "images": old["images"],
            "annotations": [small | {"bbox": [3.0, 3.0, 0.5, 2.0]}, *crowds],
            "categories": [*old["categories"], {"id": 90, "name": "toothbrush"}],
        }

    change_annotations(root, "train", mutilate)
    (root / "train2017" / "000000000012.jpg").unlink()
    found = read_coco(root, "train")
    assert len(found.images) == 11
    assert "000000000012.jpg" not in [image["file_name"] for image in found.images]
    assert found.counts["images"] == 12
    assert found.counts["absent"] == 1
    assert found.counts["without_objects"] >= 1
    assert found.counts["below_a_pixel"] == 1
    assert found.counts["empty_categories"] == 1
    assert found.counts["crowds"] > 0


def test_what_is_written_for_an_evaluator_lists_only_what_is_there(root, tmp_path):
    (root / "val2017" / "000000001003.jpg").unlink()
    found = read_coco(root, "val")
    found.write(tmp_path / "run" / "val.json")
    written = json.loads((tmp_path / "run" / "val.json").read_text())
    assert written["images"] == found.images
    assert len(written["images"]) == 5
    ids = {image["id"] for image in written["images"]}
    assert {a["image_id"] for a in written["annotations"]} <= ids


def test_the_first_images_are_those_with_an_object(root):
    change_each(root, "train", lambda a: a if a["image_id"] > 3 else None)
    found = read_coco(root, "train").first(2)
    assert [image["id"] for image in found.images] == [4, 5]
    assert all(found.annotations)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda old: old["annotations"], r"instances_train2017\.json"),
        (lambda old: {"images": old["images"]}, "KeyError 'categories'"),
        (lambda old: old | {"categories": [{"id": 1}]}, "KeyError 'name'"),
        (lambda old: old | {"images": []}, " 0 images"),
        (lambda old: old | {"images": old["images"] * 2}, " 12 images"),
        (lambda old: old | {"images": old["images"][:5]}, UNKNOWN),
        (lambda old: old | {"categories": old["categories"][:1]}, UNKNOWN),
    ],
)
def test_a_file_that_means_nothing_is_refused(root, change, complaint):
    change_annotations(root, "train", change)
    with pytest.raises(InputError, match=complaint):
        read_coco(root, "train")


def test_a_broken_file_a_missing_one_and_missing_images_are_refused(root):
    with pytest.raises(InputError, match="coco:DIR"):
        coco_root("imagenet:/data")
    annotations_file(root, "train").write_bytes(b'{"images": [')
    with pytest.raises(InputError, match=r"instances_train2017\.json"):
        read_coco(root, "train")
    annotations_file(root, "train").unlink()
    with pytest.raises(InputError, match=r"annotations/instances_train2017\.json"):
        read_coco(root, "train")
    for path in (root / "val2017").iterdir():
        path.unlink()
    with pytest.raises(InputError, match=r"6 missing.*000000001001\.jpg"):
        read_coco(root, "val")


def test_the_share_of_absent_images_that_is_borne_is_one_in_a_hundred(tmp_path):
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


def test_with_none_allowed_one_missing_image_is_too_many(tmp_path):
    root = write_coco(tmp_path)
    (root / "train2017" / f"{1:012d}.jpg").unlink()
    with pytest.raises(InputError, match="--max-broken 0"):
        read_coco(root, "train", max_broken=0.0)
