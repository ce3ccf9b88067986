"""The headline table of one setting.

Each number is linked to the records it was computed from. What was not measured is a dash; no
number is carried from one device, scale or root to another.
"""

from collections import Counter
from dataclasses import replace

from bench.step_time.result import StepTime, step_ratio_cell
from bench.step_time.steps import step_description
from catlip.records.run import Run
from catlip.records.select import link, with_warning
from catlip.records.styles import CATLIP, name_of
from catlip.records.table import Cell, Table, quantity_cell
from reports.read.setting import Setting
from reports.summary.answers import epochs_of


def headline(setting: Setting, name: str = "headline", title: str = "") -> Table:
    """Accuracy and cost of each method in a setting, one row for each method; it is called after
    the setting if it has no `title`.
    """
    columns = ["Method", "Seeds"]
    columns += [f"{setting.title(task)}, top-1 (%)" for task in setting.first_tasks]
    columns += ["Training time (s)"] if setting.timed else []
    columns += ["Step time, relative"]
    columns += ["Step time of ViT B/16, relative"] if setting.larger_step_time else []
    rows = [_headline_row(setting, method) for method in setting.methods]
    record = setting.step_time
    trained = setting.counted(CATLIP).records
    epochs = epochs_of(setting, trained[0].metrics.images_seen) if trained else ""
    after = f" after {epochs}" if epochs else ""
    caption = f"Linear probes{after}: mean ± standard deviation over seeds. "
    if setting.scale == "starter":
        caption += "A subgroup is a kind of thing, like food-fruit. "
    if others := len(setting.tasks) - len(setting.first_tasks):
        caption += f"{others} more task{'s' * (others > 1)} below, in Probes and fine-tuning. "
    if any(setting.trainings(m) and m not in setting.timed for m in setting.methods):
        caption += "No times beside busy programs. "
    if record:
        caption += f"Steps, 95 % intervals: {step_description(record)}. "
    where = f"{setting.root}/{setting.scale} on {setting.device or 'an unknown device'}"
    timed: list[Run] = [run for runs in setting.timed.values() for run in runs]
    table = Table(name, title or where, columns, rows=rows, caption=caption.strip())
    return with_warning(table, timed + ([record] if record else []))


def _headline_row(setting: Setting, method: str) -> list[Cell]:
    remarks = setting.counted(method).remarks
    row = []
    for task in setting.first_tasks:
        probes = setting.probes(method, task)
        cell = quantity_cell(setting.accuracy(method, task), 1, link(probes.records))
        row.append(_remarked(cell, (*remarks, *probes.remarks)))
    anchor = link(setting.trainings(method))
    if setting.timed:
        row.append(_remarked(quantity_cell(setting.seconds(method), anchor=anchor), remarks))
    larger: list[Run[StepTime] | None] = [setting.larger_step_time]
    for record in [setting.step_time, *filter(None, larger)]:
        row.append(step_ratio_cell(record, method) if record else Cell())
    # The most common n stands in the second column, and below no other cell that has it.
    counts = Counter(cell.quantity.n for cell in row if cell.quantity)
    n = counts.most_common(1)[0][0] if counts else 0
    row = [
        replace(cell, small="") if cell.quantity and cell.quantity.n == n else cell for cell in row
    ]
    return [Cell(name_of(method)), Cell(str(n)) if counts else Cell(), *row]


def _remarked(cell: Cell, remarks: tuple[str, ...]) -> Cell:
    return replace(cell, remarks=remarks) if cell.quantity else cell
