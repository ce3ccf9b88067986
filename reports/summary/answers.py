"""Answers from one setting's records, in plain sentences: is CatLIP as good, is it cheaper, and
what should a reader do?

Methods are said to differ only if the interval of their difference does not contain zero. The
interval is over seeds and test images, or over seeds alone for records without a bit for each
image. A ratio is given only with its interval. What was not run is named as not run.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from catlip.claims import claims, least_pairs
from catlip.kinds import Interval, Labelling, LinearProbe, Pretrain, Scaling
from catlip.kinds.cells import interval
from catlip.kinds.estimate import (
    BETTER,
    CANNOT_TELL,
    NOT_WORSE,
    WORSE,
    Estimate,
    beats,
    of_pairs,
    of_ratios,
    verdict,
)
from catlip.kinds.transfer.scaling import How, curves, differences, points_at_equal_cost
from catlip.method_style import name_of
from catlip.table import Quantity, clipped, mean_and_spread, shown, signed
from reports.compare.crossed import between_probes
from reports.compare.differences import listed
from reports.read.measured import STARTER_TASKS, Setting, by_seed, in_percent
from reports.read.rules import by_rule
from reports.summary.tables import link, probe_title

IN_SHORT = {
    BETTER: "Here it is better.",
    NOT_WORSE: "Here it is not worse.",
    WORSE: "Here it is worse.",
    CANNOT_TELL: "Here the two cannot be told apart.",
}
PAIR = ("catlip", "clip")
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


def about(setting: Setting) -> str:
    """What the starter's numbers were measured on, and what they cannot show; empty at other
    scales.
    """
    if setting.scale != "starter":
        return ""
    trained = next(iter(setting.of(Pretrain)), None)
    seeds = {record.seed for record in setting.of(Pretrain)}
    words = ["Captioned emoji drawings and scenes composed of them"]
    if trained:
        samples = trained.measured.images_seen / (trained.measured.epochs_seen or 1)
        words = [f"{samples:,.0f} captioned emoji drawings and scenes composed of them"]
        words.append(f"an encoder of {trained.measured.parameters_image / 1e6:.1f} M parameters")
        words.append(f"{len(seeds)} seed{'s' * (len(seeds) != 1)}")
    return (
        f"{', '.join(words)}: a test of the pipeline, not of the paper, whose claims rest on up to "
        "1.3 billion photos and encoders of 86 to 632 million parameters. The order of two "
        "methods may change with scale."
    )


def as_good(setting: Setting) -> Answer:
    """CatLIP against CLIP on both probes: after the same number of epochs, after the same training
    time, and with larger encoders.
    """
    question = "Is CatLIP as good?"
    compared = [said for task in STARTER_TASKS if (said := _compared(setting, task))]
    probes = {m: own for m in ("random", *PAIR) if (own := setting.of(LinearProbe, m))}
    sources = [(link(own), f"probes of {name_of(m)}") for m, own in probes.items()]
    if scaled := setting.of(Scaling, PAIR[0]):
        sources.append((link(scaled), "trainings of several lengths"))
    near = [text for method in PAIR if (text := _not_above_random(setting, method))]
    if not compared:
        fields = dict.fromkeys(
            field for task in STARTER_TASKS for field in setting.unlike(*PAIR, task)
        )
        short = "Not yet known: this needs a linear probe of CatLIP and of CLIP."
        if fields:
            short = f"Not compared: CatLIP and CLIP differ in {listed(list(fields))}."
        return Answer(question, short, near, sources=sources)
    words = {word for _, word in compared}
    short = "It depends on the probe."
    if len(words) == 1:
        short = IN_SHORT[words.pop()]
        if len(verdicts_of(setting)) > 1:
            short = f"{short.removesuffix('.')}, but not with a larger encoder."
    last = near or [text for text in (_at_equal_time(setting), _with_larger(setting)) if text]
    return Answer(question, short, [*(text for text, _ in compared), *last], sources=sources)


def verdicts_of(setting: Setting) -> set[str]:
    """The verdicts on CatLIP against CLIP, of each probe that both methods have, and with larger
    encoders where there are enough seeds for an interval.
    """
    bound = claims()["probe_parity"].bound
    larger = [points for tasks in _larger_encoders(setting).values() for points in tasks.values()]
    return {
        *(said[1] for task in STARTER_TASKS if (said := _compared(setting, task))),
        *(verdict(e, bound) for points in larger if (e := of_pairs(points)) and e.low is not None),
    }


def _compared(setting: Setting, task: str) -> tuple[str, str] | None:
    """A sentence on the difference CatLIP - CLIP on one probe, and the verdict."""
    one, other = (setting.accuracy(method, task) for method in PAIR)
    points = setting.paired(task, *PAIR)
    difference = of_pairs(points)
    if one is None or other is None or difference is None:
        return None
    difference = _over_seeds_and_images(setting, task) or difference
    title = probe_title(setting, task).partition(",")[0]
    return (
        (
            f"Linear probe, {title}: CatLIP {_percent(one)}, CLIP {_percent(other)}, "
            f"{signed(difference.value, 1)} points ({_over(difference, points)})."
        ),
        verdict(difference, claims()["probe_parity"].bound),
    )


def _over(difference: Estimate, points: Sequence[float]) -> str:
    """The interval and what it covers; with too few seeds, their range and how many an interval
    needs.
    """
    if difference.low is not None and difference.high is not None:
        ends = f"95 % interval {signed(difference.low, 1)} to {signed(difference.high, 1)}"
        images = f" and {difference.images} test images" if difference.images else ""
        return f"{ends}; {difference.pairs} seeds{images}"
    few = f"an interval needs at least {least_pairs()}"
    if len(points) == 1:
        return f"one seed; {few}"
    return (
        f"from {signed(min(points), 1)} to {signed(max(points), 1)} over {len(points)} seeds; {few}"
    )


def _over_seeds_and_images(setting: Setting, task: str) -> Estimate | None:
    one, other = (setting.probes(method, task).records for method in PAIR)
    return between_probes(one, other, task)


def _at_equal_time(setting: Setting) -> str:
    """A sentence on accuracy after the same training time, from trainings of several lengths; empty
    without them.
    """
    by_method = {curve.method: curve for curve in curves(setting.of(Scaling))}
    if not by_method.keys() >= {*PAIR}:
        return ""
    ours, theirs = (by_method[method] for method in PAIR)
    said = _on_tasks(
        {task: points_at_equal_cost(ours, theirs, task, cost="train_seconds") for task in ours.top1}
    )
    return f"At equal training time: {said}." if said else ""


def _with_larger(setting: Setting) -> str:
    """A sentence on the difference with larger encoders; empty without any."""
    return " ".join(
        f"With the larger {clipped(encoder, 24)} after {images:,} images: {_on_tasks(points)}."
        for (encoder, _, images), points in _larger_encoders(setting).items()
    )


def _larger_encoders(setting: Setting) -> dict[How, dict[str, list[float]]]:
    """The differences CatLIP - CLIP of each encoder that is larger than the one with the most
    lengths, after its longest training on all data.
    """
    runs = setting.of(Scaling)
    usual = next((curve.encoder for curve in curves(runs)), "")
    flops = {of.encoder: of.flops / (of.images_seen or 1) for of in (run.measured for run in runs)}
    longest = {}
    for how, points in differences(runs, *PAIR).items():
        encoder, fraction, _ = how
        if fraction == 1 and flops[encoder] > flops.get(usual, math.inf):
            longest[encoder] = how, points
    return dict(longest.values())


def _on_tasks(points_of: Mapping[str, Sequence[float]]) -> str:
    """The mean difference in points on each task, with its interval."""
    said: list[str] = []
    for task, points in points_of.items():
        difference = of_pairs(points)
        if difference:
            unit = "" if said else " points"
            said.append(f"{signed(difference.value, 1)}{unit} on {clipped(task, 24)}")
            if difference.low is not None and difference.high is not None:
                said[-1] += f" ({signed(difference.low, 1)} to {signed(difference.high, 1)})"
    return ", ".join(said)


def _not_above_random(setting: Setting, method: str) -> str:
    trained, floor = (setting.accuracy(m, "concepts") for m in (method, "random"))
    if trained is None or floor is None or not math.isfinite(trained.mean):
        return ""
    own, untrained = (
        by_seed(setting.probes(m, "concepts").records, lambda r: in_percent(r, "concepts")).values()
        for m in (method, "random")
    )
    if beats([*own], [*untrained]):
        return ""
    return f"{name_of(method)} cannot be told from an untrained encoder ({_percent(floor)})."


def cheaper(setting: Setting) -> Answer:
    """First the ratio of step times that were measured in turns, with this setting's encoder and
    with ViT B/16; then the seconds of whole trainings; then the cost of labelling.
    """
    question, record = "Is CatLIP cheaper?", setting.step_time
    ratio = record.measured.ratios.get("clip/catlip") if record else None
    sources = [(record.anchor, "step times")] if record else []
    trained = {m: own for m in PAIR if (own := setting.trainings(m))}
    sources += [(link(own), f"trainings of {name_of(m)}") for m, own in trained.items()]
    sentences = [text for text in (_whole_trainings(setting), _labelling(setting)) if text]
    if record is None or ratio is None:
        short = "Not yet known: this needs both methods' step times on one device."
        return Answer(question, short, sentences, sources=sources)
    if record.too_few:
        short = f"Not yet known: step times have only {record.too_few}."
        return Answer(question, short, sentences, sources=sources)
    timed = (
        f"CLIP's step time over CatLIP's: {shown(ratio.value, 2)} ({interval(record, ratio)}) with "
        f"{clipped(record.setup.model or record.name, 40)}{_larger(setting)}."
    )
    short = _cheaper_in_short(ratio, _trainings_ratio(setting))
    return Answer(question, short, [timed, *sentences], sources=sources)


def _larger(setting: Setting) -> str:
    """The ratio of step times with ViT B/16, if that was timed on this device."""
    for record in setting.of_the_paper:
        ratio = record.measured.ratios.get("clip/catlip")
        if ratio and record is not setting.step_time:
            return f", {shown(ratio.value, 2)} ({interval(record, ratio)}) with ViT B/16"
    return ""


def _cheaper_in_short(ratio: Interval, trainings: Estimate | None) -> str:
    if ratio.low is None or ratio.high is None:
        return "Not yet known: the ratio of step times has no interval."
    if ratio.low <= 1 <= ratio.high:
        return "No difference in step time can be told here."
    if ratio.value < 1:
        return f"No: CLIP's step takes {shown(ratio.value, 2)} times as long as CatLIP's here."
    whole = f", its whole training {shown(trainings.value, 2)} times" if trainings else ""
    return (
        f"Yes: CLIP's step takes {shown(ratio.value, 2)} times as long here{whole}; the paper "
        f"claims {PAPER_SPEED_UP} at its scale."
    )


def _trainings_ratio(setting: Setting) -> Estimate | None:
    """CLIP's training time over CatLIP's, paired by seed; None if they were not trained alike."""
    if setting.unlike_trainings(*PAIR):
        return None
    ours, theirs = (
        by_seed(setting.timed.get(method, ()), lambda record: record.measured.train_seconds)
        for method in PAIR
    )
    return of_ratios([theirs[seed] / ours[seed] for seed in ours if seed in theirs and ours[seed]])


def _whole_trainings(setting: Setting) -> str:
    said = [f"{name_of(m)} {mean_and_spread(q)} s" for m in PAIR if (q := setting.seconds(m))]
    if len(said) < 2:
        return ""
    if fields := setting.unlike_trainings(*PAIR):
        return f"Whole trainings are not compared: they differ in {listed(fields)}."
    return f"Whole trainings, each at its method's own batch, took: {', '.join(said)}."


def _labelling(setting: Setting) -> str:
    # The record of rule `paper`, if there is one.
    record = next(iter(by_rule(setting.of(Labelling)).values()), None)
    rate = record.measured.captions_per_s if record else None
    if record is None or not rate:
        return ""
    seconds = record.measured.captions / rate
    return (
        f"CatLIP also needs labels, once per data set: {shown(seconds)} s here, at {shown(rate)} "
        "captions/s."
    )


def advice(setting: Setting) -> str:
    """What a reader should do, as far as these records support it; empty unless both questions are
    answered.
    """
    judged, record = verdicts_of(setting), setting.step_time
    ratio = record.measured.ratios.get("clip/catlip") if record and not record.too_few else None
    if not judged or ratio is None or ratio.low is None:
        return ""
    device = "" if record is None or not record.is_cpu else ": none of ours ran on a GPU"
    prompts = (
        "if you need text prompts, use CLIP, because CatLIP has no text tower; before you rely on "
        f"{PAPER_SPEED_UP} times, time your own steps{device}"
    )
    if judged <= {BETTER, NOT_WORSE} and ratio.low > 1:
        return (
            "By this experiment: if you need features and your captions name what "
            f"is in the image, use CatLIP; {prompts}."
        )
    if judged == {WORSE}:
        return f"By this experiment: use CLIP, unless you cannot pay for it; {prompts}."
    return f"So: this experiment does not decide which features are better; {prompts}."


def _percent(quantity: Quantity) -> str:
    return f"{mean_and_spread(quantity, 1)} %"
