"""Evidence on the paper's claims on cost: GPU hours, a step's time, parameters, memory and bytes.

What a step costs does not depend on the data. Times and memory are evidence only if they were
measured on an accelerator: a CPU's numbers are shown and tested neither for nor against a claim.
They are at the paper's scale with the paper's encoder, image size, vocabulary and batch. A count
of parameters or bytes needs neither the batch nor the accelerator.
"""

from collections.abc import Iterator, Sequence
from typing import TypeVar

from bench.communication.result import Communication
from bench.memory.result import Memory
from bench.step_time.result import StepTime
from bench.step_time.steps import USUAL_RESOLUTION, StepKind, step_description
from catlip.pretraining.result import Pretrain
from catlip.results.caveats import are_enough, busy_machines, undisturbed
from catlip.results.cells import ends
from catlip.results.estimate import Estimate, between, counted, of_interval, of_ratios
from catlip.results.figures import is_drawable
from catlip.results.kind import Interval, Kind
from catlip.results.likeness import alike
from catlip.results.pretrained import ENCODERS, architecture
from catlip.results.run import Run
from catlip.results.seeds import by_seed, link
from catlip.table import clipped, shown
from reports.paper.evidence import Compared, Evidence, Trained

LEAST_BATCH = 256  # images on a device; the smallest in Table 6
CLASSES = 24_320  # the release's vocabulary of DataComp-1.3B, and the default of every bench
PAIR = ("catlip", "clip")
ON_CPU = "Measured on a CPU, which tests no claim about GPUs."
K = TypeVar("K", bound=Kind)


def _caveats(record: Run[StepKind], is_counted: bool = False) -> tuple[str, ...]:
    """What makes a step different from the paper's."""
    setup = record.setup
    is_timed = not is_counted
    is_small = setup.batch_size is not None and setup.batch_size < LEAST_BATCH
    caveats = {
        "with another encoder than the paper's": architecture(setup.model) not in ENCODERS,
        "with a smaller vocabulary": setup.num_classes is not None and setup.num_classes < CLASSES,
        "at another resolution": setup.resolution not in (None, USUAL_RESOLUTION),
        "at a small batch": is_small and is_timed,
    }
    return tuple(words for words, holds in caveats.items() if holds)


def _records(groups: Sequence[Trained], kind: type[K]) -> list[Run[K]]:
    return [record for group in groups for record in group.of(kind)]


def trainings_cheaper(groups: Sequence[Trained]) -> Iterator[Evidence]:
    """CLIP's training time per image over CatLIP's, paired by seed on the same device."""
    for group in groups:
        trained = [group.of(Pretrain, method) for method in PAIR]
        catlip, clip = (alike(own, own).records for own in trained)
        for device in dict.fromkeys(record.device for record in catlip):
            ours, theirs = ([r for r in own if r.device == device] for own in (catlip, clip))
            every = _ratios(ours, theirs)
            quiet = _ratios(undisturbed(ours), undisturbed(theirs))
            compared = []
            if are_enough(quiet, every):
                compared.append(_times(f"trainings on {clipped(device)}", of_ratios(quiet)))
            if every:
                busy = busy_machines([*ours, *theirs], "trainings")
                untested = ON_CPU if ours[0].is_cpu else ""
                yield Evidence(
                    compared, busy, group.caveats, anchor=link(catlip), untested=untested
                )


def _ratios(ours: Sequence[Run[Pretrain]], theirs: Sequence[Run[Pretrain]]) -> list[float]:
    """`theirs` over `ours` in training time per image, for each seed that both have."""
    one, other = by_seed(ours, _seconds), by_seed(theirs, _seconds)
    return [other[seed] / a for seed, a in one.items() if seed is not None and seed in other]


def _times(what: str, ratio: Estimate | None) -> Compared:
    return Compared(what, ratio, "times", decimals=2)


def speed_up(groups: Sequence[Trained]) -> Iterator[Evidence]:
    """The same ratio, for ViT B/16 on DataComp-1.3B alone: only that can test the paper's 2.7."""
    own = [group for group in groups if (group.scale, group.encoder) == ("datacomp", "vit_b16")]
    yield from trainings_cheaper(own)


def _seconds(record: Run[Pretrain]) -> float | None:
    """Training time per image; None if it or the number of images cannot be a measurement."""
    seconds, images = record.measured.train_seconds, record.measured.images_seen
    return seconds / images if is_drawable(seconds) and is_drawable(images) else None


def step_faster(groups: Sequence[Trained]) -> Iterator[Evidence]:
    """The ratio of step times, CLIP over CatLIP; its interval must lie above 1."""
    for record in _records(groups, StepTime):
        ratio = record.measured.ratios.get("clip/catlip")
        if ratio and not record.too_few:
            compared = [_times(step_description(record), of_interval(ratio))]
            yield _measured(record, compared)


def fewer_parameters(groups: Sequence[Trained]) -> Iterator[Evidence]:
    """CatLIP trains fewer parameters."""
    for record in _records(groups, StepTime):
        millions = {m: steps.parameters / 1e6 for m, steps in record.measured.methods.items()}
        yield from _count(record, millions, "M parameters")


def fewer_bytes(groups: Sequence[Trained]) -> Iterator[Evidence]:
    """A rank sends fewer bytes in a step with CatLIP."""
    for record in _records(groups, Communication):
        sent = {m: costs.sent_mb for m, costs in record.measured.methods.items()}
        yield from _count(record, sent, "MB per rank and step")


def _count(record: Run[StepKind], counts: dict[str, float], what: str) -> Iterator[Evidence]:
    """The evidence of one count, if both CatLIP and CLIP have it."""
    if "catlip" in counts and "clip" in counts:
        one, other = counts["catlip"], counts["clip"]
        said = f"CatLIP {shown(one, 1)}, CLIP {shown(other, 1)}: {step_description(record)}."
        compared = [Compared("CLIP - CatLIP", counted(other - one), what)]
        caveats = _caveats(record, is_counted=True)
        yield Evidence(compared, said, caveats, anchor=record.anchor)


def waits_less(groups: Sequence[Trained]) -> Iterator[Evidence]:
    """The time by which the exchange makes a step longer; the two intervals must not overlap."""
    for record in _records(groups, Communication):
        methods = record.measured.methods
        exposed = [methods[m].exposed_ms for m in PAIR if m in methods]
        times = [record.trusted(ms) for ms in exposed if ms is not None]
        yield from _compared(record, "Exposed exchange", times)


def loss_faster(groups: Sequence[Trained]) -> Iterator[Evidence]:
    """The time of the loss alone; the 5th to 95th percentiles of the steps must not overlap."""
    for record in _records(groups, StepTime):
        methods = record.measured.methods
        losses = [methods[m].loss_ms for m in PAIR if m in methods]
        times = [Interval(ms.median, ms.p5, ms.p95) for ms in losses if ms is not None]
        if not record.too_few:
            yield from _compared(record, "Loss", times)


def _compared(record: Run[StepKind], what: str, times: Sequence[Interval]) -> Iterator[Evidence]:
    """The evidence of the times of CatLIP and CLIP in ms, if both were measured."""
    if len(times) == len(PAIR):
        said = [f"{shown(time.value)} ms ({ends(time, None)})" for time in times]
        words = f"{what}: CatLIP {said[0]}, CLIP {said[1]}; {step_description(record)}."
        compared = [Compared("CLIP - CatLIP", between(*times), "ms", decimals=2)]
        yield _measured(record, compared, words)


def _measured(record: Run[StepKind], compared: list[Compared], said: str = "") -> Evidence:
    """The evidence of times or memory, which is none on a CPU."""
    untested = ON_CPU if record.is_cpu else ""
    return Evidence(compared, said, _caveats(record), anchor=record.anchor, untested=untested)


def less_memory(groups: Sequence[Trained]) -> Iterator[Evidence]:
    """CatLIP's peak memory is smaller at every batch size that both were measured at."""
    for record in _records(groups, Memory):
        compared = []
        for size, batch in record.measured.by_size.items():
            if all(method in batch.methods for method in PAIR):
                one, other = (batch.methods[method].measured.peak_gib for method in PAIR)
                more = None if one is None or other is None else other - one
                what = f"CLIP - CatLIP, {size:,} image{'s' * (size != 1)}"
                compared.append(Compared(what, counted(more), "GiB", decimals=2))
        if compared:
            yield _measured(record, compared, f"{step_description(record)}.")


def larger_batch(groups: Sequence[Trained]) -> Iterator[Evidence]:
    """CatLIP's largest batch that fits is larger, where it was found for both."""
    for record in _records(groups, Memory):
        one, other = (record.measured.largest_batch(method) for method in PAIR)
        if one is not None and other is not None:
            sizes = f"CatLIP {shown(one.images, 0)}, CLIP {shown(other.images, 0)}"
            said = f"{sizes}: {step_description(record)}."
            more = counted(one.images - other.images)
            compared = [Compared("CatLIP - CLIP", more, "images", decimals=0)]
            yield _measured(record, compared, said)
