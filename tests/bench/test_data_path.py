"""The bench compares the same crops of the same photographs, and records what it could not do."""

import itertools
import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest

from bench.data_path import measure
from bench.data_path.config import DataPathBench
from bench.data_path.measure import decoder_rates, images_per_s, main, our_decoder, pillow
from catlip.data.augment import draws_at
from catlip.data.starter.scenes import BACKGROUNDS
from catlip.records.run import TIMES


def test_run_writes_rates_ratios_and_what_is_not_installed(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setenv(
        "CATLIP_CACHE", str(tmp_path)
    )  # and set back, after the bench has set its own
    monkeypatch.setattr(measure, "LOADER_NEEDS", ("no_such_module",))
    folder = tmp_path / "web"
    folder.mkdir()
    for path in sorted(BACKGROUNDS.glob("*.jpg"))[:5]:
        shutil.copy(path, folder)
    few = {"num_images": 5, "rounds": 2, "resolution": 32, "workers": (0, 1), "quiet": True}
    main(DataPathBench(images=folder, out=tmp_path, **few))
    record = json.loads((tmp_path / "32-web.json").read_text())
    metrics, samples = record["metrics"], record["samples"]
    for name in ("ours", "pillow"):
        rates = samples[f"{name}, images/s"]
        assert len(rates) == 2
        assert metrics["decoders"][name]["median"] == pytest.approx(np.median(rates))
    for pair, found in metrics["ratios"].items():
        assert found["low"] <= found["value"] <= found["high"], pair
    faster = np.median(samples["ours, images/s"]) / np.median(samples["pillow, images/s"])
    assert metrics["ratios"]["ours/pillow"]["value"] == pytest.approx(faster)
    assert f"{faster:.2f}{TIMES}" in capsys.readouterr().out
    assert set(metrics["loaders"]) == {"ours, 0 workers", "ours, 1 workers"}
    assert set(metrics["not_run"]) == {"open_clip's loader"}
    assert metrics["images"]["count"] == 5


def test_rates_are_images_per_second_of_processor_time(monkeypatch) -> None:
    seconds = itertools.count(0, 2)  # at each look
    monkeypatch.setattr(measure.time, "process_time", lambda: next(seconds))
    images = [(BACKGROUNDS / "casa-mila.jpg").read_bytes()] * 3
    config = DataPathBench(rounds=2, resolution=16, quiet=True)
    assert decoder_rates(config, images) == {"ours": [1.5, 1.5], "pillow": [1.5, 1.5]}
    usage = SimpleNamespace(ru_utime=0.0, ru_stime=0.0)
    monkeypatch.setattr(measure.resource, "getrusage", lambda who: usage)

    def load():
        for _ in range(3):
            usage.ru_utime += 0.25
            usage.ru_stime += 0.5
            yield

    # The time of this process and of its children is counted, here the same.
    assert images_per_s(load, "", quiet=True) == 3 * measure.BATCH / (3 * 2 * 0.75)


def test_both_decoders_take_the_same_crop() -> None:
    photograph = (BACKGROUNDS / "casa-mila.jpg").read_bytes()
    for draws in draws_at(5, 0, 8):
        ours = our_decoder(photograph, draws, 64).astype(int)
        other = pillow(photograph, draws, 64)
        assert abs(ours - other).max() <= 2
