"""The sections on cost: numbers with their intervals, never of two devices."""

import itertools
import math

import pytest
from matplotlib.figure import Figure as Canvas
from report_support import figure, golden_record, page_in, write

from bench.step_time.steps import CPU_CAUTION
from bench.waterfall import result as waterfall
from catlip.records.blocks import Answers, Command, Text
from catlip.records.run import TIMES


def test_run_on_the_processor_beside_a_gpu_has_its_name(tmp_path):
    content = golden_record("step_time")
    content["config"]["device"] = "cpu"
    write(tmp_path, content)
    titles = [found.title for found in page_in(tmp_path).tables]
    assert "Time of one training step on Example CPU (CPU)" in titles
    assert not any("GPU 80GB" in title for title in titles if title.startswith(("Time of", "Rate")))


def test_product_of_factors_stands_beside_the_published_one(page):
    (found,) = waterfall.waterfall_table(page.records.of(waterfall.Waterfall)[0])
    titles = [row[0].text for row in found.rows]
    first = titles.index("product of the above")
    product, at_once, claim = found.rows[first : first + 3]
    assert [cell.text for cell in product[2:4]] == [
        f"{math.prod(ratios):.2f}{TIMES}"
        for ratios in ((1.15, 0.98, 1.38, 1.02, 1.16), (1.14, 1.03, 1.40, 0.98, 1.24))
    ]
    assert (at_once[2].text, claim[2].text) == (f"1.83{TIMES}", f"2.70{TIMES}")
    assert sum("paper" in title for title in titles) == 1, "what neither release does is not in it"


def test_bars_of_a_waterfall_begin_where_the_last_ended(page):
    axes = Canvas().add_subplot()
    figure(page, "waterfall").draw(axes)
    bars = [(bar.get_x(), bar.get_x() + bar.get_width()) for bar in axes.patches]
    ratios = (1.15, 0.98, 1.38, 1.02, 1.16)
    at = [math.prod(ratios[:i]) for i in range(len(ratios) + 1)]
    *factors, product, at_once = bars
    assert factors == [pytest.approx(sorted(ends)) for ends in itertools.pairwise(at)]
    assert product == pytest.approx((1.0, at[-1]))
    assert at_once[0] == pytest.approx(1.0)
    assert axes.get_xscale() == "log"
    assert any(line.get_xdata()[0] == 2.7 for line in axes.get_lines())


def test_papers_speed_up_is_drawn_beside_its_own_encoder_alone(tmp_path):
    content = golden_record("waterfall")
    content["config"]["model"] = "vit_tiny16"
    write(tmp_path, content)
    drawn = figure(page_in(tmp_path), "waterfall")
    axes = Canvas().add_subplot()
    drawn.draw(axes)
    assert all(line.get_xdata()[0] != 2.7 for line in axes.get_lines())
    assert f"2.7{TIMES} is of another encoder, ViT B/16" in drawn.caption


def test_why_is_answered_from_the_waterfall_of_this_settings_device(tmp_path, write_record):
    content = golden_record("waterfall")
    write(tmp_path, content, device="Elsewhere")
    content["metrics"]["release"]["total"]["ratio"]["value"] = 1.55
    write(tmp_path, content | {"name": "what is read last"}, device="Device A")
    write_record("pretrain", "catlip-seed0")
    blocks = page_in(tmp_path).summary.blocks
    (answers,) = [block.answers for block in blocks if isinstance(block, Answers)]
    sentences = " ".join(answers[-1].sentences)
    assert "the largest factor is image sizes, 1.38 and 1.40 times" in sentences
    assert "on Device A: 1.55 times" in sentences


@pytest.mark.parametrize("kind", ["waterfall", "communication"])
def test_times_of_a_cpu_are_cautioned_against_where_a_gpu_is_meant(tmp_path, kind):
    content = golden_record(kind)
    for device, expected in (("Example GPU", False), ("Example CPU", True)):
        # The record's environment names "Example CPU" as its processor.
        write(tmp_path, content, device=device)
        sections = page_in(tmp_path).sections
        (found,) = [section for section in sections if section.anchor == kind]
        assert (Text(CPU_CAUTION) in found.blocks) is expected


@pytest.mark.parametrize("kind", ["memory", "communication", "waterfall", "projection"])
def test_record_that_holds_nothing_leaves_the_command(tmp_path, kind):
    write(tmp_path, golden_record(kind) | {"metrics": {}})
    sections = page_in(tmp_path).sections
    (found,) = [section for section in sections if section.anchor == kind.replace("_", "-")]
    assert any(isinstance(block, Command) for block in found.blocks)
