"""What records say of a claim: what was compared, and how far it is from the paper's scale.

Evidence at the paper's scale comes from its data sets and encoders; all other evidence carries its
caveats.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

from catlip.kinds import (
    Finetune,
    Kind,
    LinearProbe,
    LongerTraining,
    OnTasks,
    Pretrain,
    Readout,
    Scaling,
)
from catlip.kinds.estimate import Estimate
from catlip.table import clipped
from reports.read.pretrained import (
    ENCODERS,
    SCALES,
    architecture,
    is_enough,
    is_whole,
    pretraining_of,
    pretrainings,
)
from reports.read.records import Record, Records, of_kind
from reports.transfer.transfer_runs import NOT_JUDGED, TASKS, is_published, without_classes

OfKind = TypeVar("OfKind", bound=Kind)
Key = TypeVar("Key")
ON_TASKS: tuple[type[OnTasks], ...] = (LinearProbe, Finetune, Readout, LongerTraining)
SHORTER = "after a shorter training"


@dataclass(frozen=True)
class Compared:
    """One comparison that a claim makes.

    Attributes:
        what: on which task or in which unit of the records; plain text, for it may hold words of a
            record.
        estimate: None where it was not made, as of a NaN.
        unit: of the estimate.
    """

    what: str
    estimate: Estimate | None
    unit: str = "points"
    decimals: int = 1


@dataclass(frozen=True)
class Evidence:
    """What some records say of one claim.

    Attributes:
        compared: all of these must hold.
        said: what else there is to say; plain text.
        caveats: what keeps it from being evidence at the paper's scale, such as `at starter scale`;
            none where it is that.
        anchor: of its records in the page.
    """

    compared: Sequence[Compared]
    said: str = ""
    caveats: tuple[str, ...] = ()
    anchor: str = ""


@dataclass(frozen=True)
class Trained:
    """The records of one root about the encoders of one architecture, pre-trained at one scale."""

    root: str
    scale: str
    encoder: str
    records: tuple[Record, ...]

    def of(self, kind: type[OfKind], method: str | None = None) -> list[Record[OfKind]]:
        """The records of a kind, and of a method where one is named."""
        return of_kind(self.records, kind, method)

    @property
    def caveats(self) -> tuple[str, ...]:
        """What keeps an accuracy from being one at the paper's scale."""
        if self.scale not in SCALES:
            return (f"at {clipped(self.scale, 24)} scale",)
        small = () if self.encoder in ENCODERS else (f"with {clipped(self.encoder, 24)}",)
        lengths = [cell.measured.images_seen for cell in self.of(Scaling)]
        is_long = not lengths or is_enough(max(lengths), self.scale)
        is_whole_all = is_long and all(map(is_whole, self.of(Pretrain)))
        return small if is_whole_all else (*small, SHORTER)

    @cached_property
    def tasks(self) -> Mapping[str, str]:
        """The tasks that count, with their titles: with encoders at the paper's scale, the
        paper's.
        """
        records: list[Record[OnTasks]] = []
        for kind in ON_TASKS:
            records += self.of(kind)
        return {
            task: without_classes(records, task)
            for task in TASKS
            if task not in NOT_JUDGED and (self.scale not in SCALES or is_published(records, task))
        }


def groups_of(records: Records) -> list[Trained]:
    """Every group of records, the paper's scales and encoders first. A transfer belongs to its
    encoder's pre-training.
    """
    known, of_group = pretrainings(records), dict[tuple[str, str, str], list[Record]]()
    for record in records.every:
        origin = pretraining_of(record, known) or record
        key = (record.root, origin.scale, architecture(origin.setup.recipe.encoder))
        of_group.setdefault(key, []).append(record)
    groups = [Trained(*key, tuple(own)) for key, own in of_group.items()]
    return sorted(
        groups,
        key=lambda group: (
            group.scale not in SCALES,
            group.encoder not in ENCODERS,
            group.scale != "starter",
        ),
    )


def paired(one: Mapping[Key, float], other: Mapping[Key, float]) -> list[float]:
    """`one` - `other` of every key, such as a seed, that both have."""
    return [value - other[key] for key, value in one.items() if key in other]
