"""The three questions, answered from one setting's records in plain sentences: as good? cheaper?
why?

A difference between methods is only called one when its interval over seeds and test images does
not hold zero, or that over seeds, for records without a bit for each image. A ratio is only given
with its interval. What was not run is said to be not run.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from catlip.claims import claims, least_pairs
from catlip.kinds import Interval, Labelling, LinearProbe, StepTime, Waterfall
from catlip.kinds.cells import interval
from catlip.kinds.cost.steps import step_description
from catlip.kinds.cost.waterfall import ways
from catlip.method_style import name_of
from catlip.table import Quantity, mean_and_spread, shown
from reports.compare.crossed import crossed, paired_by_image
from reports.compare.differences import listed
from reports.compare.estimate import (
    BETTER,
    CANNOT_TELL,
    NOT_WORSE,
    WORSE,
    Estimate,
    of_pairs,
    verdict,
)
from reports.read.measured import STARTER_TASKS, Setting
from reports.read.records import Record
from reports.read.rules import by_rule
from reports.summary.tables import link, probe_title

SCALE_CAVEAT = {
    "starter": (
        "The starter data are a few thousand drawings with names and keywords that people wrote, "
        "and scenes composed of them, not web photos. They can show that both methods learn and "
        "transfer on one data path, and what a step of each costs on this machine. They cannot "
        "show whether the paper's accuracy holds: its claims rest on up to 1.3 billion photos and "
        "encoders of 86 to 632 million parameters, and the order of two methods may turn with "
        "scale."
    )
}

IN_SHORT = {
    BETTER: "Here it is better.",
    NOT_WORSE: "Here it is not worse.",
    WORSE: "Here it is worse.",
    CANNOT_TELL: "Here the two cannot be told apart.",
}
MOST_FACTORS = 3
PAPER_SPEED_UP = "2.7"  # title and Figure 1(c): GPU hours of one epoch, CLIP over CatLIP


@dataclass(frozen=True)
class Answer:
    """A question, its answer in a few words, the sentences behind it, and the records they rest on
    as (anchor, name).
    """

    question: str
    short: str
    sentences: Sequence[str]
    sources: Sequence[tuple[str, str]]


def answers(setting: Setting, waterfalls: Sequence[Record[Waterfall]] = ()) -> list[Answer]:
    """As good, cheaper, why: in this order; of the waterfalls, this setting's device's speaks where
    it has one.
    """
    waterfall = next(
        (r for r in waterfalls if r.device == setting.device), next(iter(waterfalls), None)
    )
    return [as_good(setting), cheaper(setting), why(setting, waterfall)]


def as_good(setting: Setting) -> Answer:
    """CatLIP against CLIP on both probes, seed by seed, and each against random init."""
    compared = [said for task in STARTER_TASKS if (said := _compared(setting, task))]
    floors = [text for method in ("catlip", "clip") if (text := _above_random(setting, method))]
    probes = {
        m: found for m in ("random", "catlip", "clip") if (found := setting.of(LinearProbe, m))
    }
    sources = [(link(found), f"probes of {name_of(m)}") for m, found in probes.items()]
    if not compared:
        fields = dict.fromkeys(
            field for task in STARTER_TASKS for field in setting.unlike("catlip", "clip", task)
        )
        short = "Not yet known: this needs a linear probe of CatLIP and of CLIP."
        short = (
            f"Not compared: CatLIP and CLIP differ in {listed(list(fields))}." if fields else short
        )
        return Answer("Is CatLIP as good?", short, floors, sources=sources)
    words = {word for _, word in compared}
    short = IN_SHORT[words.pop()] if len(words) == 1 else "It depends on the probe."
    return Answer(
        "Is CatLIP as good?", short, [text for text, _ in compared] + floors, sources=sources
    )


def _compared(setting: Setting, task: str) -> tuple[str, str] | None:
    """A sentence on CatLIP - CLIP of one probe, and the verdict."""
    one, other = setting.accuracy("catlip", task), setting.accuracy("clip", task)
    points = setting.paired(task, "catlip", "clip")
    difference = of_pairs(points)
    if one is None or other is None or difference is None:
        return None
    difference = _over_seeds_and_images(setting, task) or difference
    title = probe_title(setting, task).partition(",")[0]
    return (
        (
            f"On {title}, CatLIP reaches {_percent(one)} and CLIP {_percent(other)}: "
            f"{_signed(difference.value)} points ({_over(difference, points)})."
        ),
        verdict(difference, claims()["probe_parity"].bound),
    )


def _over(difference: Estimate, points: Sequence[float]) -> str:
    """What its interval covers; of few seeds their range, and how many it takes."""
    if difference.low is not None and difference.high is not None:
        ends = f"95 % interval {_signed(difference.low)} to {_signed(difference.high)}"
        images = f" and {difference.images} test images" if difference.images else ""
        return f"{ends}, over {difference.pairs} seeds{images}"
    few = f"of at least {least_pairs()} that an interval takes"
    if len(points) == 1:
        return f"one seed, {few}"
    return f"from {_signed(min(points))} to {_signed(max(points))} over {len(points)} seeds, {few}"


def _over_seeds_and_images(setting: Setting, task: str) -> Estimate | None:
    one, other = (setting.probes(method, task).records for method in ("catlip", "clip"))
    differences = paired_by_image(one, other, task)
    return None if differences is None else crossed(differences)


def _above_random(setting: Setting, method: str) -> str:
    trained, floor = (
        setting.accuracy(method, "concepts"),
        setting.accuracy("random", "concepts"),
    )
    if trained is None or floor is None or not floor.mean > 0:
        return ""
    margin = trained.mean - floor.mean
    clear = margin > 2 * max(trained.spread or 0, floor.spread or 0, 1.0)
    verb = "clearly beats" if clear else "does not clearly beat"
    return f"{name_of(method)} {verb} an untrained encoder ({_percent(floor)}) on the concepts."


def cheaper(setting: Setting) -> Answer:
    """The interleaved step-time ratio first, then the seconds of whole trainings, then the cost of
    labelling.
    """
    question, record = "Is CatLIP cheaper?", setting.step_time
    ratio = record.measured.ratios.get("clip/catlip") if record else None
    sources = [(record.anchor, "step times")] if record else []
    trained = {m: found for m in ("catlip", "clip") if (found := setting.trainings(m))}
    sources += [(link(found), f"trainings of {name_of(m)}") for m, found in trained.items()]
    sentences = [text for text in (_whole_trainings(setting), _labelling(setting)) if text]
    if record is None or ratio is None:
        return Answer(
            question,
            "Not yet known: this needs both methods' step times on one device.",
            sentences,
            sources=sources,
        )
    if record.too_few:
        short = f"Not yet known: step times of {record.too_few}, give no ratio."
        return Answer(question, short, sentences, sources=sources)
    timed = (
        f"CLIP's step time over CatLIP's: {shown(ratio.value, 2)} ({interval(record, ratio)}), "
        f"{step_description(record)}."
    )
    return Answer(question, _cheaper_in_short(ratio), [timed, *sentences], sources=sources)


def _cheaper_in_short(ratio: Interval) -> str:
    if ratio.low is None or ratio.high is None:
        return "Not yet known: the ratio of step times has no interval."
    if ratio.low <= 1 <= ratio.high:
        return "No difference in step time can be told here."
    if ratio.value < 1:
        return f"No: CLIP's step takes {shown(ratio.value, 2)} times as long as CatLIP's here."
    return (
        f"Yes: CLIP's step takes {shown(ratio.value, 2)} times as long here; the paper claims "
        f"{PAPER_SPEED_UP} at its scale."
    )


def _whole_trainings(setting: Setting) -> str:
    said = [
        f"{name_of(m)} {mean_and_spread(q)} s"
        for m in ("catlip", "clip")
        if (q := setting.training(m, lambda run: run.train_seconds))
    ]
    if len(said) == 2 and (fields := setting.unlike_trainings("catlip", "clip")):
        return f"Whole trainings are not compared: they differ in {listed(fields)}."
    return f"Whole trainings took: {', '.join(said)}." if len(said) == 2 else ""


def _labelling(setting: Setting) -> str:
    record = next(
        iter(by_rule(setting.of(Labelling)).values()), None
    )  # rule paper's, if it is there
    rate = record.measured.captions_per_s if record else None
    return (
        f"CatLIP also needs labels, once per data set: {shown(rate)} captions/s here."
        if rate
        else ""
    )


def why(setting: Setting, waterfall: Record[Waterfall] | None = None) -> Answer:
    """Where a speed-up comes from, factor by factor; without a waterfall, in which part of a step
    the difference lies.
    """
    question, record = "Why?", setting.step_time
    explained = _factors(waterfall) if waterfall else None
    split = record is not None and {"catlip", "clip"} <= record.measured.methods.keys()
    if not split and explained is None:
        return Answer(
            question,
            "Not yet known: this needs both methods' step times on one device.",
            [],
            sources=[],
        )
    parts = _phase_differences(record) if record and split else ("", "")
    sentences = [
        text
        for text in (_parameters(record) if record and split else "", parts[1], _waiting(setting))
        if text
    ]
    sources = [(record.anchor, "step times")] if record and split else []
    if waterfall and explained:
        if waterfall.too_few and parts[0]:
            explained = [parts[0], *explained[1:]]
        return Answer(
            question,
            explained[0],
            [*explained[1:], *sentences],
            sources=[(waterfall.anchor, "waterfall"), *sources],
        )
    sentences.append(
        "What part of this is loss, text tower, memory or communication takes one-factor-at-a-time "
        "timings."
    )
    return Answer(question, parts[0], sentences, sources=sources)


def _factors(waterfall: Record[Waterfall]) -> list[str] | None:
    """The answer in short, then sentences on each way and its factors; None where no factor was
    run.
    """
    timed = {
        named.name: named
        for named in ways(waterfall.measured)
        if named.way.total.ratio and any(factor.mean for factor in named.way.factors)
    }
    if "release" not in timed:
        return None
    release, further = timed["release"], timed.get("further")
    run = [factor for factor in release.way.factors if factor.mean]
    run.sort(key=lambda factor: -(factor.mean or 0))
    values = [shown(r.value, 2) for r in run[0].ratios.values() if r]
    each = f"{' and '.join(values)} times{', in two orders' if len(values) > 1 else ''}"
    said = [
        f"Of what the two releases do differently, the largest factor is {run[0].name}: {each}."
    ]
    if few := waterfall.too_few:
        said = ["Not yet known: the factors were timed too few times."]
        said.append(f"The factors were timed in {few}: which is the largest is open.")
    claim = f"; the paper claims {shown(release.published, 1)}" if release.published else ""
    said.append(
        f"{release.title}, {step_description(waterfall)}: "
        f"{_times(waterfall, release.way.total.ratio)} faster{claim}."
    )
    said += ["A GPU weighs these factors differently than this CPU."] if waterfall.is_cpu else []
    told = [factor for i, factor in enumerate(run) if i < MOST_FACTORS or factor.name == "method"]
    orders = []
    for factor in told:
        each = " and ".join(_times(waterfall, r) for r in factor.ratios.values() if r)
        orders.append(f"{factor.name} {each}")
    not_run = release.way.not_run
    said.append(
        f"One factor at a time: {'; '.join(orders)}."
        + (f" Not run: {', '.join(not_run)}." if not_run else "")
    )
    if further:
        times = _times(waterfall, further.way.total.ratio)
        said.append(f"What neither release does makes it another {times} faster.")
    return said


def _times(waterfall: Record[Waterfall], ratio: Interval | None) -> str:
    """`1.25 times (1.20 to 1.30)`."""
    return f"{shown(ratio.value, 2)} times ({interval(waterfall, ratio)})" if ratio else ""


def _phase_differences(record: Record[StepTime]) -> tuple[str, str]:
    """The answer in short, and the sentence with each part's difference."""
    if record.too_few:
        return f"Not yet known: step times of {record.too_few}, do not say.", ""
    catlip, clip = (record.measured.methods[method].parts for method in ("catlip", "clip"))
    differences = {}
    for phase in ("forward", "loss", "backward", "optimizer"):
        one, other = catlip[phase], clip[phase]
        if one is not None and other is not None:
            differences[phase] = other.median - one.median
    largest = max(differences, key=lambda phase: differences[phase])
    said = ", ".join(f"{_signed(ms, None)} ms {phase}" for phase, ms in differences.items())
    where = f"the {largest} pass" if largest in ("forward", "backward") else f"the {largest}"
    short = f"Most of what CLIP pays more is in {where}."
    if differences[largest] <= 0:
        short = "No part of CLIP's step takes longer here."
    return short, f"CLIP's step against CatLIP's: {said} (medians)."


def _parameters(record: Record[StepTime]) -> str:
    millions = [record.measured.methods[m].parameters / 1e6 for m in ("catlip", "clip")]
    one, other = (shown(count, 1) for count in millions)
    return (
        f"CatLIP trains {one} M parameters (image encoder and classifier), CLIP {other} M (image "
        "encoder and text tower)."
    )


def _waiting(setting: Setting) -> str:
    shares = {m: setting.training(m, lambda run: run.data_wait_share) for m in ("catlip", "clip")}
    said = [f"{name_of(m)} {shown(100 * q.mean, 1)} %" for m, q in shares.items() if q]
    return f"Share of training time spent waiting for data: {', '.join(said)}." if said else ""


def _percent(quantity: Quantity) -> str:
    return f"{mean_and_spread(quantity, 1)} %"


def _signed(value: float, decimals: int | None = 1) -> str:
    return f"{'+' if value > 0 else ''}{shown(value, decimals)}"
