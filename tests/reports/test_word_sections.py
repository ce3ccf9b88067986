"""The sections on captions, labels and vocabulary: the right numbers, never of two scales, each
with its record.
"""

import math
import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure as Canvas
from report_support import (
    figure,
    golden_record,
    page_in,
    records_in,
    table,
    takes_its_flags,
    written,
)

from bench.label_accuracy.result import ACCURACY
from bench.labelling.result import SPEED
from bench.study.result import THRESHOLDS, threshold_figures
from catlip.results.blocks import Answers, Command, Figures
from catlip.results.figures import render
from catlip.results.run import TIMES, Config, Environment, Run
from catlip.table import MISSING
from catlip.vocabulary.figures import tail_of
from catlip.vocabulary.result import STEPS, VocabularyCounts, overlap_table
from reports.read.measured import settings
from reports.read.records import read_records
from reports.render.provenance import view
from reports.sections import build_page
from reports.words import words


def test_the_overlap_is_that_of_the_matches(golden, tmp_path):
    record = written(tmp_path, golden_record(golden, "vocabulary_statistics"))
    (found,) = overlap_table({"paper": record}, "starter")
    matches = [row["similarity"] for row in record.samples["matches_imagenet"]]
    expected = [
        sum(similarity >= 1 / (1 + steps) for similarity in matches) for steps in (0, 1, 2, 4)
    ]
    assert len(STEPS) == len(expected)
    assert [int(cell.text) for cell in found.rows[1][3:7]] == expected
    assert found.rows[1][3].small == f"{100 * expected[0] / len(matches):.1f} %"


def test_two_rules_stand_side_by_side_each_with_its_own_record(page):
    labels = table(page, "labels")
    assert labels.columns == ["What", "Rule paper", "Rule corenet"]
    (row,) = [row for row in labels.rows if row[0].text == "classes (synsets kept)"]
    assert [cell.text for cell in row[1:]] == ["41", "33"]
    assert [cell.anchor.removeprefix("record-records-starter-vocabulary-") for cell in row[1:]] == [
        "vocabulary-paper-statistics",
        "vocabulary-corenet-statistics",
    ]


def test_the_cost_of_labels_is_that_of_the_papers_rule(page):
    (answers,) = [block.answers for block in page.summary.blocks if isinstance(block, Answers)]
    (cheaper,) = [answer for answer in answers if "cheaper" in answer.question]
    assert "labels, once per data set: 3.43 s" in cheaper.sentences[-1]


def test_numbers_of_two_scales_never_share_a_table(golden, tmp_path):
    content = golden_record(golden, "vocabulary_statistics")
    written(tmp_path, content)
    content["metrics"] |= {"num_classes": 24_321, "num_captions": 1_300_000_001}
    written(tmp_path, content, "datacomp")
    page = page_in(tmp_path)
    large, small = {"24,321", "1,300,000,001"}, {"33", "14,443"}
    for name, scale, own, other in (
        ("labels", "datacomp", large, small),
        ("labels_2", "starter", small, large),
    ):
        found = table(page, name)
        cells = {cell.text for row in found.rows for cell in row}
        assert own <= cells
        assert not other & cells
        assert scale in found.title


def test_the_main_settings_scale_comes_first(golden, tmp_path, write_record):
    content = golden_record(golden, "vocabulary_statistics")
    for scale in ("datacomp", "starter"):
        written(tmp_path, content, scale)
    write_record("pretrain", "catlip-seed0")
    records = records_in(tmp_path)
    assert settings(records)[0].scale == "starter"
    assert "starter" in table(build_page(records), "labels").title


def test_without_statistics_the_vocabulary_itself_is_drawn(golden, tmp_path):
    written(tmp_path, golden_record(golden, "vocabulary"))
    page = page_in(tmp_path)
    assert [figure.name for figure in page.figures] == [
        "vocabulary_counts",
        "vocabulary_thresholds",
    ]
    assert "60 synsets, from 2,934 occurrences down to 133" in page.figures[0].caption


@given(counts=st.lists(st.integers(1, 20) | st.integers(1, 10**7), min_size=1, max_size=300))
def test_a_vocabulary_and_its_statistics_give_the_same_curves(counts):
    counts = sorted(counts, reverse=True)
    head = dict.fromkeys(("root", "scale", "path", "kind", "name", "command"), "x")
    head |= {"config": {}, "environment": {}, "notes": [], "metrics": {}}
    head |= {"setup": Config(), "machine": Environment()}
    held = VocabularyCounts(num_classes=1, unique_synsets=len(counts), imagenet_classes_occurring=0)
    plain = tail_of(Run(**head, measured=held, samples={"counts": counts}))
    samples = {"tail_rank": list(range(1, len(counts) + 1)), "tail_count": counts}
    above = {threshold: sum(n > threshold for n in counts) for threshold in (0, 10, 500)}
    ours = tail_of(Run(**head, measured=replace(held, unique_synsets_above=above), samples=samples))
    assert plain.points == ours.points
    assert {t: plain.above[t] for t in (0, 10, 500)} == ours.above


def test_rules_counted_at_other_thresholds_share_a_panel(golden, tmp_path):
    content = golden_record(golden, "vocabulary_statistics")
    written(tmp_path, content)
    content["name"], content["metrics"]["rule"] = "other", "paper"
    content["metrics"]["unique_synsets_above"] = {"7": 55}  # which is not among the ticks
    written(tmp_path, content)
    drawn = figure(page_in(tmp_path), "vocabulary_thresholds")
    assert "55 above 7" in drawn.alt
    assert render(drawn).png.startswith(b"\x89PNG")


def test_samples_of_rows_and_words_are_shown_as_such(golden, tmp_path):
    record = written(tmp_path, golden_record(golden, "label_accuracy"))
    shown = {samples.name: samples for samples in view(record).samples}
    assert shown["classes"].summary == "2 values"
    assert shown["paper_missenses"].summary == "2 rows"
    assert shown["paper_missenses"].values.startswith("class dock, word dock, right dock.n.05")


def test_every_seed_is_a_mark_on_a_logarithmic_axis_with_the_classes_below(golden, tmp_path):
    record = written(tmp_path, golden_record(golden, "threshold"))
    (figure,) = threshold_figures(record)
    axes = Canvas().add_subplot()
    figure.draw(axes)
    means, seeds, *_ = axes.get_lines()
    assert [text.get_text().partition("\n")[0] for text in axes.texts] == ["concepts", "subgroups"]
    assert axes.get_xscale() == "log"
    assert sorted(seeds.get_xydata().tolist()) == sorted(
        [t, 100 * a]
        for t, a in zip(record.samples["threshold"], record.samples["concepts_top1"], strict=True)
    )
    assert means.get_ydata().tolist() == pytest.approx([26.8, 25.65, 23.9])
    assert [label.get_text() for label in axes.get_xticklabels()] == [
        "2\n1,456",
        "8\n768",
        "32\n119",
    ]


def test_a_threshold_of_none_has_its_place_too(golden, tmp_path):
    content = golden_record(golden, "threshold")
    content["samples"]["threshold"] = [0, 8, 32, 0, 8, 32]
    (figure,) = threshold_figures(written(tmp_path, content))
    assert render(figure).png.startswith(b"\x89PNG")


def test_core_hours_are_said_to_be_extrapolated_and_rounded_up_to_cores(page):
    rows = table(page, "labelling_command").rows
    headings = [row[0].text if len(row) == 1 else "" for row in rows]
    (place,) = [i for i, heading in enumerate(headings) if heading.startswith("Extrapolated")]
    hours = [1.3e9 * microseconds / 1e6 / 3600 for microseconds in (80, 12.5)]
    assert [cell.text for cell in rows[place + 1][1:]] == [f"{h:.1f}" for h in hours]
    assert [cell.text for cell in rows[place + 2][1:]] == [str(math.ceil(h)) for h in hours]


def test_every_ratio_of_the_speed_has_its_interval(page):
    rows = [row for row in table(page, "labelling_speed").rows if len(row) > 1]
    ratios = ("21.5", None, "61.0", "130.0", "640.0")
    expected = [MISSING, *(f"{ratio}{TIMES}" if ratio else MISSING for ratio in ratios)]
    assert [row[-1].text for row in rows] == expected
    for cell in (row[-1] for row in rows if row[-1].text != MISSING):
        assert re.fullmatch(r"[\d.]+ to [\d.]+", cell.small)


def test_rules_are_compared_with_the_first_with_intervals(page):
    rows = [row for row in table(page, "label_accuracy").rows if len(row) > 1]
    assert [(row[0].text, row[1].text, row[-1].text, row[-1].small) for row in rows[:3]] == [
        ("paper", "35.7", MISSING, ""),
        ("corenet", "33.6", "\N{MINUS SIGN}2.1", "\N{MINUS SIGN}3.3 to \N{MINUS SIGN}0.9"),
        ("paper_multiword", "68.8", "33.1", "30.4 to 35.8"),
    ]


def test_what_was_not_run_says_with_which_command_it_is():
    sections = words.word_sections(None, read_records([]))
    lines = [b.line for section in sections for b in section.blocks if isinstance(b, Command)]
    assert lines == [
        words.LABEL,
        words.STATISTICS,
        ACCURACY,
        words.AUDIT,
        SPEED,
        THRESHOLDS,
    ]
    for line in lines:
        takes_its_flags(line)


def test_every_section_with_records_shows_a_figure_or_a_table(page):
    sections = {section.anchor: section.blocks for section in page.sections}
    for anchor in ("vocabulary", "overlap", "labels", "threshold"):
        assert any(isinstance(block, Figures) for block in sections[anchor]), anchor
        assert not any(isinstance(block, Command) for block in sections[anchor]), anchor
