"""Evidence on a claim: what was compared, and how far it is from the paper's scale.

Evidence from the paper's data sets and encoders is at the paper's scale; all other evidence has
caveats.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

from bench.downstream.probe.result import (
    NOT_JUDGED,
    Finetune,
    LinearProbe,
    OnTasks,
    Readout,
    by_importance,
    is_published,
    without_classes,
)
from bench.study.lengths_result import Scaling
from catlip.pretraining.result import Pretrain
from catlip.results.estimate import Estimate
from catlip.results.kind import Kind
from catlip.results.pretrained import (
    ENCODERS,
    SCALES,
    architecture,
    is_enough,
    is_whole,
    pretraining_of,
    pretrainings,
)
from catlip.results.run import Records, Run, of_kind
from catlip.table import clipped

OfKind = TypeVar("OfKind", bound=Kind)
Key = TypeVar("Key")
ON_TASKS: tuple[type[OnTasks], ...] = (LinearProbe, Finetune, Readout)
SHORTER = "after a shorter training"
Levels = Mapping[str, Mapping[int, float]]  # what was measured -> seed -> value


@dataclass(frozen=True)
class Compared:
    """One comparison that a claim makes.

    Attributes:
        what: what was compared, such as a task; plain text, because it may hold words of a record.
        estimate: None if it could not be made: without pairs, or from a NaN.
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
        compared: the comparisons, which must all agree for a verdict.
        said: further sentences; plain text.
        caveats: why it is not evidence at the paper's scale, such as `at starter scale`; empty if
            it is.
        anchor: of its records in the page.
        untested: a sentence on why the numbers are no test of the claim, whichever way they fall;
            empty if they are.
    """

    compared: Sequence[Compared]
    said: str = ""
    caveats: tuple[str, ...] = ()
    anchor: str = ""
    untested: str = ""


@dataclass(frozen=True)
class Trained:
    """The records of one root about the encoders of one architecture, pre-trained at one scale."""

    root: str
    scale: str
    encoder: str
    records: tuple[Run, ...]

    def of(self, kind: type[OfKind], method: str | None = None) -> list[Run[OfKind]]:
        """The records of a kind; if a method is given, only the records of that method."""
        return of_kind(self.records, kind, method)

    @property
    def caveats(self) -> tuple[str, ...]:
        """Why an accuracy of this group is not at the paper's scale; empty if it is."""
        if self.scale not in SCALES:
            return (f"at {clipped(self.scale, 24)} scale",)
        caveats = []
        if self.encoder not in ENCODERS:
            caveats.append(f"with {clipped(self.encoder, 24)}")
        lengths = [cell.measured.images_seen for cell in self.of(Scaling)]
        is_long = not lengths or is_enough(max(lengths), self.scale)
        if not is_long or not all(map(is_whole, self.of(Pretrain))):
            caveats.append(SHORTER)
        return tuple(caveats)

    @cached_property
    def tasks(self) -> Mapping[str, str]:
        """Task -> title, of the tasks that count: at the paper's scale, only the published ones."""
        records: list[Run[OnTasks]] = []
        for kind in ON_TASKS:
            records += self.of(kind)
        names = [task for record in records for task in record.measured.tasks]
        names += [task for cell in self.of(Scaling) for task in cell.measured.accuracies]
        return {
            task: without_classes(records, task)
            for task in by_importance(names, records)
            if task not in NOT_JUDGED and (self.scale not in SCALES or is_published(records, task))
        }


def groups_of(records: Records) -> list[Trained]:
    """All records in groups, the paper's scales and encoders first; then in the order of the page,
    data of one's own before the starter's. A transfer record is in the group of its encoder's
    pre-training.
    """
    known = pretrainings(records)
    of_group: dict[tuple[str, str, str], list[Run]] = {}
    for record in records.every:
        origin = pretraining_of(record, known) or record
        key = (record.root, origin.scale, architecture(origin.setup.recipe.encoder))
        of_group.setdefault(key, []).append(record)
    groups = [Trained(*key, tuple(own)) for key, own in of_group.items()]
    roots = list(dict.fromkeys(record.root for record in records.every))
    trained = {(record.root, record.scale) for record in records.of(Pretrain)}
    return sorted(
        groups,
        key=lambda group: (
            group.scale not in SCALES,
            group.encoder not in ENCODERS,
            roots.index(group.root),
            (group.root, group.scale) not in trained,
            group.scale == "starter",
        ),
    )


def paired(one: Mapping[Key, float], other: Mapping[Key, float]) -> list[float]:
    """`one` - `other` for every key, such as a seed, that both have."""
    return [value - other[key] for key, value in one.items() if key in other]
