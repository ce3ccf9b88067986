"""The lead by the team that drew the test images, and over teams as draws."""

from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from bench.downstream.probe.result import IMAGES, parts_of
from reports.summary.answers import as_good, over_other_teams, with_ends
from reports.summary.drawers import leads_by_team, over_teams

USUAL = {"fxemoji": 6, "streamline": 2}  # team -> images of ten that CatLIP has above CLIP
OTHERS = {"noto+twemoji": (5, 1), "openmoji+fluent": (3, 4)}  # points above CLIP


@pytest.fixture
def trainings(write_probe, write_study) -> Callable[[int], None]:
    """Six seeds; the study has as many of OTHERS as is said."""

    def write(of_others: int) -> None:
        teams = np.repeat([*USUAL], 10)
        samples = {IMAGES: [vars(part) for part in parts_of("concepts", teams)]}
        for method in ("catlip", "clip"):
            for seed in range(6):
                counts = [2 + (lead if method == "catlip" else 0) for lead in USUAL.values()]
                right = np.concatenate([np.arange(10) < count for count in counts])
                write_probe(method, seed, {"concepts": right}, samples=samples)
                for pair, leads in [*OTHERS.items()][:of_others]:
                    add = [lead * (method == "catlip") / 100 for lead in leads]
                    accuracies = {"concepts": 0.3 + np.mean(add)}
                    for team, points in zip(pair.split("+"), add, strict=True):
                        accuracies[f"concepts, {team}"] = 0.3 + points
                    shorter = {"noise": f"teams={pair}", "seed": seed, "images_seen": 10.0}
                    write_study("robustness", method, {"concepts, noto": 0.9}, **shorter)
                    longest = shorter | {"images_seen": 99.0}
                    write_study("robustness", method, accuracies, **longest)

    return write


def test_each_team_is_one_draw(trainings, read_setting) -> None:
    trainings(2)
    setting = read_setting()
    leads = leads_by_team(setting, "concepts")
    expected = {
        "fxemoji": 60,
        "streamline": 20,
        "noto": 5,
        "twemoji": 1,
        "openmoji": 3,
        "fluent": 4,
    }
    assert {team: lead.value for team, lead in leads.items()} == pytest.approx(expected)
    mean, values = over_teams(leads), [*expected.values()]
    low, high = stats.t.interval(0.95, 5, np.mean(values), stats.sem(values))
    assert (mean.value, mean.low, mean.high) == pytest.approx((np.mean(values), low, high))
    words = over_other_teams(setting, with_ends)
    assert words == "+15.5 (\N{MINUS SIGN}8.5 to +39.5) over drawers"
    assert "+15.5 over drawers" in as_good(setting).short


def test_few_teams_have_no_interval(trainings, read_setting) -> None:
    trainings(1)
    setting = read_setting()
    assert len(leads_by_team(setting, "concepts")) == 4
    assert over_other_teams(setting, with_ends) == ""
