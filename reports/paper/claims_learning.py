"""How the paper's claims on learning longer, learning from few images, and cutting the vocabulary
are judged.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from catlip.claims import least_pairs
from catlip.kinds import Finetune, LinearProbe, LongerTraining, OnTasks, Scaling
from catlip.kinds.estimate import of_pairs, of_ratios
from catlip.kinds.transfer.laws import cost_of
from catlip.kinds.words.threshold import Threshold, reached
from catlip.table import clipped, shown
from reports.paper.evidence import SHORTER, Compared, Evidence, Trained, paired
from reports.read.pretrained import SCALES, is_enough
from reports.read.records import Record
from reports.summary.tables import link
from reports.transfer.longer_training import snapshots_of
from reports.transfer.transfer_gain import Gain, encoder_means, gains_of
from reports.transfer.transfer_lines import brief_share

TRIED: dict[str, type[OnTasks]] = {kind.kind: kind for kind in (LinearProbe, Finetune)}
GOOD_THRESHOLDS: tuple[float, ...] = (100, 500)  # Appendix B
LARGE_THRESHOLD = 1000  # from which on Figure 6 says that accuracy falls


@dataclass(frozen=True)
class Ended:
    """What a training to the end of its schedule came to; `top1` in %."""

    top1: float
    seconds: float | None
    device: str


# Length of training, in its unit -> seed of pre-training -> what it came to.
Lengths = dict[float, dict[str, Ended]]


def _lengths(group: Trained, method: str) -> Iterator[tuple[str, str, Lengths]]:
    """Task, unit and trainings of two lengths at least, as the benches of each kind ran them."""
    by_task: dict[tuple[str, str], dict[float, dict[str, list[Ended]]]] = {}

    def add(task: str, unit: str, *, length: float, seed: str, ended: Ended) -> None:
        if task in group.tasks:
            lengths = by_task.setdefault((task, unit), {})
            lengths.setdefault(length, {}).setdefault(seed, []).append(ended)

    for record in group.of(LongerTraining, method):
        for snapshot in snapshots_of(record):
            if snapshot.row.annealed:
                named = re.search(r"seed\d+$", snapshot.run)
                seed = named.group() if named and record.seed is None else f"seed{record.seed}"
                ended = Ended(snapshot.top1, snapshot.row.seconds, snapshot.device)
                add(snapshot.row.task, "epochs", length=snapshot.epochs, seed=seed, ended=ended)
    for cell in group.of(Scaling, method):
        one = cell.measured
        for task, top1 in one.accuracies.items() if one.fraction == 1 else ():
            ended = Ended(100 * top1, one.train_seconds, clipped(cell.where))
            add(task, "images", length=one.images, seed=f"seed{one.seed}", ended=ended)
    for (task, unit), lengths in by_task.items():
        if len(lengths) > 1:
            means = {
                length: {seed: _mean_of(ended) for seed, ended in seeds.items()}
                for length, seeds in sorted(lengths.items())
            }
            yield task, unit, means


def _mean_of(probes: Sequence[Ended]) -> Ended:
    """Of the probes of one training."""
    return replace(probes[0], top1=fmean(ended.top1 for ended in probes))


def longer_helps(groups: Sequence[Trained], method: str) -> Iterator[Evidence]:
    """What the longest training reaches beyond the second longest, of the lengths that have enough
    seeds, or of all.
    """
    for group in groups:
        records, compared = group.of(LongerTraining, method), []
        for task, unit, lengths in _lengths(group, method):
            enough = {n: own for n, own in lengths.items() if len(own) >= least_pairs()}
            (short, before), (long, last) = [*(enough if len(enough) > 1 else lengths).items()][-2:]
            points = paired(_top1(last), _top1(before))
            what = f"{group.tasks[task]}, {short:,g} to {long:,g} {unit}"
            compared.append(Compared(what, of_pairs(points)))
        if compared:
            anchor = link([*records, *group.of(Scaling, method)])
            yield Evidence(compared, "", _on(group, "cc3m"), anchor=anchor)
        elif records:
            words = (
                "Only one length was trained to its end; snapshots on the way there are not "
                "annealed."
            )
            yield Evidence([], words, group.caveats, anchor=link(records))


def _top1(trainings: Mapping[str, Ended]) -> dict[str, float]:
    return {seed: ended.top1 for seed, ended in trainings.items()}


def _on(group: Trained, scale: str) -> tuple[str, ...]:
    """The group's caveats, and that it is of another data set than the claim where it is."""
    return group.caveats or (() if group.scale == scale else (f"on {SCALES[group.scale]}",))


def less_compute(groups: Sequence[Trained]) -> Iterator[Evidence]:
    """The seconds of CLIP's best training over those until CatLIP is as accurate, seed by seed on
    one device. A seed that never is counts as if its longest training just were.
    """
    for group in groups:
        ours, theirs = (
            {(task, unit): own for task, unit, own in _lengths(group, method)}
            for method in ("catlip", "clip")
        )
        compared = []
        for task, unit in (key for key in ours if key in theirs):
            one, other = (_by_seed(own[task, unit]) for own in (ours, theirs))
            seeds = [seed for seed in one if seed in other]
            devices = {ended.device for seed in seeds for ended in (*one[seed], *other[seed])}
            ratios = [_sooner(one[seed], other[seed]) for seed in seeds]
            if len(devices) == 1 and ratios:
                what = f"CLIP's best on {group.tasks[task]}, on {devices.pop()}"
                compared.append(Compared(what, of_ratios(ratios), "times", decimals=2))
        if compared:
            anchor = link([*group.of(LongerTraining, "catlip"), *group.of(Scaling, "catlip")])
            yield Evidence(compared, "", _on(group, "cc3m"), anchor=anchor)


def _by_seed(lengths: Lengths) -> dict[str, list[Ended]]:
    """Seed -> its trainings, the shortest first, where each length has it and is timed."""
    every = {seed: None for own in lengths.values() for seed in own}
    by_seed = {seed: [own[seed] for own in lengths.values() if seed in own] for seed in every}
    return {
        seed: own
        for seed, own in by_seed.items()
        if len(own) == len(lengths) and all(ended.seconds for ended in own)
    }


def _sooner(ours: Sequence[Ended], theirs: Sequence[Ended]) -> float:
    best = max(theirs, key=lambda ended: ended.top1)
    seconds, top1 = [ended.seconds or 0.0 for ended in ours], [ended.top1 for ended in ours]
    needed = seconds[0] if top1[0] >= best.top1 else cost_of(seconds, top1, best.top1)
    return (best.seconds or 0.0) / (needed or seconds[-1])


def _gains(group: Trained, kind: str) -> dict[str, list[Gain]]:
    """Task -> CatLIP's pairs with and without Transfer Init."""
    gains = gains_of(group.of(TRIED[kind], "catlip"), kind)
    return {
        task: own for task in group.tasks if (own := [gain for gain in gains if gain.task == task])
    }


def _points(gains: Sequence[Gain], share: float) -> dict[str, float]:
    """The mean gain of each encoder."""
    means = encoder_means(gain for gain in gains if gain.share == share)
    return {str(seed): points for seed, points in means.items()}


def transfer_init_gains(groups: Sequence[Trained]) -> Iterator[Evidence]:
    """With the fewest images of each task, linear probes."""
    for group in groups:
        compared = [
            Compared(
                group.tasks[task],
                of_pairs([*_points(own, min(gain.share for gain in own)).values()]),
            )
            for task, own in _gains(group, "linear_probe").items()
        ]
        if compared:
            anchor = link(group.of(LinearProbe, "catlip"))
            yield Evidence(compared, "", group.caveats, anchor=anchor)


def gain_falls(groups: Sequence[Trained]) -> Iterator[Evidence]:
    """The gain with the fewest images beyond that with the most."""
    for group in groups:
        compared, said = [], []
        for task, own in _gains(group, "linear_probe").items():
            shares = {gain.share for gain in own}
            few, many = (_points(own, pick(shares)) for pick in (min, max))
            if len(shares) > 1:
                compared.append(Compared(group.tasks[task], of_pairs(paired(few, many))))
                said.append(
                    f"{group.tasks[task]} gains {_mean(few)} with the fewest and {_mean(many)} "
                    "with the most"
                )
        if compared:
            anchor = link(group.of(LinearProbe, "catlip"))
            yield Evidence(compared, f"{'; '.join(said)}.", group.caveats, anchor=anchor)


def tuned_gain_is_smaller(groups: Sequence[Trained]) -> Iterator[Evidence]:
    """At the smallest share that both have, the gain of linear probing beyond that of
    fine-tuning.
    """
    for group in groups:
        probed, tuned = _gains(group, "linear_probe"), _gains(group, "finetune")
        compared, said = [], []
        for task in [task for task in probed if task in tuned]:
            shares = {g.share for g in probed[task]} & {g.share for g in tuned[task]}
            if shares:
                one, other = (_points(own[task], min(shares)) for own in (probed, tuned))
                where = f"{group.tasks[task]}, {brief_share(min(shares))} % of the data"
                compared.append(Compared(where, of_pairs(paired(one, other))))
                said.append(f"{where}: LP gains {_mean(one)}, FT {_mean(other)}")
        if compared:
            anchor = link(group.of(Finetune, "catlip"))
            yield Evidence(compared, f"{'; '.join(said)}.", group.caveats, anchor=anchor)


def _mean(points: Mapping[str, float]) -> str:
    return shown(fmean(points.values()), 1)


def thresholds_alike(groups: Sequence[Trained]) -> Iterator[Evidence]:
    """What threshold 500 reaches beyond threshold 100."""
    low, high = GOOD_THRESHOLDS
    for group, record, levels in _thresholds(groups):
        compared = [
            Compared(name, of_pairs(paired(own[high], own[low])))
            for name, own in levels.items()
            if low in own and high in own
        ]
        if compared:
            yield Evidence(compared, "", _of_thresholds(group, record), anchor=record.anchor)


def large_thresholds_lose(groups: Sequence[Trained]) -> Iterator[Evidence]:
    """What the threshold of the best mean reaches beyond the largest."""
    for group, record, levels in _thresholds(groups):
        compared = []
        for name, own in levels.items():
            top, last = max(own, key=lambda t: fmean(own[t].values())), max(own)
            what = f"{name}, above {top:,g} against above {last:,g}"
            compared.append(Compared(what, of_pairs(paired(own[top], own[last]))))
        if compared:
            largest = max(t for own in levels.values() for t in own)
            small = () if largest >= LARGE_THRESHOLD else (f"up to a threshold of {largest:g}",)
            caveats = _of_thresholds(group, record) or small
            yield Evidence(compared, "", caveats, anchor=record.anchor)


Levels = Mapping[float, Mapping[float, float]]  # threshold -> seed -> accuracy in %


def _thresholds(
    groups: Sequence[Trained],
) -> Iterator[tuple[Trained, Record, Mapping[str, Levels]]]:
    """Every record of thresholds, with the levels of each of its probes."""
    for group in groups:
        for record in group.of(Threshold):
            yield group, record, reached(record)


def _of_thresholds(group: Trained, record: Record) -> tuple[str, ...]:
    """The caveats of the trainings that the record itself is of."""
    short = group.scale in SCALES and not all(
        is_enough(n, group.scale) for n in record.series("images_seen") or [0.0]
    )
    return (*group.caveats, SHORTER) if short else group.caveats
