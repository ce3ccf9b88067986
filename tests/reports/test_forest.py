"""Every difference is a row that follows from the records: paired by seed, with one interval."""

from itertools import product

import numpy as np
import pytest
from report_support import page_in, records_in, step_times, table

from bench.downstream.probe.result import score_of
from catlip.records.estimate import Estimate, mean_over_seeds_and_images
from reports.pairs import Experiment
from reports.read.differences import COST, Difference, differences, sign
from reports.summary.forest import rows_of

HELD_OUT = "concepts, held out"


@pytest.fixture
def read_differences(tmp_path):
    """(heading, name, task) -> its difference."""

    def read() -> dict[tuple[str, str, str], Difference]:
        found = differences(records_in(tmp_path).every, "clip")
        return {(one.heading, one.name, one.task): one for one in found}

    return read


@pytest.fixture
def write_condition(write_study):
    """Write a training with a condition of the data."""

    def write(method: str, noise: str, seed: int, accuracies: dict[str, float]) -> None:
        write_study("robustness", method, accuracies, noise=noise, seed=seed)

    return write


def test_condition_that_no_code_names_is_a_row(write_condition, read_differences):
    for seed in range(6):
        for method, top1 in (("catlip", 0.3), ("clip", 0.2)):
            write_condition(method, "none", seed, {"concepts": top1})
            write_condition(
                method, "heldout=0.33", seed, {HELD_OUT: top1, "concepts, seen": 2 * top1}
            )
        write_condition("clip", "tower=256", seed, {"concepts": 0.25})  # of one method alone
        write_condition("siglip", "heldout=0.33", seed, {HELD_OUT: 0.1, "concepts, seen": 0.1})
    points = {key: round(one.estimate.value, 6) for key, one in read_differences().items()}
    assert points == {
        ("Condition of the data", "captions as they are", "concepts"): 10,
        ("Condition of the data", "\N{EN DASH} held out", "concepts"): 10,
        ("Condition of the data", "\N{EN DASH} seen", "concepts"): 20,
        ("Condition of the data", "\N{EN DASH} held out, SigLIP", "concepts"): 20,
        ("Condition of the data", "\N{EN DASH} seen, SigLIP", "concepts"): 50,
        ("Condition of the data", "tower=256", "concepts"): 5,
    }


@pytest.mark.parametrize(("seeds", "low"), [(5, None), (6, pytest.approx(6.07, abs=0.01))])
def test_few_pairs_have_a_range_and_no_interval(seeds, low, write_condition, read_differences):
    for seed in range(seeds):
        write_condition("catlip", "none", seed, {"concepts": 0.3 + 0.01 * seed * (-1) ** seed})
        write_condition("clip", "none", seed, {"concepts": 0.2})
    write_condition("clip", "none", 99, {"concepts": 0.9})  # a seed that CatLIP lacks
    (one,) = read_differences().values()
    assert len(one.points) == seeds
    assert one.estimate.low == low
    assert sign(one.estimate) == (None if seeds < 6 else 1)
    top1 = [30 + seed * (-1) ** seed for seed in range(seeds)]
    assert one.accuracies == pytest.approx((sum(top1) / seeds, 20))
    assert one.points == pytest.approx([value - 20 for value in top1])


def test_pairs_on_other_machines_are_counted(write_probe, read_differences):
    for seed, other in enumerate(({}, {"cpu": "B"}, {"packages": {"torch": "2"}})):
        for method, changes in (("catlip", {}), ("clip", other)):
            environment = {"device": "GPU", "cpu": "A", "packages": {"torch": "1"}} | changes
            write_probe(method, seed, {"concepts": 0.1}, environment=environment)
    (one,) = read_differences().values()
    assert (len(one.points), one.apart) == (3, 2)


def test_bits_give_the_interval_over_seeds_and_images(write_probe, read_differences, tmp_path):
    draw = np.random.default_rng(0)
    for seed in range(6):
        for method, share in (("catlip", 0.7), ("clip", 0.4), ("siglip", 0.4), ("random", 0.1)):
            write_probe(method, seed, {"concepts": draw.random(10) < share})
    other = {"name": "catlip-9.0-seed0", "recipe": {"lr": 9.0}}
    write_probe("catlip", 0, {"concepts": [0] * 10}, **other)
    found = read_differences()
    names = [("Linear probe", "all labels"), ("Linear probe, over other methods", "SigLIP")]
    assert [key[:2] for key in found] == names
    probes = [run for run in records_in(tmp_path).every if "9.0" not in run.name]
    bits = [
        [score_of(run, "concepts").by_image for run in probes if run.method == method]
        for method in ("catlip", "clip")
    ]
    estimate = found[(*names[0], "concepts")].estimate
    assert estimate == mean_over_seeds_and_images(np.array(bits[0]) - np.array(bits[1]))
    assert estimate.images == 10


@pytest.mark.parametrize(("encoder", "points"), [("small", [0, -10]), ("large", [0])])
def test_equal_seconds_are_by_the_steps_of_the_studys_encoder(
    encoder, points, write_study, write_record, read_setting
):
    """CLIP's steps take half as long: it sees twice as many images."""
    for method, images, seed in product(("catlip", "clip_bag"), (1_000, 2_000), range(2)):
        cell = {"encoder": "small", "images": images, "images_seen": images, "seed": seed}
        cell |= {"fraction": 1.0, "flops": images * 1e6}
        write_study("scaling", method, {"concepts": 0.2 + images * 1e-4}, **cell)
    metrics = step_times({"clip_bag/catlip": 0.5}, ("catlip", "clip_bag"))
    write_record("step_time", "step", metrics=metrics, config={"model": encoder})
    found = [one for one in read_setting().differences if one.heading == COST]
    assert [one.name for one in found] == ["equal FLOPs", "equal seconds"][: len(points)]
    assert [one.estimate.value for one in found] == pytest.approx(points)


def test_length_stands_once_above_a_group_that_shares_it():
    def row(heading: str, images: float) -> Difference:
        one = Estimate(1.0)
        same = Experiment("scaling", "top1", "", images, 1, "", "t")
        return Difference(heading, "x", same, "clip", "clip", [1], one, None, frozenset())

    shared = [row("Few labels", 139e3), row("Condition of the data", 32e3)]
    mixed = [row("Encoder", 32e3), row("Encoder", 128e3)]
    assert [one.name for one in rows_of([*shared, *mixed], 139e3)] == [
        *("Few labels", "x", "Condition of the data, 32,000 images", "x"),
        *("Encoder", "x, 32,000 images", "x, 128,000 images"),
    ]


def test_each_scale_has_figures_of_its_own(write_probe, tmp_path):
    for scale, tasks in (("starter", ("a", "b", "c", "d", "e")), ("photos", ("f",))):
        for method in ("catlip", "clip"):
            write_probe(method, 0, dict.fromkeys(tasks, 0.5), scale=scale)
    page = page_in(tmp_path)
    names = [one.name for one in page.figures if one.name.startswith("differences")]
    assert sorted(names) == ["differences_1", "differences_1_2", "differences_2_2"]
    tables = [table(page, name).columns for name in ("differences", "differences_2")]
    assert sorted(map(len, tables)) == [3, 11]  # of every task
