"""The verdict on each claim: what meets its rule, what does not, and that nothing but the paper's
scale supports or refutes.
"""

import importlib.util
import json
import math
import re
from itertools import product
from pathlib import Path

import pytest
from report_support import SIDES
from toys import steps

from catlip.kinds import Interval
from catlip.table import Quantity
from reports.paper.claims import (
    JUDGES,
    NOT_TESTED,
    RULES,
    claims_table,
    read_claims,
    verdict,
    verdicts,
)
from reports.paper.evidence import (
    FAILS,
    HOLDS,
    OPEN,
    UNTESTED,
    above_one,
    beyond_spread,
    combined,
    every_pair,
    not_lower,
    smaller,
)
from reports.read.records import Records, read_records
from reports.render.page import markdown
from reports.sections import build_page

REPOSITORY = Path(__file__).parents[2]
NAN = math.nan


@pytest.fixture
def said(tmp_path):
    """Claim -> its verdict, from what the test has written."""
    return lambda: {
        key: verdict(found) for key, found in verdicts(read_records([tmp_path / "runs"])).items()
    }


@pytest.fixture
def both(transfer):
    """A transfer of CatLIP and of CLIP for each seed, from lists of accuracies."""

    def write(kind, metric, catlip, clip, scale="datacomp", **more):
        for method, values in (("catlip", catlip), ("clip", clip)):
            for seed, value in enumerate(values):
                transfer(kind, method, scale, {metric: value}, seed, **more)

    return write


def test_every_claim_has_a_source_a_rule_a_judge_and_a_command():
    claims = read_claims()
    assert len({claim.key for claim in claims}) == len(claims) > 25
    assert {claim.key for claim in claims} == set(JUDGES)
    assert {claim.rule for claim in claims} == set(RULES)
    for claim in claims:
        assert re.search("Abstract|Title|Section|Figure|Table|Appendix", claim.source), claim
        words = claim.settle.split()
        module = words[words.index("-m") + 1] if "-m" in words else ""
        assert importlib.util.find_spec(module) if module else (REPOSITORY / words[0]).exists(), (
            claim
        )


@pytest.mark.parametrize(
    ("rule", "values", "outcome"),
    [
        (not_lower, [0.2, -0.4], HOLDS),
        (not_lower, [3.0, 3.5], HOLDS),
        (not_lower, [-1.0, -1.2], FAILS),
        (not_lower, [4.0, -4.0], OPEN),
        (not_lower, [0.2], UNTESTED),
        (not_lower, [0.2, NAN], UNTESTED),
        (every_pair, [0.1, 3.0], HOLDS),
        (every_pair, [0.0, -3.0], FAILS),
        (every_pair, [0.1, -3.0], OPEN),
        (every_pair, [5.0], UNTESTED),
        (every_pair, [5.0, math.inf], UNTESTED),
        (above_one, [Interval(1.2, 1.1, 1.3)], HOLDS),
        (above_one, [Interval(0.8, 0.7, 0.9)], FAILS),
        (above_one, [Interval(1.2, 0.9, 1.5)], OPEN),
        (above_one, [Interval(1.2, None, 1.5)], UNTESTED),
        (above_one, [Interval(1.2, NAN, NAN)], UNTESTED),
        (beyond_spread, [Quantity(5.0, 1.0, 3), Quantity(3.0, 0.5, 3)], HOLDS),
        (beyond_spread, [Quantity(3.0, 1.0, 3), Quantity(5.0, 0.5, 3)], FAILS),
        (beyond_spread, [Quantity(3.5, 1.0, 3), Quantity(3.0, 0.1, 3)], OPEN),
        (beyond_spread, [Quantity(3.5, None, 1), Quantity(3.0, 0.1, 3)], UNTESTED),
        (beyond_spread, [Quantity(NAN, 1.0, 3), Quantity(3.0, 0.1, 3)], UNTESTED),
        (smaller, [1.0, 2.0], HOLDS),
        (smaller, [2.0, 1.0], FAILS),
        (smaller, [1.0, 1.0], OPEN),
        (smaller, [NAN, 1.0], UNTESTED),
        (combined, [HOLDS, UNTESTED], HOLDS),
        (combined, [HOLDS, OPEN, FAILS], FAILS),
        (combined, [HOLDS, OPEN], OPEN),
        (combined, [], UNTESTED),
    ],
)
def test_a_rule_is_what_it_says(rule, values, outcome):
    assert (
        rule(*values) if rule in (above_one, beyond_spread, smaller) else rule(values)
    ) == outcome


def test_without_records_nothing_is_tested_and_the_table_says_what_to_run():
    table = claims_table(Records((), (), ()))
    rows = [row for row in table.rows if len(row) > 1]
    assert {row[1].text for row in rows} == {NOT_TESTED}
    assert all("Would settle it: `" in row[1].remarks[0] for row in rows)


KINDS = {
    "probe_parity": ("linear_probe", "imagenet_top1"),
    "finetune_parity": ("finetune", "places365_top1"),
    "multilabel_parity": ("multilabel", "map_macro"),
    "segmentation_parity": ("segmentation", "miou_fixed"),
    "detection_parity": ("detection", "mask_ap"),
}


@pytest.mark.parametrize("key", KINDS)
def test_as_good_as_clip_over_seeds_is_supported_at_the_papers_scale_alone(both, said, key):
    both(*KINDS[key], [0.80, 0.81], [0.803, 0.807])
    assert {claim: word for claim, word in said().items() if word != NOT_TESTED} == {
        key: "supported"
    }


@pytest.mark.parametrize("key", KINDS)
def test_worse_than_clip_is_not_supported(both, said, key):
    both(*KINDS[key], [0.75, 0.76], [0.80, 0.81])
    assert said()[key] == "not supported"


@pytest.mark.parametrize(
    ("catlip", "word"),
    [([0.06, 0.07], "same way"), ([0.01, 0.02], "other way"), ([0.0, 0.3], "neither way")],
)
def test_the_starter_can_at_most_point_one_way(both, said, catlip, word):
    both(
        "linear_probe",
        "concepts_top1",
        catlip,
        [0.05, 0.06],
        scale="starter",
        encoder="hybrid_mini",
        side=48,
    )
    assert (
        said()["probe_parity"]
        == f"points {'the ' if 'either' not in word else ''}{word} at starter scale"
    )


@pytest.mark.parametrize(
    ("values", "more"),
    [
        ([0.8], {}),
        ([0.8, NAN], {}),
        ([0.8, 0.8], {"side": 48}),
        ([0.8, 0.8], {"config": {"init": "transfer"}}),
    ],
)
def test_one_seed_a_nan_or_another_protocol_is_no_test(both, said, values, more):
    both("multilabel", "map_macro", values, values, **more)
    assert said()["multilabel_parity"] == NOT_TESTED


def test_tasks_that_are_not_the_papers_say_nothing_at_its_scale(both, said):
    both("linear_probe", "concepts_top1", [0.8, 0.8], [0.8, 0.8])
    assert said()["probe_parity"] == NOT_TESTED


def test_pairs_of_two_recipes_are_no_pairs(transfer, said):
    for method, epochs in (("catlip", 30), ("clip", 10)):
        for seed in range(2):
            config = {"recipe": {"resolution": SIDES["linear_probe"], "epochs": epochs}}
            transfer(
                "linear_probe", method, "datacomp", {"imagenet_top1": 0.8}, seed, config=config
            )
    assert said()["probe_parity"] == NOT_TESTED


def test_a_training_that_was_cut_short_is_not_the_papers(both, said):
    both("linear_probe", "imagenet_top1", [0.8, 0.8], [0.8, 0.8], images=1e6)
    assert said()["probe_parity"] == "points the same way after a shorter training"


def test_evidence_at_the_papers_scale_speaks_before_the_starters(both, said):
    both("linear_probe", "imagenet_top1", [0.7, 0.71], [0.8, 0.81])
    both(
        "linear_probe",
        "concepts_top1",
        [0.06, 0.07],
        [0.05, 0.06],
        scale="starter",
        encoder="hybrid_mini",
    )
    assert said()["probe_parity"] == "not supported"


def trainings(
    write_record, seconds, scale="datacomp", device="8 GPUs", images=13.1e9, encoder="vit_b16"
):
    for method, values in seconds.items():
        for seed, value in enumerate(values):
            metrics = {
                "method": method,
                "seed": seed,
                "train_seconds": value,
                "images_seen": images,
            }
            config = {"recipe": {"encoder": encoder}}
            environment = {"device": device if isinstance(device, str) else device[method]}
            write_record(
                "pretrain",
                f"{method}-seed{seed}",
                "runs",
                scale,
                metrics=metrics,
                config=config,
                environment=environment,
            )


@pytest.mark.parametrize(
    ("clip", "cheaper", "speed_up"),
    [
        ([270, 275], "supported", "supported"),
        ([150, 155], "supported", "not supported"),
        ([90, 95], "not supported", "not supported"),
        ([90, 155], "not supported", "not supported"),
        ([270], NOT_TESTED, NOT_TESTED),
    ],
)
def test_cheaper_and_2_7_times_cheaper_are_two_claims(write_record, said, clip, cheaper, speed_up):
    trainings(write_record, {"catlip": [100, 101], "clip": clip})
    assert (said()["cheaper"], said()["speed_up"]) == (cheaper, speed_up)


def test_only_vit_b16_on_datacomp_says_2_7(write_record, said):
    trainings(
        write_record,
        {"catlip": [100, 101], "clip": [270, 275]},
        scale="starter",
        images=84e3,
        encoder="hybrid_mini",
    )
    trainings(write_record, {"catlip": [100, 101], "clip": [270, 275]}, scale="cc3m")
    assert (said()["cheaper"], said()["speed_up"]) == ("supported", NOT_TESTED)


def test_trainings_on_two_devices_never_share_a_ratio(write_record, said):
    trainings(write_record, {"catlip": [1, 1], "clip": [9, 9]}, device={"catlip": "A", "clip": "B"})
    assert said()["cheaper"] == NOT_TESTED


def step(write_record, low=2.0, high=2.2, device="GPU", cpu="CPU", model="vit_b16", **config):
    methods = {
        m: steps(parameters=n, loss_ms={"median": n, "p5": n, "p95": n})
        for m, n in (("catlip", 100_000_000), ("clip", 150_000_000))
    }
    metrics = {
        "methods": methods,
        "ratios": {"clip/catlip": {"value": (low + high) / 2, "low": low, "high": high}},
    }
    told = {"model": model, "batch_size": 256, "resolution": 224, "num_classes": 24320} | config
    write_record(
        "step_time",
        "t",
        "runs",
        "bench",
        metrics=metrics,
        config=told,
        environment={"device": device, "cpu": cpu},
    )


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({}, "supported"),
        ({"low": 0.9}, "not supported"),
        ({"low": NAN}, NOT_TESTED),
        ({"device": "CPU"}, "points the same way on a CPU"),
        ({"low": 0.5, "high": 0.6, "device": "CPU"}, "points the other way on a CPU"),
        ({"model": "vit_tiny16"}, "points the same way with another encoder than the paper's"),
        ({"batch_size": 4}, "points the same way at a small batch"),
        (
            {"num_classes": 750, "resolution": 48},
            "points the same way with a smaller vocabulary, at another resolution",
        ),
    ],
)
def test_a_step_is_the_papers_with_its_encoder_and_images_on_an_accelerator(
    write_record, said, changes, word
):
    step(write_record, **changes)
    assert said()["step"] == word


def test_parameters_are_counted_on_any_device_and_the_loss_is_timed_on_an_accelerator(
    write_record, said
):
    step(write_record, device="CPU", batch_size=4)
    assert (said()["parameters"], said()["loss_time"]) == ("supported", NOT_TESTED)
    step(write_record)
    assert said()["loss_time"] == "supported"


def test_memory_bytes_and_waiting(golden, tmp_path, said):
    for kind in ("memory", "communication"):
        (source,) = (golden / "records/bench" / kind).glob("*.json")
        (tmp_path / "runs/bench" / kind).mkdir(parents=True)
        (tmp_path / "runs/bench" / kind / source.name).write_text(source.read_text())
    found = said()
    assert [found[key] for key in ("memory", "batch", "bytes")] == ["supported"] * 3
    assert found["exposed"] == "not supported"  # the intervals of these made-up times overlap


def lengths(write_record, method, levels, annealed=True, scale="cc3m", seconds=1.0):
    rows = []
    for epochs, values in levels.items():
        for seed, value in enumerate(values):
            row = {
                "run": f"s{seed}",
                "task": "imagenet",
                "epochs": epochs,
                "annealed": annealed,
                "seed": seed,
                "top1": value,
            }
            rows.append(row | {"seconds": seconds * epochs, "device": "GPU"})
    run = f"runs/{scale}/pretrain/{method}-seed0"
    config = {"recipe": {"encoder": "vit_b16"}}
    write_record(
        "pretrain",
        f"{method}-seed0",
        "runs",
        scale,
        metrics={"method": method, "images_seen": 290e6},
        config=config,
    )
    metrics = {"method": method, "imagenet_num_classes": 1000}
    write_record(
        "longer_training",
        method,
        "runs",
        scale,
        metrics=metrics,
        config={"runs": [run]},
        samples={"runs": rows},
    )


def test_longer_training_helps_catlip_and_not_clip_and_clips_best_costs_four_times_as_much(
    write_record, said
):
    lengths(write_record, "catlip", {25: [0.50, 0.501], 75: [0.55, 0.551], 100: [0.58, 0.581]})
    lengths(
        write_record,
        "clip",
        {25: [0.45, 0.451], 75: [0.48, 0.482], 100: [0.481, 0.481]},
        seconds=2.0,
    )
    found = said()
    assert [found[key] for key in ("catlip_longer", "clip_plateaus", "less_compute")] == [
        "supported"
    ] * 3
    lengths(write_record, "clip", {25: [0.45, 0.451], 75: [0.48, 0.482], 100: [0.59, 0.591]})
    found = said()
    assert [found[key] for key in ("clip_plateaus", "less_compute")] == ["not supported"] * 2


@pytest.mark.parametrize(("scale", "annealed"), [("cc3m", False), ("starter", False)])
def test_snapshots_that_are_not_annealed_are_no_lengths(write_record, said, scale, annealed):
    lengths(write_record, "catlip", {25: [0.50, 0.501], 100: [0.58, 0.581]}, annealed, scale)
    assert said()["catlip_longer"] == NOT_TESTED


def gains(transfer, kind, differences, scale="datacomp"):
    for seed in range(len(next(iter(differences.values())))):
        rows = [
            {
                "task": "imagenet",
                "fraction": fraction,
                "init": init,
                "seed": 0,
                "top1": 0.2 + (init == "transfer") * own[seed],
            }
            for fraction, own in differences.items()
            for init in ("random", "transfer")
        ]
        transfer(kind, "catlip", scale, {}, seed, samples={"runs": rows})


def test_transfer_init_gains_in_every_pair_or_is_not_supported(transfer, said):
    gains(transfer, "linear_probe", {0.01: [0.2, 0.21], 1.0: [0.001, 0.002]})
    gains(transfer, "finetune", {0.01: [0.02, 0.021], 1.0: [0.0, 0.0]})
    found = said()
    assert [found[key] for key in ("transfer_init", "gain_falls", "tuned_gain")] == [
        "supported"
    ] * 3
    gains(transfer, "linear_probe", {0.01: [0.2, -0.01], 1.0: [0.1, 0.1]})
    found = said()
    assert [found[key] for key in ("transfer_init", "gain_falls")] == ["not supported"] * 2


def test_scaling_needs_both_data_sets_and_both_encoders(transfer, said):
    for seed, scale, encoder in product(range(2), ("cc3m", "datacomp"), ("vit_b16", "vit_l16")):
        level = 0.5 + 0.2 * (scale == "datacomp") + 0.05 * (encoder == "vit_l16") + 0.001 * seed
        transfer("linear_probe", "catlip", scale, {"imagenet_top1": level}, seed, encoder)
    found = said()
    assert (found["larger_data"], found["larger_encoder"], found["loss_and_size"]) == (
        "supported",
        "supported",
        NOT_TESTED,
    )


def test_the_loss_falls_with_size_and_until_the_end(write_record, said):
    for seed, (encoder, loss) in product(range(2), (("vit_b16", 17.0), ("vit_l16", 16.0))):
        metrics = {
            "method": "catlip",
            "seed": seed,
            "images_seen": 13.1e9,
            "final_loss": loss + 0.01 * seed,
        }
        samples = {"loss": [20 - 0.01 * i for i in range(100)]}
        config = {"recipe": {"encoder": encoder}}
        write_record(
            "pretrain",
            f"{encoder}-seed{seed}",
            "runs",
            "datacomp",
            metrics=metrics,
            config=config,
            samples=samples,
        )
    assert (said()["loss_and_size"], said()["loss_unsaturated"]) == ("supported", "supported")


def test_a_larger_data_set_is_compared_by_the_same_rule(write_record, said):
    for scale, size in (("cc3m", 5000), ("datacomp", 30000)):
        labels = {"imagenet": {"labels": 1000, "exact": size // 75, "median": size / 10}}
        metrics = {
            "rule": "paper",
            "num_classes": 1000,
            "unique_synsets": size,
            "imagenet_classes_occurring": 400,
            "overlap": {},
            "labels": labels,
        }
        write_record("vocabulary_statistics", "v", "runs", scale, metrics=metrics)
        if scale == "cc3m":
            assert said()["more_synsets"] == NOT_TESTED
    found = said()
    assert [
        found[key] for key in ("more_synsets", "more_matches", "more_samples", "exact_share")
    ] == ["supported"] * 4


def test_thresholds(write_record, said):
    levels = {100: [0.57, 0.572], 500: [0.571, 0.573], 5000: [0.50, 0.501]}
    pairs = [(t, value) for t, own in levels.items() for value in own]
    samples = {
        "threshold": [t for t, _ in pairs],
        "imagenet_top1": [value for _, value in pairs],
        "images_seen": [290e6] * 6,
    }
    config = {"recipe": {"encoder": "vit_b16"}}
    none = {"thresholds": {}}
    write_record("threshold", "t", "runs", "cc3m", metrics=none, samples=samples, config=config)
    assert (said()["thresholds_alike"], said()["large_thresholds"]) == ("supported", "supported")
    write_record(
        "threshold",
        "t",
        "runs",
        "cc3m",
        metrics=none,
        samples=samples | {"images_seen": [1e6]},
        config=config,
    )
    assert said()["large_thresholds"] == "points the same way after a shorter training"


def test_the_committed_records_support_nothing_but_a_count(monkeypatch):
    """The starter's records may point one way; only the parameters of the paper's encoder are a
    fact on any machine.
    """
    monkeypatch.chdir(REPOSITORY)
    found = {
        key: verdict(evidence)
        for key, evidence in verdicts(read_records([Path("reports/records")])).items()
    }
    assert {key for key, word in found.items() if word in ("supported", "not supported")} <= {
        "parameters"
    }


def test_the_table_comes_right_after_the_summary_and_each_verdict_leads_to_its_record(page):
    assert [section.anchor for section in page.sections][:2] == ["summary", "claims"]
    (table,) = (table for table in page.tables if table.name == "claims")
    text = markdown(page)
    anchors = [row[1].anchor for row in table.rows if len(row) > 1 and row[1].anchor]
    assert len(anchors) > 10
    assert all(f'<a id="{anchor}">' in text for anchor in anchors)
    assert len(table.columns) == 3


@pytest.mark.parametrize("strange", [NAN, math.inf, -1, 0, 10**400, None, "x", [], {}])
def test_records_of_strange_numbers_give_a_table(golden, tmp_path, strange):
    for source in (golden / "records").glob("*/*/*.json"):
        path = tmp_path / "runs" / source.relative_to(golden / "records")
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            content = json.loads(source.read_text())
        except ValueError:
            continue
        content["metrics"] = with_leaves(content.get("metrics", {}), strange)
        path.write_text(json.dumps(content))
    assert claims_table(read_records([tmp_path / "runs"])).rows
    assert build_page(read_records([tmp_path / "runs"])).tables


def with_leaves(tree, strange):
    """The same tree with every number replaced."""
    if isinstance(tree, dict):
        return {key: with_leaves(value, strange) for key, value in tree.items()}
    return strange if isinstance(tree, int | float) else tree
