"""Every difference between CatLIP and another method: paired by seed, with one kind of interval.

An experiment is what both methods share, such as the length of training, the encoder and the
condition of the data. Experiments are found in the columns of the table of results, so that a new
length or condition is a new difference; only the groups and their order stand here.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Any

from bench.downstream.probe.result import TASK_PART_SEPARATOR
from bench.step_time.result import StepTime, times_as_long
from bench.study.lengths_result import LengthTraining, at_equal_cost, curves
from bench.study.result import NONE, best_clip, condition_in_words
from catlip.records.estimate import Estimate, mean_difference, value_of
from catlip.records.run import Records, Run, select_kind
from catlip.records.styles import CATLIP, CLIPS, is_ours, name_of, ordered
from catlip.records.table import clipped
from reports.pairs import (
    DENSE,
    MEASURES,
    Experiment,
    accuracies,
    experiments,
    pair_up,
    scores_of,
    share_recipe,
)
from reports.results import frame_of

if TYPE_CHECKING:  # pandas takes a while to import
    import pandas as pd

PROBE, OTHERS = "Linear probe", "Linear probe, over other methods"
COST, LENGTH = "Equal cost of training", "Length of training"
ENCODER, DATA, CONDITION = "Encoder", "Fraction of the data", "Condition of the data"
LABELS, FINETUNED, UNTRAINED = "Few labels", "Fine-tuned", "No classifier trained"
DENSE_TASKS = "Labels, masks and boxes"
HEADINGS = (
    *(PROBE, OTHERS, COST, LENGTH, ENCODER, DATA, CONDITION),
    *(LABELS, UNTRAINED, FINETUNED, DENSE_TASKS),
)
HEADING_OF = {  # kind -> the group of its experiments, if nothing in them is unusual
    "linear_probe": PROBE,
    "finetune": FINETUNED,
    "readout": UNTRAINED,
    "scaling": LENGTH,
    "robustness": CONDITION,
    **dict.fromkeys(DENSE, DENSE_TASKS),
}


@dataclass(frozen=True)
class Difference:
    """CatLIP - another method on one task.

    Attributes:
        heading, experiment: of its row, which the same experiment on other tasks shares.
        same: the experiment that both methods share.
        clip: the other method that need not be named.
        points: the difference of each pair, in points.
        accuracies: the means of both methods, in %.
        records: paths.
        apart: how many pairs ran on different processors or versions of torch.
    """

    heading: str
    experiment: str
    same: Experiment
    method: str
    clip: str
    points: Sequence[float]
    estimate: Estimate
    accuracies: tuple[float, float] | None = None
    records: frozenset[str] = frozenset()
    apart: int = 0

    @property
    def name(self) -> str:
        """The experiment, and the other method unless it is `clip`."""
        words = (self.experiment, "" if self.method == self.clip else name_of(self.method))
        return TASK_PART_SEPARATOR.join(filter(None, words))

    @property
    def task(self) -> str:
        return self.same.task.partition(TASK_PART_SEPARATOR)[0]

    @property
    def part(self) -> str:
        """The part of the task's test images, such as `held out`; empty for all."""
        return self.same.task.partition(TASK_PART_SEPARATOR)[2]


def sign(estimate: Estimate) -> int | None:
    """1 or -1 if the interval lies above or below 0, 0 if it contains 0; None without one."""
    if estimate.low is None or estimate.high is None:
        return None
    return (estimate.low > 0) - (estimate.high < 0)


def longest(found: Sequence[Difference]) -> list[Difference]:
    """Those whose trainings saw the most images."""
    images = max((one.same.images for one in found), default=0)
    return [one for one in found if one.same.images == images]


def _machines(rows: "pd.DataFrame", runs: Mapping[str, Run[Any]]) -> dict[float, set[Any]]:
    """Seed -> processors and versions of torch."""
    machines: dict[float, set[Any]] = {}
    for row in rows.itertuples():
        environment = runs[row.record].environment
        machine = (environment.cpu, environment.packages.get("torch"))
        machines.setdefault(row.seed, set()).add(machine)
    return machines


def differences(
    runs: Sequence[Run[Any]], clip: str, step_time: Run[StepTime] | None = None
) -> list[Difference]:
    """All differences of the records of one scale, in the order of the page. CatLIP is compared
    with `clip`, and with another CLIP in an experiment that has no run of `clip`; at equal seconds,
    if `step_time` is of the study's encoder.
    """
    frame = frame_of(Records((), tuple(runs), ()))
    rows = accuracies(frame)
    if rows.empty:
        return []
    cells, usual = experiments(rows), rows.encoder.mode()[0]
    sizes = (frame.flops / frame.images_seen).groupby(frame.encoder).mean().fillna(0)
    ranked, by_path = [], {run.path: run for run in runs}
    for same, methods in cells.items():
        # A condition of one method alone, such as another text tower, leaves CatLIP as it was.
        catlip = methods.get(CATLIP, cells.get(same._replace(condition=NONE), {}).get(CATLIP))
        others = [method for method in methods if method not in (CATLIP, "random")]
        if HEADING_OF[same.kind] not in (PROBE, CONDITION) or same.fraction < 1:
            others = [best_clip(others, runs)]
        elif HEADING_OF[same.kind] == CONDITION and {*others} & {*CLIPS}:
            others = [best_clip(others, runs), *(one for one in others if one not in CLIPS)]
        for method in ordered(filter(is_ours, others)):
            if catlip is None or method not in methods:
                continue
            sides = (catlip, methods[method])
            if difference := _difference(same, method, clip, sides, usual, by_path):
                ranked.append((_sort_key(same, sizes), difference))
    every = [difference for _, difference in sorted(ranked, key=lambda pair: pair[0])]
    every += _at_equal_cost(select_kind(runs, LengthTraining), clip, step_time)
    return sorted(every, key=lambda one: HEADINGS.index(one.heading))


def _difference(
    same: Experiment,
    method: str,
    clip: str,
    sides: Sequence["pd.DataFrame"],
    usual: str,
    runs: Mapping[str, Run[Any]],
) -> Difference | None:
    """None without a shared seed, or of a CLIP that was probed by another recipe."""
    is_alike = share_recipe(same, *sides)
    if method in CLIPS and not is_alike:
        return None
    heading = HEADING_OF[same.kind]
    is_other = method != clip
    one, other = (scores_of(side, runs) for side in sides)
    seeds = sorted(one.keys() & other.keys())
    pairs = pair_up({seed: one[seed] for seed in seeds}, other)
    if not pairs:
        return None
    machines = [_machines(side, runs) for side in sides]
    words = list[str]()
    if heading == LENGTH and same.encoder != usual:
        heading, words = ENCODER, [clipped(same.encoder, 24)]
    elif heading == LENGTH and same.fraction < 1:
        heading, words = DATA, [f"{100 * same.fraction:.3g} %"]
    elif heading == CONDITION:
        words = [] if is_other and same.condition == NONE else [condition_in_words(same.condition)]
    elif heading == PROBE and is_other and same.fraction == 1:
        heading = OTHERS
    elif heading in (PROBE, FINETUNED):
        heading = LABELS if heading == PROBE and same.fraction < 1 else heading
        words = ["all labels" if same.fraction == 1 else f"{100 * same.fraction:.3g} %"]
    words.append(MEASURES[same.metric])
    words += [] if is_alike else ["another recipe"]
    if part := same.task.partition(TASK_PART_SEPARATOR)[2]:  # below the row of the whole task
        words = [f"\N{EN DASH} {part}"]
    return Difference(
        heading,
        ", ".join(filter(None, words)),
        same,
        method,
        clip,
        points=pairs.values,
        estimate=pairs.difference() or Estimate(fmean(pairs.values), pairs=len(seeds)),
        accuracies=pairs.means,
        records=frozenset(path for side in sides for path in side.record),
        apart=sum(machines[0][seed] != machines[1][seed] for seed in seeds),
    )


def _sort_key(same: Experiment, sizes: "pd.Series[float]") -> tuple[Any, ...]:
    at = (sizes.get(same.encoder, 0.0), same.fraction, same.images)
    part = same.task.partition(TASK_PART_SEPARATOR)[2]
    kind, _, value = same.condition.partition("=")
    condition = (same.condition != NONE, kind, len(value), value, part)
    return ([*HEADING_OF].index(same.kind), *at, condition, [*MEASURES].index(same.metric))


def _at_equal_cost(
    runs: Sequence[Run[LengthTraining]], clip: str, step_time: Run[StepTime] | None
) -> Iterator[Difference]:
    """At the lower cost of the two longest trainings, interpolated between lengths: CatLIP minus
    `clip` or, where that has no such trainings, minus another CLIP.
    """
    by_method = {curve.method: curve for curve in curves(runs)}
    other = next((one for one in dict.fromkeys([clip, *CLIPS]) if one in by_method), "")
    if not other or CATLIP not in by_method:
        return
    both = by_method[CATLIP], by_method[other]
    found = {"equal FLOPs": at_equal_cost(*both)}
    timed = step_time if step_time and step_time.config.model == both[0].encoder else None
    if timed and (times := times_as_long(timed, other)):
        found["equal seconds"] = at_equal_cost(*both, times)
    paths = [run.path for curve in both for row in curve.rows.values() for run in row]
    for what, of_tasks in found.items():
        for task, points in of_tasks.items():
            if estimate := mean_difference(points):
                same = Experiment("scaling", "top1", both[0].encoder, 0, 1, "", task)
                yield Difference(
                    COST,
                    what,
                    same,
                    other,
                    clip,
                    points=[*map(value_of, points)],
                    estimate=estimate,
                    records=frozenset(paths),
                )
