"""One training of a study, and the accuracies of probes of its encoder."""

from dataclasses import dataclass

from bench.downstream.probe.result import check_fractions
from catlip.results.kind import Kind


@dataclass(frozen=True, kw_only=True)
class Studied(Kind):
    """What the records of all studies share.

    Attributes:
        method: the method that was trained.
        accuracies: task -> fraction of the probe's test images.
    """

    method: str
    accuracies: dict[str, float]

    def __post_init__(self) -> None:
        check_fractions(**self.accuracies)

    @property
    def outcome(self) -> str:
        """The accuracies on one line."""
        return ", ".join(f"{task} {100 * top1:.1f} %" for task, top1 in self.accuracies.items())
