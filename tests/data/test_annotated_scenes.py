"""Annotated scenes: valid COCO and ADE20k, exact, reproducible, and nothing on both sides."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO
from short_training import digests

from catlip.cli import InputError
from catlip.data.annotated_scenes import (
    SIDES,
    Plan,
    Scenes,
    choose_drawings,
    main,
    make,
    read_classes,
)
from catlip.data.starter.emoji import read_sources
from catlip.data.starter.scenes import HELD_OUT_PHOTOS, Sprite

SMALL = Scenes(size=48, train=60, val=30, seed=5, workers=1, quiet=True)


def build(out: Path, **changes) -> Path:
    main(replace(SMALL, out=out, **changes))
    return out


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    return build(tmp_path_factory.mktemp("scenes") / "scenes")


@pytest.fixture(scope="module")
def classes():
    return read_classes(read_sources())


@pytest.mark.parametrize("side", ["train", "val"])
def test_annotations_are_those_of_the_pixels_by_pycocotools(built, side):
    coco = COCO(str(built / "coco" / "annotations" / f"instances_{side}2017.json"))
    folder = SIDES[side].ade20k, f"ADE_{side}"
    assert len(coco.getImgIds()) == {"train": 60, "val": 30}[side]
    assert len(coco.anns) >= 30
    for image in coco.loadImgs(coco.getImgIds()):
        with Image.open(built / "coco" / f"{side}2017" / image["file_name"]) as picture:
            assert (picture.height, picture.width) == (image["height"], image["width"])
        seen = np.zeros((image["height"], image["width"]), dtype=int)
        for entry in coco.loadAnns(coco.getAnnIds(image["id"])):
            mask = coco.annToMask(entry).astype(bool)
            left, top, width, height = map(int, entry["bbox"])
            rows, columns = np.nonzero(mask)
            assert [left, top] == [columns.min(), rows.min()]
            assert [width, height] == [np.ptp(columns) + 1, np.ptp(rows) + 1]
            assert entry["area"] == mask.sum() > 0
            assert not seen[mask].any(), "no two annotations share a pixel"
            seen[mask] = entry["category_id"]
        path = built / "ade20k" / "annotations" / folder[0] / f"{folder[1]}_{image['id']:08d}.png"
        np.testing.assert_array_equal(np.asarray(Image.open(path)), seen)


def test_crowd_is_one_annotation_of_what_the_objects_leave_of_it():
    red = Sprite(1, np.full((20, 20, 4), (255, 0, 0, 255), np.uint8))
    blue = Sprite(0, np.full((20, 20, 4), (0, 0, 255, 255), np.uint8))
    _, label_map, (crowd, thing) = make(Plan("train", 1, (blue,), (red,) * 5, seed=1), size=64)
    assert (crowd["iscrowd"], crowd["category_id"]) == (1, 2)
    assert (thing["iscrowd"], thing["category_id"]) == (0, 1)
    assert (label_map == 2).sum() == crowd["area"]
    assert (label_map == 1).sum() == thing["area"]


def test_no_team_or_photograph_is_on_both_sides(built, classes):
    teams = {
        side: {d.source.name for found in by_class.values() for d in found}
        for side, by_class in classes.drawings.items()
    }
    assert teams == {"train": {"noto-v1", "emojione-v1"}, "val": {"fxemoji", "streamline-emojis"}}
    assert set(SIDES["val"].photos) == HELD_OUT_PHOTOS
    assert not HELD_OUT_PHOTOS & set(SIDES["train"].photos)
    chosen = [choose_drawings(classes, "val", number, seed=0) for number in range(400)]
    ids = [[class_id for class_id, _ in objects] for objects, _ in chosen]
    assert {len(found) for found in ids} == {1, 2}
    assert all(len(set(found)) == len(found) for found in ids)
    crowds = [{class_id for class_id, _ in crowd} for _, crowd in chosen if crowd]
    assert 8 <= len(crowds) <= 35
    assert all(len(found) == 1 for found in crowds)
    rows = (built / "ade20k" / "objectInfo150.txt").read_text().splitlines()
    coco = json.loads((built / "coco/annotations/instances_train2017.json").read_text())
    categories = coco["categories"]
    assert [row.split("\t")[5] for row in rows[1:]] == [each["name"] for each in categories]
    assert [each["name"] for each in categories] == list(classes.groups)


def test_build_depends_on_its_seed_alone(built, tmp_path):
    assert digests(build(tmp_path / "same", workers=2)) == digests(built)
    other = digests(build(tmp_path / "other", train=5, val=5, seed=6))
    same = {name for name, digest in digests(built).items() if other.get(name) == digest}
    assert same == {"ade20k/objectInfo150.txt"}
    before = digests(built)
    classes = built / "ade20k" / "objectInfo150.txt"
    written = classes.stat().st_mtime_ns
    build(built)
    assert classes.stat().st_mtime_ns == written
    next((built / "coco" / "val2017").iterdir()).unlink()
    build(built)
    assert digests(built) == before
    (tmp_path / "coco").mkdir()
    with pytest.raises(InputError, match=str(tmp_path / "coco")):
        build(tmp_path)
