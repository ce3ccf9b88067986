"""Tables and figures of the page: each number in its column, of what may stand in one row."""

import math
from pathlib import Path

import pytest
from golden import expect
from report_support import CPU, GOLDEN, GPU, cards, compared_in, golden_record, page_in

from catlip.records.table import NOTE, Quantity, as_markdown
from reports.page import Page
from reports.reading import read_records
from reports.tables import COSTS, EQUAL_COST

QUIET = CPU | {"wall_s": 100.0, "cpu_s": 90.0, "other_cpu_s": 25.0}
BUSY = QUIET | {"other_cpu_s": 25.1}


@pytest.fixture
def rows(tmp_path):
    """The rows of a table of what the test has written."""
    return lambda name: list(page_in(tmp_path).tables[name].rows)


def test_tables_of_the_golden_records_are_the_expected_ones(monkeypatch) -> None:
    monkeypatch.chdir(GOLDEN)
    page = Page(read_records([Path("records")]))
    groups = [group for group in page.groups if group.anchor not in ("claims", "paper")]
    tables = [one for group in groups for one in group.tables if one.name != "hypotheses"]
    assert len(tables) > 20
    text = "\n\n".join(f"## {one.title}\n\n{as_markdown(one)}" for one in tables)
    expect(GOLDEN / "sets/every_table.md", text)


def test_runs_of_a_seed_are_one_and_data_sets_are_apart(write, rows) -> None:
    for scale, top1 in (("starter", 0.1), ("mine", 0.5)):
        for name, seed, more in (("a", 0, 0.0), ("b", 0, 0.02), ("c", 1, 0.11)):
            write.training("catlip", seed, scale=scale)
            write.probe("catlip", seed, {"concepts": top1 + more}, name=name, scale=scale)
    write.study("scaling", "catlip", {"concepts": 0.9}, images=4_000, seed=0, scale="mine")
    spread = pytest.approx(50**0.5)
    assert [row["top1 concepts"] for row in rows("methods")] == [
        Quantity(pytest.approx(56), spread, 2),
        Quantity(90.0, None, 1),
        Quantity(pytest.approx(16), spread, 2),
    ]


def test_equal_seconds_are_by_the_steps_of_the_studys_encoder(write, tmp_path) -> None:
    for method in ("catlip", "clip_bag"):
        for images in (1_000, 2_000):
            cell = {"encoder": "small", "images": images, "seed": 0, "flops": images * 1e6}
            write.study("scaling", method, {"concepts": images * 1e-4}, **cell)
    for encoder, costs in (("large", ["FLOPs"]), ("small", ["FLOPs", "seconds"])):
        write.steps(ratios={"clip_bag/catlip": 0.5}, config={"model": encoder})
        assert [row["cost"] for row in EQUAL_COST.rows(compared_in(tmp_path))] == costs


# --- Cost -----------------------------------------------------------------------------------------


def card(clock_mhz: float = 1755.0, other_gib: float = 0.6):
    start, end = {"sm_mhz": 1755.0, "other_gib": 0.6}, {"sm_mhz": clock_mhz, "other_gib": other_gib}
    return QUIET | {"card": {"start": start, "end": end}}


@pytest.mark.parametrize(
    ("environment", "is_warned"),
    [
        *((QUIET, False), (BUSY, True), (CPU, False), (CPU | {"beside": 3}, True)),
        *((card(), False), (card(clock_mhz=1600.0), False), (card(clock_mhz=1570.0), True)),
        (card(other_gib=1.1), True),
        (QUIET | {"card": {"start": {"other_gib": 45.0}}}, True),
        (QUIET | {"card": {"end": {"sm_mhz": 300.0}}}, False),
    ],
)
def test_what_disturbed_a_time_is_a_note_beside_its_ratio(write, rows, environment, is_warned):
    write.steps(environment=environment)
    for name in ("costs", "step_time"):
        assert {bool(row[NOTE]) for row in rows(name)} == {is_warned}


def test_card_has_the_times_of_one_device_an_accelerator_first(write, tmp_path) -> None:
    for name, environment in (("a", CPU), ("b", GPU)):
        write.steps(name, environment=environment)
    said = cards(page_in(tmp_path))
    assert ("Some GPU" in said, "Device A" in said) == (True, False)


@pytest.mark.parametrize("count", [2, 5, 6])
def test_few_rounds_have_no_interval_and_say_so(write, rows, count) -> None:
    few = count < 6
    timed = {f"{method}_total_ms": [1.0] * count for method in ("catlip", "clip")}
    write.steps(samples=timed, environment=GPU)
    (cost,), clip = rows("costs"), rows("step_time")[-1]
    assert (cost["step"] is None, clip["ratio"].low is None) == (few, few)
    assert [f"{count} rounds" in row[NOTE] for row in (cost, clip)] == [few, few]
    ratio = {"value": 1.2, "low": 1.1, "high": 1.3}
    step = {"factor": "attention", "before": "naive", "after": "sdpa", "ratio": ratio}
    release = {"orders": {"forward": [step], "reverse": [step]}, "total": {"ratio": ratio}}
    samples = {f"release forward attention {side}": [1.0] * count for side in ("before", "after")}
    write.record("waterfall", "w", metrics={"release": release}, samples=samples)
    first, _, total, _ = rows("waterfall")
    (series,) = page_in(write.folder).figures["waterfall_1"].panels[0].series
    shown = [first["forward"], total["forward"], *series.marks]
    assert [one.low is None for one in shown] == [few] * 4


@pytest.mark.parametrize(
    "other",
    [
        *({"parallel": "fsdp"}, {"data": "shards"}, {"more": {"world_size": 8}}),
        {"ratios": {"clip/siglip": 1.8}},
        {"ratios": {"clip/catlip": 1.8}, "compile": False},  # with padding alone
    ],
)
@pytest.mark.parametrize("names", ["ab", "ba"])
def test_row_is_of_the_plainest_record_of_its_device_and_encoder(write, rows, other, names) -> None:
    """Though the other one is compiled, or newer."""
    days = {name: CPU | {"started": f"2026-12-0{day}T00:00"} for day, name in enumerate("ab", 1)}
    ratios = {"clip/catlip": 1.3, "clip:packed/catlip": 1.2}
    write.steps(names[0], ratios, environment=days[names[0]])
    config = {key: one for key, one in other.items() if key not in ("ratios", "more")}
    how = {"config": {"compile": True} | config, "more": other.get("more", {})}
    write.steps(names[1], other.get("ratios", {"clip/catlip": 1.8}), **how, environment=days["b"])
    write.steps("gpu", {"clip/catlip": 1.5}, environment=GPU)
    write.steps("large", {"clip/catlip": 1.6}, config={"model": "large"}, environment=CPU)
    found = {(row["device"], row["model"]): row["step"].value for row in rows("costs")}
    device = "Device A (CPU)"
    assert found == {(device, "tiny"): 1.3, (device, "large"): 1.6, ("Some GPU", "tiny"): 1.5}


@pytest.mark.parametrize(
    ("clip", "ratio"),
    [
        *(({}, 1.2), ({"images": 2000}, 0.6)),  # by image
        *(
            ({"environment": BUSY}, None),
            ({"environment": GPU}, None),
            ({"encoder": "large"}, None),
        ),
    ],
)
def test_whole_trainings_are_compared_by_seed_on_the_rows_device(write, tmp_path, clip, ratio):
    for seed in range(6):
        write.training("catlip", seed, 10.0 + seed, environment=CPU)
        write.training("clip", seed, 12.0 + 1.2 * seed, **{"environment": CPU} | clip)
    write.steps(environment=CPU)
    (row,) = COSTS.rows(compared_in(tmp_path))
    assert (row["training"] and row["training"].value) == (ratio and pytest.approx(ratio))


# --- Figures --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("model", "is_papers"), [("vit_b16", True), ("vit_tiny16", False)])
def test_bars_are_the_changes_and_the_claim_is_of_its_own_encoder(write, model, is_papers) -> None:
    content = golden_record("waterfall")
    content["config"]["model"] = model
    write.record(**content)
    (series,) = page_in(write.folder).figures["waterfall_1"].panels[0].series
    values = [1.15, 0.98, 1.38, 1.02, 1.16, 1.83] + [2.7] * is_papers
    assert [mark.value for mark in series.marks] == values
    assert (series.marks[0].low, series.marks[0].high) == (1.127, 1.173)


def test_figures_show_the_numbers_of_the_tables(committed) -> None:
    figures, every = committed.figures, committed.comparisons.headline
    marks = [
        mark for mark in figures["forest"].panels[0].series[0].marks if mark.value == mark.value
    ]
    ends = [(one.estimate.value, one.estimate.low, one.estimate.high) for one in every]
    assert [(mark.value, mark.low, mark.high) for mark in marks] == ends
    panels = [panel for figure in figures.values() for panel in figure.panels]
    drawn = [mark for panel in panels for one in panel.series for mark in one.marks]
    assert sum(not math.isfinite(mark.value) for mark in drawn) < len(drawn) / 20  # headings
    few = figures["few_labels_3"].panels[0].series
    gain = few[1].marks[0].value - few[0].marks[0].value
    assert gain == pytest.approx(committed.tables["few_labels"].rows[-2]["transfer"].value)
