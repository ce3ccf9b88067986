"""The formulas against cases computed by hand, what must hold of any projection, and the program as
it is run.
"""

import json
import shlex
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.arithmetic.exchanges import sent
from bench.arithmetic.link import (
    PRESETS,
    Link,
    all_reduce_ms,
    all_to_all_ms,
    broadcast_ms,
    exchange_ms,
    fit,
    neighbour_ms,
    scatter_ms,
)
from bench.arithmetic.scaling import Compute, exposed_ms, project
from bench.measuring.training_step import Factors
from bench.projection import Projection, find_compute, find_link
from catlip.cli import InputError
from catlip.costs import Exchange
from catlip.program.ranges import check_ranges
from catlip.results.cells import TIMES

NODE = {"node_devices": 8, "node_gb_s": 100, "node_latency_us": 5}
LINK = Link(**NODE, network_gb_s=10, network_latency_us=20)
MB = 1_000_000
METHODS_SHOWN = ("catlip", "clip", "clip_nonlocal", "siglip", "siglip_gather", "superclass")
GATHER = Exchange("features", "all_gather", count=2, payload_bytes=4 * MB, world_size=4)
devices_of = st.integers(0, 12).map(lambda power: 2**power)
some_methods = st.sampled_from(METHODS_SHOWN)


def compute(method: str) -> Compute:
    return Compute(Factors(method, "vit_b16"), flops_per_ms=124.8e9, source="assumed")


def test_an_all_reduce_in_one_node_by_hand() -> None:
    """Six messages of 2 MB: 5 us and 20 us each."""
    assert all_reduce_ms(8 * MB, 4, LINK) == pytest.approx(6 * 0.025)


def test_an_all_reduce_over_two_nodes_by_hand() -> None:
    """14 messages of 2 MB in the node (5 + 20 us) and 2 of 1 MB between nodes (20 + 100 us)."""
    assert all_reduce_ms(16 * MB, 16, LINK) == pytest.approx(14 * 0.025 + 2 * 0.120)


def test_other_collectives_by_hand() -> None:
    assert scatter_ms(16 * MB, 16, LINK) == pytest.approx(7 * 0.025 + 0.120)
    in_node, between = 7 * (0.005 + 0.010), 8 * (0.020 + 0.100)
    assert all_to_all_ms(16 * MB, 16, LINK) == pytest.approx(in_node + between)
    assert broadcast_ms(1 * MB, 4, LINK) == pytest.approx(3 * 0.005 + 0.010)
    assert broadcast_ms(1 * MB, 16, LINK) == pytest.approx(14 * 0.005 + 0.020 + 0.100)
    assert neighbour_ms(2 * MB, 2, LINK) == pytest.approx(2 * 0.005 + 0.020)  # there and back
    assert neighbour_ms(8 * MB, 5, LINK) == pytest.approx(4 * 0.005 + 0.080)  # two rounds each way
    assert neighbour_ms(30 * MB, 16, LINK) == pytest.approx(16 * 0.020 + 3.0)


def test_a_gather_hands_in_one_share_and_its_calls_add_up() -> None:
    # 2 calls that make 8 MB each.
    assert exchange_ms(GATHER, LINK) == pytest.approx(2 * 3 * 0.025)


def test_gradients_are_exposed_where_the_backward_pass_does_not_cover_them() -> None:
    # 0.15 ms a bucket, and 0.15 ms for the features.
    gradients = Exchange("gradients", "all_reduce", count=4, payload_bytes=32 * MB, world_size=4)
    assert exposed_ms([gradients], backward_ms=1.0, link=LINK) == pytest.approx(0.15)
    assert exposed_ms([gradients], backward_ms=0.2, link=LINK) == pytest.approx(0.15 + 0.45 - 0.2)
    assert exposed_ms([gradients, GATHER], backward_ms=1.0, link=LINK) == pytest.approx(0.30)


@pytest.mark.parametrize("ranks", [2, 4])
def test_a_fit_finds_the_latency_and_bandwidth_that_made_the_times(ranks) -> None:
    link = replace(LINK, node_gb_s=1.5, node_latency_us=120)
    sizes = [4_096, 65_536, MB, 64 * MB]
    times = [all_reduce_ms(size, ranks, link) for size in sizes]
    assert fit(sizes, times, ranks) == pytest.approx((120, 1.5))


def test_a_fit_has_no_negative_latency() -> None:
    latency_us, gb_s = fit([MB, 2 * MB, 4 * MB], [1.0, 2.2, 5.0], 2)
    assert latency_us == 0
    assert gb_s > 0


@given(
    method=some_methods,
    devices=devices_of,
    batch_size=st.integers(1, 2_048),
    link=st.sampled_from([*PRESETS.values()]),
)
@settings(max_examples=50)
def test_efficiency_is_1_on_one_device_and_never_above(method, devices, batch_size, link) -> None:
    row = project(compute(method), devices, batch_size, link=link, samples=13.1e9)
    assert 0 < row.efficiency <= 1
    assert row.efficiency == 1 or devices > 1
    assert row.step_ms == pytest.approx(row.compute_ms + row.exposed_ms)
    assert row.images_per_s * row.device_hours * 3600 / devices == pytest.approx(13.1e9)


@given(
    method=some_methods,
    devices=devices_of,
    faster=st.floats(1, 100),
    name=st.sampled_from(["node_gb_s", "network_gb_s"]),
)
@settings(max_examples=50)
def test_more_bandwidth_never_makes_a_step_slower(method, devices, faster, name) -> None:
    links = (LINK, replace(LINK, **{name: getattr(LINK, name) * faster}))
    slow, fast = (project(compute(method), devices, 64, link=link, samples=1e9) for link in links)
    assert fast.step_ms <= slow.step_ms * (1 + 1e-12)


@pytest.mark.parametrize("model", ["hybrid_mini", "vit_b16", "vit_l16", "vit_h16"])
@pytest.mark.parametrize("devices", [2, 8, 4_096])
def test_catlip_never_sends_more_than_clip(model, devices) -> None:
    def sent_bytes(method: str) -> float:
        exchanges = sent(Factors(method, model, batch_size=64), devices)
        return sum(exchange.sent_bytes for exchange in exchanges)

    assert sent_bytes("catlip") < sent_bytes("clip")


def test_a_projection_has_both_scalings_and_takes_the_papers_layouts_apart(
    succeed, tmp_path
) -> None:
    options = ("--methods", "catlip", "clip", "--network-gb-s", 12.5, "--out", tmp_path)
    done = succeed("bench.projection", *options)
    (path,) = tmp_path.iterdir()
    record = json.loads(path.read_text())
    found = record["metrics"]
    assert found["link"]["network_gb_s"] == 12.5
    assert "datasheet" in found["link"]["source"]
    assert "given: network_gb_s" in found["link"]["source"]
    rows = found["layouts"]
    weak = [r["devices"] for r in rows if (r["method"], r["scaling"]) == ("clip", "weak")]
    assert weak == [2**i for i in range(13)]
    assert {r["global_batch"] for r in rows if r["scaling"] == "strong"} == {65_536}
    fields = ("method", "devices", "batch_per_device", "scaling")
    layouts = {tuple(row[field] for field in fields) for row in found["paper_layouts"]}
    assert layouts == {  # as the report's table names them
        *(("clip", 256, 256, "as published"), ("clip", 64, 1_024, "as catlip")),
        *(("catlip", 64, 1_024, "as published"), ("catlip", 256, 256, "as clip")),
    }
    for ratio in found["paper_ratios"]:
        assert ratio["device_hours"] == pytest.approx(ratio["compute"] * ratio["communication"])
        # FLOPs of CLIP over CatLIP at 65,536 pairs.
        assert ratio["compute"] == pytest.approx(1.172, abs=2e-3)
    assert f"1.17{TIMES}" in done.stdout
    assert "validation" not in found


def test_a_measured_step_time_is_where_the_projection_begins(succeed, tmp_path) -> None:
    tiny = "--model hybrid_mini --resolution 32 --batch-size 4 --methods catlip --num-steps 3"
    options = (*shlex.split(tiny), "--device", "cpu", "--quiet")
    succeed("bench.step_time", *options, "--out", tmp_path / "step_time")
    (path,) = (tmp_path / "step_time").iterdir()
    succeed("bench.projection", "--step-time", path, "--batch-size", 4, "--out", tmp_path)
    (projected,) = tmp_path.glob("*.json")
    found = json.loads(projected.read_text())["metrics"]
    total_ms = json.loads(path.read_text())["metrics"]["methods"]["catlip"]["total_ms"]["median"]
    weak = [row for row in found["layouts"] if row["scaling"] == "weak"]
    alone = next(row for row in weak if row["devices"] == 1)
    assert alone["step_ms"] == pytest.approx(total_ms)
    assert found["compute"]["catlip"]["source"].startswith("measured")
    assert "paper_ratios" not in found

    with pytest.raises(InputError, match="step_time"):
        find_link(Projection(communication=path))
    with pytest.raises(InputError, match=r"--methods.*: catlip"):
        find_compute(Projection(step_time=path, methods=("clip",)))


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"link": "ethernet"}, "ethernet"),
        ({"mfu": 0.0}, "--mfu 0.0"),
        ({"methods": ("moco",)}, "moco"),
    ],
)
def test_what_cannot_be_projected_is_refused(options, complaint) -> None:
    with pytest.raises(InputError, match=complaint):
        check_ranges(Projection(**options))
