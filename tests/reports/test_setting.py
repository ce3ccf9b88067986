"""Means, spreads and ratios: what may be averaged, compared and concluded."""

import math

import pytest
from report_support import records_in, step_times

from bench.step_time.result import StepTime, avoidable, step_table
from catlip.records.run import TIMES
from catlip.records.table import Quantity
from reports.read.records import read_records
from reports.read.setting import Setting, settings
from reports.summary.answers import as_good
from reports.summary.costs import cheaper, cost_table
from reports.summary.plots import loss_curve
from reports.summary.tables import headline

GPU = {"device": "Some GPU", "device_count": 1}


@pytest.fixture
def write_timing(write_record):
    """Write a step-time record with this ratio."""

    def write(name: str, model: str, ratio: tuple[float, ...], **where: object) -> None:
        metrics = step_times({"clip/catlip": ratio})
        write_record("step_time", name, metrics=metrics, config={"model": model}, **where)

    return write


@pytest.fixture
def read(tmp_path):
    """The settings of what was written."""

    def read_settings(*roots: str) -> list[Setting]:
        return settings(read_records([tmp_path / root for root in roots or ("runs",)]))

    return read_settings


def test_records_of_two_roots_are_never_averaged(write_probes, read):
    write_probes("catlip", {"concepts": [0.1]}, root="runs")
    write_probes("catlip", {"concepts": [0.5, 0.7]}, root="brought")
    ours, theirs = read("runs", "brought")
    assert ours.accuracy("catlip", "concepts") == Quantity(10.0, None, 1)
    assert theirs.accuracy("catlip", "concepts").mean == pytest.approx(60.0)


def test_times_come_from_one_device(write_training, read):
    for seed in range(2):
        write_training("clip", seed, 100.0)
    write_training("catlip", 0, 50.0)
    write_training("catlip", 1, 5.0, environment=GPU)
    (setting,) = read()
    assert setting.seconds("catlip") == Quantity(50.0, None, 1)


def test_headline_has_the_newest_step_time_of_its_device(write_training, write_timing, read):
    write_training("catlip", 0, 10.0)
    write_training("clip", 0, 10.0)
    write_timing("a-gpu", "tiny", (9.0, 8.9, 9.1), environment=GPU)
    write_timing("b-large", "large", (3.0, 2.9, 3.1))
    write_timing("b-old", "tiny", (2.0, 1.9, 2.1))
    newest = {"device": "Device A", "device_count": 1, "started": "2026-11-28T20:00:00+00:00"}
    write_timing("c-tiny", "tiny", (1.3, 1.2, 1.4), environment=newest)
    (setting,) = read()
    catlip, clip = headline(setting).rows
    assert (catlip[-1].text, clip[-1].text) == (f"1{TIMES}", f"1.30{TIMES}")
    assert clip[-1].small == "1.20 to 1.40"


@pytest.mark.parametrize(
    ("low", "high", "short"),
    [
        (1.2, 1.4, "Yes: on Device A CLIP takes 1.30 times"),
        (0.9, 1.4, "No difference"),
        (0.6, 0.8, "No: CLIP's step takes 0.70"),
    ],
)
def test_cheaper_needs_an_interval_above_one(write_training, write_timing, read, low, high, short):
    write_training("catlip", 0, 10.0)
    write_timing("a", "tiny", (1.3 if low > 0.8 else 0.7, low, high))
    assert cheaper(read()[0]).short.startswith(short)


@pytest.mark.parametrize(
    ("seconds", "short"),
    [
        ([13.0, 13.1] * 3, "Yes: CLIP's training takes 1.30"),
        ([7.0, 7.1] * 3, "No: CLIP's training takes 0.7"),
        ([9.0, 11.0] * 3, "No difference in training time"),
        ([13.0] * 5, "Not yet known"),
    ],
)
def test_whole_trainings_answer_where_no_step_was_timed(write_training, read, seconds, short):
    for seed, of_clip in enumerate(seconds):
        write_training("catlip", seed, 10.0)
        write_training("clip", seed, of_clip)
    assert cheaper(read()[0]).short.startswith(short)


def test_step_without_padding_is_named_too(write_training, write_record, read, tmp_path):
    write_training("catlip", 0, 10.0)
    for model, padded, packed in (("tiny", 1.5, 1.3), ("vit_b16", 1.2, 1.04)):
        ratios = {"clip/catlip": padded, "clip:packed/catlip": packed}
        metrics = step_times(ratios, ("catlip", "clip", "clip:packed"))
        metrics["ratios_without_optimizer"] = metrics["ratios"]
        config = {"model": model, "caption_tokens": 8.3}
        write_record("step_time", model, metrics=metrics, config=config)
    answer = cheaper(read()[0])
    assert "1.20 to 1.50 times" in answer.short
    assert "1.04 to 1.30 without padding" in answer.short
    table = cost_table(read()[0])
    assert [[cell.full for cell in row[1:]] for row in table.rows] == [
        [f"1.50{TIMES} (1.49 to 1.51)", f"1.30{TIMES} (1.29 to 1.31)"],
        [f"1.20{TIMES} (1.19 to 1.21)", f"1.04{TIMES} (1.03 to 1.05)"],
    ]
    tiny = next(run for run in records_in(tmp_path).of(StepTime) if run.config.model == "tiny")
    assert "1.50 (1.49 to 1.51) times" in avoidable(tiny)
    assert "1.30 (1.29 to 1.31) without the padding" in avoidable(tiny)
    assert [row[1].text for row in step_table([tiny]).rows][1:] == ["CLIP", "clip:packed"]


@pytest.mark.parametrize(
    ("catlip", "clip", "short"),
    [
        ([0.30] * 6, [0.28] * 6, "Here it is 2.0 points better."),
        ([0.28] * 6, [0.30] * 6, "Here it is 2.0 points worse."),
        ([0.30] * 6, [0.305] * 6, "Here it is not worse."),
        ([0.30] * 6, [0.315] * 6, "Here it is 1.5 points worse."),
        (
            [0.30, 0.28] * 3,
            [0.29] * 6,
            "Here the two cannot be told apart: CatLIP is at most 1.1 points worse, 1.1 better.",
        ),
        ([0.30] * 5, [0.28] * 5, "CatLIP is ahead by 2.0 points in all 5 seeds"),
        ([0.33, 0.36], [0.24, 0.24], "CatLIP is ahead by 9.0 to 12.0 points in both seeds"),
        ([0.24, 0.24], [0.36, 0.33], "CLIP is ahead by 9.0 to 12.0 points in both seeds"),
        ([0.33, 0.23], [0.24, 0.24], "The seeds disagree: CatLIP minus CLIP is "),
        ([0.2400, 0.2402], [0.24, 0.24], "The two are level in both seeds"),
        ([0.33], [0.24], "CatLIP is ahead by 9.0 points in one seed"),
        ([0.30], [], "Not yet known: this needs a linear probe of CLIP."),
        ([math.nan], [0.24], "Not compared"),
    ],
)
def test_only_an_interval_makes_a_difference(write_probes, read, catlip, clip, short):
    write_probes("catlip", {"concepts": catlip}, scale="mine")
    write_probes("clip", {"concepts": clip}, scale="mine")
    answer = as_good(read()[0])
    assert answer.short.startswith(short)
    has_few = 0 < len(clip) < 6 and not math.isnan(catlip[0])
    assert answer.short.endswith("; an interval needs 6.") == has_few


@pytest.mark.parametrize("catlip", [[0.08, 0.12] * 3, [0.09]])
def test_encoder_that_does_not_beat_random_init_is_named(write_probes, read, catlip):
    write_probes("random", {"concepts": [0.05, 0.15] * 3})
    write_probes("catlip", {"concepts": catlip})
    write_probes("clip", {"concepts": [0.30] * 6})
    sentences = " ".join(as_good(read()[0]).sentences)
    assert "CatLIP cannot be told from an untrained encoder" in sentences
    assert "CLIP cannot" not in sentences.replace("CatLIP cannot", "")


def test_loss_curve_leaves_out_what_is_not_finite(write_record, tmp_path):
    samples = {
        "images_seen": list(range(1000)),
        "loss": [float("nan") if i == 3 else 2.0 for i in range(1000)],
    }
    write_record("pretrain", "catlip-seed0", samples=samples)
    (record,) = records_in(tmp_path).every
    curve = loss_curve(record)
    assert len(curve) <= 120
    assert {loss for _, loss in curve} == {2.0}
