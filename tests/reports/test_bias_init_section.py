"""The section on the classifier's bias: both losses, what is saved, and whatever a record lacks."""

import math

import pytest
from hostile_content import can_be_shown, poisoned, with_leaves
from matplotlib.figure import Figure as Canvas
from report_support import figure, page_in, table

from catlip.results.blocks import Text
from catlip.results.figures import render
from catlip.table import MISSING
from reports.render.page import html, markdown
from reports.sections import Page

STEPS = 1000
RECIPE = {"encoder": "vit_example", "iterations": STEPS}
ZERO = [530.0 * 0.97**step + 10 for step in range(STEPS)]
RATES = [13.0 * 0.999**step for step in range(STEPS)]
PAIR = {"images_seen": 64_000, "base_rates_alone_loss": 13.5}
LOSSES = ("zero_initial_loss", "base_rates_initial_loss", "zero_loss_1_to_10")
SEEDS = [
    PAIR | {"seed": seed} | dict(zip(LOSSES, values, strict=True))
    for seed, values in enumerate([(540.0, 13.0, 480.0), (542.0, 14.0, 482.0)])
]
METRICS = {
    **{"num_classes": 768, "uniform_loss": 532.337, "base_rate_entropy": 13.6},
    **{"base_rates_alone_loss": 13.5, "images_seen": 64_000.0},
    **dict(zip(LOSSES, (541.0, 13.5, 481.0), strict=True)),
    **{"steps_saved": 168.0, "seeds": SEEDS},
}
SAMPLES = {
    "seed": [0] * STEPS,
    "step": [*range(1, STEPS + 1)],
    "zero_loss": ZERO,
    "base_rates_loss": RATES,
}


@pytest.fixture
def page_of(write_record, tmp_path):
    """The page of one record with these parts."""

    def build(
        metrics: object = METRICS, samples: object = SAMPLES, recipe: object = RECIPE
    ) -> Page:
        parts = {"metrics": metrics, "samples": samples, "config": {"recipe": recipe}}
        write_record("bias_init", "bias_init", scale="bench", **parts)
        return page_in(tmp_path)

    return build


def test_it_follows_training_and_is_not_there_without_a_record(page_of, page):
    anchors = [section.anchor for section in page_of().sections]
    assert anchors[anchors.index("loss") + 1] == "bias-init"
    assert "bias-init" not in [section.anchor for section in page.sections]


def test_the_table_has_each_loss_with_its_spread_and_what_is_expected(page_of):
    found = table(page_of(), "bias_init")
    expected, first, span = found.rows
    assert [cell.text for cell in expected[1:]] == ["532.34", "13.50", MISSING]
    assert expected[1].small == "V ln 2 for 768 classes"
    losses = ["541.00 ± 1.41", "13.50 ± 0.71", "527.50 ± 0.71"]
    assert [cell.text for cell in first] == ["First step", *losses]
    means = ["481.00 ± 1.41", MISSING, MISSING]
    assert [cell.text for cell in span] == ["Mean of steps 1 to 10", *means]
    assert "168 steps (10,752 images)" in found.caption
    assert "chance" not in found.caption, "there are two seeds"


def test_both_losses_are_drawn_on_logarithmic_axes_with_the_dotted_one_and_the_mark(page_of):
    drawn = figure(page_of(), "bias_init")
    assert "zero bias from 540 to about 10.0; base rates from 13.0 to" in drawn.alt
    assert "mean of 2 seeds" in drawn.caption
    assert "(the mark)." in drawn.caption
    axes = Canvas().add_subplot()
    drawn.draw(axes)
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    zero, zero_mean, rates, rates_mean, alone, mark = axes.get_lines()
    assert list(zero.get_ydata()) == pytest.approx(ZERO)
    assert list(rates.get_ydata()) == pytest.approx(RATES)
    assert max(len(zero_mean.get_xdata()), len(rates_mean.get_xdata())) < 60
    assert (list(alone.get_xdata()), list(alone.get_ydata())) == ([0, 1], [13.5, 13.5])
    assert alone.get_linestyle() == ":"
    assert (list(mark.get_xdata()), list(mark.get_ydata())) == ([168], [13.5])


def test_what_was_never_saved_is_said_and_not_drawn(page_of):
    page = page_of(METRICS | {"steps_saved": None, "seeds": SEEDS[:1]})
    drawn = figure(page, "bias_init")
    assert "does not reach the first loss" in drawn.caption
    assert "chance" in table(page, "bias_init").caption
    axes = Canvas().add_subplot()
    drawn.draw(axes)
    assert len(axes.get_lines()) == 5


@pytest.mark.parametrize("strange", [math.nan, math.inf, -1, 0, 10**400, 5e-324])
@pytest.mark.parametrize("part", ["metrics", "samples"])
def test_a_record_of_strange_numbers_gives_a_page(page_of, part, strange):
    whole = {"metrics": METRICS, "samples": SAMPLES}
    page = page_of(**whole | {part: with_leaves(whole[part], strange)})
    can_be_shown(page)


def test_no_word_of_a_record_becomes_part_of_the_page(page_of):
    attacked = {f"zero_loss_1_to_2<script>alert(1){i}": 1.0 for i in range(3)}
    page = page_of(METRICS | attacked, recipe=poisoned(RECIPE))
    assert "<script>alert" not in html(page, {f.name: render(f) for f in page.figures}).replace(
        "<!-- <script>alert", ""
    )
    assert not any(
        "script" in block.words
        for s in page.sections
        for block in s.blocks
        if isinstance(block, Text)
    )
    assert "<script>" not in markdown(page).replace("\\<script\\>", "")
