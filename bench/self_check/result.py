"""Whether a device computes the loss and the gradient of each method as the CPU does in float32."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from bench.step_time.result import method_name
from catlip.records.kind import Kind
from catlip.records.run import Run
from catlip.records.table import NOTE, RECORDS, Column, Row, Spec, clipped


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
            f"{method_name(method)}, {clipped(way, 24)}"
            for method, ways in self.checks.items()
            for way, check in ways.items()
            if not check.passed
        ]


def check_rows(runs: Iterable[Run[SelfCheck]]) -> Iterator[Row]:
    """A row for each method and way; of the gradient, the part with the largest error."""
    for run in runs:
        for method, ways in run.metrics.checks.items():
            for way, check in ways.items():
                errors = check.gradient_errors
                part = max(errors, key=lambda part: errors[part], default="")
                yield {
                    "device": f"{run.where}, {clipped(run.metrics.precision, 12)}",
                    "method": method_name(method),
                    "way": clipped(way, 24),
                    "loss": check.loss,
                    "error": check.loss_error,
                    "gradient": (errors.get(part), clipped(part.replace("_", " "), 24)),
                    "passed": check.passed,
                    NOTE: clipped(check.error, 160) if check.error else "",
                    RECORDS: (run.path,),
                }


CHECKS = Spec(
    "self_check",
    "Self-check of the device",
    "Loss and gradient from the same weights and batch: relative errors over float32 on the CPU. "
    "A number of a device is worth nothing while its self-check fails.",
    [
        Column("Device", "device", head=True),
        Column("Method", "method", head=True),
        Column("Computed", "way"),
        Column("Loss", "loss"),
        Column("Error of the loss", "error"),
        Column("Error of the gradient", "gradient"),
        Column("Passed", "passed"),
    ],
    check_rows,
    "python -m bench.self_check",
    [SelfCheck],
)
