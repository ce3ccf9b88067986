"""Records of transfer are the same after they were read and written again."""

import json
from pathlib import Path

import pytest

from catlip.kinds import KINDS, read_run

ROOT = Path(__file__).parent.parent
KINDS_HERE = (
    "pretrain",
    "linear_probe",
    "finetune",
    "readout",
    "longer_training",
    "transfer_options",
    "multilabel",
    "segmentation",
    "detection",
)
IGNORED = {"n_train", "n_test", "train_seconds", "num_classes"}  # that older records also hold


@pytest.mark.parametrize("kind", KINDS_HERE)
def test_metrics_of_committed_records_are_the_same_after_reading_and_writing(kind):
    files = [*ROOT.glob(f"reports/records/*/{kind}/*.json")]
    files += [
        path
        for path in ROOT.glob(f"tests/reports/golden/records/*/{kind}/*.json")
        if path.stem != "cut-short"
    ]
    assert files
    for path in files:
        content = json.loads(path.read_text())
        run = read_run(content, KINDS[kind])
        for name, of in KINDS[kind].rows.items():
            for sample in (sample for sample in content["samples"] if sample.startswith(name)):
                assert len(run.rows(sample, of)) == len(content["samples"][sample])
        written, before = run.measured.metrics(), content["metrics"]
        different = {key for key in before | written if written.get(key) != before.get(key)}
        assert different <= IGNORED
