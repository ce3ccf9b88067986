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

from bench import data_path, photographs
from bench.images import link
from bench.images.decoders import PEERS, WHOLE, ours
from bench.images.planning import plan_epoch
from bench.photographs import cut, shipped_photographs
from catlip.data.augment import draws_at
from catlip.results.cells import TIMES

SHORT = shlex.split(
    "--num-images 6 --resolution 32 --rounds 2 --batch-size 4 --num-batches 3 --loader-rounds 2"
)


def run(succeed, out, *arguments) -> tuple[dict, str]:
    done = succeed("bench.data_path", *SHORT, "--out", out, "--quiet", *arguments)
    (path,) = out.glob("*.json")
    assert f"wrote {path}" in done.stdout
    return json.loads(path.read_text()), done.stdout


def test_a_run_writes_every_sample_and_each_ratio_with_its_interval(succeed, tmp_path) -> None:
    record, shown = run(succeed, tmp_path, "--peers", "pillow", "torchvision", "--workers", 0, 1)
    metrics, samples = record["metrics"], record["samples"]
    assert record["kind"] == "data_path"
    for name in ("ours", "pillow", "torchvision", "ours, whole picture", "pillow, whole picture"):
        rates = [1e3 / ms for ms in samples[f"{name}_ms"]]
        assert len(rates) == 2
        assert metrics["decoders"][name]["median"] == pytest.approx(np.median(rates))
    for pair, found in metrics["ratios"].items():
        assert found["low"] <= found["value"] <= found["high"], pair
    faster = np.median(samples["pillow_ms"]) / np.median(samples["ours_ms"])
    assert metrics["ratios"]["ours/pillow"]["value"] == pytest.approx(faster)
    assert f"{faster:.2f}{TIMES}" in shown
    assert set(metrics["loaders"]) == {"ours, 0 workers", "ours, 1 workers"}
    assert len(metrics["memory"]["ours, 1 workers"]["workers_mib_end"]) == 1
    assert metrics["pixel_difference"]["torchvision"]["max"] <= 2
    assert metrics["not_run"] == {}


def test_shards_behind_a_link_come_as_fast_as_the_link_and_then_from_the_cache(
    tmp_path, monkeypatch
) -> None:
    monkeypatch.setenv("CATLIP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(link, "LINK_S", 1)
    images = cut(shipped_photographs(), 40, seed=0)
    how = {"size": (32, 8), "rounds": 2, "quiet": True}
    measured, samples = link.measure_remote(images, tmp_path / "set", 1, **how)
    assert measured.megabytes == pytest.approx(2 * sum(map(len, images)) / 1e6, rel=0.3)
    assert all(len(values) == 2 for values in samples.values())
    assert max(samples["link"]) < 1.2  # what the server gives at most, and its first chunk
    assert max(samples["cold"]) < 1.2
    tars = sorted((tmp_path / "cache" / "shards").glob("[!.]*"))
    assert len(tars) == link.NUM_SHARDS


def test_photographs_of_a_folder_are_taken_as_they_are(succeed, tmp_path) -> None:
    folder, web = shipped_photographs()[0].parent, tmp_path / "web"
    succeed("bench.photographs", folder, "--out", web, "--count", 4)
    options = ("--images", web, "--peers", "pillow", "--workers", 0)
    record, _ = run(succeed, tmp_path / "out", *options)
    sizes = [file.stat().st_size for file in web.iterdir()]
    images = record["metrics"]["images"]
    assert images["count"] == len(sizes) == 4
    assert images["mean_kib"] == pytest.approx(np.mean(sizes) / 1024)


@pytest.mark.parametrize("missing", [("webdataset",), ("open_clip", "webdataset")])
def test_a_peer_that_is_not_installed_is_named_with_the_command_to_install_it(
    tmp_path, monkeypatch, capsys, missing
) -> None:
    # And set back, after the bench has set its own.
    monkeypatch.setenv("CATLIP_CACHE", str(tmp_path))
    for module in missing:
        monkeypatch.setitem(sys.modules, module, None)
    few = {"num_images": 4, "rounds": 1, "num_batches": 1, "loader_rounds": 1, "batch_size": 2}
    how = {"peers": ("open_clip",), "workers": (0,), "resolution": 32, "quiet": True}
    data_path.main(data_path.DataPathBench(out=tmp_path, **few, **how))
    rows = [line for line in capsys.readouterr().out.splitlines() if "not run" in line]
    names = ["open_clip"] * ("open_clip" in missing) + ["open_clip's loader"]
    assert [row.partition("  ")[0] for row in rows] == names


def test_an_unknown_peer_or_an_empty_folder_is_one_line(program, tmp_path) -> None:
    for arguments, words in (
        (("--peers", "nobody"), "nobody"),
        (("--images", tmp_path), "0 "),
    ):
        done = program("bench.data_path", *arguments, "--out", tmp_path)
        one_line_error(done, words)


def test_the_photographs_are_of_web_size_and_the_same_every_time() -> None:
    made = cut(shipped_photographs(), 30, seed=0)
    assert made == cut(shipped_photographs(), 30, seed=0)
    sizes = np.array([Image.open(io.BytesIO(encoded)).size for encoded in made])
    assert (sizes >= 100).all()
    assert (sizes <= [512, 341]).all()  # none is enlarged
    assert len(np.unique(sizes, axis=0)) > 20


def test_large_photographs_are_cut_to_web_size(tmp_path) -> None:
    Image.linear_gradient("L").resize((3000, 2000)).save(tmp_path / "large.jpg")
    made = cut([tmp_path / "large.jpg"], 60, seed=0)
    sizes = [Image.open(io.BytesIO(encoded)).size for encoded in made]
    assert np.mean(sizes, axis=0) == pytest.approx(photographs.MEAN_SIZE, rel=0.15)


@pytest.mark.parametrize("peer", [*WHOLE])
def test_every_decoder_takes_the_same_crop(peer) -> None:
    pytest.importorskip({"pillow": "PIL"}.get(peer, peer))
    (photograph,) = cut(shipped_photographs()[3:], 1, seed=2)
    for draws in draws_at(5, 0, 8):
        one, other = (
            np.asarray(decode(photograph, draws), dtype=int)
            for decode in (ours(64), PEERS[peer](64))
        )
        # ffmpeg, by which spdl decodes, rounds colours in its own way.
        assert abs(one - other).max() <= (4 if peer == "spdl" else 2)


def test_planning_is_timed_from_the_start_and_from_the_middle(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("CATLIP_CACHE", str(tmp_path / "cache"))
    (tmp_path / "shards").mkdir()
    found = plan_epoch(tmp_path / "shards", num_shards=300)
    assert found.shards == 300
    assert 300 * 9_000 < found.samples < 300 * 11_000
    assert min(found.first_batch_s, found.first_batch_cpu_s, found.middle_batch_s) > 0
    assert found.peak_mib > 0
