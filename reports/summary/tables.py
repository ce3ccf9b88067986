"""The tables of one setting: headline, trainings, what recipes differ in; and the cells that other
tables share.

Each number is linked to the records it was computed from. What was not measured is a dash; no
number is carried from one device, scale or root to another.
"""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

from bench.step_time.result import StepTime, step_ratio_cell
from bench.step_time.steps import step_description
from bench.study.lengths_result import Scaling, at_cost, curves
from catlip.method_style import name_of
from catlip.pretraining.result import Pretrain, pretrain_table
from catlip.results.run import Run
from catlip.results.select import differing_fields, link, with_warning
from catlip.table import MISSING, Cell, Quantity, Table, quantity_cell, quantity_of
from reports.read.measured import MAX_FIRST, Setting


def headline(setting: Setting, name: str = "headline") -> Table:
    """Accuracy and cost of each method in a setting, one row for each method."""
    columns = ["Method", "Seeds"]
    columns += [f"{setting.title(task)}, top-1 (%)" for task in setting.first_tasks]
    equal = _at_equal_time(setting)
    columns += [f"{setting.name(task)} at equal time (%)" for task in equal.tasks]
    columns += ["Training time (s)"] if setting.timed else []
    columns += ["Peak memory (GiB)", "Step time, relative"]
    larger = setting.larger_step_time
    columns += ["Step time of ViT B/16, relative"] if larger else []
    rows = [_headline_row(setting, method, equal, larger=larger) for method in setting.methods]
    record = setting.step_time
    caption = "Mean ± sample standard deviation over the seeds. "
    if setting.scale == "starter":
        caption += (
            "Linear probes, tested on drawings by teams that no training saw; a concept is what a "
            "drawing shows, a subgroup its kind, such as food-fruit. "
        )
    elif setting.first_tasks:
        caption += "Linear probes of frozen features. "
    if others := len(setting.tasks) - len(setting.first_tasks):
        caption += f"{others} more task{'s' * (others > 1)} below, in Probes and fine-tuning. "
    if equal.tasks:
        after = " or ".join(f"{seconds:,.0f}" for seconds in equal.seconds.values())
        where = "by device" if len(equal.seconds) > 1 else f"on {next(iter(equal.seconds))}"
        caption += (
            f"At equal time: after {after} s {where}, between trainings of up to "
            f"{equal.images:,.0f} images"
        )
        for trained in setting.of(Pretrain)[:1]:
            caption += f"; in the other columns, of {trained.measured.images_seen:,.0f}"
        caption += ". "
    if any(setting.trainings(m) and m not in setting.timed for m in setting.methods):
        caption += "Training times beside other programs are left out. "
    if record:
        caption += f"Step time: {step_description(record)}; below each ratio its 95 % interval. "
    if larger:
        caption += "ViT B/16: at 224 pixels. "
    title = f"Measured in {setting.root}/{setting.scale} on {setting.device or 'an unknown device'}"
    timed: list[Run] = [run for runs in setting.timed.values() for run in runs]
    table = with_warning(
        Table(name, title, columns, rows=rows, caption=caption.strip()),
        timed + ([record] if record else []),
    )
    return with_warning(table, setting.of(Scaling), "trainings of several lengths")


@dataclass(frozen=True)
class EqualTime:
    """What trainings of several lengths reach after the same time.

    Attributes:
        images: that the longest trainings saw.
        seconds: device -> the longest time that all methods have on it.
        reached: method -> task -> in %, over the seeds, each after the time of its device.
    """

    images: float
    seconds: Mapping[str, float]
    tasks: tuple[str, ...]
    reached: Mapping[str, Mapping[str, Quantity | None]]


def _at_equal_time(setting: Setting) -> EqualTime:
    """Of the methods that share a device with the first, and of the seeds that all of them have on
    one device; nothing without two such methods.
    """
    every = curves(setting.of(Scaling))
    own = [curve for curve in every if curve.seconds.keys() & every[0].seconds.keys()]
    devices = own[0].devices if len(own) > 1 else {}
    shared = {
        seed: device
        for seed, device in devices.items()
        if device and all(curve.devices.get(seed) == device for curve in own)
    }
    if not shared:
        return EqualTime(0, {}, (), reached={})
    longest = {
        device: min(curve.seconds[device][-1] for curve in own)
        for device in dict.fromkeys(shared.values())
    }
    tasks = [task for task in setting.first_tasks if task in own[0].top1]
    tasks = tasks or [*own[0].top1][:MAX_FIRST]
    reached: dict[str, dict[str, Quantity | None]] = {}
    for curve in own:
        reached[curve.method] = {}
        for task in tasks:
            rows = curve.top1[task]
            of_seeds = [
                at_cost(curve.seconds[device], rows[seed], longest[device])
                for seed, device in shared.items()
            ]
            reached[curve.method][task] = quantity_of(of_seeds)
    return EqualTime(own[0].costs("images_seen")[-1], longest, tuple(tasks), reached=reached)


def _headline_row(
    setting: Setting, method: str, equal: EqualTime, *, larger: Run[StepTime] | None
) -> list[Cell]:
    remarks = setting.counted(method).remarks
    row = []
    for task in setting.first_tasks:
        probes = setting.probes(method, task)
        cell = quantity_cell(setting.accuracy(method, task), 1, link(probes.records))
        row.append(_remarked(cell, (*remarks, *probes.remarks)))
    anchor, reached = link(setting.of(Scaling, method)), equal.reached.get(method, {})
    row += [quantity_cell(reached.get(task), 1, anchor) for task in equal.tasks]
    anchor = link(setting.trainings(method))
    if setting.timed:
        row.append(_remarked(quantity_cell(setting.seconds(method), anchor=anchor), remarks))
    peak, of_memory = setting.peak_gib(method)
    row.append(_remarked(quantity_cell(peak, anchor=anchor), (*remarks, *of_memory)))
    record = setting.step_time
    row.append(step_ratio_cell(record, method) if record else Cell())
    row += [step_ratio_cell(larger, method)] if larger else []
    # The most common n stands in the second column, and below no other cell that has it.
    counts = Counter(cell.quantity.n for cell in row if cell.quantity)
    n = counts.most_common(1)[0][0] if counts else 0
    row = [
        replace(cell, small="") if cell.quantity and cell.quantity.n == n else cell for cell in row
    ]
    return [Cell(name_of(method)), Cell(str(n)) if counts else Cell(), *row]


def _remarked(cell: Cell, remarks: tuple[str, ...]) -> Cell:
    return replace(cell, remarks=remarks) if cell.quantity else cell


def trainings(setting: Setting) -> Table:
    """Every training of a setting, one row for each run."""
    runs = [record for method in setting.methods for record in setting.of(Pretrain, method)]
    title = f"Every training at {setting.scale} scale"
    return with_warning(pretrain_table("trainings", title, runs), runs)


def recipe_differences(setting: Setting) -> Table:
    """The fields in which the recipes of the trained methods differ, from the first training of
    each.
    """
    first = {m: runs[0] for m in setting.methods if (runs := setting.of(Pretrain, m))}
    known = {m: run for m, run in first.items() if run.recipe}
    rows = []
    for field in differing_fields([run.recipe for run in known.values()]):
        rows.append([Cell(field)])
        for run in known.values():
            value = run.recipe.get(field)
            text = value if isinstance(value, str) else json.dumps(value)
            rows[-1].append(Cell(MISSING if value is None else text, anchor=run.anchor))
    title, columns = "What differs between the methods' recipes", ["Field", *map(name_of, known)]
    caption = "Every other field of the recipes is the same."
    return Table("recipe_differences", title, columns, rows=rows, caption=caption)
