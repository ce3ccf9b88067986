"""Evidence on the paper's claims: selections of the comparisons and of the table of results, paired
as claims.toml says. Evidence from the paper's data sets and encoders is at the paper's scale; all
other evidence has caveats.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean
from typing import TYPE_CHECKING, Any

from bench.downstream.dense.result import Dense
from bench.step_time.result import StepTime
from bench.step_time.steps import USUAL_RESOLUTION
from bench.study.result import LengthTraining, cost_of, curves
from catlip.pretraining.result import Pretrain
from catlip.records.claims import Test, min_pairs
from catlip.records.estimate import (
    Estimate,
    Score,
    count_estimate,
    from_interval,
    geometric_mean_ratio,
    interval_difference,
    mean_difference,
    value_of,
)
from catlip.records.kind import Interval
from catlip.records.styles import CATLIP, CLIPS, name_of
from catlip.records.table import clipped, format_number
from reports.names import data_of, rank_of, task_name
from reports.pairs import (
    RANDOM,
    STUDIES,
    TRANSFER,
    Comparisons,
    Difference,
    Experiment,
    Side,
    longest,
)
from reports.paper.scale import (
    ENCODERS,
    NEARLY,
    PAPERS,
    RESOLUTIONS,
    SCALES,
    architecture,
    is_enough,
    is_whole,
)
from reports.tables import plainest_first, ratio_of, training_ratio

if TYPE_CHECKING:
    import pandas as pd

BySeed = Mapping[float, Score | float]
SHORTER = "after a shorter training"
ON_CPU = "not on a GPU"
CLASSES = 24_320  # the release's vocabulary of DataComp-1.3B, and the default of every bench
MIN_BATCH = 256  # images on a device; the smallest in Table 6
EPOCHS = (25, 100)  # of the shortest and the longest training in Figure 4(a)
PAPERS_RULE = "paper"  # of labelling


@dataclass(frozen=True)
class Compared:
    """One comparison that a claim makes, such as a task.

    Attributes:
        estimate: None without pairs, or from a NaN.
        learnt: how far CLIP is above an untrained encoder; if the interval contains 0, the task is
            not judged.
    """

    what: str
    estimate: Estimate | None
    learnt: Estimate | None = None

    @property
    def is_judged(self) -> bool:
        return self.learnt is None or self.learnt.low is None or self.learnt.low > 0


@dataclass(frozen=True)
class Evidence:
    """What some records say of one claim.

    Attributes:
        compared: the comparisons, which must all agree for a verdict.
        caveats: why it is not at the paper's scale, such as the data; empty if it is.
        records: paths.
        untested: why the numbers do not test the claim, whatever they are; empty if they do.
    """

    compared: Sequence[Compared]
    caveats: tuple[str, ...] = ()
    records: tuple[str, ...] = ()
    untested: str = ""


@dataclass(frozen=True)
class Place:
    """Encoders of one kind that were pre-trained on one data set."""

    root: str
    scale: str
    encoder: str

    def caveats(self, comparisons: Comparisons) -> tuple[str, ...]:
        """Why an accuracy is not at the paper's scale; empty if it is."""
        if self.scale not in SCALES:
            return (data_of(self.root, self.scale).short,)
        caveats = []
        if architecture(self.encoder) not in ENCODERS:
            caveats.append(clipped(self.encoder, 24))
        trained = comparisons.of(self.root, self.scale, Pretrain)
        studied = comparisons.of(self.root, self.scale, LengthTraining)
        lengths = [run.metrics.images_seen for run in studied]
        is_long = not lengths or is_enough(max(lengths), self.scale)
        if not is_long or not all(map(is_whole, trained)):
            caveats.append(SHORTER)
        return tuple(caveats)


def places_of(comparisons: Comparisons) -> list[Place]:
    """The paper's scales and encoders first, then a user's data, then ours by their likeness."""
    every = {(on.root, on.scale, on.encoder) for on in comparisons.cells}
    for run in comparisons.records.of(Pretrain):
        every.add((run.root, run.scale, run.config.recipe.encoder))
    found = {
        Place(root, scale, encoder if scale in SCALES else comparisons.encoder(root, scale))
        for root, scale, encoder in every
    }
    return sorted(
        found,
        key=lambda place: (
            place.scale not in SCALES,
            architecture(place.encoder) not in ENCODERS,
            rank_of(place.root, place.scale),
            place.encoder,
        ),
    )


def evidence(test: Test, comparisons: Comparisons) -> Iterator[Evidence]:
    """What the records say of a claim with this test, the nearest to the paper's scale first."""
    yield from (found for found in COMPARISONS[test.compare](test, comparisons) if found.compared)


def _cells(test: Test, comparisons: Comparisons, place: Place) -> list[Experiment]:
    """The experiments of a place that a test is about: at the paper's scale, only by the paper's
    protocol and on its tasks.
    """
    found = []
    for on in comparisons.cells:
        same = (on.root, on.scale) == (place.root, place.scale)
        same &= on.encoder in (place.encoder, "")  # which a record may not say
        if not (same and on.kind in test.kinds and on.metric in test.metrics):
            continue
        if place.scale in SCALES and not _is_protocol(on, comparisons):
            continue
        found.append(on)
    return found


def _is_protocol(on: Experiment, comparisons: Comparisons) -> bool:
    if on.kind in STUDIES:  # its lengths may be any
        return on.task in PAPERS
    runs = [comparisons.runs[p] for side in comparisons.cells[on].values() for p in side.record]
    for run in runs:
        name = "" if isinstance(run.metrics, Dense) else on.task
        if not run.metrics.is_published(name):  # type: ignore[attr-defined]
            return False
        if run.config.recipe.resolution != RESOLUTIONS[on.kind]:
            return False
    return on.task in ("", *PAPERS)


def _parity(test: Test, comparisons: Comparisons) -> Iterator[Evidence]:
    """CatLIP - CLIP for each task or metric, after the longest training with enough seeds; and CLIP
    - an untrained encoder.
    """
    for place in places_of(comparisons):
        by_task: dict[tuple[str, str], list[Difference]] = {}
        for on in sorted(_cells(test, comparisons, place), key=lambda on: (on.images, on.kind)):
            if on.fraction == 1 and on in comparisons.over_clip:
                found = comparisons.over_clip[on]
                by_task.setdefault((on.task, on.metric), []).append(found)
        compared, records = [], list[str]()
        for (task, metric), differences in by_task.items():
            found = longest(differences)
            named = dict(zip(test.metrics, test.names, strict=False)).get(metric, "")
            what = task_name(task) if task else named
            estimate = found.estimate if math.isfinite(found.estimate.value) else None
            compared.append(Compared(what, estimate, _learnt(comparisons, found)))
            records += found.records
        yield Evidence(compared, place.caveats(comparisons), tuple(records))


def _learnt(comparisons: Comparisons, one: Difference) -> Estimate | None:
    floor = [*comparisons.untrained(one.on).values()]
    if not floor:
        return None
    scores = comparisons.scores(one.on, one.second)
    return mean_difference([score - fmean(floor) for score in scores.values()])


def _trainings(test: Test, comparisons: Comparisons) -> Iterator[Evidence]:
    """CLIP's training time per image over CatLIP's, paired by seed on the same device, without
    trainings that other programs disturbed.
    """
    for place in places_of(comparisons):
        if not {*test.group} <= {place.scale, architecture(place.encoder)}:
            continue
        every = [
            run
            for run in comparisons.of(place.root, place.scale, Pretrain)
            if run.config.recipe.encoder == place.encoder
        ]
        for device in dict.fromkeys(run.where for run in every):
            runs = [run for run in every if run.where == device]
            clip = comparisons.opponent(place.root, place.scale, (run.method for run in runs))
            ratio = training_ratio(runs, clip)
            yield Evidence(
                [Compared(f"{clipped(device)}{_over(clip)}", ratio)] if ratio else [],
                place.caveats(comparisons),
                tuple(run.path for run in runs),
                ON_CPU if any(run.is_cpu for run in runs) else "",
            )


def _over(clip: str) -> str:
    """The CLIP, if it is another than the paper's."""
    return "" if clip == CLIPS[-1] else f", {name_of(clip)}"


def _bench(test: Test, comparisons: Comparisons) -> Iterator[Evidence]:
    """CatLIP and CLIP in one record of a bench: a ratio with the record's own interval, two
    intervals that must not overlap, or counts. Times and memory of a CPU are no evidence.
    """
    runs = [run for run in comparisons.records.every if run.kind in test.kinds]
    timed: Any = [run for run in runs if run.kind == StepTime.kind]
    places = comparisons.settings
    order = {run.path: rank for rank, run in enumerate(plainest_first(timed))}
    runs.sort(
        key=lambda run: (
            run.is_cpu,
            order.get(run.path, 0),
            places.index((run.root, run.scale)),
            run.name,
        )
    )
    rows = comparisons.frame[comparisons.frame.metric.isin(test.metrics)].fillna({"batch": 0})
    for run in runs:
        compared, config = [], run.config
        for batch, of_batch in rows[rows.record == run.path].groupby("batch"):
            sides = [_numbers(test, of_batch, method) for method in test.levels or [None]]
            if not all(sides):
                continue
            values = [[test.factor * number for number in side] for side in sides]
            if len(sides) == 1:
                estimate = from_interval(Interval(*values[0]))
            elif len(values[0]) == 1:
                estimate = count_estimate(values[0][0] - values[1][0])
            else:
                estimate = interval_difference(Interval(*values[1]), Interval(*values[0]))
            what = " \N{MINUS SIGN} ".join(map(name_of, test.levels)) or "CLIP / CatLIP"
            compared.append(Compared(f"{what}, batch of {batch:,.0f}" if batch else what, estimate))
        is_small = config.batch_size is not None and config.batch_size < MIN_BATCH
        few_classes = config.num_classes is not None and config.num_classes < CLASSES
        caveats = {
            "another encoder": architecture(config.model) not in ENCODERS,
            "a smaller vocabulary": few_classes,
            "another resolution": config.resolution not in (None, USUAL_RESOLUTION),
            "a small batch": is_small and not test.on_any_device,
        }
        if not (run.too_few and len(test.metrics) > 1):
            yield Evidence(
                compared,
                tuple(caveat for caveat, holds in caveats.items() if holds),
                (run.path,),
                ON_CPU if run.is_cpu and not test.on_any_device else "",
            )


def _numbers(test: Test, rows: "pd.DataFrame", method: str | None) -> list[float]:
    """A method's values of the test's metrics, in their order; empty if one is missing."""
    same = rows if method is None else rows[rows.method == method]
    values = same.drop_duplicates("metric").set_index("metric").value
    if not {*test.metrics} <= {*values.index}:
        return []
    return [float(values[name]) for name in test.metrics]


def _lengths(test: Test, comparisons: Comparisons) -> Iterator[Evidence]:
    """The accuracy of the longest training minus that of the second longest, of lengths with enough
    seeds. Before the paper's lengths every method improves, so shorter trainings are no test.
    """
    for place in places_of(comparisons):
        compared, untested, records = [], "", list[str]()
        by_task: dict[str, list[Experiment]] = {}
        for on in sorted(_cells(test, comparisons, place), key=lambda on: on.images):
            if on.fraction == 1:
                by_task.setdefault(on.task, []).append(on)
        for task, lengths in by_task.items():
            methods = [side.method for on in lengths for side in comparisons.cells[on]]
            clip = comparisons.opponent(place.root, place.scale, methods)
            side = Side(CATLIP if test.levels == (CATLIP,) else clip)
            having = [on for on in lengths if len(comparisons.scores(on, side)) >= min_pairs()]
            if len(having) < 2:
                continue
            short, long = having[-2:]
            gain = paired(comparisons.scores(long, side), comparisons.scores(short, side))
            epochs = [comparisons.cells[on][side].epochs.max() for on in (short, long)]
            what = f"{task_name(task)}, {epochs[0]:.3g} to {epochs[1]:.3g} epochs"
            compared.append(Compared(what + _over(side.method) * (side.method != CATLIP), gain))
            records += [*comparisons.cells[long][side].record]
            if not all(n >= NEARLY * least for n, least in zip(epochs, EPOCHS, strict=True)):
                untested = f"the paper's have {EPOCHS[0]} to {EPOCHS[1]} epochs"
        yield Evidence(compared, _of_cc3m(place, comparisons), tuple(records), untested)


def _of_cc3m(place: Place, comparisons: Comparisons) -> tuple[str, ...]:
    """The caveats of claims about CC3M."""
    caveats = place.caveats(comparisons)
    return caveats if caveats or place.scale == "cc3m" else (SCALES[place.scale],)


def paired(first: BySeed, second: BySeed) -> Estimate | None:
    return mean_difference([first[seed] - second[seed] for seed in first if seed in second])


def _sooner(test: Test, comparisons: Comparisons) -> Iterator[Evidence]:
    """The seconds of CLIP's best training over those that CatLIP needs for the same accuracy, by
    the time of a step, paired by seed. If CatLIP never reaches the accuracy, its longest training
    counts as having just reached it.
    """
    for place in places_of(comparisons):
        runs = comparisons.of(place.root, place.scale, LengthTraining)
        by_method = {curve.method: curve for curve in curves(runs)}
        clip_name = comparisons.opponent(place.root, place.scale, by_method)
        timed = comparisons.of(place.root, place.scale, StepTime)
        encoder = by_method[CATLIP].encoder if CATLIP in by_method else ""
        same = [run for run in plainest_first(timed) if run.config.model == encoder]
        ratio = next(filter(None, (ratio_of(run, clip_name) for run in same)), None)
        if ratio is None or not {CATLIP, clip_name} <= by_method.keys():
            continue
        compared, (catlip, clip) = [], (by_method[CATLIP], by_method[clip_name])
        images, clip_images = catlip.costs("images_seen"), clip.costs("images_seen")
        for task, by_seed in catlip.top1.items():
            ratios, late = [], 0
            for seed in by_seed.keys() & clip.top1.get(task, {}).keys():
                top1, clip_top1 = ([*map(value_of, c.top1[task][seed])] for c in (catlip, clip))
                best = max(clip_top1)
                reached = images[0] if top1[0] >= best else cost_of(images, top1, best)
                spent = clip_images[clip_top1.index(best)]
                ratios.append(ratio.value * spent / (reached or images[-1]))
                late += reached is None
            what = f"{task_name(task)}{_over(clip_name)}"
            what += f", never reached by {late} of {len(ratios)}" if late else ""
            compared.append(Compared(what, geometric_mean_ratio(ratios)))
        paths = tuple(r.path for c in (catlip, clip) for row in c.rows.values() for r in row)
        yield Evidence(compared, _of_cc3m(place, comparisons), paths)


def _gains(test: Test, comparisons: Comparisons) -> Iterator[Evidence]:
    """The gain of CatLIP's Transfer Init over a random start: at the fewest images; at the fewest
    minus at the most images; or with linear probes minus with fine-tuning, at the fewest images
    that both have.
    """
    for place in places_of(comparisons):
        gains: dict[str, dict[str, dict[float, BySeed]]] = {}  # task -> kind -> fraction
        for on in _cells(test, comparisons, place):
            starts = [comparisons.scores(on, Side(CATLIP, s)) for s in (TRANSFER, RANDOM)]
            shared = starts[0].keys() & starts[1].keys()
            gain = {seed: starts[0][seed] - starts[1][seed] for seed in sorted(shared)}
            if gain:
                gains.setdefault(on.task, {}).setdefault(on.kind, {})[on.fraction] = gain
        compared = []
        for task, by_kind in gains.items():
            if not {*test.kinds} <= by_kind.keys():
                continue
            probed = by_kind[test.kinds[0]]
            both = set.intersection(*({*by_kind[kind]} for kind in test.kinds))
            if len(test.kinds) == 2:
                if both:
                    few = min(both)
                    less = paired(*(by_kind[kind][few] for kind in test.kinds))
                    compared.append(Compared(f"{task_name(task)}, {100 * few:.2g} %", less))
            elif min(probed) == 1:
                continue  # all images only
            elif test.levels == ("fewest",):
                fewest = mean_difference([*probed[min(probed)].values()])
                compared.append(Compared(task_name(task), fewest))
            elif len(probed) > 1:
                more = paired(probed[min(probed)], probed[max(probed)])
                compared.append(Compared(task_name(task), more))
        yield Evidence(compared, place.caveats(comparisons))


def _steps(test: Test, comparisons: Comparisons) -> Iterator[Evidence]:
    """One level of a column minus another: each encoder minus the next smaller; all data minus the
    smallest fraction; the larger data set minus the smaller; thresholds.
    """
    frame = comparisons.frame
    rows = frame[frame.kind.isin(test.kinds) & frame.metric.isin(test.metrics) & frame.seed.notna()]
    for column, value in test.where.items():
        rows = rows[rows[column].isna() if value == "" else rows[column] == value]
    rows = rows.assign(task=rows.task.astype(object).fillna(""))
    shared = ["root", "encoder" if test.level == "scale" else "scale"]
    for key, of_place in sorted(rows.groupby(shared), key=lambda pair: rank_of(*pair[0])):
        used = _comparable(test, of_place)
        if used.empty:
            continue
        sizes, compared = used.groupby(test.level).flops.mean(), []
        for (kind, task), cell in used.groupby(["kind", "task"], sort=False):
            levels = {
                level: {
                    seed: _score(test, comparisons, of_seed)
                    for seed, of_seed in some.groupby("seed")
                }
                for level, some in cell.groupby(test.level)
            }
            for first, second in _choose(test, levels, sizes):
                what = _step_title(test, task_name(task) if task else "", first, second)
                what += ", fine-tuned" if kind == "finetune" else ""
                compared.append(Compared(what, paired(levels[first], levels[second])))
        root, name = key
        scale = name if test.level != "scale" else "datacomp"
        encoder = comparisons.encoder(root, scale) or str(used.encoder.iloc[0])
        caveats = Place(root, scale, encoder).caveats(comparisons)
        if test.level == "threshold" and not caveats:
            runs = [comparisons.runs[path] for path in {*used.record}]
            seen = [n for run in runs for n in run.series("images_seen")]
            caveats = () if seen and all(is_enough(n, scale) for n in seen) else (SHORTER,)
        yield Evidence(compared, caveats, tuple(dict.fromkeys(used.record)))


def _score(test: Test, comparisons: Comparisons, rows: "pd.DataFrame") -> Score | float:
    """The mean of rows of one seed."""
    if test.metrics[0] != "top1":
        return test.factor * float(rows.value.mean())
    scores = [comparisons.score(row) for row in rows.itertuples()]
    total, *others = scores
    for score in others:
        total = total + score
    return total / len(scores)


def _comparable(test: Test, rows: "pd.DataFrame") -> "pd.DataFrame":
    """The rows to compare: in a study, the trainings of the length with the most levels (then the
    most trainings, then the longest); elsewhere, the paper's encoders and data sets.
    """
    if test.kinds == (LengthTraining.kind,):
        if test.level == "fraction":  # of the encoder that has the most of them
            rows = rows[rows.encoder == rows.groupby("encoder").fraction.nunique().idxmax()]
        else:
            rows = rows[rows.fraction == 1]
        if rows.empty:
            return rows
        lengths = rows.groupby("images")[test.level].agg(["nunique", "count"]).reset_index()
        images = lengths.sort_values(["nunique", "count", "images"]).images.iloc[-1]
        return rows[rows.images == images]
    if test.level in ("encoder", "scale"):
        rows = rows.assign(encoder=rows.encoder.map(lambda name: architecture(str(name))))
        rows = rows[rows.encoder.isin([*ENCODERS])]
    return rows[rows.scale.isin([*SCALES])] if test.level == "scale" else rows


def _choose(test: Test, levels: Mapping[Any, BySeed], sizes: Any) -> list[tuple[Any, Any]]:
    """The levels to compare, as (first, second) of first - second."""
    if test.levels == ("next",):  # encoders by their operations, else in the paper's order
        names = [*ENCODERS]
        order = sorted(
            levels, key=lambda name: (sizes[name], names.index(name) if name in names else 0)
        )
        return [(large, small) for small, large in pairwise(order)]
    if test.levels == ("all", "least"):
        return [(1.0, min(levels))] if 1.0 in levels and len(levels) > 1 else []
    if test.levels == ("best", "largest"):
        best = max(levels, key=lambda at: fmean(map(value_of, levels[at].values())))
        return [(best, max(levels))]
    if test.levels == ("fivefold", "lowest"):  # nearly: the recorded one nearest to five times
        lowest = min(levels)
        higher = [at for at in levels if at > lowest > 0]
        return [(min(higher, key=lambda at: abs(at / lowest - 5)), lowest)] if higher else []
    one, other = test.levels
    return [(one, other)] if one in levels and other in levels else []


def _step_title(test: Test, task: str, one: Any, other: Any) -> str:
    match test.level:
        case "fraction":
            levels = f"100 % \N{MINUS SIGN} {100 * other:g} %"
        case "threshold":
            levels = f"{one:,g} \N{MINUS SIGN} {other:,g}"
        case "encoder":
            large, small = (clipped(ENCODERS.get(name, name), 24) for name in (one, other))
            levels = f"{large} \N{MINUS SIGN} {small}"
        case _:
            levels = ""
    return ", ".join(filter(None, (task, levels)))


def _trend(test: Test, comparisons: Comparisons) -> Iterator[Evidence]:
    """The mean of a number over seeds, of the longest trainings."""
    frame = comparisons.frame
    for place in places_of(comparisons):
        rows = frame[
            (frame.root == place.root)
            & (frame.scale == place.scale)
            & (frame.encoder == place.encoder)
            & frame.kind.isin(test.kinds)
            & frame.metric.isin(test.metrics)
        ]
        for column, value in test.where.items():
            rows = rows[rows[column] == value]
        rows = rows[1.01 * rows.images >= rows.images.max()]
        if len(rows):
            mean = mean_difference([*rows.groupby("seed").value.mean()])
            caveats = place.caveats(comparisons)
            yield Evidence([Compared(test.names[0], mean)], caveats, tuple(rows.record))


def _counts(test: Test, comparisons: Comparisons) -> Iterator[Evidence]:
    """The count of captions' synsets in DataComp-1.3B minus the count in CC3M by the same labelling
    rule; the first record of a rule and scale counts.
    """
    rows = comparisons.frame
    rows = rows[rows.kind.isin(test.kinds) & rows.metric.isin(test.metrics)]
    rows = rows.sort_values("kind", ascending=False, kind="stable")  # vocabulary_statistics first
    first = rows.drop_duplicates(["rule", "scale"])
    compared, records = [], list[str]()
    for rule, of_rule in first.groupby("rule"):
        counts = of_rule.set_index("scale").value.reindex([*SCALES])
        if counts.notna().all():
            small, large = counts
            what = f"{test.names[0]}, {clipped(rule, 24)}"
            compared.append(Compared(what, count_estimate(large - small)))
            records += [*of_rule.record]
    yield Evidence(compared, records=tuple(records))


def _share(test: Test, comparisons: Comparisons) -> Iterator[Evidence]:
    """The share of labels found exactly, minus the claim's share, which is by the paper's labelling
    rule: another rule makes other classes.
    """
    rows = comparisons.frame
    rows = rows[rows.kind.isin(test.kinds) & rows.metric.isin(test.metrics)]
    places = comparisons.settings
    for row in sorted(rows.itertuples(), key=lambda row: places.index((row.root, row.scale))):
        untested = ""
        if row.scale != "datacomp":
            untested = "the claim is about DataComp-1.3B"
        elif row.rule != PAPERS_RULE:
            untested = f"the paper's is by rule {PAPERS_RULE}"
        (share,) = test.levels
        found = count_estimate(test.factor * row.value - share)
        what = f"{format_number(test.factor * row.value, 1)} %, {clipped(row.rule, 24)}"
        yield Evidence([Compared(what, found)], records=(row.record,), untested=untested)


COMPARISONS: dict[str, Callable[[Test, Comparisons], Iterator[Evidence]]] = {
    "parity": _parity,
    "trainings": _trainings,
    "bench": _bench,
    "lengths": _lengths,
    "sooner": _sooner,
    "gains": _gains,
    "steps": _steps,
    "trend": _trend,
    "counts": _counts,
    "share": _share,
}
