"""CatLIP is compared with the CLIP whose text tower is best on validation."""

from collections.abc import Callable
from itertools import product

import pytest
from report_support import page_in, records_in, step_times

from reports.paper.claims import verdicts
from reports.read.setting import settings
from reports.summary.answers import as_good
from reports.summary.costs import cheaper

ACCURACY = {"catlip": 0.5, "clip": 0.4, "clip_bag": 0.45, "random": 0.1}


@pytest.fixture
def probes(write_probes) -> None:
    """Six probes of each method."""
    for method, top1 in ACCURACY.items():
        write_probes(method, {"concepts": [top1 + seed / 1000 for seed in range(6)]})


@pytest.fixture
def write_trials(write_study) -> Callable[..., None]:
    """Write trials, or finalists, of a method with these accuracies on validation."""

    def write(
        method: str,
        *accuracies: float,
        kind: str = "tuning",
        encoder: str = "",
        images: float | None = None,
    ) -> None:
        parts = {"config": {"recipe": {"encoder": encoder}}}
        for trial, top1 in enumerate(accuracies):
            more = {"name": f"{encoder}{method}-{trial}-{images}", "images_seen": images}
            write_study(kind, method, {"concepts": top1}, parts=parts, trial=trial, **more)

    return write


def test_text_tower_is_the_better_one_on_validation(probes, write_trials, tmp_path):
    def compared() -> tuple[str, float]:
        records = records_in(tmp_path)
        (setting, *_) = settings(records)
        forest = {one.name: one for one in setting.differences}
        (lead,) = setting.paired("concepts").values[:1]
        (judged,) = verdicts(records)["probe_parity"].evidence.compared
        assert judged.estimate
        assert judged.estimate.value == pytest.approx(lead)
        assert forest["all labels"].estimate.value == pytest.approx(lead)
        assert f"{lead:.1f} points" in as_good(setting).short
        return setting.clip, lead

    assert compared() == ("clip_bag", pytest.approx(5))  # neither was tuned
    write_trials("clip", 0.1, 0.4)
    assert compared()[0] == "clip_bag"  # one has no validation
    write_trials("clip_bag", 0.3, 0.2)
    assert compared() == ("clip", pytest.approx(10))
    write_trials("clip_bag", 0.9, encoder="cnn")  # another encoder's
    assert compared()[0] == "clip"
    write_trials("clip", 0.3, 0.2, kind="finalist", images=1.4e5)
    write_trials("clip_bag", 0.4, 0.2, kind="finalist", images=1.4e5)
    assert compared() == ("clip_bag", pytest.approx(5))
    write_trials("clip", 0.9, kind="finalist", images=4e5)  # fewer, of another length
    write_trials("clip_bag", 0.2, kind="finalist", images=4e5)
    assert compared()[0] == "clip_bag"


def test_other_text_tower_is_named_beside_it(probes, tmp_path):
    (setting, *_) = settings(records_in(tmp_path))
    found = {(one.heading, one.name): one.estimate.value for one in setting.differences}
    assert found["Linear probe, over other methods", "CLIP"] == pytest.approx(10)
    captions = [figure.caption for figure in page_in(tmp_path).figures]
    assert any(caption.startswith("CatLIP minus CLIP, bag of words") for caption in captions)


def test_each_clip_has_its_own_cost(write_record, probes, read_setting):
    ratios = {"clip/catlip": (1.4, 1.3, 1.5), "clip_bag/catlip": (0.99, 0.98, 1.01)}
    ratios["clip:packed/catlip"] = (1.2, 1.1, 1.3)
    metrics = step_times(ratios, ("catlip", "clip", "clip_bag"))
    write_record("step_time", "step", metrics=metrics, samples={"rounds": [{}] * 9})
    short = cheaper(read_setting()).short
    assert "Over CLIP, bag of words: no difference in step time" in short
    assert "Over CLIP with a transformer: yes: CLIP takes 1.40 times" in short


def test_condition_is_compared_with_the_best_clip_and_with_other_methods(
    probes, write_study, read_setting
):
    for method, seed in product(("catlip", "clip", "clip_bag", "clip_nouns"), range(6)):
        write_study("robustness", method, {"concepts": 0.2}, noise="chatty=1", seed=seed)
    of_condition = [one.method for one in read_setting().differences if one.same.condition]
    assert sorted(of_condition) == ["clip_bag", "clip_nouns"]
