"""The starter data set: reproducible to the byte, split by drawing team, and as its card says."""

import io
import json
import re
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from short_training import digests

from catlip.cli import InputError
from catlip.data.shards import expand, open_shard, write_shard
from catlip.data.starter.__main__ import CARD, MANIFEST, UNFINISHED, Starter, main
from catlip.data.starter.emoji import read_concepts, read_sources, render
from catlip.data.starter.probe_tasks import load_task
from catlip.data.starter.samples import SPLITS, add_article
from catlip.data.starter.scenes import HELD_OUT_PHOTOS, MAX_COVERED, Sprite, compose

SMALL = Starter(size=32, scenes=60, seed=3, limit=40, workers=1, quiet=True)


def build(out: Path, **changes) -> Path:
    main(replace(SMALL, out=out, **changes))
    return out


def samples(root: Path, split: str):
    """(caption, metadata, image bytes) of every sample of a split."""
    for shard in map(open_shard, expand(str(root / split))):
        for number in range(len(shard)):
            yield shard.caption(number), shard.metadata(number), shard.image_bytes(number)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    return build(tmp_path_factory.mktemp("starter") / "starter")


# Builds


def test_same_seed_gives_the_same_bytes(built, tmp_path):
    """Nor can another program see a half-built folder."""
    command = [sys.executable, "-m", "catlip.data.starter", "--out", "starter", "--quiet"]
    command += ["--size", "32", "--scenes", "60", "--seed", "3", "--limit", "40", "--workers", "2"]
    out, seen = tmp_path / "starter", set()
    process = subprocess.Popen(command, cwd=tmp_path)
    while process.poll() is None:
        seen.add(tuple(sorted(path.name for path in (out / "pretrain").glob("*.tar"))))
        time.sleep(0.001)
    assert process.returncode == 0
    assert seen <= {(), tuple(sorted(path.name for path in (built / "pretrain").glob("*.tar")))}
    assert digests(out, "*.tar") == digests(built, "*.tar")
    for name in (MANIFEST, CARD):
        assert (out / name).read_bytes() == (built / name).read_bytes()


def test_damaged_or_unfinished_build_is_made_again(tmp_path):
    small = {"limit": 10, "scenes": 5}
    out = build(tmp_path / "again", **small)
    whole = digests(out, "*.tar")
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    build(out, **small)
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before
    shard = out / "probe-test" / "00000.tar"
    shard.write_bytes(shard.read_bytes()[:-512])
    write_shard(out / "probe-train" / "00003.tar", [("stray", {"txt": b"from nowhere"})])
    # As builds that were killed leave it: at work, and while the shards were moved.
    write_shard(out / UNFINISHED / "pretrain" / "00007.tar", [("stale", {"txt": b"left"})])
    (out / "probe-train" / "00000.tar").unlink()
    (out / "probe-test" / "notes.txt").write_text("the user's")
    build(out, **small)
    assert digests(out, "*.tar") == whole
    assert (out / "probe-test" / "notes.txt").exists()
    assert not (out / UNFINISHED).exists()
    write_shard(tmp_path / "else" / "pretrain" / "00000.tar", [("photo", {"txt": b"a photo"})])
    with pytest.raises(InputError, match="else"):  # shards of someone else are never taken away
        build(tmp_path / "else", **small)


# Content


def test_card_and_the_manifest_state_what_the_shards_hold(built):
    manifest = json.loads((built / MANIFEST).read_text())
    card = (built / "DATA_CARD.md").read_text()
    titles = {source.name: source.title for source in read_sources()} | {"scenes": "scenes"}
    for split in SPLITS:
        found = Counter(meta.get("source", "scenes") for _, meta, _ in samples(built, split))
        assert manifest["counts"][split] == found
        for name, count in found.items():
            assert f"\n| {split} | {titles[name]} | {count} |" in card
        assert f"| **{split}** | **total** | **{found.total()}** |" in card
    assert {name: entry["sha256"] for name, entry in manifest["shards"].items()} == digests(
        built, "*.tar"
    )


def test_samples_are_as_the_card_says(built):
    backgrounds = {split: Counter() for split in SPLITS}
    teams = {split: set() for split in SPLITS}
    concepts = {concept.name: concept for concept in read_concepts()}
    assert len(concepts) == 1420
    for split in SPLITS:
        for caption, meta, image in samples(built, split):
            assert Image.open(io.BytesIO(image)).convert("RGB").size == (32, 32)
            assert meta["split"] == split
            backgrounds[split][meta["background"]] += 1
            assert 1 <= len(meta["objects"]) <= 4
            for left, top, right, bottom in (entry["box"] for entry in meta["objects"]):
                assert 0 <= left < right <= 32
                assert 0 <= top < bottom <= 32
            teams[split] |= {entry["source"] for entry in meta["objects"]}
            # The caption names the objects, and nothing but keywords of a drawing.
            rest, names = caption, [entry["name"] for entry in meta["objects"]]
            for name in sorted(names, key=len, reverse=True):
                assert name in rest
                rest = rest.replace(name, "", 1)
            if meta["kind"] == "scene":
                assert set(re.findall(r"\w+", rest)) <= {"a", "an", "and"}
            else:
                assert {part for part in rest.split(", ") if part} <= set(concepts[names[0]].tags)
    assert teams == {
        "pretrain": {"noto", "twemoji", "openmoji", "emojione", "fluent-emoji-flat"},
        "probe-train": {"noto-v1", "emojione-v1"},
        "probe-test": {"fxemoji", "streamline-emojis"},
    }
    keys = [key for path in built.rglob("*.tar") for key in open_shard(path).keys]
    assert len(keys) == len(set(keys))
    assert len(HELD_OUT_PHOTOS) == 3
    assert not HELD_OUT_PHOTOS & backgrounds["pretrain"].keys()
    assert backgrounds["pretrain"].pop("white") > 150
    assert backgrounds["pretrain"].total() == 60
    assert backgrounds["probe-train"].keys() == backgrounds["probe-test"].keys() == {"white"}


# Scenes and captions


DISC = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 8 8"><ellipse cx="4" cy="4" rx="4" '
    'ry="3" fill="{}"/></svg>'
)
COLOURS = ("#ff0000", "#00ff00", "#0000ff", "#ffff00")


@pytest.mark.parametrize("seed", range(10))
def test_masks_and_boxes_are_where_each_colour_is_seen(seed):
    discs = [Sprite(colour, render(DISC.format(colour), 48)) for colour in COLOURS]
    grey = np.full((40 + 5 * seed, 90 - 5 * seed, 3), 128, dtype=np.uint8)
    image, placements = compose(grey, discs, np.random.default_rng(seed), (0.3, 0.6))
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
        whole_disc = np.pi / 4 * (right - left) * (bottom - top)
        assert placement.mask.sum() > (1 - 2 * MAX_COVERED) * whole_disc
    assert sum(placement.mask.astype(int) for placement in placements).max() == 1, (
        "two objects own one pixel"
    )


WITH_ARTICLE = ["a dog", "an umbrella", "a unicorn", "an x-ray", "an octopus", "a glass of milk"]


@pytest.mark.parametrize("expected", [*WITH_ARTICLE, "grapes", "cooked rice", "money with wings"])
def test_nouns_get_the_article_that_english_gives_them(expected):
    assert add_article(re.sub("^an? ", "", expected)) == expected


# Probe tasks


KINDS = {
    "violin": ("objects", "musical-instrument"),
    "harp": ("objects", "musical-instrument"),
    "axe": ("objects", "tool"),
    "dog": ("animals-nature", "animal-mammal"),
    "cat": ("animals-nature", "animal-mammal"),
    "grinning face": ("smileys-emotion", "face-smiling"),
}
DRAWN = {
    "probe-train": ["violin", "violin", "dog", "harp", "grinning face"],
    "probe-test": ["dog", "violin", "axe", "cat", "grinning face"],
}


def test_class_is_what_both_sides_drew_and_faces_belong_to_no_task(tmp_path, monkeypatch):
    monkeypatch.setenv("CATLIP_CACHE", str(tmp_path / "cache"))
    for split, names in DRAWN.items():
        members = []
        for number, name in enumerate(names):
            meta = {"name": name, "group": KINDS[name][0], "subgroup": KINDS[name][1]}
            members.append((f"{number}", {"png": b"", "json": json.dumps(meta).encode()}))
        for shard in (0, 1):  # the split lies in two shards
            write_shard(tmp_path / split / f"{shard:05d}.tar", members[shard::2])

    def labelled(task, side):
        """(name in the metadata, name of the label) of each sample."""
        labels = getattr(task, f"{side}_labels")
        found = zip(getattr(task, side), labels, strict=True)
        return sorted((shard.metadata(i)["name"], task.class_names[y]) for (shard, i), y in found)

    task = load_task(tmp_path, "concepts")
    dog, violin = ("dog", "dog"), ("violin", "violin")
    assert task.class_names == ["dog", "violin"]
    assert labelled(task, "train") == [dog, violin, violin]
    assert labelled(task, "test") == [dog, violin]
    task = load_task(tmp_path, "subgroups")
    music, animal = "musical-instrument", "animal-mammal"
    assert task.class_names == [animal, music]
    train = [("dog", animal), ("harp", music), ("violin", music), ("violin", music)]
    assert labelled(task, "train") == train
    assert labelled(task, "test") == [("cat", animal), ("dog", animal), ("violin", music)]
    assert sorted(task.test_concepts) == [0, 1, 2]
