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

import pytest
from PIL import Image

from catlip.cli import InputError
from catlip.data.shards import expand, open_shard, write_shard
from catlip.data.starter.__main__ import MANIFEST, SPLITS, UNFINISHED, Starter, main
from catlip.data.starter.emoji import read_concepts, read_drawings, read_sources
from catlip.data.starter.scenes import HELD_OUT_PHOTOS
from catlip.program.ranges import check_ranges

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
    return build(tmp_path_factory.mktemp("starter"))


def test_the_same_seed_gives_the_same_bytes_with_another_number_of_processes(built, tmp_path):
    assert digests(build(tmp_path, workers=2)) == digests(built)
    assert (tmp_path / MANIFEST).read_bytes() == (built / MANIFEST).read_bytes()


def test_another_seed_gives_other_shards_of_the_same_size(built, tmp_path):
    other = build(tmp_path, seed=4)
    assert digests(other).keys() == digests(built).keys()
    assert not set(digests(other).values()) & set(digests(built).values())
    ours, theirs = (json.loads((root / MANIFEST).read_text()) for root in (built, other))
    assert ours["counts"] == theirs["counts"]


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
    assert "Nine sets" in card
    assert "by seven teams" in card
    assert "No team is in two splits" not in card


def test_every_image_is_whole_and_every_key_is_used_once(built):
    for split in SPLITS:
        for _, meta, image in samples(built, split):
            assert Image.open(io.BytesIO(image)).convert("RGB").size == (32, 32)
            assert meta["split"] == split
    keys = [key for path in built.rglob("*.tar") for key in open_shard(path).keys]
    assert len(keys) == len(set(keys))


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


def test_boxes_lie_inside_the_image_and_hold_something(built):
    for split in SPLITS:
        for _, meta, _ in samples(built, split):
            assert 1 <= len(meta["objects"]) <= 4
            for left, top, right, bottom in (entry["box"] for entry in meta["objects"]):
                assert 0 <= left < right <= 32
                assert 0 <= top < bottom <= 32


def test_held_out_photographs_are_in_no_sample_and_probes_stand_on_white(built):
    backgrounds = {
        split: Counter(meta["background"] for _, meta, _ in samples(built, split))
        for split in SPLITS
    }
    assert not HELD_OUT_PHOTOS & backgrounds["pretrain"].keys()
    assert backgrounds["pretrain"].pop("white") > 150
    assert len(backgrounds["pretrain"]) > 8
    assert backgrounds["probe-train"].keys() == backgrounds["probe-test"].keys() == {"white"}


def test_a_complete_build_is_left_alone(built):
    before = {path: path.stat().st_mtime_ns for path in built.rglob("*") if path.is_file()}
    build(built)
    assert {path: path.stat().st_mtime_ns for path in built.rglob("*") if path.is_file()} == before


def test_a_damaged_or_unfinished_build_is_made_again(built, tmp_path):
    out = build(tmp_path / "again", limit=10, scenes=5)
    whole = digests(out)
    shard = out / "probe-test" / "00000.tar"
    shard.write_bytes(shard.read_bytes()[:-512])
    build(out, limit=10, scenes=5)
    assert digests(out) == whole
    write_shard(out / "probe-train" / "00003.tar", [("stray", {"txt": b"from nowhere"})])
    build(out, limit=10, scenes=5)
    assert digests(out) == whole
    # As builds that were killed leave it: at work, and while the shards were moved.
    write_shard(out / UNFINISHED / "pretrain" / "00007.tar", [("stale", {"txt": b"left"})])
    shutil.rmtree(out / "probe-train")
    (out / "probe-test" / "notes.txt").write_text("the user's")
    build(out, limit=10, scenes=5)
    assert digests(out) == whole
    assert (out / "probe-test" / "notes.txt").exists()
    assert not (out / UNFINISHED).exists()


def test_a_second_build_waits_for_the_first_and_takes_it(built, tmp_path):
    """Nor can another program see a half-built folder."""
    command = [sys.executable, "-m", "catlip.data.starter", "--out", "starter", "--quiet"]
    command += ["--size", "32", "--scenes", "60", "--seed", "3", "--limit", "40"]
    builds = [
        subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    out, seen = tmp_path / "starter", set()
    while any(process.poll() is None for process in builds):
        seen.add(tuple(sorted(path.name for path in (out / "pretrain").glob("*.tar"))))
        time.sleep(0.001)
    said = sorted(process.communicate()[0].splitlines()[-1] for process in builds)
    assert [process.returncode for process in builds] == [0, 0]
    assert said == [
        "starter was built by another process",
        "written to starter; described in starter/DATA_CARD.md",
    ]
    assert seen <= {(), tuple(sorted(path.name for path in (built / "pretrain").glob("*.tar")))}
    assert digests(out) == digests(built)
    assert (out / MANIFEST).read_bytes() == (built / MANIFEST).read_bytes()


def test_shards_of_someone_else_are_never_taken_away(tmp_path):
    theirs = tmp_path / "pretrain" / "00000.tar"
    write_shard(theirs, [("photo", {"txt": b"a photo"})])
    with pytest.raises(InputError, match=str(theirs)):
        build(tmp_path)
    assert open_shard(theirs).caption(0) == "a photo"


@pytest.mark.parametrize(
    "wrong",
    [{"size": 8}, {"size": 4096}, {"scenes": -1}, {"workers": 0}, {"limit": 0}, {"seed": -1}],
)
def test_arguments_out_of_range_are_refused_by_name(wrong):
    with pytest.raises(InputError, match=f"--{next(iter(wrong))} "):
        check_ranges(replace(SMALL, **wrong))


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
