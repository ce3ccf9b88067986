"""Committed records of every kind are the same after they were read and written again; a metric
that is missing or of another type is refused.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.downstream.probe.result import packed, unpacked
from catlip.results.run import read_run
from reports.kinds import KINDS
from reports.read.records import read_record

ROOT = Path(__file__).parent.parent
COSTS = (
    "step_time",
    "waterfall",
    "communication",
    "memory",
    "data_path",
    "projection",
    "plan",
    "analytic",
)
WORDS = (
    "label_accuracy",
    "label_audit",
    "labelling",
    "labelling_speed",
    "scenes",
    "threshold",
    "vocabulary",
)
TRANSFER = (
    "pretrain",
    "linear_probe",
    "finetune",
    "readout",
    "multilabel",
    "segmentation",
    "detection",
)
# What older records of transfer also hold.
IGNORED = {"n_train", "n_test", "train_seconds", "num_classes"}


# The committed ones, and of kinds that these lack one of an earlier starter.
FOLDERS = (ROOT / "reports/records", ROOT / "tests/records")
# Metrics of old records that are read no more.
GONE = {"data_path": {"memory", "remote", "plan"}, "projection": {"validation"}}
PATHS = sorted(path for folder in FOLDERS for path in folder.glob("*/*/*.json"))
COMMITTED = [json.loads(path.read_text()) for path in PATHS]
GOLDEN = [
    json.loads(path.read_text())
    for path in sorted((ROOT / "tests/reports/golden/records").glob("*/*/*.json"))
    if path.stem not in ("cut-short", "foreign")
]


def records_of(kind: str) -> list[dict[str, Any]]:
    """The committed records of a kind, and the golden ones."""
    return [record for record in (*COMMITTED, *GOLDEN) if record["kind"] == kind]


def without_null(tree: Any) -> Any:
    """None is left out of a record."""
    if isinstance(tree, dict):
        return {key: without_null(value) for key, value in tree.items() if value is not None}
    return [without_null(value) for value in tree] if isinstance(tree, list) else tree


@pytest.mark.parametrize("path", PATHS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_the_reports_read_what_was_written_as_it_was(path: Path) -> None:
    measured = read_record(path.parents[2], path).measured
    assert type(measured).read(measured.metrics()) == measured


@pytest.mark.parametrize("kind", [*COSTS, *TRANSFER])
def test_metrics_are_the_same_after_reading_and_writing(kind: str) -> None:
    records = records_of(kind)
    assert records
    for record in records:
        before, after = record["metrics"], KINDS[kind].read(record["metrics"]).metrics()
        if kind in COSTS:
            kept = {name: of for name, of in before.items() if name not in GONE.get(kind, ())}
            assert after == without_null(kept)
        else:
            different = {key for key in before | after if after.get(key) != before.get(key)}
            assert different <= IGNORED


@pytest.mark.parametrize("kind", TRANSFER)
def test_every_row_is_read(kind: str) -> None:
    for record in records_of(kind):
        run = read_run(record, KINDS[kind])
        for start, row in KINDS[kind].rows.items():
            for name in (name for name in record["samples"] if name.startswith(start)):
                assert len(run.rows(name, row)) == len(record["samples"][name])


@pytest.mark.parametrize("kind", COSTS)
def test_a_metric_of_another_type_is_refused(kind: str) -> None:
    for metrics in (record["metrics"] for record in records_of(kind)):
        for name in metrics.keys() - GONE.get(kind, set()):
            with pytest.raises(ValueError, match=r"\$"):
                KINDS[kind].read(metrics | {name: [[]]})


@given(st.lists(st.booleans(), max_size=40))
def test_a_bit_each_image_is_read_as_it_was_written(bits: list[bool]) -> None:
    assert unpacked(packed(np.array(bits, dtype=bool)), len(bits)).tolist() == bits
    with pytest.raises(ValueError, match="bits"):
        unpacked(packed(np.array(bits, dtype=bool)), len(bits) + 8)
