"""The table of all numbers says what the records say."""

from types import SimpleNamespace

import numpy as np
import pytest
from report_support import COMMITTED, GPU, records_in

from bench.downstream.probe.result import unpacked
from reports.frame import COLUMNS, epochs_of, frame_of, results
from reports.pairs import Comparisons


def test_every_committed_record_with_numbers_is_there(committed) -> None:
    frame = committed.comparisons.frame
    assert {run.path for run in committed.records.every} == {*frame.record}
    assert frame.metric.notna().all()
    assert {*frame.columns} == {*COLUMNS}


def test_bits_have_the_mean_of_their_accuracy(committed) -> None:
    """That holds for one classifier, and for the mean over several."""
    frame = committed.comparisons.frame
    rows = frame[frame.correct.notna() & (frame.task == "concepts")]
    rows = rows[~rows.kind.isin(["tuning", "finalist"])]  # these have other test images
    assert {*rows.probe_seed.isna()} == {True, False}
    for row in rows.groupby(["kind", rows.probe_seed.isna()]).head(20).itertuples():
        bits = [unpacked(text, 645) for text in row.correct.split()]
        assert np.mean(bits) == pytest.approx(row.value)


def test_numbers_that_follow_from_a_training(write) -> None:
    samples = {"loss": [9.0] * 16 + [4.0, 3.0, 2.0, 1.0]}
    for seed, beside in ((0, 0), (1, 3)):
        environment = GPU | {"beside": beside, "data": {"pretrain": {"samples": 10}}}
        how = {"images": 50, "samples": samples, "environment": environment}
        write.training("clip", seed, 100.0, **how)
    write.probe("clip", 0, {"concepts": 0.3})
    frame = frame_of(records_in(write.folder))
    numbers = frame.set_index(["metric", "seed"]).value
    assert numbers["seconds_per_image", 0] == 2
    assert numbers["loss_fall", 0] == 3.5 - 1.5
    seconds = frame.groupby("seed").seconds.max()
    assert (seconds[0], np.isnan(seconds[1])) == (100, True)  # of a shared device, none count
    probe = frame[frame.metric == "top1"].iloc[0]  # it has the length of its encoder's training
    assert (probe.value, probe.images, probe.epochs, probe.encoder) == (0.3, 50, 5, "tiny")


def test_trainings_of_other_batches_are_compared_though_they_end_in_other_whole_steps(
    write,
) -> None:
    environment = GPU | {"data": {"pretrain": {"samples": 500}}}
    for method, seen in (("catlip", 992), ("clip", 1024)):
        metrics = {"method": method, "seed": 0, "images_seen": seen}
        config = {"recipe": {"encoder": "tiny", "epochs": 2.0, "iterations": 0}}
        parts = {"metrics": metrics, "config": config, "environment": environment}
        write.record("pretrain", f"{method}-seed0", **parts)
        write.probe(method, 0, {"concepts": 0.3})
    (difference,) = Comparisons(records_in(write.folder)).headline
    assert difference.on.images == 1000


def test_epochs_of_a_part_of_the_data_are_those_of_the_part() -> None:
    unknown = SimpleNamespace(samples=lambda split: None)
    old = SimpleNamespace(root="r", scale="s", raw_metrics={"fraction": 0.25}, environment=unknown)
    assert epochs_of(old, 100, {("r", "s"): 40}) == 10


@pytest.mark.parametrize("name", ["results.parquet", "results.csv"])
def test_program_writes_the_table(succeed, tmp_path, name) -> None:
    import pandas as pd

    path, folder = tmp_path / name, COMMITTED / "starter/step_time"
    succeed("reports", "frame", folder, "-o", path)
    read = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path)
    assert len(read) == len(results(folder))
    assert {"catlip", "clip"} <= {*read.method}
