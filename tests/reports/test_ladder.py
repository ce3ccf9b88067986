"""From CLIP to CatLIP by one change at a time."""

import pytest

from reports.summary.answers import under_conditions
from reports.summary.ladder import STEPS, ladder


@pytest.fixture
def trainings(write_study) -> None:
    """Six trainings of each method; each step gains as many points as its number."""
    accuracy = 10.0
    for step, method in enumerate(STEPS):
        accuracy += step
        for seed in range(6):
            noise = "none" if method == "catlip" else "recipe=catlip"
            accuracies = {"concepts": accuracy / 100, "concepts, held out": 0.9}
            write_study("robustness", method, accuracies, noise=noise, seed=seed)
            if method == "catlip":  # a shorter training, which is no step
                shorter = {"noise": noise, "seed": seed, "images_seen": 100.0}
                write_study("robustness", method, {"concepts": 0.9}, **shorter)


def test_each_step_is_the_difference_from_the_method_before(trainings, read_setting):
    (figure,) = ladder(read_setting())
    for step, what in enumerate(STEPS.values()):
        if what:
            assert f"{what}: concepts +{step}.0 " in figure.alt
    assert "all five: concepts +15.0 (15.0 to 15.0, n = 6)" in figure.alt
    assert "held out" not in figure.alt


def test_ladder_without_every_method_is_empty(trainings, read_setting, tmp_path):
    for path in (tmp_path / "runs/starter/robustness").glob("clip_nouns-*"):
        path.unlink()
    assert ladder(read_setting()) == []


def test_lead_at_other_batches_is_said_by_batch_over_the_clip_of_the_page(
    write_study, read_setting
) -> None:
    leads = {"batch=64": (1, 4), "batch=128": (-2, 3), "none": (9, 9)}
    for condition, (concepts, subgroups) in leads.items():
        for seed in range(6):
            for method, factor in (("catlip", 1), ("clip_bag", 0), ("clip", -9)):
                accuracies = {
                    "concepts": 0.3 + factor * concepts / 100,
                    "subgroups": 0.4 + factor * subgroups / 100,
                }
                write_study("robustness", method, accuracies, noise=condition, seed=seed)
    setting = read_setting()
    assert setting.clip == "clip_bag"
    found = {
        size: [round(one.estimate.value, 6) for one in of_size]
        for size, of_size in under_conditions(setting, "batch").items()
    }
    assert found == {"64": [1, 4], "128": [-2, 3]}
