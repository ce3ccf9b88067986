"""How the paper's claims on learning longer, learning from few images, and cutting the vocabulary
are judged.
"""

from collections.abc import Iterator, Mapping, Sequence

from catlip.kinds import Finetune, LinearProbe, LongerTraining, OnTasks
from catlip.kinds.words.threshold import Threshold, probes
from catlip.table import mean_and_spread, quantity_of, shown
from reports.paper.evidence import (
    FAILS,
    HOLDS,
    OPEN,
    SHORTER,
    UNTESTED,
    Evidence,
    Trained,
    beyond_spread,
    combined,
    every_pair,
    is_tested,
    signed,
)
from reports.read.measured import means_by
from reports.read.pretrained import SCALES, is_enough
from reports.read.records import Record
from reports.summary.tables import link
from reports.transfer.longer_training import Probed, snapshots_of
from reports.transfer.transfer_gain import Gain, encoder_means, gains_of
from reports.transfer.transfer_lines import brief_share

TRIED: dict[str, type[OnTasks]] = {kind.kind: kind for kind in (LinearProbe, Finetune)}
LESS_COMPUTE = 4  # times; Figure 4(b)
GOOD_THRESHOLDS: tuple[float, ...] = (100, 500)  # Appendix B
LARGE_THRESHOLD = 1000  # from which on Figure 6 says that accuracy falls


def _lengths(group: Trained, method: str) -> dict[str, dict[float, list[Probed]]]:
    """Task -> epochs -> the trainings that ended there, of tasks with two lengths."""
    by_task: dict[str, dict[float, list[Probed]]] = {}
    for record in group.of(LongerTraining, method):
        for snapshot in snapshots_of(record):
            if snapshot.row.annealed and snapshot.row.task in group.tasks:
                lengths = by_task.setdefault(snapshot.row.task, {})
                lengths.setdefault(snapshot.epochs, []).append(snapshot)
    return {
        task: dict(sorted(lengths.items())) for task, lengths in by_task.items() if len(lengths) > 1
    }


def longer_helps(groups: Sequence[Trained], method: str, plateaus: bool) -> Iterator[Evidence]:
    """From the second longest training to the longest: is the accuracy higher beyond its spread, or
    is it not?
    """
    for group in groups:
        records, outcomes, said = group.of(LongerTraining, method), [], []
        for task, lengths in _lengths(group, method).items():
            (short, before), (long, last) = [*lengths.items()][-2:]
            one, other = quantity_of(_seeds(last)), quantity_of(_seeds(before))
            outcomes.append(beyond_spread(one, other))
            change = " to ".join(f"{mean_and_spread(q, 1)} %" for q in (other, one) if q)
            said.append(f"{group.tasks[task]}, {short:g} to {long:g} epochs: {change}")
        if said:
            outcome = combined([_turned(o) if plateaus else o for o in outcomes])
            yield Evidence(outcome, f"{'; '.join(said)}.", _on(group, "cc3m"), anchor=link(records))
        elif records:
            words = (
                "Only one length was trained to its end; snapshots on the way there are not "
                "annealed."
            )
            yield Evidence(UNTESTED, words, group.caveats, anchor=link(records))


def _seeds(snapshots: Sequence[Probed]) -> list[float]:
    """The mean accuracy of each seed of pre-training; where records name none, of each training."""
    return list(
        means_by(
            (s.run if s.record.seed is None else s.record.seed, s.top1) for s in snapshots
        ).values()
    )


def _turned(outcome: str) -> str:
    """Of `higher`, what it says of `no higher`."""
    return outcome if outcome == UNTESTED else FAILS if outcome == HOLDS else HOLDS


def _on(group: Trained, scale: str) -> tuple[str, ...]:
    """The group's caveats, and that it is of another data set than the claim where it is."""
    return group.caveats or (() if group.scale == scale else (f"on {SCALES[group.scale]}",))


def less_compute(groups: Sequence[Trained]) -> Iterator[Evidence]:
    """The seconds of CLIP's best length over those of the shortest CatLIP training that is as
    accurate, on one device.
    """
    for group in groups:
        both = [_lengths(group, method) for method in ("catlip", "clip")]
        for task in (task for task in both[0] if task in both[1]):
            ours, theirs = (_costs(lengths[task]) for lengths in both)
            if not ours or not theirs or {device for *_, device in ours + theirs} != {ours[0][2]}:
                continue
            top, seconds, _ = max(theirs)
            enough = [cost for accuracy, cost, _ in ours if accuracy >= top]
            times = seconds / min(enough) if enough else 0.0
            words = (
                f"{shown(times, 1)} times less time" if enough else "no CatLIP training reaches it"
            )
            said = (
                f"CLIP's best on {group.tasks[task]}, {shown(top, 1)} %: {words}, on {ours[0][2]}."
            )
            outcome = HOLDS if times >= LESS_COMPUTE else OPEN if times > 1 else FAILS
            yield Evidence(
                outcome,
                said,
                _on(group, "cc3m"),
                anchor=link(group.of(LongerTraining, "catlip")),
            )


def _costs(lengths: Mapping[float, Sequence[Probed]]) -> list[tuple[float, float, str]]:
    """Mean accuracy, mean seconds and device of each length with two seeds at least, timed on one
    device.
    """
    found = []
    for own in lengths.values():
        seconds, devices = (
            [s.row.seconds for s in own if s.row.seconds is not None],
            {s.device for s in own},
        )
        if is_tested(_seeds(own)) and len(seconds) == len(own) and len(devices) == 1:
            found.append(
                (sum(s.top1 for s in own) / len(own), sum(seconds) / len(own), devices.pop())
            )
    return found


def _gains(group: Trained, kind: str) -> dict[str, list[Gain]]:
    """Task -> CatLIP's pairs with and without Transfer Init."""
    gains = gains_of(group.of(TRIED[kind], "catlip"), kind)
    return {
        task: own for task in group.tasks if (own := [gain for gain in gains if gain.task == task])
    }


def _points(gains: Sequence[Gain], share: float) -> list[float]:
    """The mean gain of each encoder."""
    return encoder_means(gain for gain in gains if gain.share == share)


def transfer_init_gains(groups: Sequence[Trained]) -> Iterator[Evidence]:
    """With the fewest images of each task, every pair of linear probes gains."""
    for group in groups:
        found = {
            task: _points(own, min(g.share for g in own))
            for task, own in _gains(group, "linear_probe").items()
        }
        if found:
            said = "; ".join(
                f"{group.tasks[task]} {signed(points)}" for task, points in found.items()
            )
            outcome = combined([every_pair(points) for points in found.values()])
            yield Evidence(
                outcome,
                f"Gain with the fewest images: {said}.",
                group.caveats,
                anchor=link(group.of(LinearProbe, "catlip")),
            )


def gain_falls(groups: Sequence[Trained]) -> Iterator[Evidence]:
    """The mean gain with the fewest images is above that with the most, beyond the spread over
    pairs.
    """
    for group in groups:
        outcomes, said = [], []
        for task, own in _gains(group, "linear_probe").items():
            few, many = (_points(own, pick(g.share for g in own)) for pick in (min, max))
            if min(g.share for g in own) < max(g.share for g in own):
                outcomes.append(beyond_spread(quantity_of(few), quantity_of(many)))
                said.append(
                    f"{group.tasks[task]} {signed(few)} with the fewest images, {signed(many)} "
                    "with the most"
                )
        if said:
            yield Evidence(
                combined(outcomes),
                f"{'; '.join(said)}.",
                group.caveats,
                anchor=link(group.of(LinearProbe, "catlip")),
            )


def tuned_gain_is_smaller(groups: Sequence[Trained]) -> Iterator[Evidence]:
    """At the smallest share that both have, fine-tuning gains less than linear probing, beyond the
    spread over pairs.
    """
    for group in groups:
        probed, tuned = _gains(group, "linear_probe"), _gains(group, "finetune")
        outcomes, said = [], []
        for task in [task for task in probed if task in tuned]:
            shares = {g.share for g in probed[task]} & {g.share for g in tuned[task]}
            if shares:
                one, other = (_points(own[task], min(shares)) for own in (probed, tuned))
                outcomes.append(beyond_spread(quantity_of(one), quantity_of(other)))
                where = f"{group.tasks[task]}, {brief_share(min(shares))} % of the data"
                said.append(f"{where}: LP {signed(one)}, FT {signed(other)}")
        if said:
            yield Evidence(
                combined(outcomes),
                f"{'; '.join(said)}.",
                group.caveats,
                anchor=link(group.of(Finetune, "catlip")),
            )


def thresholds_alike(groups: Sequence[Trained]) -> Iterator[Evidence]:
    """Between the thresholds 100 and 500 the accuracy differs by no more than the spread over
    seeds.
    """
    for group, record, levels in _thresholds(groups):
        found = {
            name: {t: own[t] for t in GOOD_THRESHOLDS}
            for name, own in levels.items()
            if own.keys() >= {*GOOD_THRESHOLDS}
        }
        pairs = [
            beyond_spread(*(quantity_of(own[t]) for t in GOOD_THRESHOLDS)) for own in found.values()
        ]
        if found:
            said = "; ".join(f"{name}: {_levels(own)}" for name, own in found.items())
            outcome = combined([{HOLDS: FAILS, OPEN: HOLDS}.get(pair, pair) for pair in pairs])
            yield Evidence(outcome, f"{said}.", _of_thresholds(group, record), anchor=record.anchor)


def large_thresholds_lose(groups: Sequence[Trained]) -> Iterator[Evidence]:
    """At the largest threshold the accuracy is below that at the best one, beyond the spread over
    seeds.
    """
    for group, record, levels in _thresholds(groups):
        outcomes, said = [], []
        for name, own in levels.items():
            top, last = max(own, key=lambda t: sum(own[t]) / len(own[t])), max(own)
            outcomes.append(beyond_spread(quantity_of(own[top]), quantity_of(own[last])))
            said.append(f"{name}: {_levels({t: own[t] for t in (top, last)})}")
        if said:
            largest = max(t for own in levels.values() for t in own)
            small = () if largest >= LARGE_THRESHOLD else (f"up to a threshold of {largest:g}",)
            caveats = _of_thresholds(group, record) or small
            yield Evidence(combined(outcomes), f"{'; '.join(said)}.", caveats, anchor=record.anchor)


Levels = Mapping[float, Sequence[float]]  # threshold -> accuracies in %, one a seed


def _thresholds(
    groups: Sequence[Trained],
) -> Iterator[tuple[Trained, Record, Mapping[str, Levels]]]:
    """Every record of thresholds, with the levels of each of its probes."""
    for group in groups:
        for record in group.of(Threshold):
            of = {
                name: {t: [a for at, a in points if at == t] for t, _ in points}
                for name, points in probes(record).items()
            }
            yield group, record, of


def _of_thresholds(group: Trained, record: Record) -> tuple[str, ...]:
    """The caveats of the trainings that the record itself is of."""
    short = group.scale in SCALES and not all(
        is_enough(n, group.scale) for n in record.series("images_seen") or [0.0]
    )
    return (*group.caveats, SHORTER) if short else group.caveats


def _levels(levels: Levels) -> str:
    """`5.9 ± 0.2 % above 100 (n = 2), ...`."""
    means = {t: quantity_of(own) for t, own in levels.items()}
    return ", ".join(
        f"{mean_and_spread(q, 1)} % above {t:,g} (n = {q.n})" for t, q in means.items() if q
    )
