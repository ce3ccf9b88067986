"""The mean difference of two methods with an interval that covers both the seeds of pre-training
and the images of the test set.

d[s, i] is the difference in correctness for seed s and test image i. Seeds and images are crossed
random effects: the variance of the mean is V_seed / S + V_image / N + V_rest / (S N), estimated by
mean squares, with Satterthwaite's degrees of freedom.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bench.downstream.probe.result import Classifier, LinearProbe, unpacked
from catlip.claims import least_pairs
from catlip.results.estimate import Estimate, of_mean
from catlip.results.run import Run


def crossed(differences: NDArray[np.float64]) -> Estimate | None:
    """The mean, in points, of [S, N] differences in correctness, each in [-1, 1]; None for too few
    seeds or fewer than two images.
    """
    seeds, images = differences.shape
    if seeds < least_pairs() or images < 2:
        return None
    mean = differences.mean()
    of_seeds, of_images = differences.mean(axis=1) - mean, differences.mean(axis=0) - mean
    rest = differences - mean - of_seeds[:, None] - of_images[None]
    free = np.array([seeds - 1, images - 1, (seeds - 1) * (images - 1)])
    squares = np.array(
        [images * (of_seeds**2).sum(), seeds * (of_images**2).sum(), (rest**2).sum()]
    )
    by_seed, by_image, by_rest = squares / free
    parts = by_seed + by_image - by_rest
    if parts <= max(by_seed, by_image):  # a variance estimated below 0 counts as 0
        parts = max(by_seed, by_image)
        freedom = free[0] if by_seed >= by_image else free[1]
    else:
        freedom = parts**2 / ((np.array([by_seed, by_image, by_rest]) ** 2) / free).sum()
    error = float(np.sqrt(parts / (seeds * images)))
    return of_mean(100 * float(mean), 100 * error, float(freedom), pairs=seeds, images=images)


def paired_by_image(
    one: Sequence[Run[LinearProbe]], other: Sequence[Run[LinearProbe]], task: str
) -> NDArray[np.float64] | None:
    """[S, N] differences in correctness between the linear probes of two methods, for the seeds
    that both have.

    Uses the classifiers with all training data and a random start, averaged for each record. None
    if a record has no bit for each test image, or if the numbers of images differ.
    """
    first, second = (
        {r.measured.pretrain_seed: _correct(r, task) for r in records} for records in (one, other)
    )
    seeds = [seed for seed in first if seed in second and seed is not None]
    sizes = {len(correct[seed]) for seed in seeds for correct in (first, second)}
    if len(sizes) != 1 or 0 in sizes:
        return None
    return np.array([first[seed] - second[seed] for seed in seeds])


def between_probes(
    one: Sequence[Run[LinearProbe]], other: Sequence[Run[LinearProbe]], task: str
) -> Estimate | None:
    """The difference `one` - `other` over seeds and test images, where it can be had."""
    differences = paired_by_image(one, other, task)
    return None if differences is None else crossed(differences)


def _correct(record: Run[LinearProbe], task: str) -> NDArray[np.float64]:
    """[N] fraction of a record's classifiers that were right on each image; empty if that is not
    recorded.
    """
    count = record.measured.tasks[task].num_test
    rows = [
        row
        for row in record.rows("runs", Classifier)
        if row.task == task and row.fraction == 1 and row.init == "random"
    ]
    if count is None or not rows or not all(row.correct for row in rows):
        return np.empty(0)
    try:
        return np.mean([unpacked(row.correct, count) for row in rows], axis=0)
    except ValueError:  # images that could not be read have no bit
        return np.empty(0)
