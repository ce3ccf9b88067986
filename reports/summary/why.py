"""Why one method is cheaper: what it computes, then where the time goes."""

from collections.abc import Sequence

from catlip.kinds import Interval, StepTime, Waterfall
from catlip.kinds.cells import interval
from catlip.kinds.cost.steps import step_description
from catlip.kinds.cost.waterfall import NamedWay, ways
from catlip.table import shown
from reports.read.measured import Setting
from reports.read.records import Record
from reports.summary.answers import PAIR, Answer

QUESTION = "Where does the difference in cost come from?"


def why(setting: Setting, waterfalls: Sequence[Record[Waterfall]] = ()) -> Answer:
    """How much of the ratio of step times is that of the FLOPs, in which part of a step the
    difference lies, and what an accelerator says of each factor.
    """
    record, waterfall = setting.step_time, _telling(setting, waterfalls)
    sentences = [_factors(waterfall)] if waterfall else []
    sources = [(waterfall.anchor, "waterfall")] if waterfall else []
    if record is None or not record.measured.methods.keys() >= {*PAIR}:
        short = "Not yet known: this needs both methods' step times on one device."
        return Answer(QUESTION, short, sentences, sources=sources)
    sources = [(record.anchor, "step times"), *sources]
    if record.too_few:
        short = f"Not yet known: step times of {record.too_few}, do not say."
        return Answer(QUESTION, short, sentences, sources=sources)
    sentences = [_phases(record), _parameters(record), *sentences]
    return Answer(QUESTION, _in_short(record), sentences, sources=sources)


def _in_short(record: Record[StepTime]) -> str:
    """What the FLOPs explain, and what they leave."""
    flops = record.measured.flops_ratios.get("clip/catlip")
    ratio = record.measured.ratios.get("clip/catlip")
    if not flops or ratio is None:
        return "Not yet known: the FLOPs of a step were not counted."
    left = ratio.value / flops
    return (
        f"CLIP's step has {shown(flops, 2)} times the matrix products, which leaves "
        f"{shown(left, 2)} for all else, such as the optimizer."
    )


def _phases(record: Record[StepTime]) -> str:
    catlip, clip = (record.measured.methods[method] for method in PAIR)
    said = []
    for phase in ("forward", "loss", "backward", "optimizer"):
        one, other = catlip.parts[phase], clip.parts[phase]
        if one is not None and other is not None:
            more = other.median - one.median
            said.append(f"{'+' if more > 0 else ''}{shown(more)} ms {phase}")
    totals = f"{shown(clip.total_ms.median)} against {shown(catlip.total_ms.median)} ms"
    return f"CLIP's step takes {totals}: {', '.join(said)} (medians need not add up)."


def _parameters(record: Record[StepTime]) -> str:
    millions = [record.measured.methods[m].parameters / 1e6 for m in PAIR]
    one, other = (shown(count, 1) for count in millions)
    return f"CatLIP trains {one} M parameters, CLIP {other} M with its text tower."


def _telling(setting: Setting, waterfalls: Sequence[Record[Waterfall]]) -> Record[Waterfall] | None:
    """Of those with rounds enough and of an accelerator: a CPU's tiny batch makes factors large
    that are not. This setting's device's speaks first.
    """
    telling = [r for r in waterfalls if not r.too_few and not r.is_cpu and _release(r)]
    return next((r for r in telling if r.device == setting.device), next(iter(telling), None))


def _release(waterfall: Record[Waterfall]) -> NamedWay | None:
    """The way from one release's configuration to the other's, where a factor of it was run."""
    for named in ways(waterfall.measured):
        if named.name == "release" and any(factor.mean for factor in named.way.factors):
            return named
    return None


def _factors(waterfall: Record[Waterfall]) -> str:
    """That way, and its largest factor; empty where none was run."""
    release = _release(waterfall)
    if release is None:
        return ""
    largest = max(release.way.factors, key=lambda factor: factor.mean or 0)
    claim = f"; the paper claims {shown(release.published, 1)}" if release.published else ""
    said = (
        f"{release.title}, {step_description(waterfall)}: "
        f"{_times(waterfall, release.way.total.ratio)} faster{claim}"
    )
    values = " and ".join(shown(r.value, 2) for r in largest.ratios.values() if r)
    return f"{said}; the largest factor is {largest.name}, {values} times."


def _times(waterfall: Record[Waterfall], ratio: Interval | None) -> str:
    """`1.25 times (1.20 to 1.30)`."""
    return f"{shown(ratio.value, 2)} times ({interval(waterfall, ratio)})" if ratio else ""
