"""The tables of docs/results.md: a row for each experiment and task."""

import pytest
from report_support import records_in

from reports.summary.results_page import tables


@pytest.fixture
def batch_rows(write_study, write_training, write_probe, tmp_path):
    """Write a study of batches, batch -> seeds; its lines of markdown."""

    def write(seeds_of: dict[int, int], clip: str = "clip") -> list[str]:
        for method in ("catlip", "clip"):
            write_training(method)
            write_probe(method, 0, {"concepts": 0.3})
        for batch, seeds in seeds_of.items():
            for seed in range(seeds):
                for method, top1 in (("catlip", 0.3), (clip, 0.2)):
                    accuracies = {"concepts": top1, "subgroups": top1 + 0.1}
                    more = {"noise": f"batch={batch}", "seed": seed}
                    write_study("robustness", method, accuracies, **more)
        return tables(records_in(tmp_path))["batch"]()

    return write


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_each_task_of_an_experiment_is_a_row(batch_rows):
    heading, _, columns, _, *rows = batch_rows({64: 6})
    assert heading.endswith(", 6 seeds:")
    assert cells(columns) == [
        *("Experiment", "Tested on", "CatLIP (%)", "Other (%)", "Difference (95 %)")
    ]
    assert [cells(row)[2:] for row in rows] == [
        ["30.0", "20.0", "+10.0 (+10.0 to +10.0)"],
        ["40.0", "30.0", "+10.0 (+10.0 to +10.0)"],
    ]
    assert [bool(cells(row)[0]) for row in rows] == [True, False]


def test_numbers_of_seeds_that_differ_have_a_column(batch_rows):
    heading, _, columns, _, *rows = batch_rows({64: 6, 128: 7})
    assert "seeds" not in heading
    assert cells(columns)[-1] == "Seeds"
    assert sorted(cells(row)[-1] for row in rows) == ["6", "6", "7", "7"]


def test_another_clip_than_the_usual_is_named_once(batch_rows):
    lines = batch_rows({64: 6}, clip="clip_bag")
    assert "over CLIP, bag of words" in lines[0]
    assert not any("bag of words" in line for line in lines[1:])
