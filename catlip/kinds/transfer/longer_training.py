"""Linear probes along a pre-training."""

import math
from dataclasses import dataclass
from typing import ClassVar

from catlip.kinds.transfer.transfer import OnTasks, check_fractions


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """An encoder part of the way through its training, probed once: a row of `runs`.

    Attributes:
        run: which training it is from.
        seconds: of training until there, on `device`; None where the training did not say.
        annealed: whether the learning rate had reached its end.
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
            raise ValueError("epochs or seconds are not above 0, or infinite")


@dataclass(frozen=True, kw_only=True)
class LongerTraining(OnTasks):
    """Probes of the encoders that trainings of one method kept on their way."""

    kind = "longer_training"
    rows: ClassVar[dict[str, type]] = {"runs": Snapshot}
