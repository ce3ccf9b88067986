"""The page carries what it shows of very many records, and says where the rest is."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from report_support import records_in

from bench.downstream.probe.result import LinearProbe
from catlip.records.run import Records
from catlip.records.select import link
from catlip.records.table import MAX_ROWS, Cell, Table, as_csv, as_markdown
from reports.read.setting import settings
from reports.render.provenance import record_files
from reports.summary.plots import MAX_CURVES, loss_panels

COUNT = MAX_ROWS + 20


@pytest.fixture
def many(write_record: Callable[..., Path], tmp_path: Path) -> Records:
    """A training and a probe of each of COUNT seeds."""
    samples = {"images_seen": [1, 2, 3], "loss": [3.0, 2.0, 1.0]}
    for seed in range(COUNT):
        metrics = {"method": "catlip", "seed": seed, "images_seen": 10, "train_seconds": 1.0}
        write_record("pretrain", f"catlip-seed{seed}", metrics=metrics, samples=samples)
        probe = {"method": "catlip", "pretrain_seed": seed, "concepts_top1": seed / COUNT}
        write_record("linear_probe", f"catlip-seed{seed}", metrics=probe, samples=samples)
    return records_in(tmp_path)


def test_long_table_is_cut_in_the_page_and_whole_as_csv():
    rows = [[Cell(f"row {number}")] * 2 for number in range(COUNT)]
    long = Table("long", "Long", ["One", "Two"], rows=rows)
    text = as_markdown(long)
    assert len(as_csv(long).splitlines()) == COUNT + 1
    assert text.count("row ") == 2 * MAX_ROWS
    assert f"{MAX_ROWS} of {COUNT} rows; [all of them as CSV](tables/long.csv)." in text


def test_figures_draw_so_many_curves_and_say_so(many):
    (setting,) = settings(many)
    ((loss,),) = (block.figures for block in loss_panels(setting))
    assert loss.alt.count("seed ") == MAX_CURVES
    assert f"the first {MAX_CURVES} of {COUNT} trainings." in loss.caption


def test_mean_over_many_records_leads_to_one_file_of_all(many):
    ((name, content),) = record_files(many, [link(many.of(LinearProbe))]).items()
    found = json.loads(content)
    assert name.endswith("-starter-linear_probe-catlip.json")
    assert {record["kind"] for record in found.values()} == {"linear_probe"}
    assert len(found) == COUNT
