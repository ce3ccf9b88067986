"""The interval over seeds and test images: it covers what it says, and follows both."""

from dataclasses import replace

import numpy as np
import pytest
from report_support import REPOSITORY
from scipy.stats import norm

from bench.downstream.probe.result import LinearProbe, packed, score_of
from catlip.records.claims import claims
from catlip.records.estimate import (
    BETTER,
    FAILS,
    WORSE,
    Score,
    mean_difference,
    mean_over_seeds_and_images,
    value_of,
    verdict,
)
from catlip.records.run import Records, read_run
from reports.paper.claims import judge
from reports.paper.evidence import evidence, groups_of
from reports.read.records import read_records
from reports.results import frame_of

SEEDS, IMAGES, RUNS, STUDIES = 6, 435, 1_000, 60


def simulated(draw, *, mean=0.0, seed=0.01, image=0.15, seeds=SEEDS, images=IMAGES):
    """Differences in correctness: -1, 0 or 1, with an effect of each seed and image."""
    effect = mean + seed * draw.normal(size=(seeds, 1)) + image * draw.normal(size=(1, images))
    return np.clip(np.round(effect + 0.4 * draw.normal(size=(seeds, images))), -1, 1)


def false_among(estimates):
    return sum(one.low > 0 or one.high < 0 for one in estimates)


AT_LEAST, AT_MOST = 0.01 * RUNS, 0.05 * RUNS + 2 * (0.05 * 0.95 * RUNS) ** 0.5


@pytest.mark.parametrize("seed_effect", [0.0, 0.01, 0.05])
def test_equal_methods_are_told_apart_in_at_most_a_twentieth_of_runs(seed_effect) -> None:
    draw = np.random.default_rng(0)
    found = [mean_over_seeds_and_images(simulated(draw, seed=seed_effect)) for _ in range(RUNS)]
    assert AT_LEAST <= false_among(found) <= AT_MOST


def test_images_of_a_cluster_count_as_one_draw() -> None:
    """Where images of a cluster share their effect, only the interval over clusters covers."""
    draw = np.random.default_rng(1)
    sizes = draw.integers(1, 12, size=60)
    clusters = np.repeat(np.arange(60), sizes)
    by_image, by_cluster = [], []
    for _ in range(RUNS):
        shared = np.repeat(0.3 * draw.normal(size=60), sizes)
        differences = shared + 0.4 * draw.normal(size=(SEEDS, sizes.sum()))
        by_image.append(mean_over_seeds_and_images(differences))
        by_cluster.append(mean_over_seeds_and_images(differences, clusters))
    assert AT_LEAST <= false_among(by_cluster) <= AT_MOST < false_among(by_image)
    assert by_cluster[0].value == pytest.approx(by_image[0].value)
    assert (by_cluster[0].images, by_cluster[0].clusters) == (sizes.sum(), 60)


def test_clusters_of_one_size_count_as_their_means() -> None:
    draw = np.random.default_rng(5)
    differences = simulated(draw, seed=0.1, image=0.4, seeds=SEEDS, images=24)
    clusters = np.arange(24) % 8
    of_clusters = mean_over_seeds_and_images(differences, clusters)
    of_means = mean_over_seeds_and_images(
        np.stack([differences[:, clusters == i].mean(axis=1) for i in range(8)], 1)
    )
    assert of_clusters.low == pytest.approx(of_means.low)
    assert of_clusters.high == pytest.approx(of_means.high)
    assert (of_clusters.images, of_means.images) == (24, 8)


def test_images_of_a_single_cluster_are_no_independent_draws() -> None:
    """One drawing says nothing of the spread of drawings: the interval is over seeds alone."""
    draw = np.random.default_rng(6)
    images = draw.normal(1, 1, size=(SEEDS, 1)) + 0.1 * draw.normal(size=(SEEDS, IMAGES))
    for cluster in (0, 3):
        scores = [Score(row.mean(), row, np.full(IMAGES, cluster)) for row in images]
        found, of_seeds = mean_difference(scores), mean_difference([*map(value_of, scores)])
        assert found == of_seeds
        assert found.images is None


def test_standard_error_is_that_of_a_mixed_model() -> None:
    """For a balanced table whose variances are above 0 both are the same."""
    import pandas as pd
    from statsmodels.regression.mixed_linear_model import MixedLM

    draw = np.random.default_rng(4)
    differences = simulated(draw, seed=0.1, image=0.4, seeds=SEEDS, images=24)
    seed, image = np.indices(differences.shape)
    rows = pd.DataFrame({"y": differences.ravel(), "s": seed.ravel(), "i": image.ravel()})
    parts = {"seed": "0 + C(s)", "image": "0 + C(i)"}
    model = MixedLM.from_formula("y ~ 1", rows, groups=np.ones(len(rows)), vc_formula=parts)
    fitted = model.fit(reml=True)
    assert mean_over_seeds_and_images(differences).error == pytest.approx(
        fitted.bse_fe["Intercept"], rel=0.01
    )


def test_scores_carry_their_images_into_every_difference() -> None:
    draw = np.random.default_rng(3)
    bits = draw.integers(2, size=(2, SEEDS, IMAGES)).astype(float)
    one, other = ([100 * Score(row.mean(), row) for row in side] for side in bits)
    found = mean_difference([(a - b) / 2 for a, b in zip(one, other, strict=True)])
    expected = mean_over_seeds_and_images(50 * (bits[0] - bits[1]))
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert (found.pairs, found.images) == (SEEDS, IMAGES)
    assert mean_difference(one[:5]).low is None
    assert mean_difference([*one[:5], 50.0]).images is None  # one of them without its images
    assert mean_difference([*one[:5], one[5] - Score(1.0, np.ones(7))]).images is None


def clips_own(task: str):
    """[S, N] fractions of the classifiers of each seed of CLIP that were right on each image."""
    probes = read_records([REPOSITORY / "reports/records/starter/linear_probe"]).of(LinearProbe)
    scores = [score_of(run, task) for run in probes if run.method == "clip"]
    return np.array([score.by_image for score in scores]) / 100


def imitated(draw, accuracies, seeds):
    """[seeds, N] bits of new seeds: each image as hard, each seed as good, as in the records."""
    right, (count, images) = accuracies.sum(axis=0), accuracies.shape
    limits = norm.ppf((right + 0.5) / (count + 1))
    by_chance = accuracies.var(axis=0, ddof=1).mean() / images
    of_seeds = max(0, accuracies.mean(axis=1).var(ddof=1) - by_chance)
    effect = of_seeds**0.5 / norm.pdf(limits).mean()
    rest = (1 - min(effect, 0.9) ** 2) ** 0.5
    drawn = effect * draw.normal(size=(seeds, 1)) + rest * draw.normal(size=(seeds, images))
    return drawn < limits


def probe(root, method, seed, bits):
    metrics = {"method": method, "pretrain_seed": seed}
    rows = []
    for task, right in bits.items():
        sizes = {"num_classes": 48, "num_test": len(right), "top1": float(right.mean())}
        metrics |= {f"{task}_{name}": value for name, value in sizes.items()}
        row = {"task": task, "fraction": 1.0, "init": "random", "seed": 0, "top5": 1.0}
        row |= {"top1": sizes["top1"], "num_train": 1, "seconds": 1.0, "correct": packed(right)}
        rows.append(row)
    record = {"name": f"{method}-seed{seed}", "kind": "linear_probe", "metrics": metrics}
    record |= {"config": {}, "environment": {}, "samples": {"runs": rows}}
    run = read_run(record, LinearProbe)
    return replace(run, root=root, scale="starter", path=f"{root}/{run.name}")


def test_clip_is_told_from_clip_in_at_most_a_twentieth_of_comparisons() -> None:
    """Sixty studies, from records to verdicts, in which both methods are CLIP. Of 120 comparisons
    3 say better or worse: in 3 studies one of two tasks does, in none both.
    """
    draw = np.random.default_rng(0)
    tasks = {task: clips_own(task) for task in ("concepts", "subgroups")}
    runs = []
    for study in range(STUDIES):
        for method in ("catlip", "clip"):
            bits = {task: imitated(draw, own, SEEDS) for task, own in tasks.items()}
            for seed in range(SEEDS):
                of_seed = {task: own[seed] for task, own in bits.items()}
                runs.append(probe(f"study{study}", method, seed, of_seed))
    records = Records(("runs",), tuple(runs), ())
    claim = claims()["probe_parity"]
    found = [*evidence(claim.tests[0], groups_of(records), frame_of(records))]
    assert len(found) == STUDIES
    words = [[verdict(one.estimate, claim.bound) for one in study.compared] for study in found]
    different = [sum(word in (BETTER, WORSE) for word in both) for both in words]
    assert sum(different) <= 0.05 * 2 * STUDIES
    assert sum(count == 2 for count in different) <= 0.05 * STUDIES
    assert sum(judge(claim, study).outcome == FAILS for study in found) <= 0.05 * STUDIES
