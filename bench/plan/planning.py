"""The arithmetic of a step, of the same step on many devices, and of a whole run; printed, and
written as three kinds of record.

The question behind it: in the paper CLIP took 2.7 times the GPU-hours of CatLIP, with 256 images on
each of 256 devices against 1,024 on each of 64 (Figure 1c and Table 6b). How much of that can
operations and communication explain?
"""

import itertools
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

from bench.arithmetic.exchanges import sent
from bench.arithmetic.flops import (
    forward_flops,
    image_flops,
    mean_flops_per_sample,
    objective_of,
    recomputed_flops,
    step_flops,
    step_shape,
    text_flops,
)
from bench.arithmetic.memory import activation_bytes, parameters, peak_bytes, state_bytes
from bench.measuring import methods
from bench.measuring.factors import Factors
from bench.plan import result
from bench.plan.__main__ import Plan
from bench.plan.layouts import Compute, FittedLayout, best_layout, lay_out
from bench.plan.machines import Machine, machines
from catlip.cli import InputError
from catlip.costs import GIB
from catlip.recipes.pretrain import CATLIP, CLIP
from catlip.record import Record, plain
from catlip.results.kind import Interval
from catlip.table import print_tables

GLOBAL_BATCH = 65_536  # Table 6b
DEVICES = [2**i for i in range(13)]  # 1 to 4,096
PAPER_LAYOUTS = {"clip": (256, 256), "catlip": (64, 1_024)}  # devices, images per device (Table 6b)
# Recipes with the released samplers.
RELEASED = {"catlip": CATLIP["datacomp_b16"], "clip": CLIP["datacomp_b16_release"]}
STEP_NOTES = [
    "computed, not measured; memory is that of a GPU's kernels, without their own work space"
]
PROJECTION_NOTES = [
    "a projection, not a measurement: no stragglers, no data loading, no failures",
    "the time of compute, without the optimizer if it was measured, is assumed to be linear in the "
    "batch per device: a real device is slower than that on small batches",
    "efficiency is images/s relative to those of as many single devices with the same batch; a "
    "large batch may not fit on a device",
    "collectives run round rings, whose latency grows with the number of nodes; NCCL's trees do "
    "better on many",
]
PLAN_NOTES = [
    "assumes no failures, stragglers or waiting for images; published OpenCLIP trainings of "
    "ViT-B/16 reached 13 to 16 % of the datasheet, a half to a third of what is assumed here",
    "the time of a step, without the optimizer if it was measured, is assumed to be linear in the "
    "images on a device: small batches are slower than that",
    "memory is the computed peak; a tenth of the device is left to the driver and NCCL",
]


@dataclass(frozen=True)
class Planned:
    """The devices, and what was computed: of each encoder, of each device, and of all."""

    machines: list[Machine]
    steps: dict[str, result.Analytic]
    projections: list[result.Projection]
    plan: result.Plan


def compute(config: Plan) -> Planned:
    """Raises: InputError for a name that is not known, and for a run that fits on no device."""
    every = list(machines(config))
    runs: list[result.PlannedRun] = []
    for machine, devices in itertools.product(every, config.gpus):
        runs += planned(config, machine, devices)
    if not runs:
        raise InputError("not even one image fits on a device; give more devices, or larger ones")
    return Planned(
        machines=every,
        steps={machine.model: analytic(config, machine) for machine in every},
        projections=[projection(config, machine) for machine in every],
        plan=result.Plan(images=config.images, price=config.price, runs=runs),
    )


def write(config: Plan, done: Planned) -> None:
    """Print the tables and write the records."""
    devices = max(1, config.global_batch // config.batch_size)
    settings = plain(config) | {"samples": config.images, "world_size": devices}
    shown_as = methods.shown(done.machines[0].rates)
    precision = next(iter(done.machines[0].rates.values())).compute.factors.precision
    paths = []
    for model, step in done.steps.items():
        path = config.out / f"step-{model}-b{config.batch_size}x{devices}-{precision}.json"
        own = settings | {"model": model, "precision": precision}
        with Record(path, result.Analytic, own) as record:
            record.shown_as, record.notes = shown_as, list(STEP_NOTES)
            print_tables([result.analytic_table(record.measured(step))])
        print(
            f"clip/catlip = {step.flops_ratio_with_own_sizes:.3f} in operations per image, with "
            "the image sizes of each method's released ViT-B/16 recipe\n"
        )
        paths.append(path)
    for machine, projection in zip(done.machines, done.projections, strict=True):
        path = config.out / f"projection-{machine.model}-{_words(machine.name)}.json"
        with Record(path, result.Projection, settings | {"model": machine.model}) as record:
            record.shown_as, record.notes = shown_as, list(PROJECTION_NOTES)
            run = record.measured(projection)
        print_tables([*result.scaling_tables(run), *result.projection_tables(run)])
        print(f"{result.ratios_in_words(run)}\n")
        paths.append(path)
    names = [
        dict.fromkeys(machine.model for machine in done.machines),
        dict.fromkeys(_words(machine.name) for machine in done.machines),
        map(str, config.gpus),
    ]
    path = config.out / f"{'-'.join(map('_'.join, names))}.json"
    with Record(path, result.Plan, config) as record:
        record.shown_as, record.notes = shown_as, list(PLAN_NOTES)
        table = result.plan_table(record.measured(done.plan))
    print_tables([table])
    print("\n".join([table.caption, *STEP_NOTES, *PLAN_NOTES]))
    print("\n".join(f"wrote {each}" for each in (*paths, path)))


def _words(device: str) -> str:
    return device.lower().replace(" ", "_")


def analytic(config: Plan, machine: Machine) -> result.Analytic:
    """The costs of one step, with `batch_size` images on each device."""
    devices = max(1, config.global_batch // config.batch_size)
    factors = {
        method: replace(rate.compute.factors, batch_size=config.batch_size)
        for method, rate in machine.rates.items()
    }
    costs = {method: step_costs(step, devices) for method, step in factors.items()}
    first, *others = factors
    gflops = {method: of.step_gflops_per_image for method, of in costs.items()}
    one = next(iter(factors.values()))
    catlip, clip = (
        mean_flops_per_sample(replace(one, method=method), recipe.sizes(), recipe.num_devices)
        for method, recipe in RELEASED.items()
    )
    return result.Analytic(
        methods=costs,
        flops_ratios={f"{method}/{first}": gflops[method] / gflops[first] for method in others},
        flops_ratio_with_own_sizes=clip / catlip,
    )


def step_costs(factors: Factors, devices: int) -> result.MethodCosts:
    """The costs of one method: GFLOPs (1e9) per image, numbers of parameters, GiB kept and MB sent
    by one GPU.
    """
    per_image = 1e9 * factors.batch_size
    objective = objective_of(factors)
    kept = activation_bytes(factors, devices)
    heads = forward_flops(objective.matmuls(step_shape(factors, devices)))
    encoder = image_flops(factors.model, factors.resolution, factors.patch_drop_rate)
    sent_mb: dict[str, float] = {}
    for exchange in sent(factors, devices):
        sent_mb[exchange.what] = sent_mb.get(exchange.what, 0.0) + exchange.sent_bytes / 1e6
    return result.MethodCosts(
        forward_gflops={
            "image_encoder": encoder / 1e9,
            "text_tower": text_flops(objective.text) / 1e9 if objective.text else 0.0,
            "head": heads / per_image,
        },
        step_gflops_per_image=step_flops(factors, devices) / per_image,
        recomputed_gflops_per_image=recomputed_flops(factors) / per_image,
        parameters=parameters(factors),
        state_gib={part: size / GIB for part, size in state_bytes(factors).items()},
        activations_gib={part: size / GIB for part, size in kept.items()},
        peak_gib=peak_bytes(factors, devices) / GIB,
        sent_mb=sent_mb | {"total": sum(sent_mb.values())},
    )


def projection(config: Plan, machine: Machine) -> result.Projection:
    """Every method on 1 to 4,096 devices, with the same batch per device (weak) and with the
    paper's global batch (strong); and CLIP and CatLIP on both published layouts.
    """
    computes = {method: rate.compute for method, rate in machine.rates.items()}

    def row(method: str, devices: int, batch_size: int, scaling: str) -> result.Layout:
        of_method = computes[method]
        step = replace(of_method.factors, batch_size=batch_size)
        layout = lay_out(of_method, step, devices, link=machine.link)
        return projected(of_method, layout, config.images, scaling)

    layouts = []
    for method, devices in itertools.product(computes, DEVICES):
        layouts.append(row(method, devices, config.batch_size, "weak"))
        layouts.append(row(method, devices, GLOBAL_BATCH // devices, "strong"))
    paper = [
        row(method, devices, images, "as published" if whose == method else f"as {whose}")
        for whose, (devices, images) in PAPER_LAYOUTS.items()
        for method in PAPER_LAYOUTS
        if method in computes
    ]
    return result.Projection(
        link=result.ProjectedLink(**asdict(machine.link)),
        compute={m: result.ProjectedCompute(**asdict(c)) for m, c in computes.items()},
        layouts=layouts,
        paper_layouts=paper,
        paper_ratios=paper_ratios(paper) if PAPER_LAYOUTS.keys() <= computes.keys() else [],
    )


def projected(compute: Compute, layout: FittedLayout, images: float, scaling: str) -> result.Layout:
    """The row of a layout; efficiency is relative to a device that never waits."""
    return result.Layout(
        method=layout.factors.method,
        devices=layout.devices,
        batch_per_device=layout.factors.batch_size,
        global_batch=layout.global_batch,
        step_ms=layout.step_ms,
        compute_ms=layout.compute_ms,
        exposed_ms=layout.exposed_ms,
        images_per_s=layout.images_per_s,
        efficiency=compute.step_ms(layout.factors) / layout.step_ms,
        device_hours=layout.device_hours(images),
        scaling=scaling,
    )


def paper_ratios(rows: Sequence[result.Layout]) -> list[result.LayoutRatio]:
    """The ratio of CLIP's device-hours to CatLIP's, as published and on equal layouts, with the
    part of it that communication makes.
    """
    at = {(row.method, row.devices): row for row in rows}
    (clip, _), (catlip, _) = PAPER_LAYOUTS["clip"], PAPER_LAYOUTS["catlip"]
    ratios = []
    for name, of_clip, of_catlip in (
        ("as published", clip, catlip),
        ("both as CLIP", clip, clip),
        ("both as CatLIP", catlip, catlip),
    ):
        above, below = at["clip", of_clip], at["catlip", of_catlip]
        hours = above.device_hours / below.device_hours
        # The global batch is the same.
        compute = above.compute_ms * above.devices / (below.compute_ms * below.devices)
        ratios.append(
            result.LayoutRatio(
                layouts=name, device_hours=hours, compute=compute, communication=hours / compute
            )
        )
    return ratios


def planned(config: Plan, machine: Machine, devices: int) -> list[result.PlannedRun]:
    """The plan of each method that fits on `devices` devices; empty if the first does not fit."""
    layouts: dict[str, FittedLayout] = {}
    for method, rate in machine.rates.items():
        layout = best_layout(
            rate.compute,
            devices,
            config.global_batch,
            link=machine.link,
            memory_bytes=machine.memory_bytes,
        )
        if layout is not None:
            layouts[method] = layout
    first = layouts.get(next(iter(machine.rates)))
    if first is None:
        return []
    return [_planned(config, machine, layout, first=first) for layout in layouts.values()]


def _planned(
    config: Plan, machine: Machine, layout: FittedLayout, *, first: FittedLayout
) -> result.PlannedRun:
    step, rate = layout.factors, machine.rates[layout.factors.method]
    hours = layout.device_hours(config.images)
    ratio = Interval(1.0)
    if layout is not first:
        times = first.images_per_s / layout.images_per_s
        ratio = Interval(times, times * rate.ratio_low, times * rate.ratio_high)
    # Only computing can be faster or slower than in the middle; waiting stays the same.
    computing = layout.compute_ms / layout.step_ms
    low, high = 1 + computing * (rate.low - 1), 1 + computing * (rate.high - 1)
    return result.PlannedRun(
        model=machine.model,
        method=step.method,
        gpu=machine.name,
        devices=layout.devices,
        micro_batch=step.batch_size,
        accumulation=layout.accumulation,
        global_batch=layout.global_batch,
        parallel=step.parallel,
        checkpointing=step.checkpointing,
        memory_gib=layout.peak_bytes / GIB,
        step_ms=layout.step_ms,
        exposed_ms=layout.exposed_ms,
        device_hours=Interval(hours, hours * low, hours * high),
        sent_mb=layout.sent_bytes / 1e6,
        ratio=ratio,
        source=rate.compute.source,
    )
