"""No sentence is untrue: what records do not say ends the build, with both sides."""

import re
from dataclasses import replace

import pytest

from catlip.cli import InputError
from reports.names import data_sets
from reports.page import TEMPLATES, fill_document, write_report

OTHER = {"catlip": "clip_bag", "clip_bag": "catlip"}


def turned(committed, scale: str):
    """The committed records, with both methods' accuracies changed on one data set."""
    every = []
    for run in committed.records.every:
        other = OTHER.get(run.method)
        if other and run.scale == scale and run.kind in ("pretrain", "scaling", "linear_probe"):
            run = replace(run, raw_metrics=run.raw_metrics | {"method": other})
        every.append(run)
    return replace(committed.records, every=tuple(every))


@pytest.mark.parametrize("scale", data_sets())
def test_records_that_say_otherwise_end_the_build(committed, tmp_path, scale) -> None:
    records = turned(committed, scale)
    for build in (
        lambda: fill_document("answer.md", records),
        lambda: write_report(records, tmp_path),
    ):
        with pytest.raises(InputError) as error:
            build()
        assert {"better", "worse"} <= {*re.findall(r"\w+", str(error.value))}
    assert not [*tmp_path.iterdir()]


def test_words_are_looked_up_and_what_is_not_there_ends_the_build(committed) -> None:
    words = committed.words
    one = committed.comparisons.headline[0]
    key = "sentences/CIFAR-10"
    low, high = (f"{abs(end):.1f}" for end in (one.estimate.low, one.estimate.high))
    assert words.difference(key) is one
    shown = words.cell("main", "difference", task="CIFAR-10", untrained=one.untrained)
    assert re.match(rf"{re.escape(words.lead(key))} \(.?{low} to .?{high}", shown)
    assert words.says(key, one.verdict) == ""
    missing = [
        lambda: words.lead("sentences/zebras"),
        lambda: words.says(key, "better", 17),
        lambda: words.effect_says(key, 17, "words", "above"),
        lambda: words.effect(key, 50, "words", encoder="cnn"),
        lambda: words.cell("costs", "operations", model="zebra"),
        lambda: words.cell("few_labels", "own", task="zebras"),
    ]
    for look in missing:
        with pytest.raises((InputError, KeyError)):
            look()
    trained = {"data": "photographs with sentences", "clip": "bag of words"}
    assert words.cell_says("costs", "training", "below", **trained) == ""
    with pytest.raises(InputError, match=r"above.*below"):
        words.cell_says("costs", "training", "above", **trained)


def test_no_template_types_a_difference_or_a_ratio() -> None:
    for path in TEMPLATES.glob("*.[hm][td]*"):
        words = re.sub(r"\{[{%#].*?[}%#]\}", "", path.read_text(), flags=re.DOTALL)
        assert not re.search(r"[+\N{MINUS SIGN}]\d|\d\.\d+ (to|times|points)", words), path.name
