"""The bench compares the same crops of the same photographs, and writes down what it did and what
it could not.
"""

import io
import json
import shlex
import sys

import numpy as np
import pytest
from one_line import one_line_error
from PIL import Image

from bench.data_path.__main__ import DataPathBench, main
from bench.data_path.measure import (
    MEAN_SIZE,
    PEERS,
    WHOLE_DECODERS,
    cut,
    our_decoder,
    shipped_photographs,
)
from catlip.data.augment import draws_at
from catlip.results.run import TIMES

SHORT = shlex.split("--num-images 6 --resolution 32 --rounds 2 --num-batches 1 --loader-rounds 2")


def test_a_run_writes_every_sample_and_each_ratio_with_its_interval(succeed, tmp_path) -> None:
    folder = tmp_path / "web"
    folder.mkdir()
    for number, encoded in enumerate(cut(shipped_photographs(), 5, seed=0)):
        (folder / f"{number}.jpg").write_bytes(encoded)
    options = (*SHORT, "--peers", "pillow", "torchvision", "--workers", 0, 1, "--quiet")
    done = succeed("bench.data_path", *options, "--images", folder, "--out", tmp_path)
    record = json.loads((tmp_path / "32-web.json").read_text())
    metrics, samples = record["metrics"], record["samples"]
    assert record["kind"] == "data_path"
    for name in ("ours", "pillow", "torchvision"):
        rates = [1e3 / ms for ms in samples[f"{name}_ms"]]
        assert len(rates) == 2
        assert metrics["decoders"][name]["median"] == pytest.approx(np.median(rates))
    for pair, found in metrics["ratios"].items():
        assert found["low"] <= found["value"] <= found["high"], pair
    faster = np.median(samples["pillow_ms"]) / np.median(samples["ours_ms"])
    assert metrics["ratios"]["ours/pillow"]["value"] == pytest.approx(faster)
    assert f"{faster:.2f}{TIMES}" in done.stdout
    assert set(metrics["loaders"]) == {"ours, 0 workers", "ours, 1 workers"}
    assert metrics["not_run"] == {}
    sizes = [file.stat().st_size for file in folder.iterdir()]
    assert metrics["images"]["count"] == len(sizes) == 5
    assert metrics["images"]["mean_kib"] == pytest.approx(np.mean(sizes) / 1024)


@pytest.mark.parametrize("missing", [("webdataset",), ("open_clip", "webdataset")])
def test_a_peer_that_is_not_installed_is_named_with_the_command_to_install_it(
    tmp_path, monkeypatch, capsys, missing
) -> None:
    # And set back, after the bench has set its own.
    monkeypatch.setenv("CATLIP_CACHE", str(tmp_path))
    for module in missing:
        monkeypatch.setitem(sys.modules, module, None)
    few = {"num_images": 4, "rounds": 1, "num_batches": 1, "loader_rounds": 1}
    how = {"peers": ("open_clip",), "workers": (0,), "resolution": 32, "quiet": True}
    main(DataPathBench(out=tmp_path, **few, **how))
    rows = [line for line in capsys.readouterr().out.splitlines() if "not run" in line]
    names = ["open_clip"] * ("open_clip" in missing) + ["open_clip's loader"]
    assert [row.partition("  ")[0] for row in rows] == names


def test_an_unknown_peer_or_an_empty_folder_is_one_line(program, tmp_path) -> None:
    for arguments in (("--peers", "nobody"), ("--images", tmp_path)):
        done = program("bench.data_path", *arguments, "--out", tmp_path)
        one_line_error(done, arguments[1])


def test_the_photographs_are_of_web_size_and_the_same_every_time(tmp_path) -> None:
    made = cut(shipped_photographs(), 30, seed=0)
    assert made == cut(shipped_photographs(), 30, seed=0)
    Image.linear_gradient("L").resize((3000, 2000)).save(tmp_path / "large.jpg")
    of_large = [Image.open(io.BytesIO(e)).size for e in cut([tmp_path / "large.jpg"], 60, seed=0)]
    assert np.mean(of_large, axis=0) == pytest.approx(MEAN_SIZE, rel=0.15)


@pytest.mark.parametrize("peer", [*WHOLE_DECODERS])
def test_every_decoder_takes_the_same_crop(peer) -> None:
    pytest.importorskip({"pillow": "PIL"}.get(peer, peer))
    (photograph,) = cut(shipped_photographs()[3:], 1, seed=2)
    for draws in draws_at(5, 0, 8):
        one, other = (
            np.asarray(picture, dtype=int)
            for picture in (our_decoder(photograph, draws, 64), PEERS[peer](64)(photograph, draws))
        )
        # ffmpeg, by which spdl decodes, rounds colours in its own way.
        assert abs(one - other).max() <= (4 if peer == "spdl" else 2)
