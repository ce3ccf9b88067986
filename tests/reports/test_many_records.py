"""Of very many records the page carries what it shows, and says where the rest is."""

from collections.abc import Callable
from pathlib import Path

import pytest
from report_support import records_in, table, undrawn_html

from catlip.results.run import Records
from catlip.table import MAX_ROWS, as_csv, as_markdown
from reports.read.measured import settings
from reports.sections import build_page
from reports.summary.plots import MAX_CURVES, loss_figures

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


def test_a_long_table_is_cut_in_the_page_and_whole_as_csv(many):
    page = build_page(many)
    trainings = table(page, "trainings")
    text = as_markdown(trainings)
    assert len(trainings.rows) == COUNT
    assert len(as_csv(trainings).splitlines()) == COUNT + 1
    assert text.count("CatLIP, seed") == MAX_ROWS
    assert f"{MAX_ROWS} of {COUNT} rows; [all of them as CSV](tables/trainings.csv)." in text
    assert 'href="tables/trainings.csv"' in undrawn_html(page)


def test_figures_draw_so_many_curves_and_say_so(many):
    (setting,) = settings(many)
    (loss,) = loss_figures(setting)
    assert loss.alt.count("seed ") == MAX_CURVES
    assert f"The first {MAX_CURVES} of {COUNT} trainings." in loss.caption
