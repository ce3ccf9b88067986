"""Every method has the same trials; what is finished is kept; the test images are never opened."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from bench.studies.tuning_result import Trial, expected_best, expected_best_interval, tuning_table
from bench.tuning import RANGES, Tuning, main, points, trial_of
from hypothesis import given
from hypothesis import strategies as st

from baselines.pretrain import recipes_of
from catlip.cli import InputError
from catlip.recipes.pretrain import CATLIP
from catlip.results.run import Config, Environment, Run

COMMITTED = Path(__file__).parents[2] / "reports/records/starter/tuning"
CAPTIONS = 27_772  # of the starter
SCORES = st.lists(st.floats(0, 1), min_size=1, max_size=20)


def tuning(**changes) -> Tuning:
    places = {"shards": ("data",), "probe": "starter-validation:data"}
    places |= {"vocabulary": Path("vocabulary.json"), "labels_dir": Path("labels")}
    return Tuning(**places | changes)


def test_more_trials_begin_with_the_same_ones_and_stay_in_the_ranges() -> None:
    few, many = points(4, seed=3), points(16, seed=3)
    assert many[:4] == few
    assert points(4, seed=4) != few
    for name, of in RANGES.items():
        values = [point[name] for point in many]
        assert min(values) >= of(0)
        assert max(values) <= of(1 - 1e-9)
        assert len(set(values)) > 2


def test_all_methods_have_the_same_trials_of_the_same_length() -> None:
    for number in range(5):
        trials = [trial_of(tuning(images=6_400), method, number) for method in ("catlip", "clip")]
        assert trials[0].drawn.items() < trials[1].drawn.items()
        assert trials[1].drawn.keys() - trials[0].drawn.keys() == {"temperature"}
        assert trials[1].recipe.temperature == trials[1].drawn["temperature"]
        for trial in trials:
            steps = trial.recipe.iterations
            assert steps * trial.recipe.micro_batch == pytest.approx(6_400, rel=0.02)
            assert trial.recipe.warmup_iterations < steps / 4
    clip, catlip = (trial_of(tuning(), method, 0).recipe for method in ("clip", "catlip"))
    assert clip.betas != catlip.betas


@given(SCORES, st.integers(1, 30))
def test_the_expected_best_lies_between_the_mean_and_the_best(scores, trials) -> None:
    found = expected_best(scores, trials)
    assert np.mean(scores) - 1e-9 <= found <= max(scores) + 1e-9
    assert expected_best(scores, 1) == pytest.approx(np.mean(scores))
    assert expected_best(scores, trials + 1) >= found - 1e-9


def test_the_expected_best_of_two_is_what_all_pairs_give() -> None:
    scores = [0.1, 0.5, 0.2]
    pairs = [max(a, b) for a in scores for b in scores]
    assert expected_best(scores, 2) == pytest.approx(np.mean(pairs))


def test_few_trials_give_no_interval() -> None:
    assert expected_best_interval([0.1] * 5, 3) is None
    low, high = expected_best_interval([0.1, 0.2, 0.3, 0.4, 0.5, 0.6], 3)
    assert 0.1 < low < expected_best([0.1, 0.2, 0.3, 0.4, 0.5, 0.6], 3) < high < 0.6


@pytest.fixture(scope="module")
def without_test_teams(starter, tmp_path_factory) -> Tuning:
    """A small study of data whose test images are not there."""
    root = tmp_path_factory.mktemp("tuning") / "data"
    shutil.copytree(starter.root, root)
    shutil.rmtree(root / "probe-test")
    config = tuning(
        shards=(str(starter.shards),),
        probe=f"starter-validation:{root}",
        vocabulary=starter.vocabulary,
        labels_dir=starter.labels,
        trials=1,
        images=64,
        out=root.with_name("trials"),
        num_workers=0,
        quiet=True,
    )
    main(config)
    return config


def test_the_test_images_are_never_opened(without_test_teams) -> None:
    records = [json.loads(path.read_text()) for path in sorted(without_test_teams.out.iterdir())]
    assert [record["metrics"]["method"] for record in records] == ["catlip", "clip"]
    for record in records:
        assert record["kind"] == "tuning"
        assert {*record["metrics"]["accuracies"]} == {"concepts", "subgroups"}
        assert record["metrics"]["drawn"].items() <= points(1, 0)[0].items()


def test_a_study_goes_on_with_the_trials_that_are_missing(without_test_teams) -> None:
    kept, lost = sorted(without_test_teams.out.iterdir())
    before, content = kept.stat().st_mtime_ns, json.loads(lost.read_text())
    lost.unlink()
    main(without_test_teams)
    assert kept.stat().st_mtime_ns == before
    again = json.loads(lost.read_text())["metrics"]
    assert again["accuracies"] == content["metrics"]["accuracies"]


def test_another_study_does_not_mix_with_it(without_test_teams) -> None:
    with pytest.raises(InputError, match=r"catlip-00\.json"):
        main(replace(without_test_teams, images=128))


def test_the_test_teams_are_refused_by_name() -> None:
    with pytest.raises(InputError, match="starter-validation"):
        main(tuning(probe="starter:data"))


def test_the_best_trial_of_a_method_is_the_one_that_is_linked() -> None:
    head = {"name": "", "setup": Config(), "machine": Environment(), "samples": {}}
    runs = []
    for trial, top1 in enumerate((0.1, 0.3, 0.2)):
        found = {"drawn": {"max_lr": top1}, "accuracies": {"concepts": top1}}
        measured = Trial(method="clip", trial=trial, **found)
        runs.append(Run(**head, anchor=f"record-{trial}", measured=measured))
    (row,) = tuning_table(runs, "tuning", "Trials").rows
    assert (row[2].full, row[2].anchor) == ("30.0", "record-1")
    assert row[-1].text == "max_lr 0.3"


@pytest.mark.parametrize(
    "method", ["catlip", "clip", "siglip", "superclass", "catlip_softmax", "clip_catlip"]
)
def test_the_starters_recipe_is_the_best_of_the_committed_trials(method: str) -> None:
    records = [json.loads(path.read_text()) for path in COMMITTED.glob(f"{method}-*.json")]
    trials = [Trial.read(record["metrics"]) for record in records]
    assert len(trials) == 16
    best = max(trials, key=lambda trial: trial.score).drawn
    recipe = CATLIP["starter"] if method == "catlip" else recipes_of(method)["starter"]
    chosen = {
        "max_lr": recipe.max_lr,
        "weight_decay": recipe.weight_decay,
        "images_per_step": recipe.micro_batch,
        "least_crop": recipe.crop_scale[0],
        "temperature": recipe.temperature,
        "logit_bias": recipe.logit_bias,
    }
    steps = recipe.epochs * CAPTIONS / recipe.micro_batch
    assert recipe.warmup_iterations == pytest.approx(best.pop("warmup_share") * steps, rel=0.01)
    assert {name: chosen.pop(name) for name in best} == pytest.approx(best, rel=0.01)
    assert set(chosen.values()) <= {None}
