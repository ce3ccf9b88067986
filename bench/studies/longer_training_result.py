"""Linear probes of the encoders that a pre-training kept on its way."""

import math
from dataclasses import dataclass
from typing import ClassVar

from bench.downstream.probe.result import OnTasks, check_fractions


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """One probe of an encoder from part of the way through its training: a row of `runs`.

    Attributes:
        run: the training that the encoder is from.
        seconds: of training so far, on `device`; None if the training did not record it.
        annealed: whether the training had ended, with its learning rate at the end of its schedule.
        seed: of the classifier.
    """

    run: str = ""
    images_seen: float
    epochs: float
    seconds: float | None
    device: str = ""
    annealed: bool
    task: str
    seed: int
    top1: float
    top5: float

    def __post_init__(self) -> None:
        check_fractions(top1=self.top1, top5=self.top5)
        seconds = 1.0 if self.seconds is None else self.seconds
        if not 0 < self.epochs < math.inf or not 0 < seconds < math.inf:
            raise ValueError("epochs and seconds must be above 0 and finite")


@dataclass(frozen=True, kw_only=True)
class LongerTraining(OnTasks):
    """Probes of the encoders that trainings of one method kept along the way."""

    kind = "longer_training"
    rows: ClassVar[dict[str, type]] = {"runs": Snapshot}
