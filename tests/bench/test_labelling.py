"""The labelling bench measures all contenders."""

import json

from bench.labelling.__main__ import Labelling, main
from bench.labelling.result import CONTENDERS, LabellingSpeed


def test_a_run_times_every_contender_on_equal_labels(tmp_path) -> None:
    out = tmp_path / "labelling.json"
    main(Labelling(rules=("corenet",), out=out, num_rounds=1, round_captions=10, quiet=True))
    record = json.loads(out.read_text())
    speed = LabellingSpeed.read(record["metrics"]).rules["corenet"]
    assert all(getattr(speed, name).us_per_caption.median > 0 for name in CONTENDERS)
    assert speed.captions_per_s_per_core > 0
    assert len(record["samples"]["corenet_ours_us"]) == 1
