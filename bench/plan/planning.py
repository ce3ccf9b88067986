"""The arithmetic of a step, of the same step on many devices, and of a whole run; printed, and
written as three kinds of record.

The question behind it: in the paper CLIP took 2.7 times the GPU-hours of CatLIP, with 256 images on
each of 256 devices against 1,024 on each of 64 (Figure 1c and Table 6b). How much of that can
operations and communication explain?
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

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
from bench.plan.layouts import FittedLayout, best_layout, lay_out
from bench.plan.machines import Machine, machines
from catlip.cli import InputError
from catlip.costs import GIB
from catlip.recipes.pretrain import CATLIP, CLIP
from catlip.record import Record, plain
from catlip.results.kind import Interval, Kind
from catlip.results.run import Run
from catlip.table import print_tables

K = TypeVar("K", bound=Kind)
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


def plan(config: Plan) -> None:
    """Compute, print the tables and write the records.

    Raises: InputError for a name that is not known, and for a run that fits on no device.
    """
    every = list(machines(config))
    runs: list[result.PlannedRun] = []
    for machine, number in itertools.product(every, config.gpus):
        runs += planned(config, machine, number)
    if not runs:
        raise InputError("not even one image fits on a device; give more devices, or larger ones")
    devices = max(1, config.global_batch // config.batch_size)
    paths = []

    def record(name: str, metrics: K, notes: list[str], **settings: Any) -> Run[K]:
        """Write the record; `settings` are those that the config only implies."""
        paths.append(config.out / f"{name}.json")
        with Record(paths[-1], type(metrics), plain(config) | settings) as written:
            written.shown_as, written.notes = methods.shown(every[0].rates), notes
            return written.measured(metrics)

    for model, machine in {machine.model: machine for machine in every}.items():
        step = analytic(config, machine)
        factors = next(iter(machine.rates.values())).factors
        one = record(
            f"step-{model}-b{config.batch_size}x{devices}-{factors.precision}",
            step,
            STEP_NOTES,
            model=model,
            resolution=factors.resolution,
            precision=factors.precision,
            world_size=devices,
        )
        print_tables([result.analytic_table(one)])
        print(
            f"clip/catlip = {step.flops_ratio_with_own_sizes:.3f} in operations per image, with "
            "the image sizes of each method's released ViT-B/16 recipe\n"
        )
    for machine in every:
        name = f"projection-{machine.model}-{_slug(machine.name)}"
        many = record(
            name,
            projection(config, machine),
            PROJECTION_NOTES,
            model=machine.model,
            samples=config.images,
        )
        print_tables([result.projection_table(many)])
        print(f"{result.ratios_in_words(many)}\n")
    names = [
        dict.fromkeys(machine.model for machine in every),
        dict.fromkeys(_slug(machine.name) for machine in every),
        map(str, config.gpus),
    ]
    whole = result.Plan(images=config.images, price=config.price, runs=runs)
    table = result.plan_table(record("-".join(map("_".join, names)), whole, PLAN_NOTES))
    print_tables([table])
    print("\n".join([table.caption, *STEP_NOTES, *PLAN_NOTES]))
    print("\n".join(f"wrote {path}" for path in paths))


def _slug(device: str) -> str:
    return device.lower().replace(" ", "_")


def analytic(config: Plan, machine: Machine) -> result.Analytic:
    """The costs of one step, with `batch_size` images on each device."""
    devices = max(1, config.global_batch // config.batch_size)
    factors = {
        method: replace(rate.factors, batch_size=config.batch_size)
        for method, rate in machine.rates.items()
    }
    costs = {method: method_costs(step, devices) for method, step in factors.items()}
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


def method_costs(factors: Factors, devices: int) -> result.MethodCosts:
    """The costs of one method: GFLOPs (1e9) per image, numbers of parameters, GiB kept and MB sent
    by one GPU.
    """
    per_image, objective = 1e9 * factors.batch_size, objective_of(factors)
    encoder = image_flops(factors.model, factors.resolution, factors.patch_drop_rate)
    heads = forward_flops(objective.matmuls(step_shape(factors, devices)))
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
        state_gib=_in_gib(state_bytes(factors)),
        activations_gib=_in_gib(activation_bytes(factors, devices)),
        peak_gib=peak_bytes(factors, devices) / GIB,
        sent_mb=sent_mb | {"total": sum(sent_mb.values())},
    )


def _in_gib(sizes: Mapping[str, float]) -> dict[str, float]:
    return {part: size / GIB for part, size in sizes.items()}


def projection(config: Plan, machine: Machine) -> result.Projection:
    """Every method on 1 to 4,096 devices with the same batch on each (weak scaling), and CLIP and
    CatLIP on both published layouts.
    """
    rates = machine.rates

    def row(method: str, devices: int, batch_size: int, scaling: str) -> result.Layout:
        rate = rates[method]
        step = replace(rate.factors, batch_size=batch_size)
        layout = lay_out(rate, step, devices, link=machine.link)
        return result.Layout(
            method=method,
            devices=devices,
            batch_per_device=batch_size,
            global_batch=layout.global_batch,
            step_ms=layout.step_ms,
            compute_ms=layout.compute_ms,
            exposed_ms=layout.exposed_ms,
            images_per_s=layout.images_per_s,
            efficiency=rate.step_ms(step) / layout.step_ms,
            device_hours=layout.device_hours(config.images),
            scaling=scaling,
        )

    paper = [
        row(method, devices, images, "as published" if whose == method else f"as {whose}")
        for whose, (devices, images) in PAPER_LAYOUTS.items()
        for method in PAPER_LAYOUTS
        if method in rates
    ]
    return result.Projection(
        link=machine.link,
        compute={
            method: result.ProjectedCompute(rate.flops_per_ms, rate.source, rate.optimizer_ms)
            for method, rate in rates.items()
        },
        layouts=[
            row(method, devices, config.batch_size, "weak")
            for method, devices in itertools.product(rates, DEVICES)
        ],
        paper_layouts=paper,
        paper_ratios=paper_ratios(paper) if PAPER_LAYOUTS.keys() <= rates.keys() else [],
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
            rate,
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
    runs = []
    for method, layout in layouts.items():
        step, rate = layout.factors, machine.rates[method]
        hours, ratio = layout.device_hours(config.images), Interval(1.0)
        if layout is not first:
            times = first.images_per_s / layout.images_per_s
            ratio = Interval(times, times * rate.ratios[0], times * rate.ratios[1])
        # Only computing can be faster or slower than in the middle; waiting stays the same.
        computing = layout.compute_ms / layout.step_ms
        low, high = (hours * (1 + computing * (end - 1)) for end in rate.times)
        run = result.PlannedRun(
            model=machine.model,
            method=method,
            gpu=machine.name,
            devices=devices,
            micro_batch=step.batch_size,
            accumulation=layout.accumulation,
            global_batch=layout.global_batch,
            parallel=step.parallel,
            checkpointing=step.checkpointing,
            memory_gib=layout.peak_bytes / GIB,
            step_ms=layout.step_ms,
            exposed_ms=layout.exposed_ms,
            device_hours=Interval(hours, low, high),
            sent_mb=layout.sent_bytes / 1e6,
            ratio=ratio,
            source=rate.source,
        )
        runs.append(run)
    return runs
