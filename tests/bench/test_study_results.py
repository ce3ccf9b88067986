"""What the tables of studies say follows from the records; laws of error against cost are found
again.
"""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.study.laws import at_cost, cost_of, fit, leave_one_out
from bench.study.lengths_result import Scaling, scaling_tables
from bench.study.result import (
    Robustness,
    Trial,
    expected_best,
    robustness_table,
    tuning_table,
)
from catlip.results.run import Config, Environment, Run
from catlip.table import MISSING, Table

LENGTHS = (1_000, 2_000, 4_000, 8_000, 16_000)
COSTS = [8e3, 16e3, 32e3, 64e3, 128e3]


def run_of(measured, anchor: str = "") -> Run:
    machine = Environment(device="Example CPU")
    return Run(
        name="", setup=Config(), machine=machine, samples={}, measured=measured, anchor=anchor
    )


def column(table: Table, name: str) -> list[str]:
    return [row[list(table.columns).index(name)].text for row in table.rows]


# --- Laws -----------------------------------------------------------------------------------------


@given(st.floats(0, 60), st.floats(1, 40), st.sampled_from([0.1, 0.3, 0.5, 1.0, 1.5]))
def test_a_law_without_noise_is_found_again(floor, factor, exponent) -> None:
    errors = [floor + factor * (cost / 32e3) ** -exponent for cost in COSTS]
    law = fit(COSTS, errors)
    assert law(32e3) == pytest.approx(errors[2], abs=1e-3 * factor)
    assert law(256e3) == pytest.approx(floor + factor * 8**-exponent, abs=0.01 * factor)


def test_each_length_is_predicted_from_the_others_alone() -> None:
    errors = np.array([[80, 70, 62, 56, 52], [81, 71, 61, 57, 51], [80.5, 70.5, 61.5, 56.5, 51.5]])
    whole = leave_one_out(COSTS, errors)
    assert [one.cost for one in whole] == COSTS
    assert all(one.low <= one.predicted <= one.high for one in whole)
    spoilt = errors.copy()
    spoilt[:, 4] = 90
    other = leave_one_out(COSTS, spoilt)[4]
    assert other.predicted == whole[4].predicted == pytest.approx(51.5, abs=3)
    assert not other.covered


@given(st.lists(st.floats(0.01, 10), min_size=5, max_size=5), st.floats(0.001, 0.999))
def test_the_cost_of_what_is_reached_at_a_cost_is_that_cost(gains, part) -> None:
    values = np.cumsum(gains).tolist()
    cost = COSTS[0] * (COSTS[-1] / COSTS[0]) ** part
    value = at_cost(COSTS, values, cost)
    assert value is not None
    assert values[0] < value <= values[-1]
    assert cost_of(COSTS, values, value) == pytest.approx(cost, rel=1e-6)


def test_outside_of_what_was_run_there_is_no_value() -> None:
    values = [10.0, 12.0, 11.0, 15.0, 16.0]
    assert [at_cost(COSTS, values, cost) for cost in (4e3, 256e3)] == [None, None]
    assert [cost_of(COSTS, values, value) for value in (17, 9)] == [None, None]
    assert cost_of(COSTS, values, 12) == pytest.approx(16e3)


# --- Lengths --------------------------------------------------------------------------------------


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
    equal = tables_of(grid(0.04, 0.04))["scaling_equal_cost"]
    assert column(equal, "Cost") == ["images", "FLOPs", "seconds"]
    assert column(equal, "Difference at equal cost (points)") == ["0.0", "4.0", "4.0"]
    assert column(equal, "Relative cost of the same accuracy") == ["1.00", "0.50", "0.50"]


def test_seconds_are_compared_within_each_device() -> None:
    """Seeds that ran on a machine of a tenth of the speed change nothing at equal seconds, and a
    seed that changed the machine is left out; methods on two devices are not compared.
    """
    moved = [elsewhere(run, 10) if run.measured.seed == 2 else run for run in grid(0.04, 0.02)]
    for runs in (grid(0.04, 0.02), moved):
        row = tables_of(runs)["scaling_equal_cost"].rows[-1]
        assert [cell.text for cell in row[2:]] == ["seconds", "10.0", "0.13"]
        assert "n = 3" in row[3].small
    mixed = [*grid(0.04, 0.02)[:-1], elsewhere(grid(0.04, 0.02)[-1])]
    assert "n = 2" in tables_of(mixed)["scaling_equal_cost"].rows[-1][3].small
    apart = [run if run.measured.method == "catlip" else elsewhere(run) for run in grid(0.04, 0.04)]
    assert column(tables_of(apart)["scaling_equal_cost"], "Cost") == ["images", "FLOPs"]


def test_a_mean_time_is_of_the_device_that_most_trainings_ran_on() -> None:
    runs = grid(0.04, 0.04)
    table = tables_of([*runs[:-1], elsewhere(runs[-1], 10)])["scaling"]
    times = [row[table.columns.index("Training time (s)")] for row in table.rows]
    assert [cell.small for cell in times].count("n = 3") == len(times) - 1
    assert (times[-1].text, times[-1].quantity.n) == ("320 ± 0", 2)


def test_a_short_training_that_ranks_as_the_longest_is_counted() -> None:
    runs = grid(0.04, 0.02)
    runs = [run for run in runs if (run.measured.method, run.measured.images) != ("clip", 2_000)]
    runs += [measured("clip", 2_000, seed, 0.9) for seed in range(3)]
    runs += [
        replace(run, measured=replace(run.measured, encoder="hybrid_small"))
        for run in [measured("catlip", 4_000, 0, 0.2), measured("clip", 4_000, 0, 0.3)]
    ]
    table = tables_of(runs)["scaling_differences"]
    ranked = ["0 of 3", "0 of 3", "3 of 3", "3 of 3", "3 of 3", "0 of 1"]
    assert column(table, "concepts, ranked alike") == ranked
    assert column(table, "Encoder")[-1] == "hybrid_small"
    assert column(table, "concepts, difference (points)")[-1].endswith("10.0")


@pytest.mark.parametrize(("missed", "is_predicted"), [(0.0, True), (0.2, False)])
def test_a_law_that_misses_lengths_left_out_predicts_no_others(missed, is_predicted) -> None:
    """The third of five lengths is off the law by so much."""
    floors = {seed: 0.3 + 0.03 * seed for seed in range(3)}
    runs = [
        measured("catlip", images, seed, 1 - floor - 10 * images**-0.5 + missed * (step == 2))
        for step, images in enumerate(LENGTHS)
        for seed, floor in floors.items()
    ]
    laws = tables_of(runs)["scaling_laws"]
    (covered,) = column(laws, "Covered")
    assert (int(covered[0]) >= 4) == is_predicted
    for name in ("Error of endless training (%)", "Top-1 at twice the longest (%)"):
        assert (column(laws, name) != [MISSING]) == is_predicted


# --- Tuning and noise -----------------------------------------------------------------------------


def test_the_expected_best_of_two_is_what_all_pairs_give() -> None:
    scores = [0.1, 0.5, 0.2]
    pairs = [max(a, b) for a in scores for b in scores]
    assert expected_best(scores, 2) == pytest.approx(np.mean(pairs))


def test_the_best_trial_of_a_method_is_the_one_that_is_linked() -> None:
    runs = []
    for trial, top1 in enumerate((0.1, 0.3, 0.2)):
        found = {"drawn": {"max_lr": top1}, "accuracies": {"concepts": top1}}
        runs.append(run_of(Trial(method="clip", trial=trial, **found), f"record-{trial}"))
    (row,) = tuning_table(runs, "tuning", "Trials").rows
    assert (row[2].full, row[2].anchor) == ("30.0", "record-1")
    assert row[-1].text == "max_lr 0.3"


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
