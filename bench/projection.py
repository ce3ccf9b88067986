"""How long pre-training would take on 1 to 4,096 devices, and how much of that is communication
(sums: `bench.arithmetic.scaling`).

The question behind it: in the paper CLIP took 2.7 times the GPU-hours of CatLIP, with 256 images on
each of 256 devices against 1,024 on each of 64 (Figure 1c and Table 6b). How much of that can
communication explain?
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

from bench.arithmetic.link import PRESETS, Link
from bench.arithmetic.scaling import Compute, measured_compute, measured_link, project
from bench.measuring import methods
from bench.measuring.training_step import EncoderName, MethodNames, factors_of
from bench.plan import projection_result as result
from bench.plan.projection_result import projection_tables, ratios_said, scaling_tables
from catlip.cli import choose, run
from catlip.program.ranges import Count, NotNegative, Positive
from catlip.record import Record
from catlip.table import print_tables

GLOBAL_BATCH = 65_536  # Table 6b
DEVICES = [2**i for i in range(13)]  # 1 to 4,096
METHODS = ("catlip", "clip", "clip_nonlocal", "siglip", "superclass")
PAPER_LAYOUTS = {"clip": (256, 256), "catlip": (64, 1_024)}  # devices, images per device (Table 6b)
NOTES = [
    "a projection, not a measurement: no stragglers, no data loading, no failures",
    "the time of compute, without the optimizer if it was measured, is assumed to be linear in the "
    "batch per device: a real device is slower than that on small batches",
    "efficiency is images/s relative to those of as many single devices with the same batch; a "
    "large batch may not fit on a device",
    "collectives run round rings, whose latency grows with the number of nodes; NCCL's trees do "
    "better on many",
]


@dataclass(frozen=True)
class Projection:
    """Project step time, images/s and device-hours to 4,096 devices, and say how much of them is
    communication.

    python -m bench.projection --tflops 312 --mfu 0.4 --link a100_8x_nvlink_200gbit
    python -m bench.projection --step-time runs/bench/step_time/X.json --network-gb-s 12.5
    """

    model: EncoderName = "vit_b16"
    """Image encoder; with --step-time, the record's is used instead."""
    methods: MethodNames = ()
    """Methods to project; by default those of the step-time record, else catlip, clip,
    clip_nonlocal, siglip and superclass.
    """
    batch_size: Count = 256
    """Images per device, in weak scaling."""
    resolution: Count = 224
    """Image side in pixels; with --step-time, the record's is used instead."""
    precision: str = "bf16"
    """fp32, bf16 or fp16; with --step-time, the record's is used instead."""
    num_classes: Count = 24_320
    """Size of CatLIP's vocabulary; the paper's is 24,320."""
    samples: Positive = 13.1e9
    """Images of the pre-training; the paper's is 200,000 steps of 65,536."""
    step_time: Path | None = None
    """Record of bench.step_time, which says how fast one device is; without it, --tflops and --mfu
    say it.
    """
    tflops: Positive = 312.0
    """Peak of the assumed device in 1e12 FLOP/s; 312 is the A100's for bf16, by its datasheet."""
    mfu: Positive = 0.4
    """Share of the peak that the assumed device reaches."""
    link: str = "a100_8x_nvlink_200gbit"
    """One of bench.arithmetic.link.PRESETS; the flags from --node-devices to --network-latency-us
    replace single numbers of it.
    """
    communication: Path | None = None
    """Record of bench.communication, whose measured latency and bandwidth are taken for all links.
    """
    node_devices: Count | None = None
    """Devices of a node."""
    node_gb_s: Positive | None = None
    """Bandwidth of a device in its node, each way, in 1e9 bytes/s."""
    node_latency_us: NotNegative | None = None
    """Latency of a message in a node."""
    network_gb_s: Positive | None = None
    """Bandwidth of a device between nodes, each way."""
    network_latency_us: NotNegative | None = None
    """Latency of a message between nodes."""
    out: Path = Path("runs/bench/projection")
    """Folder for the record, named by model, compute and link."""

    def __post_init__(self) -> None:
        choose("link", self.link, PRESETS)
        for method in self.methods:
            choose("method", method, methods.METHODS)


def find_compute(config: Projection) -> dict[str, Compute]:
    """Each method's rate, from the step-time record or from the assumed device.

    Raises: InputError.
    """
    if config.step_time is not None:
        return measured_compute(config.step_time, config.methods)
    source = f"assumed: {config.mfu:.0%} of {config.tflops:g} TFLOP/s"
    rate = config.tflops * config.mfu * 1e9
    return {m: Compute(factors_of(config, m), rate, source) for m in config.methods or METHODS}


def find_link(config: Projection) -> Link:
    """The preset, or the link that a communication record measured, with the numbers that the user
    set in place of its own.

    Raises: InputError.
    """
    link = PRESETS[config.link]
    if config.communication is not None:
        link = measured_link(config.communication)
    given = {
        name: value for name in asdict(link) if (value := getattr(config, name, None)) is not None
    }
    if not given:
        return link
    return replace(link, **given, source=f"{link.source}; given: {', '.join(given)}")


def layouts(config: Projection, computes: dict[str, Compute], link: Link) -> list[result.Layout]:
    """Every method on 1 to 4,096 devices: with the same batch per device (weak), and with the
    paper's global batch (strong).
    """
    projected = partial(project, link=link, samples=config.samples)
    rows = []
    for compute in computes.values():
        for devices in DEVICES:
            rows.append(projected(compute, devices, config.batch_size, scaling="weak"))
            rows.append(projected(compute, devices, GLOBAL_BATCH // devices, scaling="strong"))
    return rows


def paper_layouts(
    config: Projection, computes: dict[str, Compute], link: Link
) -> list[result.Layout]:
    """CLIP and CatLIP, each on both published layouts; the global batch is the same in all."""
    return [
        project(
            computes[method],
            *layout,
            link=link,
            samples=config.samples,
            scaling="as published" if whose == method else f"as {whose}",
        )
        for whose, layout in PAPER_LAYOUTS.items()
        for method in PAPER_LAYOUTS
        if method in computes
    ]


def paper_ratios(rows: Sequence[result.Layout]) -> list[result.LayoutRatio]:
    """The ratio of CLIP's device-hours to CatLIP's, as published and on equal layouts, with the
    part of it that communication makes.
    """
    at = {(row.method, row.devices): row for row in rows}
    (clip, _), (catlip, _) = PAPER_LAYOUTS["clip"], PAPER_LAYOUTS["catlip"]
    ratios = []
    for name, one, other in (
        ("as published", clip, catlip),
        ("both as CLIP", clip, clip),
        ("both as CatLIP", catlip, catlip),
    ):
        above, below = at["clip", one], at["catlip", other]
        hours = above.device_hours / below.device_hours
        # The global batch is the same.
        compute = above.compute_ms * above.devices / (below.compute_ms * below.devices)
        ratios.append(
            result.LayoutRatio(
                layouts=name, device_hours=hours, compute=compute, communication=hours / compute
            )
        )
    return ratios


def main(config: Projection) -> None:
    """Project, print the tables and write the record."""
    computes, link = find_compute(config), find_link(config)
    name = config.step_time.stem if config.step_time else f"{config.model}-assumed"
    name += f"-{config.communication.stem if config.communication else config.link}"
    path = config.out / f"{name}.json"
    with Record(path, kind=result.Projection, config=config) as record:
        record.shown_as = methods.shown(computes)
        rows = paper_layouts(config, computes, link)
        record.notes += NOTES
        measured = record.measured(
            result.Projection(
                link=result.ProjectedLink(**asdict(link)),
                compute={m: result.ProjectedCompute(**asdict(c)) for m, c in computes.items()},
                layouts=layouts(config, computes, link),
                paper_layouts=rows,
                paper_ratios=paper_ratios(rows) if PAPER_LAYOUTS.keys() <= computes.keys() else [],
            )
        )
    print_tables([*scaling_tables(measured), *projection_tables(measured)])
    print(ratios_said(measured))
    print(f"wrote {record.path}")


if __name__ == "__main__":
    run(Projection, main)
