"""What the tables of studies say follows from the records."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.downstream.probe.result import packed, packed_ids
from bench.study.lengths_result import Scaling, at_cost, cost_of, scaling_tables
from bench.study.result import Robustness, Trial, robustness_table, tuning_table
from catlip.results.estimate import crossed
from catlip.results.run import Config, Environment, Run
from catlip.table import MISSING, Table, shown
from reports.results import numbers

LENGTHS = (1_000, 2_000, 4_000, 8_000, 16_000)
COSTS = [8e3, 16e3, 32e3, 64e3, 128e3]


def run_of(measured, **parts: str) -> Run:
    machine = Environment(device="Example CPU")
    return Run(name="", setup=Config(), machine=machine, samples={}, measured=measured, **parts)


def column(table: Table, name: str) -> list[str]:
    return [row[list(table.columns).index(name)].text for row in table.rows]


@given(st.lists(st.floats(0.01, 10), min_size=5, max_size=5), st.floats(0.001, 0.999))
def test_the_cost_of_what_is_reached_at_a_cost_is_that_cost(gains, part) -> None:
    values = np.cumsum(gains).tolist()
    cost = COSTS[0] * (COSTS[-1] / COSTS[0]) ** part
    value = at_cost(COSTS, values, cost)
    assert value is not None
    assert values[0] < value <= values[-1]
    assert cost_of(COSTS, values, value) == pytest.approx(cost, rel=1e-6)
    assert cost_of(COSTS, values, 2 * values[-1]) is at_cost(COSTS, values, 2 * COSTS[-1]) is None


def measured(method: str, images: int, seed: int, top1: float) -> Run[Scaling]:
    cost = {"catlip": 1, "clip": 2}[method] * images
    scaling = Scaling(
        method=method,
        encoder="hybrid_mini",
        fraction=1.0,
        images=images,
        seed=seed,
        images_seen=images,
        flops=cost * 1e6,
        train_seconds=cost / 100,
        final_loss=1.0,
        accuracies={"concepts": top1},
    )
    return run_of(scaling)


@pytest.mark.parametrize("is_told", [True, False])
def test_the_interval_is_over_images_too_where_the_records_have_their_bits(is_told) -> None:
    """Two classifiers a training; the number of images is recorded."""
    draw, runs = np.random.default_rng(0), []
    differences = np.zeros((6, 21))
    for method, sign in (("catlip", 1), ("clip", -1)):
        for seed in range(6):
            bits = draw.random((2, 21)) < 0.5
            differences[seed] += sign * bits.mean(axis=0)
            texts = [packed(one) for one in bits]
            run = measured(method, 1_000, seed, float(bits.mean()))
            row = {"task": "concepts", "fraction": 1.0, "init": "random", "seed": 0}
            row |= {"top1": 0.5, "top5": 1.0, "num_train": 1, "seconds": 1.0, "num_test": 21}
            told = [row | {"correct": text} for text in texts] if is_told else []
            ids = packed_ids(np.array([*range(20), 19]))
            images = [{"task": "concepts", "clusters": ids}]
            runs.append(replace(run, samples={"runs": told, "images": images}))
    (table,) = scaling_tables(runs)
    cell = next(row[-1] for row in table.rows if row[3].text == "CLIP")
    found = crossed(100 * differences, np.array([*range(20), 19]))
    ends = f"{shown(found.low, 1)} to {shown(found.high, 1)}, n = 6, 21 images"
    assert (cell.small == ends) == is_told
    assert cell.small.endswith("n = 6") == (not is_told)
    rows = [row for run in runs for row in numbers(run) if row["metric"] == "top1"]
    assert all(("correct" in row) == is_told for row in rows)


def grid(catlip: float, clip: float) -> list[Run[Scaling]]:
    """Two methods that gain so many hundredths with each doubling, three seeds a point apart."""
    return [
        measured(method, images, seed, 0.1 + gain * step + seed / 100)
        for method, gain in (("catlip", catlip), ("clip", clip))
        for step, images in enumerate(LENGTHS)
        for seed in range(3)
    ]


def tables_of(runs: list[Run[Scaling]]) -> dict[str, Table]:
    return {table.name: table for table in scaling_tables(runs)}


def elsewhere(run: Run[Scaling], times: float = 1.0) -> Run[Scaling]:
    slower = replace(run.measured, train_seconds=times * run.measured.train_seconds)
    return replace(run, machine=Environment(device="Other CPU"), measured=slower)


def test_methods_that_reach_the_same_differ_by_what_they_cost() -> None:
    tables = tables_of(grid(0.04, 0.04))
    equal = tables["scaling_equal_cost"]
    assert column(equal, "Cost") == ["images", "FLOPs", "seconds"]
    assert column(equal, "Difference at equal cost (points)") == ["0.0", "4.0", "4.0"]
    assert column(equal, "Relative cost of the same accuracy") == ["1.00", "0.50", "0.50"]
    differences = column(tables["scaling"], "CatLIP minus it (points)")
    assert differences == [MISSING, "0.0"] * len(LENGTHS)


def test_seconds_are_compared_within_each_device() -> None:
    """Seeds that ran on a machine of a tenth of the speed change nothing at equal seconds, and a
    seed that changed the machine is left out; methods on two devices are not compared.
    """
    moved = [elsewhere(run, 10) if run.measured.seed == 2 else run for run in grid(0.04, 0.02)]
    for runs in (grid(0.04, 0.02), moved):
        row = tables_of(runs)["scaling_equal_cost"].rows[-1]
        assert [cell.text for cell in row[2:]] == ["seconds", "10.0", "0.13"]
        assert "n = 3" in row[3].small
    mixed = [*grid(0.04, 0.02)[:-1], elsewhere(grid(0.04, 0.02)[-1], 10)]
    assert "n = 2" in tables_of(mixed)["scaling_equal_cost"].rows[-1][3].small
    apart = [run if run.measured.method == "catlip" else elsewhere(run) for run in grid(0.04, 0.04)]
    assert column(tables_of(apart)["scaling_equal_cost"], "Cost") == ["images", "FLOPs"]


def test_the_best_trial_of_a_method_is_the_one_that_is_linked() -> None:
    runs = []
    for trial, top1 in enumerate((0.1, 0.3, 0.2)):
        found = {"drawn": {"max_lr": top1}, "accuracies": {"concepts": top1}}
        runs.append(run_of(Trial(method="clip", trial=trial, **found), anchor=f"record-{trial}"))
    (row,) = tuning_table(runs, "tuning", "Trials").rows
    assert (row[2].full, row[2].anchor) == ("30.0", "record-1")
    assert row[-1].text == "1: max_lr 0.3"


def test_what_a_noise_costs_is_paired_by_seed() -> None:
    sizes = {"samples": 100, "classes": 10, "classes_kept": 1.0, "images_seen": 64}
    runs = []
    for noise, top1, seeds in (("none", 0.3, (0, 1, 2)), ("chatty=1", 0.2, (1, 2))):
        for seed in seeds:
            found = {"final_loss": 1.0, "accuracies": {"concepts": top1 + seed / 10}}
            runs.append(run_of(Robustness(method="clip", noise=noise, seed=seed, **sizes, **found)))
    clean, chatty = robustness_table(runs).rows
    assert clean[5].text == MISSING
    assert chatty[5].full == "\N{MINUS SIGN}10.0 (\N{MINUS SIGN}10.0 to \N{MINUS SIGN}10.0, n = 2)"
