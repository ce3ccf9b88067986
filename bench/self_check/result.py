"""Whether a device computes the loss and the gradient of each method as the CPU does in float32."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from catlip.records.blocks import Section
from catlip.records.kind import Kind
from catlip.records.run import Records, Run
from catlip.records.select import suffix, unique_runs
from catlip.records.styles import name_of
from catlip.records.table import Cell, Table, clipped, format_number, listed

WORDS = "A number of this device is worth nothing while its self-check fails."


@dataclass(frozen=True, kw_only=True)
class Check:
    """One way of computing a method's step: the relative errors of its loss and of each part's
    gradient (of the norm of the difference, over the norm), or the error that ended it.
    """

    passed: bool = False
    loss: float | None = None
    loss_error: float | None = None
    gradient_errors: dict[str, float] = field(default_factory=dict)
    error: str | None = None


@dataclass(frozen=True, kw_only=True)
class SelfCheck(Kind):
    """Method, or method with packed captions -> way -> check; and the greatest errors that pass.

    Attributes:
        expected: method -> its loss in float32 on the CPU.
    """

    kind = "self_check"

    precision: str
    loss_bound: float
    gradient_bound: float
    expected: dict[str, float] = field(default_factory=dict)
    checks: dict[str, dict[str, Check]] = field(default_factory=dict)

    @property
    def failed(self) -> list[str]:
        """`CLIP, compiled` and so on."""
        return [
            f"{name_of(method)}, {clipped(way, 24)}"
            for method, ways in self.checks.items()
            for way, check in ways.items()
            if not check.passed
        ]


def section(records: Records) -> list[Section]:
    """A table for each record, those that failed first; nothing without a record."""
    runs = sorted(unique_runs(records, SelfCheck), key=lambda run: not run.metrics.failed)
    tables = [check_table(run, suffix(i)) for i, run in enumerate(runs)]
    return [Section("self-check", "Self-check", tables)] if tables else []


def check_table(run: Run[SelfCheck], end: str = "") -> Table:
    metrics, rows = run.metrics, []
    for method, ways in metrics.checks.items():
        for way, check in ways.items():
            row = [Cell(name_of(method)), Cell(clipped(way, 24))]
            if check.error:
                row += [Cell(clipped(check.error, 160)), Cell(), Cell()]
            else:
                errors = check.gradient_errors
                part = max(errors, key=lambda part: errors[part], default="")
                words = clipped(part.replace("_", " "), 24)
                row += [
                    Cell(format_number(check.loss), anchor=run.anchor),
                    Cell(format_number(check.loss_error), anchor=run.anchor),
                    Cell(format_number(errors.get(part)), words, run.anchor),
                ]
            rows.append([*row, Cell("yes" if check.passed else "NO", anchor=run.anchor)])
    caption = (
        "Loss and gradient from the same weights and batch, as relative errors over float32 on the "
        f"CPU. Passed: of the loss at most {format_number(metrics.loss_bound)}, and of the "
        f"gradient of each encoder and of the head {format_number(metrics.gradient_bound)}; the "
        "largest is shown."
    )
    if failed := caution([run], [run]):
        caption = f"{failed} {caption}"
    columns = ["Method", "Computed", "Loss", "Error of the loss", "Error of the gradient", "Passed"]
    title = f"Self-check of {run.where}, {clipped(metrics.precision, 12)}"
    return Table(f"self_check{end}", title, columns, rows=rows, caption=caption)


def caution(runs: Iterable[Run], checks: Sequence[Run[SelfCheck]]) -> str:
    """A sentence if the newest self-check in some precision, on a device of these runs, failed."""
    newest = {}
    for check in sorted(checks, key=lambda check: check.environment.started):
        newest[check.where, check.metrics.precision] = check
    devices = {run.where for run in runs}
    failed = [
        f"{clipped(where)} ({listed(check.metrics.failed)})"
        for (where, _), check in newest.items()
        if where in devices and check.metrics.failed
    ]
    return f"The self-check failed on {listed(failed)}. {WORDS}" if failed else ""
