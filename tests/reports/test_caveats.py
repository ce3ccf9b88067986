"""What a reader must know beside the numbers: a busy machine, and images that could not be read."""

import pytest
from report_support import page_in, records_in, steps

from catlip.records.claims import digest
from catlip.records.estimate import HOLDS
from reports.paper.claims import verdicts
from reports.read.setting import settings
from reports.render.page import markdown
from reports.sections import Page

OLD = {"device": "CPU", "cpu": "CPU", "device_count": 1, "rules": digest()}
QUIET = OLD | {"wall_s": 100.0, "cpu_s": 90.0, "other_cpu_s": 25.0}
BUSY = QUIET | {"other_cpu_s": 25.1}


def on_card(clock_mhz: float = 1755.0, other_gib: float = 0.6) -> dict[str, object]:
    start = {"sm_mhz": 1755.0, "other_gib": 0.6}
    return QUIET | {"card": {"start": start, "end": {"sm_mhz": clock_mhz, "other_gib": other_gib}}}


@pytest.fixture
def page_of(write_record, write_training, tmp_path):
    """A page of a training and of everything that is timed, all made in this environment."""

    def make(environment: dict[str, object], **metrics: object) -> Page:
        write_training("catlip", 0, 100.0, environment=environment, more=metrics)
        metrics = {"methods": {"catlip": steps(), "clip": steps()}}
        write_record(
            "step_time", "s", metrics=metrics, config={"model": "tiny"}, environment=environment
        )
        return page_in(tmp_path)

    return make


TIMED = ("headline", "step_time")


@pytest.mark.parametrize(
    ("environment", "is_warned"),
    [
        (QUIET, False),
        (BUSY, True),
        (OLD, False),
        (OLD | {"beside": 3}, True),
        (on_card(), False),
        (on_card(clock_mhz=1600.0), False),
        (on_card(clock_mhz=1570.0), True),
        (on_card(other_gib=1.1), True),
        (QUIET | {"card": {"start": {"other_gib": 45.0}}}, True),
        (QUIET | {"card": {"end": {"sm_mhz": 300.0}}}, False),
    ],
)
def test_tables_of_times_warn_where_something_disturbed_them(page_of, environment, is_warned):
    page = page_of(environment)
    captions = {table.name: table.caption for table in page.tables}
    assert {name: "Beware" in captions[name] for name in TIMED} == dict.fromkeys(TIMED, is_warned)


def test_broken_images_are_named_below_the_headline(page_of):
    page = page_of(QUIET, broken={"cut off": 3, "<b>empty</b>": 1})
    assert "Images could not be read in 1 of 1 records (catlip-seed0)." in markdown(page)


@pytest.mark.parametrize(("busy", "seeds"), [(0, 7), (1, 6), (2, 0)])
def test_times_beside_other_programs_do_not_count(write_training, tmp_path, busy, seeds):
    quiet, other = QUIET | {"device": "GPU"}, BUSY | {"device": "GPU"}
    for seed in range(7):
        write_training("catlip", seed, 10.0, environment=quiet)
        if seed < busy:
            write_training("clip", seed, 120.0, environment=other)
        else:
            write_training("clip", seed, 12.0, environment=quiet)
    records = records_in(tmp_path)
    (setting,) = settings(records)
    took = setting.seconds("clip")
    assert (took.n if took else 0) == seeds
    assert took is None or took.mean == 12
    assert setting.seconds("catlip").n == 7  # whatever became of the other's
    verdict = verdicts(records)["cheaper"]
    assert (verdict.outcome == HOLDS) == bool(seeds)
