"""How the paper's claims on cost are judged: GPU hours, a step's time, parameters, memory and
bytes.

What a step costs does not depend on the data. It is evidence at the paper's scale where the paper's
encoder was measured, on an accelerator and with the paper's images; a count needs no accelerator.
"""

import math
from collections.abc import Iterator, Sequence

from catlip.least_counts import too_few
from catlip.table import clipped, shown
from reports.cost.memory import batches
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
from reports.read.measured import Ratio, anchor_of, by_seed, ratio_of, step_ratio
from reports.read.pretrained import ENCODERS, architecture
from reports.read.records import Record, drawable, entries, lookup, number, text
from reports.summary.tables import USUAL_RESOLUTION, interval, link, step_description

SPEED_UP, ROUNDING = 2.7, 0.05  # title and Figure 1(c), which is rounded to 0.1
LEAST_BATCH = 256  # a device; the smallest of Table 6
CLASSES = 24_320  # the release's vocabulary of DataComp-1.3B, and the default of every bench
PAIR = ("catlip", "clip")


def _caveats(record: Record, counted: bool = False) -> tuple[str, ...]:
    """What keeps a step from being the paper's."""
    batch, side = number(record.config, "batch_size"), number(record.config, "resolution")
    classes = number(record.config, "num_classes")
    found = {
        "with another encoder than the paper's": architecture(text(record.config, "model"))
        not in ENCODERS,
        "with a smaller vocabulary": classes is not None and classes < CLASSES,
        "at another resolution": side is not None and side != USUAL_RESOLUTION,
        "on a CPU": record.is_cpu and not counted,
        "at a small batch": batch is not None
        and batch < LEAST_BATCH
        and not record.is_cpu
        and not counted,
    }
    return tuple(words for words, holds in found.items() if holds)


def _records(groups: Sequence[Trained], kind: str) -> list[Record]:
    return [record for group in groups for record in group.of(kind)]


def trainings_cheaper(groups: Sequence[Trained], least: float = 1.0) -> Iterator[Evidence]:
    """CLIP's time an image over CatLIP's, of whole trainings seed by seed on the same devices; each
    pair is above `least`.
    """
    for group in groups:
        one, other = (
            alike(own, own).records for own in (group.of("pretrain", method) for method in PAIR)
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
                yield Evidence(outcome, said, group.caveats, link(one))


def speed_up(groups: Sequence[Trained]) -> Iterator[Evidence]:
    """The same against 2.7, of ViT B/16 on DataComp-1.3B alone: no other training can say it."""
    own = [group for group in groups if (group.scale, group.encoder) == ("datacomp", "vit_b16")]
    yield from trainings_cheaper(own, SPEED_UP - ROUNDING)


def _seconds(record: Record) -> float | None:
    """Of training, an image."""
    seconds, images = (
        drawable(record.metrics, "train_seconds"),
        drawable(record.metrics, "images_seen"),
    )
    return seconds / images if seconds and images else None


def _all_above(times: Sequence[float], least: float) -> str:
    if not is_tested(times):
        return UNTESTED
    return HOLDS if min(times) > least else FAILS if max(times) < least else OPEN


def _range(times: Sequence[float]) -> str:
    low, high = shown(min(times), 2), shown(max(times), 2)
    return low if low == high else f"{low} to {high}"


def step_faster(groups: Sequence[Trained]) -> Iterator[Evidence]:
    """The interval of the ratio of step times lies above 1."""
    for record in _records(groups, "step_time"):
        ratio = step_ratio(record, "clip")
        if ratio and ratio.to == "catlip" and not too_few(record.kind, record.samples):
            said = (
                f"CLIP's step takes {shown(ratio.value, 2)} times as long ({interval(ratio)}): "
                f"{step_description(record)}."
            )
            yield Evidence(above_one(ratio), said, _caveats(record), anchor_of(record))


def fewer_parameters(groups: Sequence[Trained]) -> Iterator[Evidence]:
    """CatLIP trains fewer."""
    yield from _counts(groups, "step_time", "parameters", 1e6, "M parameters")


def fewer_bytes(groups: Sequence[Trained]) -> Iterator[Evidence]:
    """A rank sends fewer in a step with CatLIP."""
    yield from _counts(groups, "communication", "sent_mb", 1, "MB a rank and step")


def _counts(
    groups: Sequence[Trained], kind: str, key: str, unit: float, what: str
) -> Iterator[Evidence]:
    for record in _records(groups, kind):
        one, other = (number(record.metrics, "methods", method, key) for method in PAIR)
        if one is not None and other is not None:
            said = (
                f"CatLIP {shown(one / unit, 1)}, CLIP {shown(other / unit, 1)} {what}: "
                f"{step_description(record)}."
            )
            yield Evidence(
                smaller(one, other), said, _caveats(record, counted=True), anchor_of(record)
            )


def waits_less(groups: Sequence[Trained]) -> Iterator[Evidence]:
    """The time that a step is longer for the exchange, with intervals that do not overlap."""
    for record in _records(groups, "communication"):
        one, other = (
            ratio_of(record, lookup(record.metrics, "methods", method, "exposed_ms"))
            for method in PAIR
        )
        if one and other:
            said = f"Exposed: CatLIP {_ms(one)}, CLIP {_ms(other)}; {step_description(record)}."
            yield Evidence(_apart(one, other), said, _caveats(record), anchor_of(record))


def loss_faster(groups: Sequence[Trained]) -> Iterator[Evidence]:
    """The loss alone, on an accelerator: the 5th to 95th percentiles of steps do not overlap."""
    for record in _records(groups, "step_time"):
        one, other = (
            _percentiles(entries(record.metrics, "methods", method, "loss_ms")) for method in PAIR
        )
        if one and other and not too_few(record.kind, record.samples):
            said = f"Loss: CatLIP {_ms(one)}, CLIP {_ms(other)}; {step_description(record)}."
            outcome = UNTESTED if record.is_cpu else _apart(one, other)
            yield Evidence(outcome, said, _caveats(record), anchor_of(record))


def _percentiles(tree: dict[str, object]) -> Ratio | None:
    median = number(tree, "median")
    return None if median is None else Ratio("", median, number(tree, "p5"), number(tree, "p95"))


def _ms(time: Ratio) -> str:
    return f"{shown(time.value)} ms ({interval(time, None)})"


def _apart(one: Ratio, other: Ratio) -> str:
    """Whether the interval of the first lies below that of the other."""
    ends = (one.low, one.high, other.low, other.high)
    if any(end is None or not math.isfinite(end) for end in ends):
        return UNTESTED
    low, high, from_, to = (end for end in ends if end is not None)
    return HOLDS if high < from_ else FAILS if low > to else OPEN


def less_memory(groups: Sequence[Trained]) -> Iterator[Evidence]:
    """At every batch size that both were measured at, CatLIP's peak is the smaller."""
    for record in _records(groups, "memory"):
        peaks = {size: [_gib(record, size, method) for method in PAIR] for size in batches(record)}
        found = {size: (a, b) for size, (a, b) in peaks.items() if a is not None and b is not None}
        if found:
            pairs = [
                f"{shown(a)} and {shown(b)} GiB at {int(size):,} images"
                for size, (a, b) in found.items()
            ]
            said = f"CatLIP and CLIP: {', '.join(pairs)}; {step_description(record)}."
            outcome = combined([smaller(*pair) for pair in found.values()])
            yield Evidence(outcome, said, _caveats(record), anchor_of(record))


def _gib(record: Record, size: str, method: str) -> float | None:
    return number(record.metrics, "batches", size, "methods", method, "measured", "peak_gib")


def larger_batch(groups: Sequence[Trained]) -> Iterator[Evidence]:
    """The largest batch that fits was found for both, and CatLIP's is the larger."""
    for record in _records(groups, "memory"):
        one, other = (_largest(record, method) for method in PAIR)
        if one is not None and other is not None:
            said = (
                f"CatLIP {shown(one, 0)}, CLIP {shown(other, 0)} images; "
                f"{step_description(record)}."
            )
            yield Evidence(smaller(other, one), said, _caveats(record), anchor_of(record))


def _largest(record: Record, method: str) -> float | None:
    found = (
        number(record.metrics, "batches", size, "methods", method, "largest_batch")
        for size in batches(record)
    )
    return next((batch for batch in found if batch is not None), None)
