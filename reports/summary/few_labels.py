"""With few labels: CatLIP minus CLIP, both from random starts, and what a classifier gains that
starts from its method's own knowledge of the classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from bench.downstream.probe.result import LinearProbe
from catlip.records.estimate import Estimate
from catlip.records.run import Records
from reports.pairs import pair_up
from reports.read.differences import LABELS, PROBE
from reports.read.setting import Setting
from reports.results import frame_of, nested, with_scores

TRANSFER, NAMES = "transfer", "names"  # starts: CatLIP's rows, CLIP's embeddings of the names


@dataclass(frozen=True)
class FewLabels:
    """With a fraction of a task's labels, in points: CatLIP minus CLIP, and the gain of each start
    over a random one; None where it was not measured.
    """

    task: str
    fraction: float
    difference: Estimate | None
    transfer: Estimate | None
    names: Estimate | None


def few_labels(setting: Setting, tasks: Sequence[str]) -> list[FewLabels]:
    """A row for each fraction of each task, the fewest labels first."""
    differences = {
        (one.task, one.same.fraction): one.estimate
        for one in setting.differences
        if one.heading in (LABELS, PROBE) and one.method == setting.clip and not one.part
    }
    gains = {
        start: _gains(setting, method, start)
        for method, start in zip(setting.pair, (TRANSFER, NAMES), strict=True)
    }
    keys = {*differences, *gains[TRANSFER], *gains[NAMES]}
    return [
        FewLabels(
            task,
            fraction,
            difference=differences.get((task, fraction)),
            transfer=gains[TRANSFER].get((task, fraction)),
            names=gains[NAMES].get((task, fraction)),
        )
        for task in tasks
        for fraction in sorted(fraction for of, fraction in keys if of == task)
    ]


def _gains(setting: Setting, method: str, start: str) -> dict[tuple[str, float], Estimate]:
    """(task, fraction) -> the gain of a start over a random one, paired by seed of pre-training."""
    runs = {run.path: run for run in setting.records}
    frame = frame_of(Records((), tuple(setting.of(LinearProbe, method)), ()))
    rows = frame[(frame.metric == "top1") & frame.probe_seed.notna()]
    scores = nested(with_scores(rows, runs), "task", "fraction", "init", "seed")
    gains = {}
    for task, fractions in scores.items():
        for fraction, starts in fractions.items():
            pairs = pair_up(starts.get(start, {}), starts.get("random", {}))
            if estimate := pairs.difference():
                gains[task, fraction] = estimate
    return gains
