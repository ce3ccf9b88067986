"""Pairs: what both sides have, with one difference and one ratio."""

import csv

import numpy as np
import pytest

from catlip.records.estimate import Score
from reports.pairs import pair_up


def test_pairs_are_of_the_keys_that_both_have() -> None:
    pairs = pair_up({0: 3.0, 1: 5.0, 2: 9.0}, {2: 4.0, 0: 2.0, 7: 1.0})
    assert (pairs.keys, pairs.values) == ([0, 2], [1.0, 5.0])
    assert pairs.difference().value == 3
    assert pairs.ratio().value == pytest.approx((2 / 3 * 4 / 9) ** 0.5)
    assert not pair_up({0: 1.0}, {1: 1.0})
    assert pair_up({0: 1.0}, {1: 1.0}).difference() is None
    assert pair_up({0: 0.0}, {0: 1.0}).ratio() is None


def test_difference_of_scores_keeps_their_images() -> None:
    draw = np.random.default_rng(0)
    one, other = (
        {seed: Score(row.mean(), row) for seed, row in enumerate(draw.random((6, 40)))}
        for _ in range(2)
    )
    estimate = pair_up(one, other).difference()
    assert (estimate.pairs, estimate.images) == (6, 40)
    plain = {seed: score.value for seed, score in other.items()}
    assert pair_up(one, plain).difference().value == pytest.approx(estimate.value)
    assert pair_up(plain, one).difference().value == pytest.approx(-estimate.value)


def test_command_writes_a_row_for_each_pair(write_probes, program, tmp_path) -> None:
    for method, top1 in (("catlip", 0.4), ("siglip", 0.3)):
        write_probes(method, {"concepts": [top1, top1 + 0.01, top1 + 0.02]})
    words = ("pairs", "runs", "--methods", "siglip", "catlip", "-o", "pairs.csv")
    done = program("reports", *words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "SigLIP minus CatLIP" in done.stdout
    assert "no interval below 6 pairs" in done.stdout
    rows = [*csv.DictReader((tmp_path / "pairs.csv").open())]
    assert [float(row["difference"]) for row in rows] == pytest.approx([-10] * 3)
    assert [(row["task"], float(row["seed"])) for row in rows] == [
        ("concepts", s) for s in (0, 1, 2)
    ]
    words = ("pairs", "runs", "--methods", "catlip", "superclass")
    failed = program("reports", *words, cwd=tmp_path)
    assert failed.returncode == 2
    assert "no experiment" in failed.stderr
