"""The table of all numbers: it says what the records say."""

from pathlib import Path

import numpy as np
import pytest

from bench.downstream.probe.result import unpacked
from catlip.cli import InputError
from reports.read.records import read_records
from reports.results import WriteFrame, results, write_frame

RECORDS = Path(__file__).parents[2] / "reports/records"


@pytest.fixture(scope="module")
def frame():
    return results(RECORDS)


def test_every_record_with_numbers_is_there(frame):
    assert {run.path for run in read_records([RECORDS]).every} == {*frame.record}
    assert frame.metric.notna().all()


def test_bits_have_the_mean_of_their_accuracy(frame):
    """That holds for one classifier, and for the mean over several."""
    rows = frame[frame.correct.notna() & (frame.task == "concepts")]
    # These have other test images.
    rows = rows[
        ~rows.condition.fillna("").str.startswith("teams=")
        & ~rows.kind.isin(["tuning", "finalist"])
    ]
    assert {*rows.probe_seed.isna()} == {True, False}
    for row in rows.groupby(["kind", rows.probe_seed.isna()]).head(20).itertuples():
        bits = [unpacked(text, 645) for text in row.correct.split()]
        assert np.mean(bits) == pytest.approx(row.value)


def test_numbers_that_follow_from_a_training(write_record, tmp_path):
    samples = {"loss": [9.0] * 16 + [4.0, 3.0, 2.0, 1.0]}
    metrics = {"method": "clip", "train_seconds": 100.0, "images_seen": 50.0}
    for seed, beside in ((0, 0), (1, 3)):
        environment = {"device": "GPU", "beside": beside}
        parts = {"metrics": metrics | {"seed": seed}, "samples": samples}
        write_record("pretrain", f"clip-seed{seed}", environment=environment, **parts)
    frame = results(tmp_path / "runs").set_index(["metric", "seed"])
    assert frame.value["seconds_per_image", 0] == 2
    assert frame.value["loss_fall", 0] == 3.5 - 1.5
    seconds = frame.seconds.groupby("seed").max()
    assert (seconds[0], np.isnan(seconds[1])) == (100, True)  # of a shared device, none count


@pytest.mark.parametrize("name", ["results.parquet", "results.csv"])
def test_table_is_written(tmp_path, name):
    import pandas as pd

    write_frame(WriteFrame((RECORDS / "starter/step_time",), tmp_path / name))
    path = tmp_path / name
    read = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path)
    assert {"catlip", "clip"} <= {*read.method}
    with pytest.raises(InputError):
        write_frame(WriteFrame((RECORDS,), tmp_path / "results.xlsx"))
