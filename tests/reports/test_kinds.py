"""Records of every kind are read into dataclasses, and written back as they were."""

from pathlib import Path

import pytest

from reports.read.records import read_record

REPOSITORY = Path(__file__).parents[2]
COMMITTED = sorted((REPOSITORY / "reports/records").glob("*/*/*.json"))
IN_ONE_FORM = (
    "label_accuracy",
    "label_audit",
    "labelling",
    "labelling_speed",
    "scenes",
    "threshold",
    "vocabulary",
)


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_metrics_are_read_and_written_back_as_they_were(path: Path) -> None:
    record = read_record(REPOSITORY / "reports/records", path)
    metrics = record.measured.metrics()
    assert type(record.measured).read(metrics) == record.measured
    if record.kind in IN_ONE_FORM:
        assert metrics == record.metrics
