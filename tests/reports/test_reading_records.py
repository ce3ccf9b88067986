"""A folder's records are read, what is none is listed with its reason, and nothing crashes."""

from html import escape
from itertools import product
from pathlib import Path

import pytest
from report_support import can_be_shown, html_of, records_in

from bench.study.result import LengthTraining, Trial
from catlip.records.run import Records
from reports.page import Page
from reports.reading import read_records


def reasons(records: Records) -> dict[str, str]:
    return {Path(problem.path).name: problem.reason for problem in records.problems}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b'{"schema": 1, "kind": "pre', "corrupt"),
        (b"\xff\xfe\x00", "corrupt"),
        (b"[" * 100_000, "corrupt"),
        (b"9" * 10_000, "corrupt"),
        (b"[1, 2]", "foreign"),
        (b'{"version": 1}', "foreign"),
        (rb'["\ud800"]', "corrupt"),
        (b'{"schema": 2}', "schema 2"),
        (b'{"schema": 1, "kind": "x"}', "missing required field `name`"),
        (b'{"schema": 1, "kind": 3}', "Expected `str`, got `int` - at `$.kind`"),
    ],
)
def test_what_is_no_record_is_listed_and_the_rest_is_read(write, tmp_path, content, reason):
    path = write.record("pretrain", "catlip-seed0")
    path.with_name("other.json").write_bytes(content)
    records = records_in(tmp_path)
    assert len(records.every) == 1
    assert reason in reasons(records)["other.json"]
    assert escape(reasons(records)["other.json"]) in html_of(Page(records))


@pytest.mark.parametrize(
    ("folder", "given", "root", "scale"),
    [
        ("runs/starter/pretrain", "runs", "runs", "starter"),
        ("runs/pretrain", "runs", ".", "runs"),
        ("runs", "runs", ".", "runs"),
        ("runs/mine", "runs", ".", "runs"),
        ("runs/a100/june/cc3m/pretrain", "runs", "runs/a100/june", "cc3m"),
        ("runs/starter/pretrain", "runs/starter", "runs", "starter"),
        ("runs/starter/pretrain", "runs/starter/pretrain", "runs/starter", "pretrain"),
        ("runs/starter/pretrain", ".", "runs", "starter"),
    ],
)
def test_any_depth_is_read(write, tmp_path, monkeypatch, folder, given, root, scale):
    path = write.record("pretrain", "catlip-seed0", root="written")
    (tmp_path / folder).mkdir(parents=True)
    path.rename(tmp_path / folder / path.name)
    monkeypatch.chdir(tmp_path)
    (record,) = read_records([Path(given)]).every
    assert (record.root, record.scale, record.path) == (root, scale, f"{folder}/{path.name}")


def test_records_inside_a_runs_own_folder_are_the_runs(write, tmp_path):
    path = write.record("scaling", "catlip-8-seed0", root="written")
    inner = tmp_path / "runs/starter/scaling/catlip-8-seed0/catlip.json"
    inner.parent.mkdir(parents=True)
    path.rename(inner)
    inner.parent.with_suffix(".json.partial").write_text("")
    records = records_in(tmp_path)
    assert not records.every
    assert [*reasons(records)] == ["catlip-8-seed0.json.partial"]


def test_trainings_of_a_study_with_another_probe_are_left_out(write, tmp_path):
    for method, images, task in product(("catlip", "clip"), (8, 16, 32), ("concepts", "mine")):
        if task == "mine" and images == 32:
            continue
        name = f"{method}-{images}-{task}"
        write.study("scaling", method, {task: 0.5}, name=name, images=images, seed=0)
    write.record("pretrain", "catlip-seed0")
    records = records_in(tmp_path)
    trained = [run.metrics for run in records.of(LengthTraining)]
    assert {task for one in trained for task in one.accuracies} == {"concepts"}
    assert len(reasons(records)) == 4
    assert "another probe" in reasons(records)["catlip-8-mine.json"]
    can_be_shown(Page(records), are_drawn=False)


def test_training_with_one_more_probe_and_trial_that_diverged_are_kept(write, tmp_path):
    for images, tasks in ((8, ["concepts"]), (16, ["concepts"]), (32, ["concepts", "mine"])):
        write.study("scaling", "catlip", dict.fromkeys(tasks, 0.5), images=images, seed=0)
    for trial, tasks in enumerate((["concepts"], [], ["concepts"], ["concepts", "mine"])):
        write.study("tuning", "catlip", dict.fromkeys(tasks, 0.5), trial=trial)
    records = records_in(tmp_path)
    assert len(records.of(LengthTraining)) == 3
    assert [run.metrics.trial for run in records.of(Trial)] == [0, 1, 2]
    assert "another probe" in reasons(records)["catlip-3.json"]
    can_be_shown(Page(records), are_drawn=False)


def test_files_that_are_not_records_are_left_alone_and_a_folder_beside_one_is_read(write, tmp_path):
    path = write.record("pretrain", "catlip-seed0")
    path.parent.with_suffix(".json").write_text('{"schema": 2, "rule": "paper"}')
    (path.parent / "again").symlink_to(tmp_path / "runs")
    (path.parent / "catlip-seed0").mkdir()
    (path.parent / "catlip-seed0/state.json").write_text("{}")
    (path.parent / ".catlip-seed1.json.123.tmp").write_text("{}")
    (tmp_path / "runs/starter/.steps").mkdir()
    (tmp_path / "runs/starter/.steps/audit.json").write_text("{}")
    records = records_in(tmp_path)
    assert len(records.every) == 1
    assert not records.problems


def test_seeds_are_in_the_order_of_their_numbers(write, tmp_path):
    for seed in (10, 2, 1):
        write.record("pretrain", f"catlip-seed{seed}")
    assert [record.seed for record in records_in(tmp_path).every] == [1, 2, 10]
