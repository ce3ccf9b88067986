"""The tables of what was measured here: headline, cost against accuracy, step time, vocabulary.

Each number is linked to the records it was computed from. What was not measured is a dash; no number is carried from one
device, scale or root to another.
"""

import json
from collections.abc import Sequence

from reports.cells import MISSING, Cell, Table, number_cell, quantity_cell, shown
from reports.measured import (
    Ratio,
    Setting,
    anchor_of,
    differing_fields,
    group_anchor,
    name_of,
    step_methods,
    step_ratio,
)
from reports.records import Record, lookup, number, text

TIMES = "\N{MULTIPLICATION SIGN}"
PROBES = {
    "concepts": ("concepts_top1", "concepts_num_classes"),
    "subgroups": ("subgroups_top1", "subgroups_num_classes"),
}
PHASES = ("total_ms", "forward_ms", "backward_ms", "optimizer_ms")


def headline(setting: Setting, name: str = "headline") -> Table:
    """Accuracy and cost of each method in a setting, one row a method."""
    columns = ["Method", *(probe_title(setting, probe) for probe in PROBES)]
    columns += ["Training time (s)", "Training speed (images/s)", "Step time, relative"]
    rows = [_headline_row(setting, method) for method in setting.methods]
    record = setting.step_time
    caption = "Mean ± sample standard deviation over n seeds; every number leads to its records. "
    if record:
        caption += f"Step time: {step_description(record)}; below each ratio its 95 % interval. "
    return Table(
        name,
        f"Measured in {setting.root}/{setting.scale} on {setting.device or 'an unknown device'}",
        columns,
        rows,
        caption.strip(),
    )


def probe_title(setting: Setting, probe: str) -> str:
    """`438 concepts, top-1 (%)`, the number of classes from the records."""
    classes = {number(r.metrics, PROBES[probe][1]) for r in setting.of("linear_probe")} - {None}
    count = f"{shown(classes.pop(), 0)} " if len(classes) == 1 else ""
    return f"{count}{probe}, top-1 (%)"


def _headline_row(setting: Setting, method: str) -> list[Cell]:
    probes, trainings = setting.of("linear_probe", method), setting.trainings(method)
    row = [Cell(name_of(method))]
    row += [quantity_cell(setting.accuracy(method, metric), 1, link(probes)) for metric, _ in PROBES.values()]
    row += [quantity_cell(setting.training(method, m), anchor=link(trainings)) for m in ("train_seconds", "images_per_s")]
    return [*row, ratio_cell(setting.step_time, method)]


def link(records: Sequence[Record]) -> str:
    """The anchor of one record, or of the group that several form."""
    if not records:
        return ""
    return anchor_of(records[0]) if len(records) == 1 else group_anchor(records[0])


def ratio_cell(record: Record | None, method: str) -> Cell:
    """The ratio of step times with its interval; 1 for the method below the line; a dash for one that was not timed."""
    if record is None or method not in step_methods(record):
        return Cell()
    ratio = step_ratio(record, method)
    if ratio is not None:
        return Cell(f"{shown(ratio.value, 2)}{TIMES}", interval(ratio), anchor_of(record))
    is_base = any(other.to == method for m in step_methods(record) if (other := step_ratio(record, m)))
    return Cell(f"1{TIMES}", "", anchor_of(record)) if is_base else Cell()


def interval(ratio: Ratio) -> str:
    """`1.20 to 1.31`, or that there is none."""
    if ratio.low is None or ratio.high is None:
        return "no interval"
    return f"{shown(ratio.low, 2)} to {shown(ratio.high, 2)}"


def step_description(record: Record) -> str:
    """What was timed, where: `vit_b16, batch 8, fp32, torch 2.13, on DEVICE`."""
    batch = number(record.config, "batch_size")
    precision, torch = text(record.config, "precision"), text(record.environment, "packages", "torch").partition("+")[0]
    words = [
        text(record.config, "model") or record.name,
        f"batch {batch:.0f}" if batch is not None else "",
        precision,
        f"torch {torch}" if torch else "",
        f"on {record.device}",
    ]
    return ", ".join(word for word in words if word)


def cost_against_accuracy(setting: Setting) -> Table:
    """Figure 1(c)'s form at this setting's scale: training time relative to CLIP's mean, and probe accuracy."""
    columns = ["Method", "Relative training time (CLIP = 1)", *(probe_title(setting, probe) for probe in PROBES)]
    rows = []
    for method in [m for m in setting.methods if setting.trainings(m)]:
        accuracies = [
            quantity_cell(setting.accuracy(method, metric), 1, link(setting.of("linear_probe", method)))
            for metric, _ in PROBES.values()
        ]
        cost = quantity_cell(setting.relative_time(method), 3, link(setting.trainings(method)))
        rows.append([Cell(name_of(method)), cost, *accuracies])
    caption = "Mean ± sample standard deviation over seeds. Training time is that of whole runs, one after the other."
    return Table("figure_1c_ours", f"Ours, at {setting.scale} scale on {setting.device}", columns, rows, caption)


def trainings(setting: Setting) -> Table:
    """Every training of a setting, one row a run."""
    columns = [
        "Run",
        "Final loss",
        "Images seen",
        "Epochs",
        "Time (s)",
        "Images/s",
        "Waiting for data (%)",
        "Peak memory (GiB)",
    ]
    metrics = (
        "final_loss",
        "images_seen",
        "epochs_seen",
        "train_seconds",
        "images_per_s",
        "data_wait_share",
        "peak_gib",
    )
    decimals = {"images_seen": 0, "data_wait_share": 1}
    rows = []
    for record in (r for method in setting.methods for r in setting.of("pretrain", method)):
        values = {m: number(record.metrics, m) for m in metrics}
        if (share := values["data_wait_share"]) is not None:
            values["data_wait_share"] = 100 * share
        parameters = number(record.metrics, "parameters_total")
        cells = [number_cell(values[m], decimals.get(m), anchor_of(record)) for m in metrics]
        cells.append(number_cell(None if parameters is None else parameters / 1e6, 2, anchor_of(record)))
        rows.append([Cell(f"{name_of(record.method)}, seed {MISSING if record.seed is None else record.seed}"), *cells])
    caption = "The losses of different methods have different units: compare within a method only."
    return Table("trainings", f"Every training at {setting.scale} scale", [*columns, "Parameters (M)"], rows, caption)


def recipe_differences(setting: Setting) -> Table:
    """The fields in which the recipes of the trained methods differ, from the first training of each."""
    first = {m: found[0] for m in setting.methods if (found := setting.of("pretrain", m))}
    known = {m: r.recipe for m, r in first.items() if r.recipe}
    rows = [
        [Cell(field), *(Cell(_compact(known[m].get(field)), anchor=anchor_of(first[m])) for m in known)]
        for field in differing_fields(list(known.values()))
    ]
    caption = "Every other field of the recipes is the same."
    return Table(
        "recipe_differences",
        "What differs between the methods' recipes",
        ["Field", *map(name_of, known)],
        rows,
        caption,
    )


def step_times(records: Sequence[Record]) -> Table:
    """Every timing, one row a method and record."""
    columns = [
        "What, where",
        "Method",
        "Parameters (M)",
        "Step (ms)",
        "Forward (ms)",
        "Backward (ms)",
        "Optimizer (ms)",
    ]
    columns += ["Images/s", "Relative step time"]
    rows = [_step_row(record, method, i == 0) for record in records for i, method in enumerate(step_methods(record))]
    caption = (
        "Medians, with the 5th to 95th percentile of single steps below the step time. Within one record the methods took "
        "turns, so their ratio means something; numbers of different records are not to be divided."
    )
    return Table("step_time", "Time of one training step", columns, rows, caption)


def _step_row(record: Record, method: str, is_first: bool) -> list[Cell]:
    timed, anchor = lookup(record.metrics, "methods", method), anchor_of(record)
    parameters = number(timed, "parameters")
    low, high = number(timed, "total_ms", "p5"), number(timed, "total_ms", "p95")
    spread = f"{shown(low)} to {shown(high)}" if low is not None and high is not None else ""
    row = [Cell(step_description(record) if is_first else "as above"), Cell(name_of(method))]
    row.append(number_cell(None if parameters is None else parameters / 1e6, 1, anchor))
    for phase in PHASES:
        row.append(number_cell(number(timed, phase, "median"), None, anchor, spread if phase == "total_ms" else ""))
    return [*row, number_cell(number(timed, "images_per_s"), None, anchor), ratio_cell(record, method)]


def _compact(value: object) -> str:
    """A configuration value on one line; a dash where the recipe has no such field."""
    return MISSING if value is None else value if isinstance(value, str) else json.dumps(value)
