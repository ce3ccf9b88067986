"""`python -m reports compare`: what differs, how sure it is, and what else may be the reason."""

import math

import pytest
from report_support import HEAD

from catlip.cli import InputError
from catlip.records.table import MISSING
from reports.compare import Part, comparison

MINUS = "\N{MINUS SIGN}"


def rows(part: Part, name: str) -> dict[str, list[str]]:
    """The cells of a table of a part by the word in front; none where there is no such table."""
    return {
        row[0].text: [cell.full for cell in row[1:]]
        for table in part.tables
        if table.name == name
        for row in table.rows
    }


def of_two(write_record, *sides: dict, kind: str = "pretrain") -> Part:
    """The comparison of two records with these parts."""
    paths = [
        write_record(kind, "catlip-seed0", root=root, **parts)
        for root, parts in zip("ab", sides, strict=True)
    ]
    return comparison(*paths)[1]


def test_confounds_come_before_other_settings(write_record):
    environment = HEAD["environment"]
    one, other = (
        {
            "environment": environment | {"packages": {"torch": torch}, "started": torch},
            "config": {"recipe": {"max_lr": rate, "epochs": 10}, "seed": seed, "quiet": True},
            "metrics": {"images_seen": seen, "final_loss": loss, "peak_gib": 1.5},
        }
        for torch, rate, seed, seen, loss in (("2", 1e-3, 0, 10, 4.0), ("3", 1e-5, 1, 20, 5.0))
    )
    other["config"]["extra"] = None
    other["environment"]["dirty"] = True
    part = of_two(write_record, one, other)
    settings = rows(part, "settings")
    assert settings == {
        "Confounds": [],
        "packages.torch": ["2", "3"],
        "dirty": ["false", "true"],
        "seed": ["0", "1"],
        "Other settings": [],
        "recipe.max_lr": ["0.001", "1e-05"],
        "extra": [MISSING, "null"],
    }
    assert [*settings].index("seed") < [*settings].index("Other settings")
    assert rows(part, "metrics") == {
        "images_seen": ["10", "20", "+10", "2.00"],
        "final_loss": ["4", "5", "+1", "1.25"],
    }
    assert "warning: they saw different numbers of images" in part.sentences
    assert "warning: B ran with local changes to its git revision" in part.sentences


@pytest.mark.parametrize("devices", [("A100", "H100"), ("", "")])
def test_numbers_of_different_or_unnamed_devices_share_no_ratio(write_record, devices):
    sides = [
        {"environment": {"device": device}, "metrics": {"train_seconds": 5.0 + i}}
        for i, device in enumerate(devices)
    ]
    part = of_two(write_record, *sides)
    assert rows(part, "metrics")["train_seconds"] == ["5", "6", "+1", MISSING]
    assert "No ratios: the records are from different devices" in part.tables[-1].caption


def test_seeds_of_two_folders_are_paired_and_six_have_an_interval(write_record, tmp_path):
    for seed in range(6):
        for root, value in (("a", 10.0), ("b", 11.0 + seed % 2)):
            metrics = {"train_seconds": value, "seed": seed, "final_loss": math.nan}
            write_record("pretrain", f"catlip-seed{seed}", root=root, metrics=metrics)
    write_record("pretrain", "catlip-seed6", root="a", metrics={"train_seconds": 1e9})
    head, part = comparison(tmp_path / "a", tmp_path / "b")
    assert part.title == "starter/pretrain/catlip, mean of 6 seeds"
    assert rows(part, "metrics")["train_seconds"] == [
        *("10.0 ± 0.0 (n = 6)", "11.5 ± 0.5 (n = 6)", "+1.50 (0.93 to 2.07)"),
        "1.15 (1.09 to 1.21)",
    ]
    assert "only in A: starter/pretrain/catlip-seed6" in head.sentences


def test_equal_records_are_said_to_be_identical(write_record, tmp_path):
    for root in "ab":
        write_record("pretrain", "catlip-seed0", root=root, metrics={"final_loss": math.nan})
    (head,) = comparison(tmp_path / "a", tmp_path / "b")
    assert head.sentences[2:] == ["identical: 1 of 1 pairs"]


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
