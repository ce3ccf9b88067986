"""Why one method is cheaper: what it computes, then where the time goes."""

from collections.abc import Sequence

from bench.step_time.result import StepTime
from bench.step_time.steps import step_description
from bench.waterfall.result import TO_CATLIP, Waterfall
from catlip.results.blocks import Answer
from catlip.results.run import Run, interval
from catlip.table import decimals_of, shown, signed
from reports.read.measured import PAIR, Setting
from reports.summary.answers import PAPER_SPEED_UP

QUESTION = "Where does the difference in cost come from?"


def why(setting: Setting, waterfalls: Sequence[Run[Waterfall]] = ()) -> Answer:
    """How much of the ratio of step times the FLOPs explain, which parts of a step make the
    difference, and the largest factor that was measured on an accelerator.
    """
    record, sentences, sources = setting.step_time, [], []
    # A CPU's waterfall is not used: its tiny batch makes some factors look larger than they are.
    enough = [
        waterfall
        for waterfall in waterfalls
        if not waterfall.too_few and not waterfall.is_cpu
        if any(factor.mean for factor in waterfall.measured.release.factors)
    ]
    enough.sort(key=lambda waterfall: waterfall.device != setting.device)
    for waterfall in enough[:1]:
        sentences, sources = [_factors(waterfall)], [(waterfall.anchor, "waterfall")]
    if record is None or not record.measured.methods.keys() >= {*PAIR}:
        short = "Not yet known: this needs both methods' step times on one device."
        return Answer(QUESTION, short, sentences, sources=sources)
    sources = [(record.anchor, "step times"), *sources]
    if record.too_few:
        short = f"Not yet known: step times have only {record.too_few}."
        return Answer(QUESTION, short, sentences, sources=sources)
    flops = record.measured.flops_ratios.get("clip/catlip")
    ratio = record.measured.ratios.get("clip/catlip")
    short = "Not yet known: the FLOPs of a step were not counted."
    if flops and ratio is not None:
        larger = setting.larger_step_time
        papers = larger.measured.flops_ratios.get("clip/catlip") if larger else None
        of_papers = f"; with ViT B/16, {shown(papers, 2)} of the paper's {PAPER_SPEED_UP}"
        short = (
            f"CLIP's step has {shown(flops, 2)} times the matrix products, which leaves "
            f"{shown(ratio.value / flops, 2)} for all else{of_papers if papers else ''}."
        )
    return Answer(QUESTION, short, [_phases(record), *sentences], sources=sources)


def _phases(record: Run[StepTime]) -> str:
    catlip, clip = (record.measured.methods[method] for method in PAIR)
    phases = []
    for phase in ("forward", "loss", "backward", "optimizer"):
        one, other = catlip.parts[phase], clip.parts[phase]
        if one is not None and other is not None:
            more = other.median - one.median
            phases.append(f"{signed(more, max(1, decimals_of(clip.total_ms.median)))} ms {phase}")
    totals = f"{shown(clip.total_ms.median)} against {shown(catlip.total_ms.median)} ms"
    return f"CLIP's step takes {totals}: {', '.join(phases)}."


def _factors(waterfall: Run[Waterfall]) -> str:
    """A sentence on the changes between the releases and the largest factor."""
    way = waterfall.measured.release
    largest = max(way.factors, key=lambda factor: factor.mean or 0)
    ratio = way.total.ratio
    times = f"{shown(ratio.value, 2)} times ({interval(waterfall, ratio)})" if ratio else ""
    values = " and ".join(shown(r.value, 2) for r in largest.ratios.values() if r)
    claim = shown(waterfall.measured.published_ratio, 1)
    return (
        f"{TO_CATLIP}, {step_description(waterfall)}: {times} faster; the paper claims {claim}; "
        f"the largest factor is {largest.name}, {values} times."
    )
