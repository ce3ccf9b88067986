"""The labelling bench measures all contenders."""

import json
from typing import Any

import pytest

from bench.labelling import measure
from bench.labelling.__main__ import Labelling, main
from bench.labelling.result import LabellingSpeed
from catlip.cli import InputError

FEW: dict[str, Any] = {"num_rounds": 1, "round_captions": 10, "starts": 1, "quiet": True}


def test_a_run_times_every_contender_on_equal_labels(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(measure, "start_up_s", lambda *_: {})
    monkeypatch.setattr(measure, "over_processes", lambda *_, **__: None)
    out = tmp_path / "labelling.json"
    main(Labelling(rules=("corenet",), out=out, **FEW))
    record = json.loads(out.read_text())
    speed = LabellingSpeed.read(record["metrics"]).rules["corenet"]
    assert speed.us_per_caption.keys() == {"ours", "nltk", "nltk_tagged", "release"}
    assert speed.captions_per_s_per_core > 0
    assert len(record["samples"]["corenet_ours_us"]) == 1


@pytest.mark.parametrize("rule", ["paper", "corenet", "paper_multiword"])
def test_a_new_interpreter_starts_with_each_rule(rule: str) -> None:
    found = measure.start_up_s(rule, 1)
    assert found.keys() == {"ours", "nltk"}
    assert all(times.median > 0 for times in found.values())


def test_an_unknown_rule_is_refused() -> None:
    with pytest.raises(InputError):
        Labelling(rules=("nouns",))
