"""Answers from one setting's records, in plain sentences: is CatLIP as good, is it cheaper, why,
and what should a reader do?

Methods are said to differ only if the interval of their difference does not contain zero. The
interval is over seeds and test images, or over seeds alone for records without a bit for each
image. A ratio is given only with its interval. What was not run is named as not run.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from statistics import fmean

from bench.downstream.probe.result import LinearProbe
from bench.plan.result import Analytic, Projection
from bench.step_time.steps import step_description
from bench.study.lengths_result import LengthTraining
from bench.waterfall.result import TO_CATLIP, Waterfall
from catlip.pretraining.result import Pretrain
from catlip.records.blocks import Answer
from catlip.records.claims import claims, min_pairs
from catlip.records.estimate import (
    BETTER,
    CANNOT_TELL,
    NOT_WORSE,
    WORSE,
    Estimate,
    beats,
    verdict,
)
from catlip.records.kind import Kind
from catlip.records.run import TIMES, Records, Run, interval
from catlip.records.select import architecture, images_of, link, owner_in_words, unique_runs
from catlip.records.styles import CATLIP, CLIPS, distinct_name, name_of
from catlip.records.table import format_number, from_to, listed, mean_and_spread, sign_of, signed
from reports.pairs import LONGER
from reports.paper.published import claimed_speed_up
from reports.read.differences import ENCODER, LENGTH, OTHERS, Difference, sign
from reports.read.setting import MAX_FIRST, Setting
from reports.summary.costs import step_ratio
from reports.summary.drawers import leads_by_team, over_teams

AHEAD, BEHIND, UNEVEN = (
    "CatLIP is ahead",
    "CLIP is ahead",
    "the seeds disagree",
)  # with too few seeds for a verdict
UNTRAINED = "an untrained encoder"
PAPERS_SMALLEST = "vit_b16"  # the encoder of the paper's speed-up
SCALE = "up to 1.3 billion photos"


def about(setting: Setting, others: Sequence[Setting] = ()) -> str:
    """What the encoders were trained on, and what that cannot show; empty without trainings."""
    trained = setting.of(Pretrain)
    if not trained:
        return ""
    run = trained[0].metrics
    beside = [one for one in others if _is_beside(setting, one)]
    *data, last = [images_of(one.root, one.scale) for one in (setting, *beside)]
    trained_on = f"{', '.join(data)} and {last}" if beside else data_of(setting)
    words = f"Encoders of {format_number(run.parameters_image / 1e6, 1)} M parameters, trained "
    words += f"{'separately ' * bool(beside)}on {trained_on}"
    if setting.scale == "starter":
        return f"{words}. This tests the pipeline, not the paper, whose claims rest on {SCALE}."
    if not any(longer_and_shorter(setting)):
        seeds = len({record.seed for record in trained})
        words += f", {run.images_seen:,.0f} seen in a training, {seeds} seed{'s' * (seeds != 1)}"
    return f"{words}. The paper's claims rest on {SCALE}: the order may change with scale."


def data_of(setting: Setting) -> str:
    """`27,772 drawings`"""
    return f"{_samples(setting):,.0f} {images_of(setting.root, setting.scale)}"


def _samples(setting: Setting) -> float:
    run = setting.of(Pretrain)[0].metrics
    return run.images_seen / (run.epochs_seen or 1)


def _is_beside(setting: Setting, other: Setting) -> bool:
    """Whether another setting was trained on other data, by the same people."""
    is_other = other.root == setting.root and other.scale != setting.scale
    return is_other and bool(other.of(Pretrain))


@dataclass(frozen=True)
class Compared:
    """CatLIP - CLIP on one task.

    Attributes:
        points: of each seed that both have.
        accuracies: the means of both, in %.
        images: that each encoder was trained on; 0 if unknown.
        kind: of its records.
    """

    task: str
    points: Sequence[float]
    estimate: Estimate
    accuracies: tuple[float, float]
    images: float
    kind: type[Kind]

    @property
    def has_interval(self) -> bool:
        return self.estimate.low is not None

    @property
    def word(self) -> str:
        """The verdict, which with too few seeds for an interval is AHEAD, BEHIND or UNEVEN."""
        if self.has_interval:
            return verdict(self.estimate, claims()["probe_parity"].bound)
        signs = {*map(sign_of, self.points)}
        return AHEAD if signs == {1} else BEHIND if signs == {-1} else UNEVEN


def compared_tasks(setting: Setting) -> list[Compared]:
    """All tasks that both methods have, each after the longest training that was probed on it: of
    the setting's own, or of the study's on all data. One with an interval goes before longer ones
    without.
    """
    of_task = {one.task: one for one in probed_tasks(setting)}
    for one in after_each_length(setting):
        before = of_task.get(one.task)
        if before is None or (one.has_interval, one.images) > (
            before.has_interval,
            LONGER * (before.images or math.inf),
        ):
            of_task[one.task] = one
    return [*of_task.values()]


@cache  # each difference has an interval over all test images
def probed_tasks(setting: Setting) -> list[Compared]:
    """All tasks that both methods' own trainings were probed on, with the same recipe and at least
    one seed.
    """
    trained = setting.counted(CATLIP).records
    images = trained[0].metrics.images_seen if trained else 0.0
    compared = []
    for task in setting.tasks:
        pairs = setting.paired(task)
        if difference := pairs.difference():
            about = pairs.means, images, LinearProbe
            compared.append(Compared(task, pairs.values, difference, *about))
    return compared


def after_each_length(setting: Setting) -> list[Compared]:
    """The study's, the shortest first; beside trainings or probes of the setting's own, with their
    encoder and over their CLIP.
    """
    found = [one for one in setting.differences if one.heading in (LENGTH, ENCODER)]
    if own := setting.of(Pretrain):
        encoder = own[0].config.recipe.encoder
        found = [one for one in found if (one.same.encoder, one.same.fraction) == (encoder, 1)]
    else:
        found = [one for one in found if one.heading == LENGTH]
    if setting.of(LinearProbe):
        found = [one for one in found if one.method == setting.clip]
    return [
        Compared(
            one.task, one.points, one.estimate, one.accuracies, one.same.images, LengthTraining
        )
        for one in sorted(found, key=lambda one: one.same.images)
        if one.accuracies
    ]


def longer_and_shorter(setting: Setting) -> tuple[list[Compared], list[Compared]]:
    """The tasks that have an interval after a longer training than the setting's own, and what they
    had after that.
    """
    after_own = {one.task: one for one in probed_tasks(setting)}
    longer = [
        one
        for one in compared_tasks(setting)
        if one.has_interval and one.task in after_own and one.images > after_own[one.task].images
    ]
    return longer, [after_own[one.task] for one in longer]


def turned(setting: Setting) -> tuple[list[Compared], list[Compared]]:
    """Those of `longer_and_shorter` whose verdicts differ."""
    both = zip(*longer_and_shorter(setting), strict=True)
    differ = [(longer, shorter) for longer, shorter in both if longer.word != shorter.word]
    return [longer for longer, _ in differ], [shorter for _, shorter in differ]


def after_epochs(setting: Setting, found: Sequence[Compared]) -> str:
    """`-1.5 and -3.3 after 50 epochs, +0.3 after 16 epochs`, of those that have an interval."""
    of_length: dict[str, list[str]] = {}
    for one in filter(lambda one: one.has_interval, found):
        points = of_length.setdefault(epochs_of(setting, one.images), [])
        points.append(signed(one.estimate.value, 1))
    return ", ".join(f"{' and '.join(all_)} after {length}" for length, all_ in of_length.items())


def length_of(setting: Setting, one: Compared) -> str:
    """`25 epochs, 6 seeds`"""
    seeds = f"{len(one.points)} seed{'s' * (len(one.points) != 1)}"
    return ", ".join(filter(None, (epochs_of(setting, one.images), seeds)))


def epochs_of(setting: Setting, images: float) -> str:
    """`50 epochs`, or `8,000 images` if it is unknown how many an epoch has; empty for none."""
    trained = setting.of(Pretrain)
    known = trained and trained[0].metrics.epochs_seen
    epochs = images / (_samples(setting) or math.nan) if known else math.nan
    if not math.isfinite(epochs):
        return f"{format_number(images, 0)} images" if images else ""
    is_whole = epochs >= 10 or (abs(epochs - round(epochs)) < 0.05 and epochs > 0.5)
    words = format_number(epochs, 0 if is_whole else 1 if epochs > 0.5 else None)
    return f"{words} epoch{'s' * (words != '1')}"


def over_encoders_and_lengths(setting: Setting) -> list[Difference]:
    """The study's differences over the page's CLIP on all data, where they have an interval."""
    return [
        one
        for one in setting.differences
        if one.heading in (LENGTH, ENCODER) and one.method == setting.clip
        if sign(one.estimate) is not None
    ]


def ends_of_study(setting: Setting) -> str:
    """`-1.9 / -0.1 (0.5x FLOPs, 32,000 images) to +8.8 / +11.7 (3.9x, 128,000)`: the least
    and the most, by the mean over tasks, of the study's encoders and lengths on all data; empty
    with fewer than two.
    """
    found: dict[tuple[str, float], list[Difference]] = {}
    for one in over_encoders_and_lengths(setting):
        found.setdefault((one.same.encoder, one.same.images), []).append(one)
    if len(found) < 2:
        return ""
    costs = operations(setting)
    usual = next((one.same.encoder for one in setting.differences if one.heading == LENGTH), "")
    ranked = sorted(found, key=lambda key: fmean(one.estimate.value for one in found[key]))
    words = []
    for (encoder, images), what in ((ranked[0], " FLOPs"), (ranked[-1], "")):
        points = on_tasks(setting, found[encoder, images], is_brief=True)
        times = format_number(costs.get(encoder, 0) / (costs.get(usual) or 1), 1)
        unit = " images" if what else ""
        words.append(f"{points} ({times}{TIMES}{what}, {images:,.0f}{unit})")
    return " to ".join(words)


def as_good(setting: Setting, others: Sequence[Setting] = ()) -> Answer:
    """CatLIP against CLIP on every task."""
    question = "Is CatLIP as good?"
    compared = compared_tasks(setting)
    kinds = dict.fromkeys(one.kind for one in compared) or [LinearProbe]
    linked = {(kind, m): link(setting.of(kind, m)) for kind in kinds for m in setting.pair}
    sources = [
        (anchor, name_of(method) + ", study" * (kind is LengthTraining and len(kinds) > 1))
        for (kind, method), anchor in linked.items()
        if anchor
    ]
    own = [one.task for one in compared if one.kind is LinearProbe]
    near_random = [_near_random(setting, method, own) for method in setting.pair]
    near = [
        f"{name_of(method)} cannot be told from {UNTRAINED} on {' and '.join(of.values())}."
        for method, of in zip(setting.pair, near_random, strict=True)
        if of
    ]
    if not compared:
        return Answer(question, _not_compared(setting), near, sources=sources)
    sentences = _over(setting, compared)
    sentences += near
    if all(not one.has_interval for one in compared):
        sentences += _of_larger_study(setting, others)
    answer = [_as_good_in_short(setting, compared).rstrip("."), *_on_other_data(setting, others)]
    short = f"{'; '.join(answer)}."
    if all({one.task for one in compared} <= {*of} for of in near_random):
        short = f"Not yet known: neither method can be told from {UNTRAINED}."
    return Answer(question, short, sentences, sources=sources)


def _not_compared(setting: Setting) -> str:
    missing = [name_of(method) for method in setting.pair if not setting.of(LinearProbe, method)]
    if missing:
        return f"Not yet known: this needs a linear probe of {' and of '.join(missing)}."
    every = (setting.differing_settings(task) for task in setting.tasks)
    if fields := [*dict.fromkeys(field for fields in every for field in fields)]:
        return f"Not compared: CatLIP and CLIP differ in {listed(fields)}."
    return "Not compared: their probes have no data or no seed in common, or are not a number."


def _as_good_in_short(setting: Setting, compared: Sequence[Compared]) -> str:
    """The answer over all tasks; those without an interval count only if none has one."""
    judged = [one for one in compared if one.has_interval] or compared
    few = any(not one.has_interval for one in judged)
    needed = f"; an interval needs {min_pairs()}" if few else ""
    words = {one.word for one in judged}
    if len(words) > 1:
        tasks_of: dict[str, list[str]] = {}
        for one in judged:
            excluded = f" ({_excluded([one])})" if one.word == CANNOT_TELL else ""
            tasks_of.setdefault(one.word, []).append(setting.name(one.task) + excluded)
        each = "; ".join(f"{word} on {' and '.join(tasks)}" for word, tasks in tasks_of.items())
        as_good = words <= {BETTER, NOT_WORSE}
        return f"{'At least as good' if as_good else 'It depends on the task'}: {each}{needed}."
    word = words.pop()
    if few:
        return f"{_ahead(word, judged)}{needed}."
    where = "On drawings" if setting.scale == "starter" else "Here"
    values = [one.estimate.value for one in judged]
    means = from_to(map(abs, values))
    answer = {
        BETTER: f"{where} it is {means} points better",
        NOT_WORSE: f"{where} it is not worse",
        WORSE: f"{where} it is {means} points worse",
        CANNOT_TELL: f"{where} the two cannot be told apart: CatLIP is {_excluded(judged)}",
    }[word]
    if _larger_words(setting) - {word}:
        return f"{answer}; not with a larger encoder."
    is_easiest = setting.scale == "starter" and word == BETTER
    batches = under_conditions(setting, "batch").values()
    varied = [one.estimate.value for of_size in batches for one in of_size]
    elsewhere = [
        ends_of_study(setting),
        f"{from_to(varied, show=signed)} with other batches" if varied else "",
        over_other_teams(setting),
    ]
    easiest = ["its easiest case"] * is_easiest
    return f"{', '.join(filter(None, [answer, *easiest, *elsewhere]))}."


def _on_other_data(setting: Setting, others: Sequence[Setting]) -> list[str]:
    """For each further data set, from the least to the most difference on its tasks and in its
    study, and those that a longer training than its own has turned.
    """
    words = []
    for other in others:
        judged = [one for one in compared_tasks(other) if one.has_interval]
        if not judged or not _is_beside(setting, other):
            continue
        shorter = longer_and_shorter(other)[1]
        found = [one.estimate for one in (*judged, *shorter) if one.has_interval]
        found += [one.estimate for one in over_encoders_and_lengths(other)]
        ends = from_to((one.value for one in found), show=signed)
        over = "" if other.clip == setting.clip else f" over {distinct_name(other.clip)}"
        longer = after_epochs(other, turned(other)[0])
        after = f" ({longer})" if longer else ""
        words.append(f"on {images_of(other.root, other.scale)} {ends}{over}{after}")
    return words


def _excluded(compared: Sequence[Compared]) -> str:
    """`at most 2.5 points worse, 1.1 better`: what no interval reaches."""
    lows = [one.estimate.low or 0.0 for one in compared]
    highs = [one.estimate.high or 0.0 for one in compared]
    worse, better = format_number(-min(lows), 1), format_number(max(highs), 1)
    return f"at most {worse} points worse, {better} better"


def _ahead(word: str, compared: Sequence[Compared]) -> str:
    """`CatLIP is ahead by 9.1 to 12.4 points in both seeds`."""
    points = [point for one in compared for point in one.points]
    seeds = {len(one.points) for one in compared}
    count = seeds.pop() if len(seeds) == 1 else 0
    in_seeds = {0: "every seed", 1: "one seed", 2: "both seeds"}.get(count, f"all {count} seeds")
    if word == UNEVEN and not any(map(sign_of, points)):
        return f"The two are level in {in_seeds}"
    if word == UNEVEN:
        ends = f"{signed(min(points), 1)} to {signed(max(points), 1)}"
        return f"The seeds disagree: CatLIP minus CLIP is {ends} points"
    return f"{word} by {from_to(map(abs, points))} points in {in_seeds}"


def ends(difference: Estimate) -> str:
    """`+8.5 to +9.8`, the ends of the interval; empty without one."""
    if difference.low is None or difference.high is None:
        return ""
    return f"{signed(difference.low, 1)} to {signed(difference.high, 1)}"


def brief(difference: Estimate) -> str:
    return signed(difference.value, 1)


def with_ends(difference: Estimate) -> str:
    """`+10.0 (+8.1 to +12.0)`; with too few seeds for an interval, their number."""
    few = f"{difference.pairs} seed{'s' * (difference.pairs != 1)}"
    return f"{signed(difference.value, 1)} ({ends(difference) or few})"


def _over(setting: Setting, compared: Sequence[Compared]) -> list[str]:
    """The interval on each task and what it covers; with too few seeds, the difference in each. A
    sentence for each length of training and number of seeds.
    """
    alike: dict[tuple[float, int], list[Compared]] = {}
    for one in compared:
        alike.setdefault((one.images, len(one.points)), []).append(one)
    sentences = []
    for (length, pairs), found in alike.items():
        words = []
        for one in found:
            points = ends(one.estimate) or " and ".join(signed(point, 1) for point in one.points)
            words.append(f"{points} on {setting.name(one.task)}")
        covers = f"{pairs} seed{'s' * (pairs != 1)}"
        if found[0].kind is LengthTraining:
            covers += f", {epochs_of(setting, length)}"
        counts = dict.fromkeys(f"{one.estimate.images:,}" for one in found if one.estimate.images)
        covers += f", {' and '.join(counts)} test images" if counts else ""
        sentences.append(f"{'95 %: ' * found[0].has_interval}{', '.join(words)}; {covers}.")
    return sentences


def _of_larger_study(setting: Setting, others: Sequence[Setting]) -> list[str]:
    """What another setting of the same scale found with enough seeds, if there is one."""
    for other in others:
        judged = [one for one in compared_tasks(other) if one.has_interval]
        if other.scale == setting.scale and judged:
            differences = ", ".join(
                f"{signed(one.estimate.value, 1)} points on {other.name(one.task)} "
                f"({ends(one.estimate)})"
                for one in judged
            )
            seeds = judged[0].estimate.pairs
            of = owner_in_words(other.root, setting.root)
            return [f"With {seeds} seeds, {of}{other.scale} found {differences}."]
    return []


def operations(setting: Setting) -> dict[str, float]:
    """Encoder -> FLOPs of a CatLIP training for each image."""
    runs = [run.metrics for run in setting.of(LengthTraining)]
    return {one.encoder: one.flops / (one.images_seen or 1) for one in runs if one.method == CATLIP}


def larger_encoders(
    setting: Setting,
) -> dict[tuple[str, float], dict[float, list[Difference]]]:
    """The differences with each encoder that is larger than the usual one, on all data: (encoder,
    operations over those of the usual one) -> images seen -> differences.
    """
    flops = operations(setting)
    usual = next((one.same.encoder for one in setting.differences if one.heading == LENGTH), "")
    larger: dict[tuple[str, float], dict[float, list[Difference]]] = {}
    for one in setting.differences:
        same = one.same
        if one.heading == ENCODER and flops.get(same.encoder, 0) > flops.get(usual, math.inf) > 0:
            times = flops[same.encoder] / flops[usual]
            larger.setdefault((same.encoder, times), {}).setdefault(same.images, []).append(one)
    return larger


def _larger_words(setting: Setting) -> set[str]:
    longest = [lengths[max(lengths)] for lengths in larger_encoders(setting).values()]
    return {word for found in longest for word in _words_of(found)}


def _words_of(found: Sequence[Difference]) -> set[str]:
    """The verdicts on these differences, where they have an interval."""
    bound = claims()["probe_parity"].bound
    return {verdict(one.estimate, bound) for one in found if one.estimate.low is not None}


def under_conditions(setting: Setting, kind: str) -> dict[str, list[Difference]]:
    """Value of a condition of this kind, such as `batch` -> the differences of the trainings that
    both methods had under it.
    """
    of_value: dict[str, list[Difference]] = {}
    for one in setting.differences:
        name, _, value = one.same.condition.partition("=")
        if name == kind and one.method == setting.clip and not one.part:
            of_value.setdefault(value, []).append(one)
    return dict(sorted(of_value.items(), key=lambda item: (len(item[0]), item[0])))


def on_tasks(setting: Setting, found: Sequence[Difference], is_brief: bool = False) -> str:
    """`+9.9 (+8.1 to +12.0) / +12.2 (+9.9 to +13.0)`: the differences in points, on the first
    screen's tasks, or on others; without ends if `is_brief`.
    """
    of_task = {one.task: one for one in found}
    tasks = [task for task in setting.first_tasks if task in of_task] or [*of_task]
    words = []
    for one in (of_task[task] for task in tasks[:MAX_FIRST]):
        words.append(signed(one.estimate.value, 1) if is_brief else with_ends(one.estimate))
    return " / ".join(words)


def over_other_teams(setting: Setting, show: Callable[[Estimate], str] = brief) -> str:
    """`+4.4 / +5.2 over drawers`, on each task; empty with too few teams."""
    every = [over_teams(leads_by_team(setting, task)) for task in setting.first_tasks]
    means = [mean for mean in every if mean]
    words = " / ".join(map(show, means))
    return f"{words} over drawers" if means else ""


def _near_random(setting: Setting, method: str, tasks: Sequence[str]) -> dict[str, str]:
    """Those of the tasks on which a method's own trainings do not beat an untrained encoder ->
    their names, with that encoder's accuracy.
    """
    near = {}
    for task in tasks:
        trained, untrained = (
            [*setting.accuracies(one, task).values()] for one in (method, "random")
        )
        floor = setting.accuracy("random", task)
        if floor and trained and all(map(math.isfinite, trained)) and not beats(trained, untrained):
            near[task] = f"{setting.name(task)} ({mean_and_spread(floor, 1)} %)"
    return near


def why(setting: Setting, records: Records) -> Answer:
    """What the paper's speed-up consists of, as far as arithmetic and a projection tell; how much
    of the ratio of step times here the FLOPs explain; and the largest factor that was measured on
    an accelerator.
    """
    sentences, sources = [], []
    factors, origins = speed_up_factors(records)
    sources += [(origin.anchor, origin.kind) for origin in origins]
    record = setting.step_time
    flops = record.metrics.flops_ratios.get("clip/catlip") if record else None
    ratio = step_ratio(record, CLIPS[-1]) if record and not record.too_few else None
    if record and flops and ratio:
        sentences.append(
            f"Here a step of CLIP takes {format_number(ratio.value, 2)} times as long: a factor of "
            f"{format_number(flops, 2)} for its matrix products, of "
            f"{format_number(ratio.value / flops, 2)} for all else."
        )
        sources.append((record.anchor, "step times"))
    # A CPU's waterfall is not used: its tiny batch makes some factors look larger than they are.
    enough = [
        waterfall
        for waterfall in unique_runs(records, Waterfall)
        if not waterfall.too_few and not waterfall.is_cpu
        if any(factor.mean for factor in waterfall.metrics.release.factors)
    ]
    enough.sort(key=lambda waterfall: waterfall.device != setting.device)
    for waterfall in enough[:1]:
        sentences.append(_factors(waterfall))
        sources.append((waterfall.anchor, "waterfall"))
    short = "Not yet known: no step's operations were counted."
    if factors:
        claimed, left = format_number(claimed_speed_up(), 1), factors.pop("unexplained")
        product = f" {TIMES} ".join(
            f"{format_number(value, 2)} {name}" for name, value in factors.items()
        )
        explained = format_number(math.prod(factors.values()), 1)
        short = f"Of the paper's {claimed} we explain {explained}."
        sentences.insert(0, f"{explained} = {product}; {format_number(left, 1)} is unexplained.")
    elif flops and ratio:
        short = sentences.pop(0)
    question = f"Where do the paper's {format_number(claimed_speed_up(), 1)} times come from?"
    return Answer(question, short, sentences, sources=sources)


def speed_up_factors(records: Records) -> tuple[dict[str, float], list[Run]]:
    """The paper's speed-up as a product: what the operations of a step, the image sizes of each
    release and the exchange between devices explain, each if a record has it, and what is left;
    and these records.
    """
    factors: dict[str, float] = {}
    origins: list[Run] = []
    for counted in unique_runs(records, Analytic):
        flops = counted.metrics.flops_ratios.get("clip/catlip")
        if flops and architecture(counted.config.model) == PAPERS_SMALLEST:
            factors["arithmetic"] = flops
            factors["image sizes"] = counted.metrics.flops_ratio_with_own_sizes / flops
            origins.append(counted)
            break
    for projected in unique_runs(records, Projection):
        ratios = {ratio.layouts: ratio for ratio in projected.metrics.paper_ratios}
        if "as published" in ratios and architecture(projected.config.model) == PAPERS_SMALLEST:
            factors["communication"] = ratios["as published"].communication
            origins.append(projected)
            break
    if factors:
        factors["unexplained"] = claimed_speed_up() / math.prod(factors.values())
    return factors, origins


def _factors(waterfall: Run[Waterfall]) -> str:
    """A sentence on the changes between the releases and the largest factor."""
    way = waterfall.metrics.release
    largest = max(way.factors, key=lambda factor: factor.mean or 0)
    ratio = way.total.ratio
    times = f"{format_number(ratio.value, 2)} times ({interval(waterfall, ratio)})" if ratio else ""
    values = " and ".join(format_number(r.value, 2) for r in largest.ratios.values() if r)
    claim = format_number(waterfall.metrics.published_ratio, 1)
    return (
        f"{TO_CATLIP}, {step_description(waterfall)}: {times} faster; the paper claims {claim}; "
        f"the largest factor is {largest.name}, {values} times."
    )


def _ties_with_superclass(setting: Setting) -> bool:
    """Whether CatLIP has no lead over SuperClass on any of the first tasks."""
    signs = {
        sign(one.estimate)
        for one in setting.differences
        if (one.heading, one.method, one.same.metric) == (OTHERS, "superclass", "top1")
        if one.same.task in setting.first_tasks
    }
    return bool(signs) and not {1, None} & signs


def advice(setting: Setting, others: Sequence[Setting] = ()) -> str:
    """What a reader should do, as far as these records support it; empty unless both questions are
    answered. `others`: settings of other data, where a longer training may turn the answer.
    """
    judged, record = {one.word for one in compared_tasks(setting)}, setting.step_time
    timed = [*dict.fromkeys([setting.clip, CLIPS[-1]])] if record and not record.too_few else []
    ratio = next((one for clip in timed if (one := step_ratio(record, clip))), None)
    if not judged or ratio is None or ratio.low is None or ratio.high is None:
        return ""
    judged |= _larger_words(setting)
    is_worth_it = ratio.low > 1 or (judged == {BETTER} and ratio.high >= 1)
    if judged <= {BETTER, NOT_WORSE} and is_worth_it:
        what = "classify their words (CatLIP or SuperClass)"
        what = what if _ties_with_superclass(setting) else "use CatLIP"
        advised = f"This suggests: where captions name the image's content, {what}"
    elif judged == {WORSE}:
        advised = "This suggests CLIP, unless you cannot pay for it"
    else:
        advised = "These records do not decide which features are better"
    turned = [
        images_of(other.root, other.scale)
        for other in others
        if _is_beside(setting, other)
        and {one.word for one in longer_and_shorter(other)[0]} == {WORSE}
    ]
    longer = f" and long training on {' and '.join(turned)}" if turned else ""
    return f"{advised}. Use CLIP for text prompts{longer}."
