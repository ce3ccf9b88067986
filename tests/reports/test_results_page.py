"""The tables of docs/results.md: a row for each experiment and task."""

import pytest
from report_support import records_in

from catlip.records.table import MISSING
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


def test_best_trial_is_of_one_encoder_and_one_length(
    write_study, write_training, write_probe, tmp_path
):
    for method in ("catlip", "clip"):
        write_training(method, encoder="hybrid_mini")
        write_probe(method, 0, {"concepts": 0.3})

    def write(kind: str, encoder: str, images: float, *accuracies: float) -> None:
        recipe = {"encoder": encoder, "micro_batch": 32, "max_lr": 1e-3}
        for trial, top1 in enumerate(accuracies):
            name = f"{kind}-{encoder}-{images}-{trial}"
            more = {"name": name, "parts": {"config": {"recipe": recipe}}, "images_seen": images}
            write_study(kind, "catlip", {"concepts": top1}, trial=trial, **more)

    write("tuning", "hybrid_mini", 48_000, 0.2, 0.1, 0.1)
    write("tuning", "cnn", 48_000, 0.3, 0.4)
    write("finalist", "hybrid_mini", 139_000, 0.3, 0.25)
    write("finalist", "hybrid_mini", 404_000, 0.35, 0.45, 0.4)  # more than of the shorter
    rows = [cells(row) for row in tables(records_in(tmp_path))["trials"]()[2:]]
    (mini, longer, cnn) = rows
    assert (mini[2], mini[4:]) == ("0 of 3", ["20.0", "30.0"])
    assert (longer[2], longer[4:]) == ("1 of 3", ["10.0", "45.0"])
    assert (cnn[2], cnn[4:]) == ("1 of 2", ["40.0", MISSING])
    assert longer[0] == f"{mini[0]}, 400,000 images"
    assert cnn[0] == f"{mini[0]}, cnn"
