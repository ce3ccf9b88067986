"""Why one method is cheaper: what it computes, then where the time goes."""

from collections.abc import Sequence

from bench.step_time.result import StepTime
from bench.step_time.steps import step_description
from bench.waterfall.result import NamedWay, Waterfall, ways
from catlip.results.blocks import Answer
from catlip.results.cells import interval
from catlip.results.kind import Interval
from catlip.results.run import Run
from catlip.table import decimals_of, shown, signed
from reports.read.measured import PAIR, Setting
from reports.summary.answers import PAPER_SPEED_UP

QUESTION = "Where does the difference in cost come from?"


def why(setting: Setting, waterfalls: Sequence[Run[Waterfall]] = ()) -> Answer:
    """How much of the ratio of step times the FLOPs explain, which parts of a step make the
    difference, and the largest factor that was measured on an accelerator.
    """
    record, waterfall = setting.step_time, _telling(setting, waterfalls)
    sentences = [_factors(waterfall)] if waterfall else []
    sources = [(waterfall.anchor, "waterfall")] if waterfall else []
    if record is None or not record.measured.methods.keys() >= {*PAIR}:
        short = "Not yet known: this needs both methods' step times on one device."
        return Answer(QUESTION, short, sentences, sources=sources)
    sources = [(record.anchor, "step times"), *sources]
    if record.too_few:
        short = f"Not yet known: step times have only {record.too_few}."
        return Answer(QUESTION, short, sentences, sources=sources)
    sentences = [_phases(record), *sentences]
    return Answer(QUESTION, _in_short(setting, record), sentences, sources=sources)


def _in_short(setting: Setting, record: Run[StepTime]) -> str:
    """How much of the ratio the FLOPs explain, and how much is left."""
    flops = record.measured.flops_ratios.get("clip/catlip")
    ratio = record.measured.ratios.get("clip/catlip")
    if not flops or ratio is None:
        return "Not yet known: the FLOPs of a step were not counted."
    larger = setting.larger_step_time
    papers = larger.measured.flops_ratios.get("clip/catlip") if larger else None
    of_papers = f"; with ViT B/16, {shown(papers, 2)} of the paper's {PAPER_SPEED_UP}"
    return (
        f"CLIP's step has {shown(flops, 2)} times the matrix products, which leaves "
        f"{shown(ratio.value / flops, 2)} for all else{of_papers if papers else ''}."
    )


def _phases(record: Run[StepTime]) -> str:
    catlip, clip = (record.measured.methods[method] for method in PAIR)
    said = []
    for phase in ("forward", "loss", "backward", "optimizer"):
        one, other = catlip.parts[phase], clip.parts[phase]
        if one is not None and other is not None:
            more = other.median - one.median
            said.append(f"{signed(more, max(1, decimals_of(clip.total_ms.median)))} ms {phase}")
    totals = f"{shown(clip.total_ms.median)} against {shown(catlip.total_ms.median)} ms"
    return f"CLIP's step takes {totals}: {', '.join(said)}."


def _telling(setting: Setting, waterfalls: Sequence[Run[Waterfall]]) -> Run[Waterfall] | None:
    """The first waterfall with enough rounds from an accelerator, preferably on this setting's
    device. A CPU's is not used: its tiny batch makes some factors look larger than they are.
    """
    telling = [r for r in waterfalls if not r.too_few and not r.is_cpu and _release(r)]
    return next((r for r in telling if r.device == setting.device), next(iter(telling), None))


def _release(waterfall: Run[Waterfall]) -> NamedWay | None:
    """The changes from one release's configuration to the other's; None if none of them was run."""
    for named in ways(waterfall.measured):
        if named.name == "release" and any(factor.mean for factor in named.way.factors):
            return named
    return None


def _factors(waterfall: Run[Waterfall]) -> str:
    """A sentence on the changes between the releases and the largest factor; empty without any."""
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


def _times(waterfall: Run[Waterfall], ratio: Interval | None) -> str:
    """`1.25 times (1.20 to 1.30)`."""
    return f"{shown(ratio.value, 2)} times ({interval(waterfall, ratio)})" if ratio else ""
