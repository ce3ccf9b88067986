"""The starter data set: reproducible to the byte, split by drawing team, and as its card says."""

import io
import json
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from catlip.cli import InputError
from catlip.data.shards import expand, open_shard, write_shard
from catlip.data.starter.__main__ import CARD, MANIFEST, UNFINISHED, Starter, main
from catlip.data.starter.emoji import Concept, read_concepts, read_drawings, read_sources, render
from catlip.data.starter.probe_tasks import load_task
from catlip.data.starter.samples import SPLITS, drawing_caption, scene_caption, with_article
from catlip.data.starter.scenes import (
    HELD_OUT_PHOTOS,
    MAX_COVERED,
    PHOTOS,
    TRAINING_PHOTOS,
    Sprite,
    compose,
)

SMALL = Starter(size=32, scenes=60, seed=3, limit=40, workers=1, quiet=True)


def build(out: Path, **changes) -> Path:
    main(replace(SMALL, out=out, **changes))
    return out


def digests(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*.tar"))
    }


def samples(root: Path, split: str):
    """(caption, metadata, image bytes) of every sample of a split."""
    for shard in map(open_shard, expand(str(root / split))):
        for number in range(len(shard)):
            yield shard.caption(number), shard.metadata(number), shard.image_bytes(number)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    return build(tmp_path_factory.mktemp("starter") / "starter")


# Builds


def test_the_same_seed_gives_the_same_bytes_and_a_second_build_waits_for_the_first(built, tmp_path):
    """Nor can another program see a half-built folder."""
    command = [sys.executable, "-m", "catlip.data.starter", "--out", "starter", "--quiet"]
    command += ["--size", "32", "--scenes", "60", "--seed", "3", "--limit", "40", "--workers", "2"]
    builds = [
        subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    out, seen = tmp_path / "starter", set()
    while any(process.poll() is None for process in builds):
        seen.add(tuple(sorted(path.name for path in (out / "pretrain").glob("*.tar"))))
        time.sleep(0.001)
    outputs = sorted(process.communicate()[0].splitlines()[-1] for process in builds)
    assert [process.returncode for process in builds] == [0, 0]
    assert "another process" in outputs[0]
    assert seen <= {(), tuple(sorted(path.name for path in (built / "pretrain").glob("*.tar")))}
    assert digests(out) == digests(built)
    for name in (MANIFEST, CARD):
        assert (out / name).read_bytes() == (built / name).read_bytes()


def test_a_damaged_or_unfinished_build_is_made_again_and_a_complete_one_is_left(tmp_path):
    small = {"limit": 10, "scenes": 5}
    out = build(tmp_path / "again", **small)
    whole, before = digests(out), {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    build(out, **small)
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before
    shard = out / "probe-test" / "00000.tar"
    shard.write_bytes(shard.read_bytes()[:-512])
    write_shard(out / "probe-train" / "00003.tar", [("stray", {"txt": b"from nowhere"})])
    build(out, **small)
    assert digests(out) == whole
    # As builds that were killed leave it: at work, and while the shards were moved.
    write_shard(out / UNFINISHED / "pretrain" / "00007.tar", [("stale", {"txt": b"left"})])
    shutil.rmtree(out / "probe-train")
    (out / "probe-test" / "notes.txt").write_text("the user's")
    build(out, **small)
    assert digests(out) == whole
    assert (out / "probe-test" / "notes.txt").exists()
    assert not (out / UNFINISHED).exists()
    other = digests(build(out, seed=4, **small))
    assert other.keys() == whole.keys()
    assert not set(other.values()) & set(whole.values())


def test_shards_of_someone_else_are_never_taken_away(tmp_path):
    path = tmp_path / "pretrain" / "00000.tar"
    write_shard(path, [("photo", {"txt": b"a photo"})])
    with pytest.raises(InputError, match=str(path)):
        build(tmp_path)
    assert open_shard(path).caption(0) == "a photo"


# Content


def test_no_set_of_drawings_is_in_two_splits_and_no_team_of_the_test_in_another(built):
    teams: dict[str, set[str]] = {}
    for source in read_sources():
        teams.setdefault(source.split, set()).add(source.authors)
    assert len(set.union(*teams.values())) == 7
    assert teams["probe-train"] < teams["pretrain"]
    assert not teams["probe-test"] & (teams["pretrain"] | teams["probe-train"])
    sets = {split: set() for split in SPLITS}
    for split in SPLITS:
        for _, meta, _ in samples(built, split):
            sets[split] |= {entry["source"] for entry in meta["objects"]}
    assert sets == {
        "pretrain": {"noto", "twemoji", "openmoji", "emojione", "fluent-emoji-flat"},
        "probe-train": {"noto-v1", "emojione-v1"},
        "probe-test": {"fxemoji", "streamline-emojis"},
    }


def test_the_card_and_the_manifest_state_what_the_shards_hold(built):
    manifest = json.loads((built / MANIFEST).read_text())
    card = (built / "DATA_CARD.md").read_text()
    titles = {source.name: source.title for source in read_sources()} | {"scenes": "scenes"}
    for split in SPLITS:
        found = Counter(meta.get("source", "scenes") for _, meta, _ in samples(built, split))
        assert manifest["counts"][split] == found
        for name, count in found.items():
            assert f"\n| {split} | {titles[name]} | {count} |" in card
        assert f"| **{split}** | **total** | **{found.total()}** |" in card
    assert {name: entry["sha256"] for name, entry in manifest["shards"].items()} == digests(built)
    for source in read_sources():
        assert f"{source.title}, by {source.authors}, {source.licence}" in card


def test_images_are_whole_keys_are_used_once_boxes_lie_inside_and_probes_stand_on_white(built):
    backgrounds = {split: Counter() for split in SPLITS}
    for split in SPLITS:
        for _, meta, image in samples(built, split):
            assert Image.open(io.BytesIO(image)).convert("RGB").size == (32, 32)
            assert meta["split"] == split
            backgrounds[split][meta["background"]] += 1
            assert 1 <= len(meta["objects"]) <= 4
            for left, top, right, bottom in (entry["box"] for entry in meta["objects"]):
                assert 0 <= left < right <= 32
                assert 0 <= top < bottom <= 32
    keys = [key for path in built.rglob("*.tar") for key in open_shard(path).keys]
    assert len(keys) == len(set(keys))
    assert len(HELD_OUT_PHOTOS) == 3
    assert set(PHOTOS) - set(TRAINING_PHOTOS) == HELD_OUT_PHOTOS
    assert not HELD_OUT_PHOTOS & backgrounds["pretrain"].keys()
    assert backgrounds["pretrain"].pop("white") > 150
    assert len(backgrounds["pretrain"]) > 8
    assert backgrounds["probe-train"].keys() == backgrounds["probe-test"].keys() == {"white"}


def test_captions_name_the_objects_and_nothing_else(built):
    kinds = Counter()
    concepts = {concept.name: concept for concept in read_concepts()}
    for caption, meta, _ in samples(built, "pretrain"):
        kinds[meta["kind"]] += 1
        names = [entry["name"] for entry in meta["objects"]]
        assert len(names) == len(set(names))
        rest = caption
        for name in sorted(names, key=len, reverse=True):
            assert name in rest
            rest = rest.replace(name, "", 1)
        if meta["kind"] == "scene":
            assert set(re.findall(r"\w+", rest)) <= {"a", "an", "and"}
        else:
            assert {part for part in rest.split(", ") if part} <= set(concepts[names[0]].tags)
    assert kinds["scene"] == 60
    assert kinds["drawing"] > 150


def test_the_concepts_are_base_emoji_of_things_and_people():
    concepts = read_concepts()
    assert len(concepts) == len({concept.name for concept in concepts}) == 1420
    assert not {"symbols", "flags", "component"} & {concept.group for concept in concepts}
    assert not any("skin tone" in concept.name for concept in concepts)


def test_drawings_are_matched_by_name_and_misnamed_ones_are_left_out():
    streamline = next(source for source in read_sources() if source.name == "streamline-emojis")
    found = {drawing.concept.name for drawing in read_drawings(streamline, read_concepts())}
    assert len(found) == 518
    assert {"boy", "telephone", "woman's boot"} <= found  # "boy-1", "telephone", "womans-boot"
    assert "turkey" not in found  # theirs is the country's flag


def test_the_notice_attributes_every_source():
    notice = (Path(__file__).parents[2] / "NOTICE").read_text()
    for source in read_sources():
        assert f"({source.name} {source.version})" in notice


# Scenes and captions


DISC = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 8 8"><ellipse cx="4" cy="4" rx="4" '
    'ry="3" fill="{}"/></svg>'
)
COLOURS = ("#ff0000", "#00ff00", "#0000ff", "#ffff00")


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def discs(count: int, size: int = 48) -> list[Sprite[str]]:
    return [Sprite(colour, render(DISC.format(colour), size)) for colour in COLOURS[:count]]


def grey(height: int = 64, width: int = 64) -> np.ndarray:
    return np.full((height, width, 3), 128, dtype=np.uint8)


def test_a_sprite_is_blended_by_its_opacity():
    sprite = discs(1, size=24)[0]
    unscaled = 24 / 64  # at which it is not resampled
    image, (placement,) = compose(grey(), [sprite], rng(), (unscaled, unscaled))
    solid = sprite.pixels[..., 3] >= 128
    seen = placement.mask
    top, left = (np.argmax(seen.any(axis)) - np.argmax(solid.any(axis)) for axis in (1, 0))
    height, width = sprite.pixels.shape[:2]
    opacity = sprite.pixels[..., 3:] / 255
    expected = np.round(sprite.pixels[..., :3] * opacity + 128 * (1 - opacity))
    found = image[top : top + height, left : left + width]
    np.testing.assert_allclose(found, expected, atol=1)
    np.testing.assert_array_equal(seen[top : top + height, left : left + width], solid)
    assert ((opacity > 0) & (opacity < 1)).any(), "this test needs soft edges"


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    count=st.integers(1, 4),
    height=st.integers(40, 90),
    width=st.integers(40, 90),
)
def test_masks_and_boxes_are_where_each_colour_is_seen(seed, count, height, width):
    image, placements = compose(grey(height, width), discs(count), rng(seed), (0.3, 0.6))
    assert placements
    for placement in placements:
        colour = np.array([int(placement.what[i : i + 2], 16) for i in (1, 3, 5)])
        distance = np.abs(image.astype(int) - colour).max(2)
        # Half opaque, under a half opaque edge: a quarter of it.
        assert (distance[placement.mask] <= 192).all()
        assert placement.mask[distance <= 2].all()
        left, top, right, bottom = placement.box
        inside = np.zeros_like(placement.mask)
        inside[top:bottom, left:right] = True
        assert not (placement.mask & ~inside).any()
        assert placement.mask[top].any()
        assert placement.mask[bottom - 1].any()
        assert placement.mask[:, left].any()
        assert placement.mask[:, right - 1].any()
    assert sum(placement.mask.astype(int) for placement in placements).max() == 1, (
        "two objects own one pixel"
    )


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_every_object_stays_recognisable(seed):
    _, placements = compose(grey(), discs(4), rng(seed), (0.3, 0.6))
    for placement in placements:
        left, top, right, bottom = placement.box
        whole_disc = np.pi / 4 * (right - left) * (bottom - top)
        assert placement.mask.sum() > (1 - 2 * MAX_COVERED) * whole_disc


def test_an_object_without_a_place_is_left_out_and_not_announced():
    image, placements = compose(grey(), discs(2), rng(), (1.0, 1.0))
    assert [placement.what for placement in placements] == [COLOURS[0]]
    assert not (image == (0, 255, 0)).all(2).any()


def test_a_rendering_keeps_transparency_and_is_cut_to_what_is_visible():
    pixels = render(DISC.format("#ff0000"), 40)
    assert pixels.shape == (30, 40, 4)  # the ellipse is three quarters as high as the square
    assert pixels[15, 20].tolist() == [255, 0, 0, 255]
    assert pixels[0, 0, 3] == 0
    empty = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 8 8"/>'
    assert render(empty, 40).size == 0


KEYWORDS = ("apple", "diet", "food", "fruit", "health", "red", "ripe")
APPLE = Concept("1F34E", "red apple", KEYWORDS, "food-drink", "food-fruit")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("dog", "a dog"),
        ("umbrella", "an umbrella"),
        ("unicorn", "a unicorn"),
        ("ewe", "a ewe"),
        ("x-ray", "an x-ray"),
        ("one-piece swimsuit", "a one-piece swimsuit"),
        ("octopus", "an octopus"),
        ("wine glass", "a wine glass"),
        ("grapes", "grapes"),
        ("skis", "skis"),
        ("cooked rice", "cooked rice"),
        ("glass of milk", "a glass of milk"),
        ("nest with eggs", "a nest with eggs"),
        ("money with wings", "money with wings"),
        ("bow and arrow", "a bow and arrow"),
    ],
)
def test_nouns_get_the_article_that_english_gives_them(name, expected):
    assert with_article(name) == expected


def test_a_scene_is_written_as_a_list_in_both_forms_and_one_object_as_its_name():
    names = ["dog", "grapes", "umbrella"]
    captions = {scene_caption(names, rng(seed)) for seed in range(200)}
    assert {"a dog, grapes and an umbrella", "grapes, umbrella, dog"} < captions
    assert all(all(name in caption for name in names) for caption in captions)
    assert {scene_caption(["dog"], rng(seed)) for seed in range(50)} == {"a dog", "dog"}


def test_a_drawing_is_always_named_and_only_its_keywords_are_added():
    lengths = Counter()
    for seed in range(400):
        parts = drawing_caption(APPLE, rng(seed)).split(", ")
        lengths[len(parts)] += 1
        assert "red apple" in parts
        assert len(parts) == len(set(parts))
        # "apple" and "red" would repeat the name.
        assert set(parts) <= {"red apple", "diet", "food", "fruit", "health", "ripe"}
    assert 70 < lengths[1] < 130  # the name alone: 1 in 4
    assert (min(lengths), max(lengths)) == (1, 6)
    bare = Concept("1F415", "dog", ("dog",), "animals-nature", "animal-mammal")
    assert {drawing_caption(bare, rng(seed)) for seed in range(50)} == {"dog"}


# Probe tasks


PROBE_TRAIN = ["violin", "violin", "dog", "harp", "grinning face"]
PROBE_TEST = ["dog", "violin", "axe", "cat", "grinning face"]
KINDS = {
    "violin": ("objects", "musical-instrument"),
    "harp": ("objects", "musical-instrument"),
    "axe": ("objects", "tool"),
    "dog": ("animals-nature", "animal-mammal"),
    "cat": ("animals-nature", "animal-mammal"),
    "grinning face": ("smileys-emotion", "face-smiling"),
}


def members(name: str) -> dict[str, bytes]:
    group, subgroup = KINDS[name]
    meta = {"name": name, "group": group, "subgroup": subgroup}
    return {"png": b"", "json": json.dumps(meta).encode()}


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("CATLIP_CACHE", str(tmp_path / "cache"))
    for split, names in (("probe-train", PROBE_TRAIN), ("probe-test", PROBE_TEST)):
        for shard in (0, 1):  # the split lies in two shards
            numbered = list(enumerate(names))[shard::2]
            samples = [(f"{split}-{number}", members(name)) for number, name in numbered]
            write_shard(tmp_path / split / f"{shard:05d}.tar", samples)
    return tmp_path


def named(samples, labels, class_names):
    """(name in the metadata, name of the label) of each sample."""
    return sorted(
        (shard.metadata(i)["name"], class_names[label])
        for (shard, i), label in zip(samples, labels, strict=True)
    )


def test_a_class_is_what_both_sides_drew_and_faces_belong_to_no_task(root):
    task = load_task(root, "concepts")
    dog, violin = ("dog", "dog"), ("violin", "violin")
    assert task.class_names == ["dog", "violin"]
    assert named(task.train, task.train_labels, task.class_names) == [dog, violin, violin]
    assert named(task.test, task.test_labels, task.class_names) == [dog, violin]
    task = load_task(root, "subgroups")
    music, animal = "musical-instrument", "animal-mammal"
    assert task.class_names == [animal, music]
    train = [("dog", animal), ("harp", music), ("violin", music), ("violin", music)]
    assert named(task.train, task.train_labels, task.class_names) == train
    test = [("cat", animal), ("dog", animal), ("violin", music)]
    assert named(task.test, task.test_labels, task.class_names) == test


def test_unknown_tasks_missing_data_and_splits_without_a_common_class_are_refused(root, tmp_path):
    with pytest.raises(InputError, match="concepts, subgroups"):
        load_task(root, "colours")
    with pytest.raises(InputError, match="probe-train"):
        load_task(tmp_path / "nowhere", "concepts")
    write_shard(root / "probe-test" / "00000.tar", [("a", members("axe"))])
    (root / "probe-test" / "00001.tar").unlink()
    with pytest.raises(InputError, match="--limit"):
        load_task(root, "concepts")
