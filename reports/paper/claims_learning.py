"""Evidence on the paper's claims on longer training, on learning from few images, and on pruning
the vocabulary.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from bench.downstream.probe.result import Finetune, LinearProbe, OnTasks
from bench.downstream.probe.transfer_gain import Gain, encoder_means, gains_of
from bench.study.laws import cost_of
from bench.study.lengths_result import Scaling
from bench.study.result import Threshold, threshold_accuracies
from catlip.claims import least_pairs
from catlip.pretraining.result import Pretrain
from catlip.results.estimate import of_pairs, of_ratios
from catlip.results.lines import brief_fraction
from catlip.results.pretrained import CC3M_IMAGES, NEARLY, SCALES, is_enough
from catlip.results.run import Run
from catlip.results.seeds import link
from catlip.table import clipped, shown
from reports.paper.evidence import SHORTER, Compared, Evidence, Trained, paired

TRIED: dict[str, type[OnTasks]] = {kind.kind: kind for kind in (LinearProbe, Finetune)}
GOOD_THRESHOLDS: tuple[float, ...] = (100, 500)  # Appendix B
LARGE_THRESHOLD = 1000  # Figure 6 says that accuracy falls from here on
SHORTEST, LONGEST = 25, 100  # epochs of the trainings in Figure 4(a)


@dataclass(frozen=True)
class Ended:
    """The result of a training to the end of its schedule; `top1` in %."""

    top1: float
    seconds: float | None
    device: str


# Length of training in images -> seed -> result.
Lengths = dict[int, dict[str, Ended]]


def _lengths(group: Trained, method: str) -> dict[str, Lengths]:
    """Task -> the trainings on all data; tasks with at least two lengths, in ascending order."""
    by_task: dict[str, dict[int, dict[str, list[Ended]]]] = {}
    for cell in group.of(Scaling, method):
        one = cell.measured
        for task, top1 in one.accuracies.items() if one.fraction == 1 else ():
            if task in group.tasks:
                ended = Ended(100 * top1, one.train_seconds, clipped(cell.where))
                seeds = by_task.setdefault(task, {}).setdefault(one.images, {})
                seeds.setdefault(f"seed{one.seed}", []).append(ended)
    return {
        task: {
            length: {seed: _mean_of(ended) for seed, ended in seeds.items()}
            for length, seeds in sorted(lengths.items())
        }
        for task, lengths in by_task.items()
        if len(lengths) > 1
    }


def _mean_of(probes: Sequence[Ended]) -> Ended:
    """The mean over the probes of one training."""
    return replace(probes[0], top1=fmean(ended.top1 for ended in probes))


def longer_helps(groups: Sequence[Trained], method: str) -> Iterator[Evidence]:
    """The accuracy of the longest training minus that of the second longest. If at least two
    lengths have enough seeds, only those lengths are used, else all. Before the paper's lengths
    every method improves, so shorter trainings are no test.
    """
    for group in groups:
        compared, untested = [], ""
        for task, lengths in _lengths(group, method).items():
            enough = {n: own for n, own in lengths.items() if len(own) >= least_pairs()}
            (short, before), (long, last) = [*(enough if len(enough) > 1 else lengths).items()][-2:]
            points = paired(_top1(last), _top1(before))
            what = f"{group.tasks[task]}, {short:,} to {long:,} images"
            compared.append(Compared(what, of_pairs(points)))
            untested = untested or _too_short(*(_epochs(group, n) for n in (short, long)))
        if compared:
            anchor = link(group.of(Scaling, method))
            yield Evidence(compared, "", _on(group, "cc3m"), anchor=anchor, untested=untested)


def _epochs(group: Trained, images: int) -> float | None:
    """A length in epochs; None if the number of images in the group's data set is not known."""
    for record in group.of(Pretrain):
        if record.measured.epochs_seen > 0:
            return images * record.measured.epochs_seen / record.measured.images_seen
    return images / CC3M_IMAGES if group.scale == "cc3m" else None


def _too_short(short: float | None, long: float | None) -> str:
    """Why two lengths in epochs say nothing of the paper's lengths; empty if they reach these."""
    if short is None or long is None:
        return (
            f"The paper trains for {SHORTEST} to {LONGEST} epochs; how many these are is unknown."
        )
    if short >= NEARLY * SHORTEST and long >= NEARLY * LONGEST:
        return ""
    return (
        f"The paper trains for {SHORTEST} to {LONGEST} epochs; these are {shown(short, 1)} and "
        f"{shown(long, 1)}."
    )


def _top1(trainings: Mapping[str, Ended]) -> dict[str, float]:
    return {seed: ended.top1 for seed, ended in trainings.items()}


def _on(group: Trained, scale: str) -> tuple[str, ...]:
    """The group's caveats; without any, a caveat if its data set is not the claim's."""
    return group.caveats or (() if group.scale == scale else (f"on {SCALES[group.scale]}",))


def less_compute(groups: Sequence[Trained]) -> Iterator[Evidence]:
    """The training time of CLIP's best training over the time that CatLIP needs for the same
    accuracy on the same device, paired by seed. If CatLIP never reaches it with a seed, its longest
    training counts as having just reached it.
    """
    for group in groups:
        ours, theirs = _lengths(group, "catlip"), _lengths(group, "clip")
        compared = []
        for task in [task for task in ours if task in theirs]:
            one, other = _by_seed(ours[task]), _by_seed(theirs[task])
            devices = {seed: own[0].device for seed, own in one.items()}
            seeds = [seed for seed in other if devices.get(seed) == other[seed][0].device]
            ratios = [_sooner(one[seed], other[seed]) for seed in seeds]
            if ratios:
                where = " and ".join(dict.fromkeys(devices[seed] for seed in seeds))
                what = f"CLIP's best on {group.tasks[task]}, on {where}"
                compared.append(Compared(what, of_ratios(ratios), "times", decimals=2))
        if compared:
            anchor = link(group.of(Scaling, "catlip"))
            yield Evidence(compared, "", _on(group, "cc3m"), anchor=anchor)


def _by_seed(lengths: Lengths) -> dict[str, list[Ended]]:
    """Seed -> its trainings, shortest first; only seeds that have every length, with its time, all
    on one device.
    """
    every = {seed: None for own in lengths.values() for seed in own}
    by_seed = {seed: [own[seed] for own in lengths.values() if seed in own] for seed in every}
    return {
        seed: own
        for seed, own in by_seed.items()
        if len(own) == len(lengths)
        and all(ended.seconds for ended in own)
        and len({ended.device for ended in own}) == 1
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


def _points(gains: Sequence[Gain], fraction: float) -> dict[str, float]:
    """Seed of the encoder -> its mean gain at a fraction of the training data, in points."""
    means = encoder_means(gain for gain in gains if gain.fraction == fraction)
    return {str(seed): points for seed, points in means.items()}


def transfer_init_gains(groups: Sequence[Trained]) -> Iterator[Evidence]:
    """The gain of Transfer Init in linear probes with the fewest images of each task."""
    for group in groups:
        compared = [
            Compared(
                group.tasks[task],
                of_pairs([*_points(own, min(gain.fraction for gain in own)).values()]),
            )
            for task, own in _gains(group, "linear_probe").items()
        ]
        if compared:
            anchor = link(group.of(LinearProbe, "catlip"))
            yield Evidence(compared, "", group.caveats, anchor=anchor)


def gain_falls(groups: Sequence[Trained]) -> Iterator[Evidence]:
    """The gain with the fewest images minus that with the most."""
    for group in groups:
        compared, said = [], []
        for task, own in _gains(group, "linear_probe").items():
            fractions = {gain.fraction for gain in own}
            few, many = (_points(own, pick(fractions)) for pick in (min, max))
            if len(fractions) > 1:
                compared.append(Compared(group.tasks[task], of_pairs(paired(few, many))))
                said.append(
                    f"{group.tasks[task]}: gain {_mean(few)} with the fewest images, {_mean(many)} "
                    "with the most"
                )
        if compared:
            anchor = link(group.of(LinearProbe, "catlip"))
            yield Evidence(compared, f"{'; '.join(said)}.", group.caveats, anchor=anchor)


def tuned_gain_is_smaller(groups: Sequence[Trained]) -> Iterator[Evidence]:
    """The gain in linear probing minus that in fine-tuning, at the smallest fraction of the
    training data that both have.
    """
    for group in groups:
        probed, tuned = _gains(group, "linear_probe"), _gains(group, "finetune")
        compared, said = [], []
        for task in [task for task in probed if task in tuned]:
            fractions = {g.fraction for g in probed[task]} & {g.fraction for g in tuned[task]}
            if fractions:
                one, other = (_points(own[task], min(fractions)) for own in (probed, tuned))
                where = f"{group.tasks[task]}, {brief_fraction(min(fractions))} % of the data"
                compared.append(Compared(where, of_pairs(paired(one, other))))
                said.append(
                    f"{where}: linear probing gains {_mean(one)}, fine-tuning {_mean(other)}"
                )
        if compared:
            anchor = link(group.of(Finetune, "catlip"))
            yield Evidence(compared, f"{'; '.join(said)}.", group.caveats, anchor=anchor)


def _mean(points: Mapping[str, float]) -> str:
    return shown(fmean(points.values()), 1)


def thresholds_alike(groups: Sequence[Trained]) -> Iterator[Evidence]:
    """The accuracy with threshold 500 minus that with threshold 100."""
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
    """The accuracy with the best threshold minus that with the largest."""
    for group, record, levels in _thresholds(groups):
        compared = []
        for name, own in levels.items():
            top, last = max(own, key=lambda t: fmean(own[t].values())), max(own)
            what = f"{name}, threshold {top:,g} against {last:,g}"
            compared.append(Compared(what, of_pairs(paired(own[top], own[last]))))
        if compared:
            largest = max(t for own in levels.values() for t in own)
            small = () if largest >= LARGE_THRESHOLD else (f"up to a threshold of {largest:g}",)
            caveats = _of_thresholds(group, record) or small
            yield Evidence(compared, "", caveats, anchor=record.anchor)


Levels = Mapping[float, Mapping[float, float]]  # threshold -> seed -> accuracy in %


def _thresholds(
    groups: Sequence[Trained],
) -> Iterator[tuple[Trained, Run, Mapping[str, Levels]]]:
    """Every record of kind `threshold`, with the accuracies of each of its probes."""
    for group in groups:
        for record in group.of(Threshold):
            yield group, record, threshold_accuracies(record)


def _of_thresholds(group: Trained, record: Run) -> tuple[str, ...]:
    """The group's caveats, and whether the trainings in the record are shorter than the paper's."""
    short = group.scale in SCALES and not all(
        is_enough(n, group.scale) for n in record.series("images_seen") or [0.0]
    )
    return (*group.caveats, SHORTER) if short else group.caveats
