"""Every cell of the study is trained to its end, once, on the data that it says; what its tables
say follows from the records.
"""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from bench.scaling import Scaling, cells, main, spread
from bench.studies.scaling_result import Scaling as Measured
from bench.studies.scaling_result import curves
from bench.studies.scaling_tables import scaling_tables

from catlip.cli import InputError
from catlip.data.shards import expand
from catlip.recipes.pretrain import CATLIP, CLIP
from catlip.results.run import Config, Environment, Run
from catlip.table import MISSING

LENGTHS = (1_000, 2_000, 4_000, 8_000, 16_000)


def scaling(**changes) -> Scaling:
    config = Scaling(
        shards=("data",),
        probe="starter-validation:data",
        vocabulary=Path("vocabulary.json"),
        labels_dir=Path("labels"),
    )
    return replace(config, **changes)


def test_a_cell_is_annealed_over_its_own_length_and_nothing_else_differs() -> None:
    config = scaling(images=LENGTHS, encoders=("hybrid_micro", "hybrid_mini"), seeds=(3, 5))
    found = cells(config)
    assert len(found) == 5 * 2 * 2 * 2 == len({cell.name for cell in found})
    for cell in found:
        recipe = cell.recipe
        assert recipe.iterations * recipe.micro_batch == pytest.approx(cell.images, rel=0.05)
        assert recipe.warmup_iterations < recipe.iterations / 4
        assert recipe.epochs == 0
    same = [cell for cell in found if (cell.images, cell.seed) == (4_000, 3)]
    assert {(cell.method, cell.recipe.encoder) for cell in same} == {
        (method, encoder)
        for method in ("catlip", "clip")
        for encoder in ("hybrid_micro", "hybrid_mini")
    }


@pytest.mark.parametrize(
    ("recipe", "method"),
    [("cc3m_b16", "catlip"), ("datacomp_b16", "catlip"), ("datacomp_b16_release", "clip")],
)
def test_a_training_of_many_sizes_sees_as_many_images_as_were_asked_for(recipe, method) -> None:
    (cell,) = cells(scaling(recipe=recipe, methods=(method,), images=(10**9,), seeds=(0,)))
    plan = cell.recipe.plan(num_samples=1, seed=0)
    assert len(cell.recipe.sizes()) > 1
    assert plan.starts[-1] == pytest.approx(10**9, rel=0.05)


@pytest.mark.parametrize(
    ("recipe", "method", "encoder", "own"),
    [
        ("datacomp_b16", "catlip", "vit_l16", "datacomp_l16"),
        ("datacomp_b16", "catlip", "vit_b16", "datacomp_b16"),
        ("datacomp_l16_release", "catlip", "vit_h16_conv", "datacomp_h16_release"),
        ("datacomp_b16_release", "clip", "vit_h16_conv", "datacomp_h16_release"),
        ("cc3m_b16", "catlip", "vit_l16", ""),
        ("datacomp_b16", "clip", "vit_l16", ""),
        ("datacomp_b16", "catlip", "vit_l16_conv", ""),
    ],
)
def test_an_encoder_brings_the_recipe_of_its_size(recipe, method, encoder, own) -> None:
    given = {"methods": (method,), "encoders": (encoder,), "images": (10**9,), "seeds": (0,)}
    (cell,) = cells(scaling(recipe=recipe, **given))
    recipes = CATLIP if method == "catlip" else CLIP
    expected = replace(recipes[own or recipe], encoder=encoder)
    for name in ("encoder", "max_lr", "micro_batch", "num_devices", "checkpointing"):
        assert getattr(cell.recipe, name) == getattr(expected, name)


def test_curves_are_of_the_images_that_were_seen() -> None:
    runs = grid(0.04, 0.02)
    more = [
        replace(run, measured=replace(run.measured, images_seen=1.25 * run.measured.images))
        for run in runs
    ]
    for curve in curves(more):
        assert curve.costs["images"] == [1.25 * length for length in LENGTHS]


def test_a_share_of_the_shards_is_spread_over_them(tmp_path) -> None:
    for number in range(16):
        (tmp_path / f"{number:05}.tar").touch()
    every = (str(tmp_path),)
    assert spread(every, 1) == every
    for fraction, count in ((0.5, 8), (0.125, 2), (0.01, 1)):
        taken = spread(every, fraction)
        assert len(set(taken)) == count
        assert {*map(Path, taken)} <= {*expand(every)}
    assert [Path(path).stem for path in spread(every, 0.25)] == ["00000", "00004", "00008", "00012"]


def measured(method: str, images: int, seed: int, top1: float) -> Run[Measured]:
    cost = {"catlip": 1, "clip": 2}[method] * images
    return Run(
        name="",
        setup=Config(),
        machine=Environment(device="Example CPU"),
        samples={},
        measured=Measured(
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
        ),
    )


def grid(catlip: float, clip: float) -> list[Run[Measured]]:
    """Two methods that gain so many hundredths with each doubling, three seeds a point apart."""
    return [
        measured(method, images, seed, 0.1 + gain * step + seed / 100)
        for method, gain in (("catlip", catlip), ("clip", clip))
        for step, images in enumerate(LENGTHS)
        for seed in range(3)
    ]


def column(table, name: str) -> list[str]:
    return [row[list(table.columns).index(name)].text for row in table.rows]


def test_methods_that_reach_the_same_differ_by_what_they_cost() -> None:
    tables = {table.name: table for table in scaling_tables(grid(0.04, 0.04))}
    equal = tables["scaling_equal_cost"]
    assert dict(
        zip(column(equal, "Cost"), column(equal, "Difference at equal cost (points)"), strict=True)
    ) == {"images": "0.0", "FLOPs": "4.0", "seconds": "4.0"}
    assert column(equal, "Relative cost of the same accuracy") == ["1.00", "0.50", "0.50"]
    assert {len(rows) for curve in curves(grid(0.04, 0.04)) for rows in curve.top1.values()} == {3}


def elsewhere(run: Run[Measured], times: float = 1.0) -> Run[Measured]:
    slower = replace(run.measured, train_seconds=times * run.measured.train_seconds)
    return replace(run, machine=Environment(device="Other CPU"), measured=slower)


def test_methods_on_two_devices_are_not_compared_at_equal_seconds() -> None:
    runs = [run if run.measured.method == "catlip" else elsewhere(run) for run in grid(0.04, 0.04)]
    tables = {table.name: table for table in scaling_tables(runs)}
    assert column(tables["scaling_equal_cost"], "Cost") == ["images", "FLOPs"]


def test_seconds_are_compared_within_each_device() -> None:
    """Seeds that ran on a machine of a tenth of the speed change nothing at equal seconds, and a
    seed that changed the machine is left out.
    """
    moved = [elsewhere(run, 10) if run.measured.seed == 2 else run for run in grid(0.04, 0.02)]
    for runs in (grid(0.04, 0.02), moved):
        equal = {table.name: table for table in scaling_tables(runs)}["scaling_equal_cost"]
        row = equal.rows[-1]
        assert [cell.text for cell in row[2:]] == ["seconds", "10.0", "0.13"]
        assert "n = 3" in row[3].small
    mixed = [*grid(0.04, 0.02)[:-1], elsewhere(grid(0.04, 0.02)[-1])]
    equal = {table.name: table for table in scaling_tables(mixed)}["scaling_equal_cost"]
    assert "n = 2" in equal.rows[-1][3].small


def test_methods_that_share_no_seed_are_not_compared() -> None:
    runs = grid(0.04, 0.02)
    apart = [r for r in runs if (r.measured.method == "clip") == (r.measured.seed == 2)]
    assert {table.name for table in scaling_tables(apart)} == {"scaling", "scaling_laws"}


def test_a_mean_time_is_of_the_device_that_most_trainings_ran_on() -> None:
    runs = grid(0.04, 0.04)
    cells = scaling_tables([*runs[:-1], elsewhere(runs[-1], 10)])[0]
    times = [row[cells.columns.index("Training time (s)")] for row in cells.rows]
    assert [cell.small for cell in times].count("n = 3") == len(times) - 1
    assert times[-1].quantity.n == 2
    assert times[-1].text == "320 ± 0"


def test_a_short_training_that_ranks_as_the_longest_is_counted() -> None:
    runs = grid(0.04, 0.02)
    runs = [run for run in runs if (run.measured.method, run.measured.images) != ("clip", 2_000)]
    runs += [measured("clip", 2_000, seed, 0.9) for seed in range(3)]
    runs += [
        replace(run, measured=replace(run.measured, encoder="hybrid_small"))
        for run in [measured("catlip", 4_000, 0, 0.2), measured("clip", 4_000, 0, 0.3)]
    ]
    table = {table.name: table for table in scaling_tables(runs)}["scaling_differences"]
    assert column(table, "concepts, ranked alike") == [
        "0 of 3",
        "0 of 3",
        "3 of 3",
        "3 of 3",
        "3 of 3",
        "0 of 1",
    ]
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
    laws = {table.name: table for table in scaling_tables(runs)}["scaling_laws"]
    (covered,) = column(laws, "Covered")
    assert (int(covered[0]) >= 4) == is_predicted
    for name in ("Error of endless training (%)", "Top-1 at twice the longest (%)"):
        assert (column(laws, name) != [MISSING]) == is_predicted


def test_a_seed_without_all_lengths_is_in_no_curve_and_four_lengths_give_no_law() -> None:
    runs = grid(0.04, 0.02)
    assert all(
        len(curve.top1["concepts"]) == 2 for curve in curves(runs[1:]) if curve.method == "catlip"
    )
    names = {table.name for table in scaling_tables(runs)}
    assert "scaling_laws" in names
    few = [run for run in runs if run.measured.images < LENGTHS[-1]]
    assert {table.name for table in scaling_tables(few)} == names - {"scaling_laws"}


@pytest.fixture(scope="module")
def study(starter, tmp_path_factory) -> Scaling:
    config = scaling(
        shards=(str(starter.shards),),
        probe=f"starter-validation:{starter.root}",
        vocabulary=starter.vocabulary,
        labels_dir=starter.labels,
        images=(64, 128),
        seeds=(0,),
        out=tmp_path_factory.mktemp("scaling") / "cells",
        num_workers=0,
        quiet=True,
    )
    main(config)
    return config


def test_a_study_goes_on_with_the_cells_that_are_missing(study) -> None:
    paths = sorted(study.out.iterdir())
    assert [path.suffix for path in paths] == [".json"] * 4
    lost, *kept = paths
    before, content = [path.stat().st_mtime_ns for path in kept], json.loads(lost.read_text())
    lost.unlink()
    main(study)
    assert [path.stat().st_mtime_ns for path in kept] == before
    again = json.loads(lost.read_text())["metrics"]
    for name in ("accuracies", "flops", "final_loss", "images_seen"):
        assert again[name] == content["metrics"][name]
    assert again["flops"] > 64 * 3 * 16e6


def test_cells_of_earlier_runs_are_taken_if_they_are_of_the_same_study(study, tmp_path) -> None:
    changed = replace(study, images=(64,), out=tmp_path / "taken", earlier=study.out)
    main(changed)
    taken = sorted((tmp_path / "taken").iterdir())
    assert [path.name for path in taken] == [
        "catlip-hybrid_mini-64-seed0.json",
        "clip-hybrid_mini-64-seed0.json",
    ]
    for path in taken:
        assert path.read_bytes() == (study.out / path.name).read_bytes()
    other = replace(changed, methods=("clip",), num_workers=0, out=tmp_path / "made")
    main(replace(other, shards=(f"{study.shards[0]}/",)))  # the same data, spelt otherwise
    made = (tmp_path / "made" / "clip-hybrid_mini-64-seed0.json").read_bytes()
    assert made != (study.out / "clip-hybrid_mini-64-seed0.json").read_bytes()


def test_another_study_does_not_mix_with_it(study) -> None:
    with pytest.raises(InputError, match=r"catlip-hybrid_mini-64-seed0\.json"):
        main(replace(study, probe_recipe="table_7a"))


@pytest.mark.parametrize("nothing", ["methods", "images", "fractions", "seeds", "shards"])
def test_a_study_of_nothing_is_refused(study, nothing) -> None:
    with pytest.raises(InputError, match=f"--{nothing}"):
        main(replace(study, **{nothing: ()}))


def test_an_encoder_without_a_recipe_of_its_own_is_named(study, tmp_path, capsys) -> None:
    one = replace(study, methods=("catlip",), images=(64,), out=tmp_path)
    main(replace(one, encoders=("hybrid_mini", "hybrid_micro")))
    first = capsys.readouterr().out.splitlines()[0]
    assert first == "catlip: hybrid_micro has no recipe of its own: it keeps starter's"
    assert len([*tmp_path.glob("*.json")]) == 2
