"""The labelling bench measures all its parts, and keeps each as soon as it is measured."""

import json
from typing import Any

import pytest

from bench.labelling import measure
from bench.labelling.__main__ import Labelling, main
from bench.labelling.result import LabellingSpeed
from catlip.cli import InputError
from catlip.record import Record

FEW: dict[str, Any] = {"num_rounds": 1, "round_captions": 10, "starts": 1, "quiet": True}


def test_a_run_that_is_cut_short_keeps_what_it_measured(tmp_path, monkeypatch) -> None:
    def cut_short(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    out = tmp_path / "labelling.json"
    monkeypatch.setattr(measure, "start_up_s", lambda *_: {"ours": {"median": 0.1}})
    monkeypatch.setattr(measure, "over_processes", cut_short)
    kept: list[dict[str, Any]] = []
    monkeypatch.setattr(
        Record, "__exit__", lambda record, *_: kept.append(json.loads(record.partial.read_text()))
    )
    with pytest.raises(KeyboardInterrupt):
        main(Labelling(rules=("corenet",), out=out, **FEW))
    assert not out.exists()
    (partial,) = kept  # as it was on disk before the block ended, which a killed process never does
    speed = LabellingSpeed.read(partial["metrics"]).rules["corenet"]
    assert speed.us_per_caption.keys() == {"ours", "nltk", "nltk_tagged", "release"}
    assert speed.captions_per_s_per_core > 0
    assert speed.start_up_s["ours"].median == 0.1
    assert len(partial["samples"]["corenet_ours_us"]) == 1


@pytest.mark.parametrize("rule", ["paper", "corenet", "paper_multiword"])
def test_a_new_interpreter_starts_with_each_rule(rule: str) -> None:
    found = measure.start_up_s(rule, 1)
    assert found.keys() == {"ours", "nltk"}
    assert all(times.median > 0 for times in found.values())


def test_an_unknown_rule_is_refused() -> None:
    with pytest.raises(InputError):
        Labelling(rules=("nouns",))
