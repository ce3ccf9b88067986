"""The threshold bench trains what catlip.pretrain would, counts what is left of the labels, and
does nothing twice.
"""

import itertools
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bench.threshold import STARTER, Threshold, main

from catlip import pretrain, vocabulary
from catlip.cli import InputError
from catlip.pretrain import PretrainCatLIP
from catlip.vocabulary.counts import count

THRESHOLDS, SEEDS = (3, 6), (0, 1)
RECIPE = replace(STARTER.recipe, iterations=3, epochs=0, micro_batch=8)
ON_A_CPU: dict[str, Any] = {"num_workers": 0, "device": "cpu", "quiet": True}
TINY = shlex.split("--iterations 3 --epochs 0 --micro-batch 8 --device cpu --num-workers 0 --quiet")


def config(starter, out: Path, **changes: Any) -> Threshold:
    places = {"shards": (str(starter.shards),), "labels_dir": starter.labels, "out": out}
    places["probe"] = f"starter:{starter.root}"
    small = {"recipe": RECIPE, "thresholds": THRESHOLDS, "seeds": SEEDS}
    return replace(STARTER, **places | small | ON_A_CPU | changes)


def accuracies(out: Path) -> dict[tuple[int, int], tuple[float, float]]:
    """(threshold, seed) -> top-1 of the two tasks."""
    samples = json.loads(out.read_text())["samples"]
    names = ("threshold", "seed", "concepts_top1", "subgroups_top1")
    rows = zip(*(samples[name] for name in names), strict=True)
    return {(threshold, seed): (concepts, groups) for threshold, seed, concepts, groups in rows}


def stamps(out: Path) -> dict[Path, int]:
    """When each run's weights and records were written."""
    patterns = ("*/*-seed?.json", "*/*/weights.safetensors")
    files = itertools.chain(*(out.with_suffix("").glob(pattern) for pattern in patterns))
    return {path: path.stat().st_mtime_ns for path in files}


@pytest.fixture(scope="module")
def undisturbed(starter, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("undisturbed") / "threshold.json"
    main(config(starter, out))
    return out


def test_the_record_counts_what_each_threshold_leaves(starter, undisturbed) -> None:
    captions: list[np.ndarray] = []
    for path in starter.labels.glob("*.labels.npz"):
        with np.load(path) as arrays:
            captions += np.split(arrays["values"], arrays["offsets"][1:-1].astype(int))
    counts = Counter(int(synset) for caption in captions for synset in caption)
    found = json.loads(undisturbed.read_text())["metrics"]["thresholds"]
    assert [*found] == [str(threshold) for threshold in THRESHOLDS]
    for threshold in THRESHOLDS:
        left = [sum(counts[int(synset)] > threshold for synset in caption) for caption in captions]
        row = found[str(threshold)]
        assert row["classes"] == sum(times > threshold for times in counts.values())
        assert (row["captions"], row["captions_without_label"]) == (len(captions), left.count(0))
        assert row["labels_per_caption"] == pytest.approx(np.mean(left))
        assert row["images_seen"] == 3 * 8


def test_the_record_holds_every_run_and_their_means(undisturbed) -> None:
    found = accuracies(undisturbed)
    metrics = json.loads(undisturbed.read_text())["metrics"]["thresholds"]
    assert sorted(found) == [(threshold, seed) for threshold in THRESHOLDS for seed in SEEDS]
    for (threshold, seed), (concepts, subgroups) in found.items():
        folder = undisturbed.with_suffix("") / f"above-{threshold}"
        probed = json.loads((folder / f"probe-seed{seed}.json").read_text())["metrics"]
        assert (probed["concepts_top1"], probed["subgroups_top1"]) == (concepts, subgroups)
        assert (probed["method"], probed["pretrain_seed"]) == ("catlip", seed)
    for threshold in THRESHOLDS:
        both = np.mean([found[threshold, seed] for seed in SEEDS], axis=0)
        of_it = metrics[str(threshold)]
        assert [of_it["concepts_top1"], of_it["subgroups_top1"]] == pytest.approx(both)


def test_a_run_is_the_one_that_catlip_pretrain_does(starter, undisturbed, tmp_path) -> None:
    built = vocabulary.build(count(sorted(starter.labels.glob("*.npz"))), THRESHOLDS[1])
    built.save(tmp_path / "vocabulary.json")
    places = {"labels_dir": starter.labels, "vocabulary": tmp_path / "vocabulary.json"}
    shards, how = (str(starter.shards),), ON_A_CPU | places | {"seed": 1}
    pretrain.main(PretrainCatLIP(RECIPE, shards, tmp_path / "run", **how))
    ours = undisturbed.with_suffix("") / f"above-{THRESHOLDS[1]}" / "catlip-seed1"
    weights = [folder / "weights.safetensors" for folder in (ours, tmp_path / "run")]
    assert weights[0].read_bytes() == weights[1].read_bytes()


def test_a_second_run_only_adds_what_is_new(starter, undisturbed) -> None:
    before, written = accuracies(undisturbed), stamps(undisturbed)
    assert len(written) == 3 * len(before)
    main(config(starter, undisturbed))
    assert accuracies(undisturbed) == before
    assert stamps(undisturbed) == written
    main(config(starter, undisturbed, thresholds=(*THRESHOLDS, 9), seeds=(0,)))
    assert sorted(accuracies(undisturbed)) == [(3, 0), (6, 0), (9, 0)]
    assert stamps(undisturbed).items() > written.items()
    assert len(stamps(undisturbed)) == len(written) + 3
    main(config(starter, undisturbed))
    assert accuracies(undisturbed) == before


def test_killed_between_runs_it_goes_on_to_the_same_record(
    succeed, starter, undisturbed, tmp_path
) -> None:
    out = tmp_path / "threshold.json"
    places = ("--shards", starter.shards, "--labels-dir", starter.labels, "--out", out)
    options = ("--probe", f"starter:{starter.root}", "--thresholds", *THRESHOLDS, "--seeds", *SEEDS)
    arguments = ["bench.threshold", *map(str, (*places, *options, *TINY))]
    command = [sys.executable, "-m", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    first = out.with_suffix("") / f"above-{THRESHOLDS[0]}" / f"catlip-seed{SEEDS[0]}.json"
    deadline = time.monotonic() + 120
    while not first.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    finished = {first, first.with_suffix("") / "weights.safetensors"}
    kept = stamps(out)
    assert finished <= kept.keys()
    assert not out.exists()
    done = succeed(*arguments)
    assert all(stamps(out)[path] == kept[path] for path in finished)
    assert accuracies(out) == accuracies(undisturbed)
    assert f"wrote {out}" in done.stdout


def test_another_recipe_is_refused_and_restart_trains_and_probes_again(starter, tmp_path) -> None:
    out = tmp_path / "threshold.json"
    given = config(starter, out, thresholds=(3,), seeds=(0,))
    main(given)
    before = stamps(out)
    other = replace(given, recipe=replace(RECIPE, max_lr=0.5))
    with pytest.raises(InputError, match=f"max_lr {RECIPE.max_lr} there, 0.5 now"):
        main(other)
    assert stamps(out) == before
    main(replace(other, restart=True))
    assert before.keys() == stamps(out).keys()
    assert not before.items() & stamps(out).items()


def test_runs_of_other_labels_are_not_taken_for_these(
    succeed, starter, undisturbed, tmp_path
) -> None:
    options = ("--rule", "corenet", "--labels-dir", tmp_path, "--quiet")
    succeed("catlip.label", starter.shards, *options)
    written = stamps(undisturbed)
    with pytest.raises(InputError, match="vocabulary"):
        main(config(starter, undisturbed, labels_dir=tmp_path, rule="corenet"))
    assert stamps(undisturbed) == written


def test_another_probe_recipe_probes_again_and_trains_nothing(starter, tmp_path) -> None:
    out = tmp_path / "threshold.json"
    given = config(starter, out, thresholds=(3,), seeds=(0,))
    main(given)
    before = stamps(out)
    main(replace(given, probe_recipe="table_7a"))
    changed = [path.name for path in before if stamps(out)[path] != before[path]]
    assert changed == ["probe-seed0.json"]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"thresholds": (3, 3)}, "--thresholds 3 3"),
        ({"thresholds": (3, 100_000)}, "100000"),
        ({"seeds": (1, 1)}, "--seeds 1 1"),
        ({"probe": "starter"}, "starter:DIR"),
        ({"probe_recipe": "table_7"}, "starter, table_7a"),
        ({"rule": "corenet"}, "--rule corenet"),
        ({"shards": ("nowhere",)}, "nowhere"),
    ],
)
def test_a_mistake_is_found_before_anything_is_trained(
    starter, tmp_path, changes: dict[str, Any], says: str
) -> None:
    with pytest.raises(InputError, match=says):
        main(config(starter, tmp_path / "threshold.json", **changes))
    assert not list(tmp_path.rglob("*.pt"))
