"""Losses crossed with words: effects are contrasts of cells, paired by seed, over test images."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from report_support import compared_in
from scipy import stats

from bench.downstream.probe.result import packed
from catlip.records.estimate import mean_over_seeds_and_images
from reports.charts import headline
from reports.factorial import (
    CELLS,
    CELLS_TABLE,
    EFFECTS,
    LOSSES,
    NOUNS,
    WORDS,
    Hypothesis,
    crossed,
    factorial,
    hypothesis_rows,
    outcome_of,
)

SEEDS, IMAGES = 6, 30
EFFECT = {  # of [loss, words] cells, in the order of LOSSES, nouns first
    "words": lambda y: (y[:, 1] - y[:, 0]).mean(axis=0),
    "classify": lambda y: y[1:].mean(axis=(0, 1)) - y[0].mean(axis=0),
    "binary": lambda y: y[2].mean(axis=0) - y[1].mean(axis=0),
    "together": lambda y: (y[1:, 1] - y[1:, 0]).mean(axis=0) - (y[0, 1] - y[0, 0]),
}


@pytest.fixture
def train(write, tmp_path):
    """Six cells on drawings, as [loss, words, seeds, images] of bits; returns what is compared."""

    def trained(bits, images=1_000, without=(), kept=0):
        for (i, loss), (j, words), seed in product(
            enumerate(LOSSES), enumerate((NOUNS, WORDS)), range(len(bits[0, 0]))
        ):
            right = bits[i, j, seed]
            row = {"task": "concepts", "top1": float(right.mean()), "correct": packed(right)}
            count = {"nouns": 2.0, "all words": 8.0}[words] if loss != "contrast" else None
            cell = {"images": images, "seed": seed, "classes_per_caption": count}
            data = {"data": {"pretrain": {"samples": 50}}}
            parts = {"samples": {"runs": [row | {"num_test": len(right)}]}, "environment": data}
            top1 = {"concepts": row["top1"]}
            if CELLS[loss, words] not in without or seed < kept:
                write.study("scaling", CELLS[loss, words], top1, parts=parts, **cell)
        return compared_in(tmp_path)

    return trained


def drawn(seed=0, seeds=SEEDS):
    draw = np.random.default_rng(seed)
    levels = np.linspace(0.2, 0.7, 6).reshape(3, 2, 1, 1)
    return draw.random((3, 2, seeds, IMAGES)) < levels + 0.1 * draw.normal(size=(1, 1, seeds, 1))


def test_effects_are_contrasts_of_cells_with_an_interval_over_seeds_and_images(train) -> None:
    bits = drawn()
    (one,) = crossed(train(bits))
    assert one.epochs == 20
    for name, contrast in EFFECT.items():
        found, expected = one.effect(name), 100 * contrast(bits.astype(float))
        assert found.value == pytest.approx(expected.mean()), name
        ends = mean_over_seeds_and_images(expected)
        assert (found.low, found.high) == pytest.approx((ends.low, ends.high)), name
        of_seeds = stats.ttest_1samp(expected.mean(axis=1), 0).confidence_interval()
        assert found.high - found.low > 0.5 * (of_seeds.high - of_seeds.low)


@pytest.mark.parametrize(
    ("without", "effects"),
    [
        ([], {*EFFECT}),
        (["catlip_words"], {"words", "classify", "together"}),
        (["superclass"], {"words", "classify", "together"}),
        (["catlip_softmax"], {"words", "classify", "together"}),
        (["clip_nouns"], {"words", "binary"}),
        (["superclass", "catlip_words"], {"words"}),
    ],
)
@pytest.mark.parametrize("kept", [0, SEEDS - 1])
def test_effects_need_both_whole_cells_of_each_loss(train, without, effects, kept) -> None:
    comparisons = train(drawn(), without=without, kept=kept)
    found = crossed(comparisons)
    assert len(found) == (kept > 0 or len(without) < 2)
    for row in CELLS_TABLE.rows(comparisons):  # what is there is shown
        there = [loss for loss in LOSSES if kept or CELLS[loss, row["words"]] not in without]
        assert [loss for loss in LOSSES if loss in row] == there
    assert all({n for n in EFFECT if one.effect(n)} == effects for one in found)


def test_few_seeds_have_no_effect_and_tables_have_their_own_columns(train) -> None:
    few = train(drawn(seeds=5))
    assert [*EFFECTS.rows(few)] == []
    means = 100 * drawn(seeds=5).mean(axis=(2, 3)).T
    for row, words, mean in zip(CELLS_TABLE.rows(few), (NOUNS, WORDS), means, strict=True):
        assert (row["words"], row["epochs"]) == (words, 20)
        assert [row[loss].mean for loss in LOSSES] == pytest.approx(mean)


def test_first_figure_has_what_is_read_from_left_to_right(train) -> None:
    (figure,) = headline(train(drawn()) and train(drawn(2), images=500))
    panel, lead = figure.panels
    means = 100 * drawn().mean(axis=(2, 3))
    assert [series.name.split()[0] for series in panel.series] == list(LOSSES)
    for series, (nouns, words) in zip(panel.series, means, strict=True):
        assert [(mark.x, mark.value) for mark in series.marks] == [
            (pytest.approx(25), pytest.approx(nouns)),
            (100, pytest.approx(words)),
        ]
    gap = means[2, 0] - means[0, 1]  # CatLIP minus CLIP with a bag of words
    assert [(mark.x, mark.value) for mark in lead.series[0].marks][-1] == (20, pytest.approx(gap))


@pytest.mark.parametrize(
    ("shift", "outcome"),
    [(0.0, "as expected"), (60.0, "refuted"), (-60.0, "refuted"), (6.0, "open"), (None, "not run")],
)
@pytest.mark.parametrize("effect", ["words", "epochs"])
def test_what_came_is_judged_by_what_was_expected(train, monkeypatch, shift, outcome, effect):
    train(drawn(4), images=500)
    comparisons = train(drawn(3))
    longer, shorter = (EFFECT["words"](100 * drawn(seed).astype(float)) for seed in (3, 4))
    came = longer - shorter if effect == "epochs" else longer
    middle = came.mean() + (shift or 0)
    expected = (middle - 5, middle + 5)
    one = Hypothesis("drawings", 20, "concepts", effect, expected, "", "starter", "tiny")
    one = replace(one, epochs=20 if shift is not None else 30)
    monkeypatch.setattr(
        "reports.factorial.factorial", lambda: replace(factorial(), hypotheses=(one,))
    )
    (row,) = hypothesis_rows(comparisons)
    assert row["outcome"] == outcome
    if shift is not None:
        ends = mean_over_seeds_and_images(came)
        assert (row["came"].value, row["came"].low) == pytest.approx((came.mean(), ends.low))


def test_effects_of_two_lengths_are_of_the_losses_that_both_have(train) -> None:
    train(drawn(4), images=500, without=["superclass"])
    asked = Hypothesis("drawings", 20, "concepts", "epochs", (-1, 1), "", "starter", "tiny")
    came = outcome_of(asked, crossed(train(drawn(3))))
    longer, shorter = (EFFECT["words"](100 * drawn(seed)[[0, 2]].astype(float)) for seed in (3, 4))
    assert came.value == pytest.approx((longer - shorter).mean())


def test_what_was_expected_of_our_data_is_not_judged_by_a_users(train, tmp_path) -> None:
    train(drawn())
    (tmp_path / "runs/starter").rename(tmp_path / "runs/photos")
    ours = [
        replace(one, encoder="tiny", epochs=20, task="concepts") for one in factorial().hypotheses
    ]
    assert {outcome_of(one, crossed(compared_in(tmp_path))) for one in ours} == {None}
