"""Noise does what its name says, to the fraction that is asked for, the same each time; what it
costs is paired with trainings without it.
"""

import json
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from bench.robustness import Robustness, main
from bench.studies.noise import KINDS, Noise, write_noisy
from bench.studies.robustness_result import Robustness as Measured
from bench.studies.robustness_result import robustness_table
from hypothesis import given
from hypothesis import strategies as st

from catlip.cli import InputError
from catlip.data.shards import expand, open_shard, write_shard
from catlip.results.run import Config, Environment, Run

CAPTIONS = [f"a number {number} of many {{things}}" for number in range(2_000)]
FRACTIONS = st.floats(0.01, 0.99)


def noisy(noise: str, seed: int = 0) -> list[str | None]:
    return Noise.read(noise).of(CAPTIONS, np.random.default_rng(seed))


@given(st.sampled_from(sorted(KINDS)), FRACTIONS, st.integers(0, 99))
def test_a_noise_changes_about_the_share_that_is_asked_for(kind, fraction, seed) -> None:
    after = noisy(f"{kind}={fraction}", seed)
    assert len(after) == len(CAPTIONS)
    assert after == noisy(f"{kind}={fraction}", seed)
    if kind == "dropped":
        words = sum(len((caption or "").split()) for caption in after)
        assert 1 - words / (6 * len(CAPTIONS)) == pytest.approx(fraction, abs=0.05)
    else:
        changed = sum(now != before for now, before in zip(after, CAPTIONS, strict=True))
        assert changed / len(CAPTIONS) == pytest.approx(fraction, abs=0.08)


def test_shuffled_captions_are_all_still_there_and_lost_ones_are_not() -> None:
    assert Counter(noisy("shuffled=0.4")) == Counter(CAPTIONS)
    assert {*noisy("lost=0.4")} < {*CAPTIONS, None}
    for kind in ("templated", "chatty"):
        for before, after in zip(CAPTIONS, noisy(f"{kind}=1"), strict=True):
            number = re.findall(r"\d+", before)
            assert re.findall(r"\d+", after) == number
            assert len(after) > len(before)


@pytest.mark.parametrize(
    "spelling", ["lost", "lost=1", "lost=0", "shuffled=2", "dropped=x", "rotten=0.2", "none=0.2"]
)
def test_a_noise_that_cannot_be_is_refused(spelling) -> None:
    with pytest.raises(InputError):
        Noise.read(spelling)


def test_noisy_shards_hold_the_same_images(starter, tmp_path) -> None:
    shards = expand(str(starter.shards))
    left = write_noisy(shards, tmp_path, Noise.read("lost=0.5"), seed=0, quiet=True)
    found = [open_shard(path) for path in expand(str(tmp_path))]
    assert len(found) == len(shards)
    assert sum(map(len, found)) == left
    for before, after in zip(map(open_shard, shards), found, strict=True):
        for number, key in enumerate(after.keys):
            was = before.keys.index(key)
            assert after.image_bytes(number) == before.image_bytes(was)
            assert after.caption(number) == before.caption(was)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_several_captions_of_an_image_stay_several(tmp_path, kind) -> None:
    texts = {f"{n:03}": [f"the first of {n}", f"second of {n}"] for n in range(200)}
    samples = [
        (key, {"gif": b"GIF89a", "txt": "\n".join(lines).encode()}) for key, lines in texts.items()
    ]
    write_shard(tmp_path / "0.tar", samples)
    write_noisy([tmp_path / "0.tar"], tmp_path / "noisy", Noise(kind, 0.2), seed=0, quiet=True)
    shard = open_shard(tmp_path / "noisy" / "00000.tar")
    after = [shard.captions(number) for number in range(len(shard))]
    assert shard.image_bytes(0) == b"GIF89a"
    if kind == "lost":
        assert 120 < len(after) < 190
    elif kind == "shuffled":
        assert sorted(after) == sorted(texts.values())
    assert sum(len(captions) == 2 for captions in after) > 0.9 * len(after)
    assert not any("second" in captions[0] for captions in after if len(captions) == 2)


@pytest.fixture(scope="module")
def study(starter, tmp_path_factory) -> Robustness:
    config = Robustness(
        shards=(str(starter.shards),),
        probe=f"starter-validation:{starter.root}",
        vocabulary=starter.vocabulary,
        labels_dir=starter.labels,
        noises=("none", "lost=0.5"),
        images=64,
        seeds=(0,),
        out=tmp_path_factory.mktemp("robustness") / "trainings",
        num_workers=0,
        quiet=True,
    )
    main(config)
    return config


def metrics(path: Path) -> dict:
    return json.loads(path.read_text())["metrics"]


def test_each_method_is_trained_on_what_is_left_and_its_vocabulary(study) -> None:
    clean = metrics(study.out / "catlip-none-seed0.json")
    assert clean["classes_kept"] == 1
    for method in ("catlip", "clip"):
        lost = metrics(study.out / f"{method}-lost-0.5-seed0.json")
        assert 0.3 * clean["samples"] < lost["samples"] < 0.7 * clean["samples"]
        assert lost["classes"] < clean["classes"]
        assert 0 < lost["classes_kept"] < 1
    assert sorted(path.suffix for path in study.out.iterdir()) == [".json"] * 4


def test_what_is_missing_is_made_again_from_the_same_noise(study) -> None:
    path = study.out / "catlip-lost-0.5-seed0.json"
    others = {other: other.stat().st_mtime_ns for other in study.out.iterdir() if other != path}
    before = metrics(path)
    path.unlink()
    main(study)
    assert metrics(path) == before
    assert {other: other.stat().st_mtime_ns for other in others} == others
    with pytest.raises(InputError, match=r"catlip-none-seed0\.json"):
        main(replace(study, images=128))


def test_what_a_noise_costs_is_paired_by_seed() -> None:
    head = {"name": "", "setup": Config(), "machine": Environment(), "samples": {}}
    sizes = {"samples": 100, "classes": 10, "classes_kept": 1.0, "images_seen": 64}
    runs = []
    for noise, top1, seeds in (("none", 0.3, (0, 1, 2)), ("chatty=1", 0.2, (1, 2))):
        for seed in seeds:
            found = {"final_loss": 1.0, "accuracies": {"concepts": top1 + seed / 10}}
            measured = Measured(method="clip", noise=noise, seed=seed, **sizes, **found)
            runs.append(Run(**head, measured=measured))
    clean, chatty = robustness_table(runs).rows
    assert clean[5].text == "\N{EN DASH}"
    assert chatty[5].full == "\N{MINUS SIGN}10.0 (\N{MINUS SIGN}10.0 to \N{MINUS SIGN}10.0, n = 2)"
