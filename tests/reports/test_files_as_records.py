"""A record's file in place of a folder: read as in its folder, once, whatever way it is named."""

from pathlib import Path

import pytest
from report_support import run_reports

from reports.read.records import read_records

FILE = Path("records/starter/vocabulary/vocabulary-paper-statistics.json")


@pytest.fixture(autouse=True)
def beside_the_records(golden, monkeypatch):
    monkeypatch.chdir(golden)


def test_a_file_is_the_record_that_its_folder_would_give():
    (record,) = read_records([FILE]).every
    assert record in read_records([Path("records")]).every
    assert (record.root, record.scale) == ("records", "starter")


def test_a_file_beside_its_folder_is_read_once():
    both, once = read_records([FILE, Path("records")]), read_records([Path("records")])
    assert both.every[0] == read_records([FILE]).every[0]
    assert sorted(r.path for r in both.every) == sorted(r.path for r in once.every)


def test_the_figures_of_one_file_are_drawn(tmp_path):
    done = run_reports(Path.cwd(), "--records", FILE.absolute(), "--out", tmp_path / "report")
    assert done.returncode == 0, done.stderr
    assert {path.stem for path in (tmp_path / "report/figures").glob("*.png")} == {
        *("vocabulary_counts", "vocabulary_thresholds", "labels_per_caption"),
        *("label_overlap", "samples_per_class"),
    }
