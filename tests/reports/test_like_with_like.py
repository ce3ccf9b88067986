"""n counts seeds, only like runs are compared, and few rounds give no ratio."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from report_support import claims_of, records_in, step_times

from bench.step_time.result import StepTime, step_table
from bench.study.result import threshold_accuracies
from bench.waterfall.result import waterfall_table
from catlip.records.run import Records
from catlip.records.table import Quantity
from reports.pairs import differences_frame
from reports.read.records import read_records
from reports.read.setting import Setting
from reports.summary.answers import as_good, why
from reports.summary.costs import cheaper
from reports.summary.tables import headline

DEVICE = {"device": "CPU", "cpu": "CPU", "device_count": 1}
RECIPE = {"max_lr": 0.1, "epochs": 30, "resolution": 48}


@pytest.fixture
def probe(write_probe) -> Callable[..., None]:
    """Write a linear probe of one encoder."""

    def write(method: str, seed: int, top1: float, *, name: str = "", **recipe: object) -> None:
        one = {"name": name, "recipe": RECIPE | recipe, "environment": DEVICE}
        write_probe(method, seed, {"concepts": top1}, **one)

    return write


@pytest.fixture
def training(write_training) -> Callable[..., None]:
    """Write a training on DEVICE."""
    return partial(write_training, environment=DEVICE, resolution=48)


def test_repeated_runs_of_a_seed_are_averaged(probe, training, read_setting):
    for name, top1, seconds in (("catlip-a", 0.1, 10.0), ("catlip-b", 0.3, 30.0)):
        probe("catlip", 0, top1, name=name)
        training("catlip", 0, seconds, name=name)
    probe("catlip", 1, 0.4)
    training("catlip", 1, 40.0)
    found = read_setting()
    assert found.accuracy("catlip", "concepts") == Quantity(
        pytest.approx(30.0), pytest.approx(200**0.5), 2
    )
    assert found.seconds("catlip") == Quantity(30.0, pytest.approx(200**0.5), 2)
    assert headline(found).rows[0][1].text == "2"


def test_pair_is_a_seed_and_not_a_run(probe, read_setting):
    for name, top1 in (("a", 0.1), ("b", 0.5)):
        probe("catlip", 0, top1, name=name)
    probe("clip", 0, 0.2)
    assert read_setting().paired("concepts").values == [pytest.approx(10.0)]
    answer = as_good(read_setting())
    assert answer.sentences[0].endswith("+10.0 on concepts; 1 seed.")
    assert answer.short.endswith("an interval needs 6.")


def test_runs_of_another_recipe_are_left_out(probe, read_setting):
    for seed in range(3):
        probe("catlip", seed, 0.3)
        probe("clip", seed, 0.2)
    probe("catlip", 3, 0.9, epochs=300)
    found = read_setting()
    _, n, cell, *_ = headline(found).rows[0]
    assert (cell.text, cell.small, n.text) == ("30.0 ± 0.0", "", "3")
    assert ["epochs" in remark for remark in cell.remarks] == [True]
    assert len(found.paired("concepts").keys) == 3


def test_methods_that_were_probed_otherwise_are_not_compared(probe, read_setting, tmp_path):
    for seed in range(3):
        probe("catlip", seed, 0.3, max_lr=0.7)
        probe("clip", seed, 0.2)
        probe("siglip", seed, 0.2)
        probe("random", seed, 0.1)
    found = read_setting()
    assert found.paired("concepts").values == []
    assert [one.name for one in found.differences] == ["another recipe, SigLIP"]
    table = differences_frame([tmp_path], "catlip", "siglip")
    assert table.one_recipe.tolist() == [False]
    assert found.differing_settings("concepts") == ["max_lr"]
    assert as_good(found).short == "Not compared: CatLIP and CLIP differ in max_lr."
    catlip = next(row for row in headline(found).rows if row[0].text == "CatLIP")
    assert any("max_lr" in remark for remark in catlip[2].remarks)


@pytest.mark.parametrize("other", [{"images": 5000}, {"encoder": "large"}, {"resolution": 224}])
def test_trainings_of_another_length_or_encoder_are_not_compared(
    probe, training, read_setting, other
):
    for seed in range(2):
        training("catlip", seed, 10.0)
        training("clip", seed, 20.0, **other)
        probe("catlip", seed, 0.3)
        probe("clip", seed, 0.2)
    found = read_setting()
    assert found.unlike_trainings("clip")
    assert found.paired("concepts").values == []
    field = "number of images seen" if "images" in other else next(iter(other))
    assert field in as_good(found).short


@pytest.mark.parametrize(
    ("images", "is_compared"), [(1005, True), (995, True), (1020, False), (980, False)]
)
def test_lengths_are_alike_up_to_a_percent(training, read_setting, images, is_compared):
    """Whole steps of batches of two sizes are half a percent of a short training apart."""
    training("catlip", 0)
    training("clip", 0, images=images)
    assert (read_setting().unlike_trainings("clip") == []) == is_compared


def test_repeated_seeds_of_a_threshold_are_one_point(write_record, tmp_path):
    samples = {"threshold": [8, 8, 8], "seed": [0, 0, 1], "concepts_top1": [0.1, 0.3, 0.4]}
    write_record("threshold", "t", metrics={"thresholds": {}}, samples=samples)
    ((_, levels),) = threshold_accuracies(records_in(tmp_path).every[0]).items()
    assert levels == {8: {0: pytest.approx(20.0), 1: pytest.approx(40.0)}}


@pytest.mark.parametrize(("rounds", "is_enough"), [(2, False), (5, False), (6, True)])
def test_few_timed_steps_give_no_ratio(training, write_record, read_setting, rounds, is_enough):
    times = {f"{m}_total_ms": [float(k + 1)] * rounds for k, m in enumerate(("catlip", "clip"))}
    metrics = step_times({"clip/catlip": (2.7, 2.6, 2.8)})
    training("catlip", 0)
    training("clip", 0)
    parts = {"metrics": metrics, "samples": times, "config": {"model": "tiny"}}
    write_record("step_time", "s", environment=DEVICE, **parts)
    found = read_setting()
    words = [
        cell.full
        for row in headline(found).rows + step_table(found.of(StepTime)).rows
        for cell in row
    ]
    words += [
        text
        for answer in (as_good(found), cheaper(found), why(found, Records((), (), ())))
        for text in (answer.short, *answer.sentences)
    ]
    assert any("2.70" in word for word in words) == is_enough
    assert any(f"{rounds} round" in word for word in words) != is_enough
    rows = [row for row in claims_of(read_records([Path(found.root)]))[0].rows if len(row) > 1]
    evidence = [row for row in rows if any("2.70 times" in cell.text for cell in row)]
    assert len(evidence) == is_enough


@pytest.mark.parametrize(("rounds", "interval"), [(3, "no interval"), (6, "1.10 to 1.30")])
def test_few_rounds_of_a_waterfall_name_no_largest_factor(write_record, tmp_path, rounds, interval):
    ratio = {"value": 1.2, "low": 1.1, "high": 1.3}
    step = {"factor": "attention", "before": "naive", "after": "sdpa", "ratio": ratio}
    metrics = {
        "release": {"orders": {"forward": [step], "reverse": [step]}, "total": {"ratio": ratio}}
    }
    samples = {f"release forward attention {side}": [1.0] * rounds for side in ("before", "after")}
    environment = {"device": "GPU", "cpu": "CPU"}
    write_record("waterfall", "w", metrics=metrics, samples=samples, environment=environment)
    (record,) = records_in(tmp_path).every
    (table,) = waterfall_table(record)
    assert table.rows[0][2].small == interval
    assert record.metrics.release.factors[0].mean == pytest.approx(1.2)
    answer = why(Setting("runs", "starter", ()), Records(("runs",), (record,), ()))
    assert ("largest factor is attention" in " ".join(answer.sentences)) == (rounds >= 6)
