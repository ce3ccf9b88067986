"""How the paper's claims on cost are judged: GPU hours, a step's time, parameters, memory and
bytes.

What a step costs does not depend on the data. It is evidence at the paper's scale where the paper's
encoder was measured, on an accelerator and with the paper's images; a count needs no accelerator.
"""

import math
from collections.abc import Iterator, Sequence
from typing import TypeVar

from catlip.kinds import Communication, Interval, Kind, Memory, Pretrain, StepTime
from catlip.kinds.cells import ends, interval
from catlip.kinds.cost.steps import USUAL_RESOLUTION, StepKind, step_description
from catlip.table import clipped, shown
from reports.paper.evidence import (
    FAILS,
    HOLDS,
    OPEN,
    UNTESTED,
    Evidence,
    Trained,
    above_one,
    combined,
    is_tested,
    smaller,
)
from reports.read.likeness import alike
from reports.read.measured import by_seed
from reports.read.pretrained import ENCODERS, architecture
from reports.read.records import Record
from reports.render.figures import is_drawable
from reports.summary.tables import link

SPEED_UP, ROUNDING = 2.7, 0.05  # title and Figure 1(c), which is rounded to 0.1
LEAST_BATCH = 256  # a device; the smallest of Table 6
CLASSES = 24_320  # the release's vocabulary of DataComp-1.3B, and the default of every bench
PAIR = ("catlip", "clip")
K = TypeVar("K", bound=Kind)


def _caveats(record: Record[StepKind], counted: bool = False) -> tuple[str, ...]:
    """What keeps a step from being the paper's."""
    setup = record.setup
    is_timed = not counted
    is_small = setup.batch_size is not None and setup.batch_size < LEAST_BATCH
    caveats = {
        "with another encoder than the paper's": architecture(setup.model) not in ENCODERS,
        "with a smaller vocabulary": setup.num_classes is not None and setup.num_classes < CLASSES,
        "at another resolution": setup.resolution not in (None, USUAL_RESOLUTION),
        "on a CPU": record.is_cpu and is_timed,
        "at a small batch": is_small and not record.is_cpu and is_timed,
    }
    return tuple(words for words, holds in caveats.items() if holds)


def _records(groups: Sequence[Trained], kind: type[K]) -> list[Record[K]]:
    return [record for group in groups for record in group.of(kind)]


def trainings_cheaper(groups: Sequence[Trained], least: float = 1.0) -> Iterator[Evidence]:
    """CLIP's time an image over CatLIP's, of whole trainings seed by seed on the same devices; each
    pair is above `least`.
    """
    for group in groups:
        one, other = (
            alike(own, own).records for own in (group.of(Pretrain, method) for method in PAIR)
        )
        for device in dict.fromkeys(record.device for record in one):
            ours, theirs = (
                by_seed((r for r in own if r.device == device), _seconds) for own in (one, other)
            )
            times = [
                theirs[seed] / a for seed, a in ours.items() if seed is not None and seed in theirs
            ]
            if times:
                outcome = _all_above(times, least)
                said = (
                    f"CLIP's training takes {_range(times)} times as long, on {clipped(device)} (n "
                    f"= {len(times)})."
                )
                yield Evidence(outcome, said, group.caveats, anchor=link(one))


def speed_up(groups: Sequence[Trained]) -> Iterator[Evidence]:
    """The same against 2.7, of ViT B/16 on DataComp-1.3B alone: no other training can say it."""
    own = [group for group in groups if (group.scale, group.encoder) == ("datacomp", "vit_b16")]
    yield from trainings_cheaper(own, SPEED_UP - ROUNDING)


def _seconds(record: Record[Pretrain]) -> float | None:
    """Of training, an image."""
    seconds, images = record.measured.train_seconds, record.measured.images_seen
    return seconds / images if is_drawable(seconds) and is_drawable(images) else None


def _all_above(times: Sequence[float], least: float) -> str:
    if not is_tested(times):
        return UNTESTED
    return HOLDS if min(times) > least else FAILS if max(times) < least else OPEN


def _range(times: Sequence[float]) -> str:
    low, high = shown(min(times), 2), shown(max(times), 2)
    return low if low == high else f"{low} to {high}"


def step_faster(groups: Sequence[Trained]) -> Iterator[Evidence]:
    """The interval of the ratio of step times lies above 1."""
    for record in _records(groups, StepTime):
        ratio = record.measured.ratios.get("clip/catlip")
        if ratio and not record.too_few:
            said = (
                f"CLIP's step takes {shown(ratio.value, 2)} times as long "
                f"({interval(record, ratio)}): {step_description(record)}."
            )
            yield Evidence(above_one(ratio), said, _caveats(record), anchor=record.anchor)


def fewer_parameters(groups: Sequence[Trained]) -> Iterator[Evidence]:
    """CatLIP trains fewer."""
    for record in _records(groups, StepTime):
        millions = {m: steps.parameters / 1e6 for m, steps in record.measured.methods.items()}
        yield from _count(record, millions, "M parameters")


def fewer_bytes(groups: Sequence[Trained]) -> Iterator[Evidence]:
    """A rank sends fewer in a step with CatLIP."""
    for record in _records(groups, Communication):
        sent = {m: costs.sent_mb for m, costs in record.measured.methods.items()}
        yield from _count(record, sent, "MB a rank and step")


def _count(record: Record[StepKind], counts: dict[str, float], what: str) -> Iterator[Evidence]:
    """Of CatLIP and CLIP, where both were counted."""
    if "catlip" in counts and "clip" in counts:
        one, other = counts["catlip"], counts["clip"]
        said = f"CatLIP {shown(one, 1)}, CLIP {shown(other, 1)} {what}: {step_description(record)}."
        caveats = _caveats(record, counted=True)
        yield Evidence(smaller(one, other), said, caveats, anchor=record.anchor)


def waits_less(groups: Sequence[Trained]) -> Iterator[Evidence]:
    """The time that a step is longer for the exchange, with intervals that do not overlap."""
    for record in _records(groups, Communication):
        methods = record.measured.methods
        exposed = [methods[m].exposed_ms for m in PAIR if m in methods]
        times = [record.trusted(ms) for ms in exposed if ms is not None]
        yield from _compared(record, "Exposed", times)


def loss_faster(groups: Sequence[Trained]) -> Iterator[Evidence]:
    """The loss alone, on an accelerator: the 5th to 95th percentiles of steps do not overlap."""
    for record in _records(groups, StepTime):
        methods = record.measured.methods
        losses = [methods[m].loss_ms for m in PAIR if m in methods]
        times = [Interval(ms.median, ms.p5, ms.p95) for ms in losses if ms is not None]
        if not record.too_few:
            yield from _compared(record, "Loss", times, testable=not record.is_cpu)


def _compared(
    record: Record[StepKind], what: str, times: Sequence[Interval], *, testable: bool = True
) -> Iterator[Evidence]:
    """Times of CatLIP and CLIP in ms, where both were measured."""
    if len(times) == len(PAIR):
        one, other = (f"{shown(time.value)} ms ({ends(time, None)})" for time in times)
        said = f"{what}: CatLIP {one}, CLIP {other}; {step_description(record)}."
        outcome = _apart(*times) if testable else UNTESTED
        yield Evidence(outcome, said, _caveats(record), anchor=record.anchor)


def _apart(one: Interval, other: Interval) -> str:
    """Whether the interval of the first lies below that of the other."""
    if one.low is None or one.high is None or other.low is None or other.high is None:
        return UNTESTED
    if not all(map(math.isfinite, (one.low, one.high, other.low, other.high))):
        return UNTESTED
    return HOLDS if one.high < other.low else FAILS if one.low > other.high else OPEN


def less_memory(groups: Sequence[Trained]) -> Iterator[Evidence]:
    """At every batch size that both were measured at, CatLIP's peak is the smaller."""
    for record in _records(groups, Memory):
        pairs, outcomes = [], []
        for size, batch in record.measured.shown_batches.items():
            if all(method in batch.methods for method in PAIR):
                one, other = (batch.methods[method].measured.peak_gib for method in PAIR)
                pairs.append(f"{shown(one)} and {shown(other)} GiB at {size:,} images")
                outcomes.append(smaller(one, other))
        if pairs:
            said = f"CatLIP and CLIP: {', '.join(pairs)}; {step_description(record)}."
            yield Evidence(combined(outcomes), said, _caveats(record), anchor=record.anchor)


def larger_batch(groups: Sequence[Trained]) -> Iterator[Evidence]:
    """The largest batch that fits was found for both, and CatLIP's is the larger."""
    for record in _records(groups, Memory):
        one, other = (record.measured.largest_batch(method) for method in PAIR)
        if one is not None and other is not None:
            said = (
                f"CatLIP {shown(one, 0)}, CLIP {shown(other, 0)} images; "
                f"{step_description(record)}."
            )
            yield Evidence(smaller(other, one), said, _caveats(record), anchor=record.anchor)
