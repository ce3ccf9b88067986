"""`python -m reports compare`: what differs is shown, with how sure it is and what else may be the
reason.
"""

import math
import re
import statistics
from pathlib import Path

import numpy as np
import pytest
from report_support import HEAD

from catlip.cli import InputError
from catlip.table import MISSING
from reports.compare import Part, comparison

ENVIRONMENT = HEAD["environment"] | {"threads": 2}
MINUS = "\N{MINUS SIGN}"


def rows(part: Part, name: str) -> dict[str, list[str]]:
    """The cells of a table of a part by the word in front; none where there is no such table."""
    return {
        row[0].text: [cell.full for cell in row[1:]]
        for table in part.tables
        if table.name == name
        for row in table.rows
    }


def warnings(part: Part) -> list[str]:
    return [
        words.removeprefix("warning: ") for words in part.sentences if words.startswith("warning: ")
    ]


def written_in_two(write_record, one: dict, other: dict, kind: str = "pretrain") -> list[Path]:
    """A record with these parts in each of two folders."""
    return [
        write_record(kind, "catlip-seed0", root=root, **parts)
        for root, parts in (("a", one), ("b", other))
    ]


def of_two(write_record, one: dict, other: dict, kind: str = "of another program") -> Part:
    """The comparison of two records with these parts."""
    return comparison(*written_in_two(write_record, one, other, kind))[1]


def timed(samples: list[float]) -> dict:
    """Metrics and samples of a bench that timed something."""
    summary = {"median": statistics.median(samples), "p5": min(samples), "p95": max(samples)}
    summary |= {"cv": 0.1, "n": len(samples)}
    return {"metrics": {"catlip": {"total_ms": summary}}, "samples": {"catlip_total_ms": samples}}


def test_settings_are_compared_field_by_field_and_metrics_by_difference_and_ratio(write_record):
    recipe = {"max_lr": 1e-3, "betas": [0.9, 0.999], "epochs": 10}
    changed = recipe | {"max_lr": 1e-5, "betas": [0.9, 0.98]}
    one = {
        "config": {"recipe": recipe, "quiet": True},
        "metrics": {"images": 5, "top1": 0.4, "name": "x"},
    }
    other = {
        "config": {"recipe": changed, "quiet": True, "extra": None},
        "metrics": {"images": 5, "top1": 0.5, "name": "y", "more": 3},
    }
    part = of_two(write_record, one, other)
    assert rows(part, "config") == {
        "extra": [MISSING, "null"],
        "recipe.betas": ["[0.9, 0.999]", "[0.9, 0.98]"],
        "recipe.max_lr": ["0.001", "1e-05"],
    }
    assert rows(part, "metrics") == {
        "more": [MISSING, "3.00"],
        "name": ["x", "y"],
        "top1": ["0.400", "0.500", "+0.100", "1.25 (no interval)"],
    }
    assert "metrics: 1 are the same" in part.sentences


@pytest.mark.parametrize(
    ("one", "other", "warning"),
    [
        ({"device": "A100"}, {"device": "H100"}, "different devices: A100 and H100"),
        ({"device": "X"}, {"device": "X", "device_count": 4}, "different devices: X and 4 x X"),
        ({"device": ""}, {"device": ""}, "A does not name its device"),
        ({"packages": {"torch": "2"}}, {"packages": {"torch": "3"}}, "different torch: 2 and 3"),
        ({"cuda": "12.4"}, {}, f"different cuda: 12.4 and {MISSING}"),
        ({"threads": 1}, {"threads": 8}, "different threads: 1 and 8"),
        ({"revision": "abc"}, {"revision": "def"}, "different git revisions: abc and def"),
        ({"revision": "unknown"}, {"revision": "unknown"}, "B does not name its git revision"),
        ({}, {"dirty": True}, "B ran with local changes that are not in its git revision"),
    ],
)
def test_another_machine_or_another_code_is_warned_of(write_record, one, other, warning):
    sides = [
        {"environment": ENVIRONMENT | side, "metrics": {"x": i}}
        for i, side in enumerate((one, other))
    ]
    assert warning in warnings(of_two(write_record, *sides))


@pytest.mark.parametrize(
    ("part", "one", "other", "warning"),
    [
        ("config", {"seed": 0}, {"seed": 1}, "seeds: 0 and 1"),
        ("config", {"shards": ["a"]}, {"shards": ["b"]}, 'data (shards): ["a"] and ["b"]'),
        ("metrics", {"x_num_train": 5}, {"x_num_train": 6}, "data (x_num_train): 5 and 6"),
        (
            *("config", {"recipe": {"precision": "bf16"}}, {"recipe": {"precision": "fp32"}}),
            "precision (recipe.precision): bf16 and fp32",
        ),
        (
            *("metrics", {"images_seen": 10}, {"images_seen": 20}),
            "number of images seen (images_seen): 10 and 20",
        ),
        (
            *("config", {"method": "catlip"}, {"method": "clip"}),
            "methods: their losses are not comparable",
        ),
    ],
)
def test_another_run_is_warned_of(write_record, part, one, other, warning):
    assert warnings(of_two(write_record, {part: one}, {part: other})) == [f"different {warning}"]


@pytest.mark.parametrize("devices", [("A100", "H100"), ("", "")])
def test_numbers_of_different_or_unnamed_devices_share_no_ratio_and_the_reason_is_given(
    write_record, devices
):
    sides = [
        {"environment": {"device": device}} | timed([5.0 + i] * 8)
        for i, device in enumerate(devices)
    ]
    part = of_two(write_record, *sides, kind="step_time")
    assert rows(part, "metrics")["catlip.total_ms"][3] == MISSING
    assert "No ratios: the records are from different devices" in part.tables[-1].caption


def test_seeds_of_two_folders_are_paired_and_averaged(write_record, tmp_path):
    values = {0: (10, 12), 1: (20, 21), 2: (30, 36)}
    for seed, pair in values.items():
        for root, value in zip("ab", pair, strict=True):
            metrics = {"top1": value, "seed": seed}
            write_record("pretrain", f"catlip-seed{seed}", root=root, metrics=metrics)
    write_record("pretrain", "catlip-seed3", root="a", metrics={"top1": 1e9})
    head, part = comparison(tmp_path / "a", tmp_path / "b")
    assert part.title == "starter/pretrain/catlip, mean of 3 seeds"
    assert rows(part, "metrics") == {
        "top1": ["20 ± 10 (n = 3)", "23 ± 12 (n = 3)", "+3 (+1 to +6)", "1.15 (1.05 to 1.20)"]
    }
    assert "only in A: starter/pretrain/catlip-seed3" in head.sentences
    assert "the lowest and the highest of a pair" in part.tables[0].caption


def test_equal_records_are_said_to_be_identical(write_record, tmp_path):
    strange = {
        "metrics": {"x": math.nan, "deep": {"y": [{"z": []}, None]}},
        "samples": {"x": [math.nan, 1]},
    }
    one, other = written_in_two(write_record, strange, strange)
    for pair in ((one, other), (one, one), (tmp_path / "a", tmp_path / "b")):
        (head,) = comparison(*pair)
        assert head.sentences[2:] == ["identical in every value: 1 of 1 pairs"]


def test_raw_samples_of_both_sides_give_intervals(write_record):
    draw = np.random.default_rng(7)
    one, other = (list(draw.normal(mean, 2, 60)) for mean in (100, 110))
    part = of_two(write_record, timed(one), timed(other), kind="step_time")
    difference, ratio = rows(part, "metrics")["catlip.total_ms"][2:]
    low, high = map(float, re.findall(r"[+](\S+?)(?: to|\))", difference))
    assert low < statistics.median(other) - statistics.median(one) < high
    assert 0.5 < high - low < 4  # the standard error of such a difference is 0.46
    assert re.fullmatch(r"1\.\d+ \(1\.\d+ to 1\.\d+\)", ratio)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        *(("nowhere.json", "a.json"), ("a.json", ""), ("a.json", "cut.json"), ("a.json", "b.json")),
        *(("a.json", "run.json.partial"), ("", "empty"), ("", "foreign"), ("", "others")),
    ],
)
def test_what_cannot_be_compared_is_refused(write_record, tmp_path, one, other):
    folder = tmp_path / "runs"
    for kind, name in (("pretrain", "a"), ("step_time", "b")):
        write_record(kind, name).rename(folder / f"{name}.json")
    for inner in ("empty", "foreign", "others"):
        (folder / inner).mkdir()
    (folder / "cut.json").write_text("{")
    (folder / "run.json.partial").write_text("{}")
    (folder / "foreign/x.json").write_text("{}")
    write_record("pretrain", "c").rename(folder / "others/c.json")
    with pytest.raises(InputError):
        comparison(folder / one, folder / other)
