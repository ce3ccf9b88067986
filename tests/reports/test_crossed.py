"""Equal methods are told apart no more often than an interval of 95 % may."""

from collections import Counter
from itertools import product

import numpy as np
from report_support import compared_in
from scipy.stats import norm

from bench.downstream.probe.result import LinearProbe, score_of
from catlip.records.claims import claims
from catlip.records.estimate import BETTER, FAILS, WORSE
from reports.paper.claims import judge
from reports.paper.evidence import evidence

SEEDS, STUDIES = 6, 60


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


def test_clip_is_told_from_clip_in_at_most_a_twentieth_of_comparisons(write, committed) -> None:
    """Sixty studies, from records to verdicts, in which both methods are CLIP."""
    draw = np.random.default_rng(0)
    probes = committed.records.of(LinearProbe)
    clip = [run for run in probes if (run.scale, run.method) == ("starter", "clip")]
    tasks = ("concepts", "subgroups")
    own = {t: np.array([score_of(run, t).by_image for run in clip]) / 100 for t in tasks}
    for study, method in product(range(STUDIES), ("catlip", "clip")):
        bits = {task: imitated(draw, own[task], SEEDS) for task in tasks}
        for seed in range(SEEDS):
            write.probe(method, seed, {t: bits[t][seed] for t in tasks}, scale=f"study{study}")
    comparisons = compared_in(write.folder)
    claim = claims()["probe_parity"]
    assert len(comparisons.headline) == 2 * STUDIES
    different = Counter(
        one.on.scale for one in comparisons.headline if one.verdict in (BETTER, WORSE)
    )
    assert different.total() <= 0.05 * 2 * STUDIES
    assert sum(count == 2 for count in different.values()) <= 0.05 * STUDIES
    judged = [judge(claim, study) for study in evidence(claim.tests[0], comparisons)]
    assert len(judged) == STUDIES
    assert sum(one.outcome == FAILS for one in judged) <= 0.05 * STUDIES
