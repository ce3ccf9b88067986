"""CatLIP minus CLIP by the team that drew the test images: drawings of one team have one style, so
that an interval over images says nothing about other teams. No encoder saw drawings of a team that
it is tested on.
"""

from collections.abc import Mapping

import numpy as np

from bench.downstream.probe.result import TASK_PART_SEPARATOR, images_of, unpacked
from catlip.records.claims import min_pairs
from catlip.records.estimate import Estimate, mean_difference
from catlip.records.styles import CATLIP
from reports.read.differences import longest
from reports.read.setting import Setting

TEAMS = "teams="  # a condition: other teams' drawings are left for the test


def leads_by_team(setting: Setting, task: str) -> dict[str, Estimate]:
    """Team -> the difference on its drawings, over seeds and images."""
    leads: dict[str, Estimate] = {}
    parts = {  # the same in every record that has them
        images.task.partition(TASK_PART_SEPARATOR)[2]: unpacked(images.part, count)
        for run in setting.probes(CATLIP, task).records
        for images in images_of(run)
        if images.part and images.task.startswith(task + TASK_PART_SEPARATOR)
        if (count := run.metrics.tasks[task].num_test)
    }
    for team, is_drawn in parts.items():
        if lead := setting.paired(task, np.flatnonzero(is_drawn).tolist()).difference():
            leads[team] = lead
    others = [one for one in setting.differences if one.same.condition.startswith(TEAMS)]
    for one in longest([one for one in others if one.method == setting.clip and one.part]):
        if one.task == task:
            leads[one.part] = one.estimate
    return leads


def over_teams(leads: Mapping[str, Estimate]) -> Estimate | None:
    """The mean over teams, each of which is one draw; None with too few for an interval."""
    enough = len(leads) >= min_pairs()
    return mean_difference([lead.value for lead in leads.values()]) if enough else None
