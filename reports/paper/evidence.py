"""Evidence on the paper's claims: selections of the table of results, paired as claims.toml says.

A claim's `Test` names the rows (kinds, metric, where), the column whose levels are compared, the
levels, and what forms a pair. Evidence from the paper's data sets and encoders is at the paper's
scale; all other evidence has caveats.
"""

import math
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from statistics import fmean
from typing import TYPE_CHECKING, Any, TypeVar

from bench.downstream.dense.result import Dense
from bench.downstream.probe.result import (
    PAPERS,
    Finetune,
    LinearProbe,
    OnTasks,
    Readouts,
    agreed,
    is_published,
    short_task_title,
    tasks_by_importance,
)
from bench.step_time.result import StepTime, times_as_long
from bench.step_time.steps import USUAL_RESOLUTION, step_description
from bench.study.lengths_result import LengthTraining, cost_of, curves
from bench.study.result import best_clip
from catlip.pretraining.result import Pretrain, is_whole, pretraining_of, pretrainings
from catlip.records.claims import Test, min_pairs
from catlip.records.estimate import (
    Estimate,
    Score,
    count_estimate,
    from_interval,
    geometric_mean_ratio,
    interval_difference,
    mean_difference,
    mean_of,
    value_of,
)
from catlip.records.kind import Interval, Kind
from catlip.records.lines import brief_fraction
from catlip.records.run import Records, Run, select_kind
from catlip.records.select import (
    CC3M_IMAGES,
    COMMITTED,
    ENCODERS,
    IMAGES,
    NEARLY,
    RESOLUTIONS,
    RULES,
    SCALES,
    architecture,
    are_enough,
    busy_machines,
    is_enough,
    link,
    scale_in_words,
)
from catlip.records.styles import CATLIP, CLIPS, name_of
from catlip.records.table import clipped, format_number
from reports.pairs import LONGER, Pairs, pair_up
from reports.read.setting import plainest_first
from reports.results import nested, with_scores

if TYPE_CHECKING:
    import pandas as pd

OfKind = TypeVar("OfKind", bound=Kind)
Levels = Mapping[Any, Mapping[Any, Score | float]]  # a level of the compared column -> its values
SHORTER = "after a shorter training"
ON_CPU = "Not on a GPU."
CLASSES = 24_320  # the release's vocabulary of DataComp-1.3B, and the default of every bench
MIN_BATCH = 256  # images on a device; the smallest in Table 6
EPOCHS = (25, 100)  # of the shortest and the longest training in Figure 4(a)
PUBLISHED = {"multilabel": "COCO", "segmentation": "ADE20k", "detection": "COCO"}


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
    unit: str = "points"
    decimals: int = 1
    learnt: Estimate | None = None

    @property
    def is_judged(self) -> bool:
        return self.learnt is None or self.learnt.low is None or self.learnt.low > 0


@dataclass(frozen=True)
class Evidence:
    """What some records say of one claim.

    Attributes:
        compared: the comparisons, which must all agree for a verdict.
        words: further sentences.
        caveats: why it is not at the paper's scale, such as `at starter scale`; empty if it is.
        anchor: of its records in the page.
        untested: why the numbers do not test the claim, whatever they are; empty if they do.
    """

    compared: Sequence[Compared]
    words: str = ""
    caveats: tuple[str, ...] = ()
    anchor: str = ""
    untested: str = ""


@dataclass(frozen=True)
class Trained:
    """The records of one root about encoders of one architecture, pre-trained at one scale."""

    root: str
    scale: str
    encoder: str
    records: tuple[Run, ...]

    def of(self, kind: type[OfKind]) -> list[Run[OfKind]]:
        return select_kind(self.records, kind)

    def rows(self, frame: "pd.DataFrame") -> "pd.DataFrame":
        return frame[frame.record.isin([run.path for run in self.records])]

    def pair(self, rows: "pd.DataFrame") -> tuple[str, str]:
        """CatLIP, and the CLIP in these rows that is best on validation."""
        return CATLIP, best_clip(rows.method.unique(), self.records)

    @property
    def caveats(self) -> tuple[str, ...]:
        """Why an accuracy of this group is not at the paper's scale; empty if it is."""
        if self.root.endswith(COMMITTED) and self.scale in IMAGES:
            return (f"on {IMAGES[self.scale]}",)
        if self.scale not in SCALES:
            return (scale_in_words(self.scale),)
        caveats = []
        if self.encoder not in ENCODERS:
            caveats.append(f"with {clipped(self.encoder, 24)}")
        lengths = [cell.metrics.images_seen for cell in self.of(LengthTraining)]
        is_long = not lengths or is_enough(max(lengths), self.scale)
        if not is_long or not all(map(is_whole, self.of(Pretrain))):
            caveats.append(SHORTER)
        return tuple(caveats)

    @cached_property
    def tasks(self) -> Mapping[str, str]:
        """Task -> title, of the tasks that count: at the paper's scale, the paper's; else all."""
        records: list[Run[OnTasks]] = []
        for kind in (LinearProbe, Finetune, Readouts):
            records += self.of(kind)
        names = [task for record in records for task in record.metrics.tasks]
        names += [task for cell in self.of(LengthTraining) for task in cell.metrics.accuracies]
        return {
            task: short_task_title(records, task)
            for task in tasks_by_importance(names, records)
            if self.scale not in SCALES or (task in PAPERS and is_published(records, task))
        }


def groups_of(records: Records) -> list[Trained]:
    """All records in groups: the paper's scales and encoders first, then in the order of the page,
    the user's data before the starter's. A transfer record is in the group of its encoder's
    pre-training.
    """
    known = pretrainings(records)
    groups: dict[tuple[str, str, str], list[Run]] = {}
    for record in records.every:
        origin = pretraining_of(record, known) or record
        encoder = origin.config.recipe.encoder or origin.config.model
        key = (record.root, origin.scale, architecture(encoder))
        groups.setdefault(key, []).append(record)
    roots = list(dict.fromkeys(record.root for record in records.every))
    trained = {(record.root, record.scale) for record in records.of(Pretrain)}
    return sorted(
        (Trained(*key, tuple(runs)) for key, runs in groups.items()),
        key=lambda group: (
            group.scale not in SCALES,
            group.encoder not in ENCODERS,
            roots.index(group.root),
            (group.root, group.scale) not in trained,
            group.scale == "starter",
        ),
    )


def evidence(test: Test, groups: Sequence[Trained], frame: "pd.DataFrame") -> Iterator[Evidence]:
    """What each group of records says of a claim with this test.

    Args:
        frame: the table of results of all records.
    """
    rows = frame[frame.kind.isin(test.kinds) & frame.metric.isin(test.metrics)]
    for column, value in test.where.items():
        rows = rows[rows[column].isna() if value == "" else rows[column] == value]
    if rows.empty:
        return
    runs = {run.path: run for group in groups for run in group.records}
    rows = with_scores(rows, runs, test.factor).assign(value=test.factor * rows.value)
    if test.compare in COMPARISONS:
        yield from COMPARISONS[test.compare](test, groups, rows)
        return
    for group in groups:
        group_rows, untested = group.rows(rows), ""
        if group_rows.empty:
            continue
        if test.compare == "trend":
            trend = mean_difference([*group_rows.groupby("seed").value.mean()])
            compared = [Compared(test.names[0], trend, test.unit, decimals=test.decimals)]
        elif test.compare == "lengths":
            compared, untested = _lengths(test, group, group_rows)
        else:
            compared = IN_A_GROUP[test.compare](test, group, group_rows)
        caveats = group.caveats
        if test.compare in ("lengths", "sooner") and not caveats and group.scale != "cc3m":
            caveats = (f"on {SCALES[group.scale]}",)  # these claims are about CC3M
        if compared:
            yield Evidence(compared, "", caveats, _link(group, group_rows), untested)


def _link(group: Trained, rows: "pd.DataFrame") -> str:
    """The anchor of CatLIP's records in these rows, or else of all records in them."""
    paths = {*rows.record}
    used = [run for run in group.records if run.path in paths]
    return link([run for run in used if run.method == CATLIP] or used)


def _parity(test: Test, groups: Sequence[Trained], rows: "pd.DataFrame") -> Iterator[Evidence]:
    """CatLIP - CLIP for each task or metric, after the longest training with enough seeds, over
    pairs with the same seed and the same recipe of transfer; and CLIP - an untrained encoder. In a
    study of lengths each method is trained by its own recipe.
    """
    rows = rows[rows.probe_seed.isna()]
    rows = rows[(rows.kind != LengthTraining.kind) | ~(rows.fraction < 1)]
    of_study = rows.kind == LengthTraining.kind
    rows = rows.assign(
        pair=[*zip(rows.seed, rows.settings.mask(of_study, ""), strict=True)],
        length=rows.images.where(of_study, 0),  # 0: the group's own trainings
    )
    for group in groups:
        runs = [run for run in group.records if _is_protocol(run, test, group)]
        group_rows = rows[rows.record.isin([run.path for run in runs])]
        untrained_runs = [
            run.path
            for other in groups
            if (other.root, other.scale) == (group.root, group.scale)
            for run in other.records
            if run.method == "random" and _is_protocol(run, test, other)
        ]
        untrained = rows[rows.record.isin(untrained_runs)]
        compared = []
        own = group_rows[group_rows.length == 0]
        pair = group.pair(own if {*own.method} & {*CLIPS} else group_rows)
        used = list[str]()
        for key, title in _titles(test, group, runs).items():
            pairs, length = _longest_pairs(_on(key, group_rows), pair)
            if not pairs:
                continue
            if length:
                title += f" after {length:,.0f} images"
            used += [*group_rows[group_rows.length == length].record]
            learnt = None
            if by_seed := nested(_on(key, untrained), "seed"):
                floor = mean_of(by_seed.values())
                learnt = mean_difference([clip - floor for clip in pairs.other])
            compared.append(Compared(title + _over(pair[1]), pairs.difference(), learnt=learnt))
        if compared:
            anchor = _link(group, group_rows[group_rows.record.isin(used)])
            yield Evidence(compared, "", group.caveats, anchor=anchor)


def _longest_pairs(rows: "pd.DataFrame", methods: tuple[str, str]) -> tuple[Pairs[Hashable], float]:
    """The pairs after the longest training with enough of them, or else after the longest with any;
    and that length in the study, 0 for the own trainings.
    """
    found = []
    for length, values in nested(rows, "length", "method", "pair").items():
        pairs = pair_up(*(values.get(method, {}) for method in methods))
        images = length or LONGER * rows[rows.length == 0].images.fillna(math.inf).max()
        found.append((len(pairs.keys) >= min_pairs(), bool(pairs), images, length, pairs))
    if not found:
        return Pairs([], [], []), 0
    *_, length, pairs = max(found, key=lambda one: one[:3])
    return pairs, length


def _on(key: str, rows: "pd.DataFrame") -> "pd.DataFrame":
    """The rows of a task, or of a metric of a dense task."""
    return rows[(rows.task == key) | (rows.metric == key)]


def _is_protocol(run: Run, test: Test, group: Trained) -> bool:
    """Whether a transfer counts: at the paper's scale, only by the paper's protocol."""
    if run.kind not in test.kinds or run.config.init == "transfer":
        return False
    if group.scale not in SCALES:
        return True
    if run.kind == LengthTraining.kind:  # its lengths and its probe may be any
        return False
    is_published = not isinstance(run.metrics, Dense) or run.metrics.is_published()
    return is_published and run.config.recipe.resolution == RESOLUTIONS[run.kind]


def _titles(test: Test, group: Trained, runs: Sequence[Run]) -> Mapping[str, str]:
    """Task, or metric of a dense task -> its title."""
    if not test.names:
        return group.tasks
    dense = [run.metrics for run in runs if isinstance(run.metrics, Dense)]
    if dense and all(metrics.is_published() for metrics in dense):
        title = f"{PUBLISHED[test.kinds[0]]} {{}}"
    else:
        classes = agreed(metrics.num_classes for metrics in dense)
        images = agreed(metrics.num_val for metrics in dense)
        title = "{}" + ("" if classes is None else f" of {format_number(classes, 0)} classes")
        title += "" if images is None else f" on {format_number(images, 0)} images"
    return {key: title.format(name) for key, name in zip(test.metrics, test.names, strict=True)}


def _trainings(test: Test, groups: Sequence[Trained], rows: "pd.DataFrame") -> Iterator[Evidence]:
    """CLIP's training time per image over CatLIP's, paired by seed on the same device, without
    trainings that other programs disturbed.
    """
    for group in groups:
        if not {*test.group} <= {group.scale, group.encoder}:
            continue
        runs = {run.path: run for run in group.records}
        group_rows = group.rows(rows)
        pair = group.pair(group_rows)
        for device in dict.fromkeys(group_rows[group_rows.method == CATLIP].device):
            device_rows = group_rows[group_rows.device == device]
            quiet = device_rows[[not runs[path].environment.busy for path in device_rows.record]]
            every, undisturbed = _pairs(device_rows, pair), _pairs(quiet, pair)
            if not every:
                continue
            used = [runs[path] for path in device_rows.record if runs[path].method in pair]
            what = f"trainings on {clipped(used[0].device)}{_over(pair[1])}"
            times = [Compared(what, undisturbed.ratio(), "times", decimals=2)]
            yield Evidence(
                times if are_enough(undisturbed.keys, every.keys) else [],
                busy_machines(used, "trainings"),
                group.caveats,
                anchor=_link(group, group_rows),
                untested=ON_CPU if used[0].is_cpu else "",
            )


def _over(clip: str) -> str:
    """Words for a CLIP other than the paper's."""
    return "" if clip == CLIPS[-1] else f", against {name_of(clip)}"


def _pairs(rows: "pd.DataFrame", pair: tuple[str, str]) -> Pairs[float]:
    """The values of CatLIP and CLIP by seed, each of its most common recipe."""
    sides = list[dict[float, float]]()
    for method in pair:
        method_rows = rows[(rows.method == method) & (rows.value > 0)]
        if method_rows.empty:
            return Pairs([], [], [])
        usual = method_rows.groupby("settings", sort=False).seed.nunique().idxmax()
        means = method_rows[method_rows.settings == usual].groupby("seed").value.mean()
        sides.append(means.to_dict())
    return pair_up(*sides)


def _bench(test: Test, groups: Sequence[Trained], rows: "pd.DataFrame") -> Iterator[Evidence]:
    """CatLIP and CLIP in one record of a bench: a ratio with the record's own interval, two
    intervals that must not overlap, or counts. Times and memory of a CPU are no evidence.
    """
    for run in (run for group in groups for run in group.records if run.kind in test.kinds):
        run_rows = rows[rows.record == run.path].fillna({"batch": 0})
        compared, words, config = [], [], run.config
        for batch, by_method in sorted(nested(run_rows, "batch", "method", "metric").items()):
            methods = test.levels or [*by_method]
            side_metrics = [by_method.get(method, {}) for method in methods]
            if not all(name in metrics for metrics in side_metrics for name in test.metrics):
                continue
            sides = [[value_of(metrics[name]) for name in test.metrics] for metrics in side_metrics]
            if len(sides) == 1:
                estimate = from_interval(Interval(*sides[0]))
            elif len(sides[0]) == 1:
                estimate = count_estimate(sides[0][0] - sides[1][0])
            else:
                estimate = interval_difference(Interval(*sides[1]), Interval(*sides[0]))
            what = " - ".join(map(name_of, test.levels)) or "CLIP / CatLIP"
            if batch:
                what += f", {batch:,.0f} image{'s' * (batch != 1)}"
            compared.append(Compared(what, estimate, test.unit, decimals=test.decimals))
            if len(methods) == 2 and not batch:
                words = [
                    f"{name_of(method)} {format_number(side[0], test.decimals)}"
                    for method, side in zip(methods, sides, strict=True)
                ]
        is_small = config.batch_size is not None and config.batch_size < MIN_BATCH
        few_classes = config.num_classes is not None and config.num_classes < CLASSES
        caveats = {
            "with another encoder than the paper's": architecture(config.model) not in ENCODERS,
            "with a smaller vocabulary": few_classes,
            "at another resolution": config.resolution not in (None, USUAL_RESOLUTION),
            "at a small batch": is_small and not test.on_any_device,
        }
        if compared and not (run.too_few and len(test.metrics) > 1):
            yield Evidence(
                compared,
                f"{', '.join([*words, step_description(run)])}.",
                tuple(caveat for caveat, holds in caveats.items() if holds),
                anchor=run.anchor,
                untested=ON_CPU if run.is_cpu and not test.on_any_device else "",
            )


def _lengths(test: Test, group: Trained, rows: "pd.DataFrame") -> tuple[list[Compared], str]:
    """The accuracy of the longest training minus that of the second longest, and why they do not
    test the claim. If at least two lengths have enough seeds, only those lengths are used, else
    all. Before the paper's lengths every method improves, so shorter trainings are no test.
    """
    catlip, clip = group.pair(rows)
    method = catlip if test.levels == (CATLIP,) else clip
    rows = rows[rows.method == method]
    compared, untested = [], ""
    by_task = nested(rows, "task", "images", "seed")
    for task, title in group.tasks.items():
        lengths = by_task.get(task, {})
        enough = {n: seeds for n, seeds in lengths.items() if len(seeds) >= min_pairs()}
        last_two = sorted((enough if len(enough) > 1 else lengths).items())[-2:]
        if len(last_two) == 2:
            (short, before), (long, last) = last_two
            what = f"{title}, {short:,.0f} to {long:,.0f} images"
            what += f", with {name_of(method)}" if method in CLIPS[:-1] else ""
            compared.append(Compared(what, pair_up(last, before).difference()))
            untested = untested or _too_short(group, short, long)
    return compared, untested


def _too_short(group: Trained, *images: float) -> str:
    """Why two lengths say nothing about the paper's lengths; empty if they reach these."""
    papers = f"The paper trains for {EPOCHS[0]} to {EPOCHS[1]} epochs"
    sizes = [
        run.metrics.images_seen / run.metrics.epochs_seen
        for run in group.of(Pretrain)
        if run.metrics.epochs_seen > 0
    ]
    size = sizes[0] if sizes else CC3M_IMAGES * (group.scale == "cc3m")
    if not size:
        return f"{papers}; how many these are is unknown."
    epochs = [n / size for n in images]
    if all(n >= NEARLY * least for n, least in zip(epochs, EPOCHS, strict=True)):
        return ""
    return f"{papers}; these are {format_number(epochs[0], 1)} and {format_number(epochs[1], 1)}."


def _sooner(test: Test, group: Trained, rows: "pd.DataFrame") -> list[Compared]:
    """The seconds of CLIP's best training over those that CatLIP needs for the same accuracy, by
    the time of a step, paired by seed. If CatLIP never reaches the accuracy, its longest training
    counts as having just reached it.
    """
    pair = group.pair(rows)
    by_method = {curve.method: curve for curve in curves(group.of(LengthTraining))}
    on_cpu = {run.is_cpu for run in group.of(LengthTraining)}
    timed = plainest_first(run for run in group.of(StepTime) if run.is_cpu in on_cpu)
    times = next(filter(None, (times_as_long(run, pair[1]) for run in timed)), None)
    if times is None or not {*pair} <= by_method.keys():
        return []
    compared, (catlip, clip) = [], (by_method[method] for method in pair)
    images, clip_images = catlip.costs("images_seen"), clip.costs("images_seen")
    for task, title in group.tasks.items():
        ratios = []
        for seed, scores in catlip.top1.get(task, {}).items():
            if seed not in clip.top1.get(task, {}):
                continue
            top1, clip_top1 = ([*map(value_of, side)] for side in (scores, clip.top1[task][seed]))
            best = max(clip_top1)
            needed = images[0] if top1[0] >= best else cost_of(images, top1, best) or images[-1]
            ratios.append(times * clip_images[clip_top1.index(best)] / needed)
        if ratios:
            what = f"CLIP's best on {title}{_over(pair[1])}"
            compared.append(Compared(what, geometric_mean_ratio(ratios), "times", decimals=2))
    return compared


def _gains(test: Test, group: Trained, rows: "pd.DataFrame") -> list[Compared]:
    """The gain, Transfer Init - random start: at the fewest images; at the fewest minus at the most
    images; or with linear probes minus with fine-tuning, at the fewest images that both have.
    """
    compared: list[Compared] = []
    for task, title in group.tasks.items():
        by_kind: dict[str, dict[float, dict[int, Score | float]]] = {}
        columns = ("kind", "fraction", "seed", "init", "probe_seed")
        for kind, by_fraction in nested(rows[rows.task == task], *columns).items():
            for fraction, by_seed in by_fraction.items():
                gains: dict[int, Score | float] = {}
                for seed, starts in by_seed.items():
                    pairs = pair_up(starts.get("transfer", {}), starts.get("random", {}))
                    if pairs:
                        gains[seed] = mean_of(pairs.points)
                if gains:
                    by_kind.setdefault(kind, {})[fraction] = gains
        if not {*test.kinds} <= by_kind.keys():
            continue
        shared = set.intersection(*({*by_kind[kind]} for kind in test.kinds))
        probed = by_kind[test.kinds[0]]
        if len(test.kinds) == 2 and shared:
            few = min(shared)
            what = f"{title}, {brief_fraction(100 * few)} % of the data"
            less = pair_up(*(by_kind[kind][few] for kind in test.kinds))
            compared.append(Compared(what, less.difference()))
        elif min(probed) == 1:
            continue  # all images only
        elif test.levels == ("fewest",):
            compared.append(Compared(title, mean_difference([*probed[min(probed)].values()])))
        elif test.levels == ("fewest", "most") and len(probed) > 1:
            more = pair_up(probed[min(probed)], probed[max(probed)])
            compared.append(Compared(title, more.difference()))
    return compared


def _steps(test: Test, groups: Sequence[Trained], rows: "pd.DataFrame") -> Iterator[Evidence]:
    """One level of the column test.level minus another: each encoder minus the next smaller; all
    data minus the smallest fraction; the larger data set minus the smaller; thresholds.
    """
    together: dict[tuple[str, str], list[Trained]] = {}
    for group in groups:
        shared = group.encoder if test.level == "scale" else group.scale
        if len(group.rows(rows)):
            together.setdefault((group.root, shared), []).append(group)
    for joined in together.values():
        runs = [run for group in joined for run in group.records]
        used, words = _comparable(test, rows[rows.record.isin([run.path for run in runs])])
        titles = {task: title for group in joined for task, title in group.tasks.items()}
        sizes = used.groupby(test.level).flops.mean()
        compared = []
        used = used.assign(task=used.task.astype(object).fillna(""))  # float if all are missing
        values = nested(used, "kind", "task", test.level, "seed")
        for kind, by_task in values.items():
            for task, levels in by_task.items():
                for one, other in _choose(test, levels, sizes):
                    what = _step_title(test, kind, titles.get(task, task), one=one, other=other)
                    points = pair_up(levels[one], levels[other]).difference()
                    compared.append(Compared(what, points, test.unit, decimals=test.decimals))
        if compared:
            caveats = [caveat for group in joined for caveat in group.caveats]
            if test.level == "threshold" and joined[0].scale in SCALES:
                paths = {*used.record}
                seen = [n for run in runs if run.path in paths for n in run.series("images_seen")]
                if not seen or not all(is_enough(n, joined[0].scale) for n in seen):
                    caveats.append(SHORTER)
            anchor = _link(joined[-1], used) or _link(joined[0], used)
            yield Evidence(compared, words, tuple(dict.fromkeys(caveats)), anchor=anchor)


def _comparable(test: Test, rows: "pd.DataFrame") -> tuple["pd.DataFrame", str]:
    """The rows to compare, and a sentence on them. In a study, the trainings of the length with the
    most levels (then the most trainings, then the longest); elsewhere, the paper's encoders and
    data sets.
    """
    if test.kinds == (LengthTraining.kind,):
        if test.level == "fraction":  # of the encoder that has the most of them
            rows = rows[rows.encoder == rows.groupby("encoder").fraction.nunique().idxmax()]
        else:
            rows = rows[rows.fraction == 1]
        if rows.empty:
            return rows, ""
        lengths = rows.groupby("images")[test.level].agg(["nunique", "count"]).reset_index()
        images = lengths.sort_values(["nunique", "count", "images"]).images.iloc[-1]
        return rows[rows.images == images], f"Each training saw {images:,.0f} images."
    if test.level in ("encoder", "scale"):
        rows = rows.assign(encoder=rows.encoder.map(architecture))
        rows = rows[rows.encoder.isin([*ENCODERS])]
    return (rows[rows.scale.isin([*SCALES])] if test.level == "scale" else rows), ""


def _choose(test: Test, levels: Levels, sizes: Any) -> list[tuple[Any, Any]]:
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
        return [
            (max(levels, key=lambda at: fmean(map(value_of, levels[at].values()))), max(levels))
        ]
    if test.levels == ("fivefold", "lowest"):  # nearly: the recorded one nearest to five times
        lowest = min(levels)
        higher = [at for at in levels if at > lowest > 0]
        return [(min(higher, key=lambda at: abs(at / lowest - 5)), lowest)] if higher else []
    one, other = test.levels
    return [(one, other)] if one in levels and other in levels else []


def _step_title(test: Test, kind: str, task: str, *, one: Any, other: Any) -> str:
    match test.level:
        case "fraction":
            return f"{task}, all data against {100 * other:g} %"
        case "threshold":
            return f"{task}, threshold {one:,g} against {other:,g}"
        case "encoder":
            small, large = (clipped(ENCODERS.get(name, name), 24) for name in (other, one))
            task = f"{task or 'decrease of the final loss'}, {small} to {large}"
    way = {"linear_probe": "linear probe", "finetune": "fine-tuning"}.get(kind, "")
    return f"{task}, {way}" if way else task


def _counts(test: Test, groups: Sequence[Trained], rows: "pd.DataFrame") -> Iterator[Evidence]:
    """The count of captions' synsets in DataComp-1.3B minus the count in CC3M by the same labelling
    rule; the first record of a rule and scale counts.
    """
    rows = rows.sort_values("kind", ascending=False, kind="stable")  # vocabulary_statistics first
    first = rows.drop_duplicates(["rule", "scale"]).pivot(index="rule", columns="scale")
    runs = {run.path: run for group in groups for run in group.records}
    compared, anchor = [], ""
    for rule in dict.fromkeys(rows.rule):
        counts = first.value.loc[rule].reindex([*SCALES])
        if counts.notna().all():
            small, large = counts
            what = f"{test.names[0]}, by rule {clipped(rule, 24)}"
            compared.append(Compared(what, count_estimate(large - small), "", decimals=0))
            anchor = runs[first.record.loc[rule, "datacomp"]].anchor
    if compared:
        yield Evidence(compared, anchor=anchor)
        return
    for group in groups:
        for row in group.rows(rows).itertuples():
            count = f"{format_number(row.value, 0)} {test.names[0]}"
            words = f"{count} in one data set; the claim compares two."
            yield Evidence([], words, group.caveats, anchor=runs[row.record].anchor)


def _share(test: Test, groups: Sequence[Trained], rows: "pd.DataFrame") -> Iterator[Evidence]:
    """The share of labels found exactly, minus the claim's share, which is by the paper's labelling
    rule: another rule makes other classes.
    """
    for group in groups:
        for row in group.rows(rows).itertuples():
            untested = ""
            if group.scale != "datacomp":
                untested = "The claim is about DataComp-1.3B."
            elif row.rule != RULES[0]:
                untested = f"The paper's share is by rule {RULES[0]}."
            words = f"{format_number(row.value, 1)} %, by rule {clipped(row.rule, 24)}."
            (share,) = test.levels
            compared = [Compared(f"against {share} %", count_estimate(row.value - share))]
            anchor = next(run.anchor for run in group.records if run.path == row.record)
            yield Evidence(compared, words, anchor=anchor, untested=untested)


COMPARISONS = {
    "parity": _parity,
    "trainings": _trainings,
    "bench": _bench,
    "steps": _steps,
    "counts": _counts,
    "share": _share,
}
IN_A_GROUP = {"sooner": _sooner, "gains": _gains}
