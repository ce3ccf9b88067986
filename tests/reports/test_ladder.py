"""From CLIP to CatLIP by one change at a time."""

import pytest
from report_support import records_in

from reports.read.setting import settings
from reports.summary.ladder import STEPS, ladder


@pytest.fixture
def trained(write_record) -> None:
    """Six trainings of each method; each step gains as many points as its number."""
    accuracy = 10.0
    for step, method in enumerate(STEPS):
        accuracy += step
        for seed in range(6):
            noise = "none" if method == "catlip" else "recipe=catlip"
            metrics = {"method": method, "noise": noise, "seed": seed, "samples": 9, "classes": 9}
            metrics |= {"classes_kept": 1.0, "images_seen": 1000.0, "final_loss": 1.0}
            metrics["accuracies"] = {"concepts": accuracy / 100, "concepts, held out": 0.9}
            name = f"{method}-{noise}-seed{seed}"
            write_record("robustness", name, metrics=metrics)
            if method == "catlip":  # a shorter training, which is no step
                metrics |= {"images_seen": 100.0, "accuracies": {"concepts": 0.9}}
                write_record("robustness", f"{name}-short", metrics=metrics)


def test_each_step_is_the_difference_from_the_method_before(trained, tmp_path):
    (figure,) = ladder(settings(records_in(tmp_path))[0])
    for step, what in enumerate(STEPS.values()):
        if what:
            assert f"{what}: concepts +{step}.0 " in figure.alt
    assert "all five: concepts +15.0 (15.0 to 15.0, n = 6)" in figure.alt
    assert "held out" not in figure.alt


def test_without_every_method_there_is_none(trained, tmp_path):
    for path in (tmp_path / "runs/starter/robustness").glob("clip_nouns-*"):
        path.unlink()
    assert ladder(settings(records_in(tmp_path))[0]) == []
