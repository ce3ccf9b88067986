"""What records say of a claim, and the rules by which they say it.

Evidence at the paper's scale comes from its data sets and encoders; all other evidence carries its
caveats, and can at most point one way. A rule needs two seeds: with one, or with a NaN among them,
a claim is not tested.
"""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import TypeVar

from catlip.kinds import (
    Finetune,
    Interval,
    Kind,
    LinearProbe,
    LongerTraining,
    OnTasks,
    Pretrain,
    Readout,
)
from catlip.table import Quantity, clipped, quantity_of, shown, sign_of
from reports.read.pretrained import (
    ENCODERS,
    SCALES,
    architecture,
    is_whole,
    pretraining_of,
    pretrainings,
)
from reports.read.records import Record, Records, of_kind
from reports.transfer.transfer_runs import TASKS, is_published, without_classes

OfKind = TypeVar("OfKind", bound=Kind)
ON_TASKS: tuple[type[OnTasks], ...] = (LinearProbe, Finetune, Readout, LongerTraining)
HOLDS, FAILS, OPEN, UNTESTED = "holds", "fails", "open", "untested"
SHORTER = "after a shorter training"
WIDEST = 2.0  # points: where seeds differ by more, a difference of nothing says nothing


@dataclass(frozen=True)
class Evidence:
    """What some records say of one claim.

    Attributes:
        outcome: HOLDS where the claim's rule is met, FAILS where its opposite is, OPEN where
            neither is, or UNTESTED.
        said: the numbers, and what they are of; plain text, for it may hold words of a record.
        caveats: what keeps it from being evidence at the paper's scale, such as `at starter scale`;
            none where it is that.
        anchor: of its records in the page.
    """

    outcome: str
    said: str
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
        return small if all(map(is_whole, self.of(Pretrain))) else (*small, SHORTER)

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
            if self.scale not in SCALES or is_published(records, task)
        }


def groups_of(records: Records) -> list[Trained]:
    """Every group of records, the paper's scales and encoders first. A transfer belongs to its
    encoder's pre-training.
    """
    known, found = pretrainings(records), dict[tuple[str, str, str], list[Record]]()
    for record in records.found:
        origin = pretraining_of(record, known) or record
        key = (record.root, origin.scale, architecture(origin.setup.recipe.encoder))
        found.setdefault(key, []).append(record)
    groups = [Trained(*key, tuple(own)) for key, own in found.items()]
    return sorted(
        groups,
        key=lambda group: (
            group.scale not in SCALES,
            group.encoder not in ENCODERS,
            group.scale != "starter",
        ),
    )


def best(found: Iterable[Evidence]) -> Evidence | None:
    """The evidence that speaks: what tested anything, with the fewest caveats; of those, the
    first.
    """
    return min(found, key=lambda e: (e.outcome == UNTESTED, len(e.caveats)), default=None)


def combined(outcomes: Sequence[str]) -> str:
    """Of several tests of one claim, those that were made must all hold."""
    made = [outcome for outcome in outcomes if outcome != UNTESTED]
    return (
        next((outcome for outcome in (FAILS, OPEN) if outcome in made), HOLDS) if made else UNTESTED
    )


def not_lower(differences: Sequence[float]) -> str:
    """As good: the mean difference over seeds, in points, is not below 0 by more than its spread,
    and that is not wide.
    """
    if not is_tested(differences):
        return UNTESTED
    mean, spread = statistics.fmean(differences), statistics.stdev(differences)
    return FAILS if mean < -spread else OPEN if spread > WIDEST else HOLDS


def every_pair(differences: Sequence[float], decimals: int = 1) -> str:
    """A gain: every pair has it, as far as it is shown."""
    if not is_tested(differences):
        return UNTESTED
    signs = [sign_of(difference, decimals) for difference in differences]
    return HOLDS if min(signs) > 0 else FAILS if max(signs) <= 0 else OPEN


def beyond_spread(one: Quantity | None, other: Quantity | None) -> str:
    """Higher: the mean of `one` is above that of `other` by more than the larger of the spreads
    over their seeds.
    """
    if (
        one is None
        or other is None
        or one.spread is None
        or other.spread is None
        or not math.isfinite(one.mean - other.mean)
    ):
        return UNTESTED
    gap, spread = one.mean - other.mean, max(one.spread, other.spread)
    return HOLDS if gap > spread else FAILS if gap < -spread else OPEN


def rising(levels: Sequence[Sequence[float]]) -> str:
    """Each level, a list of seeds, is higher than the one before it, beyond their spread."""
    found = [quantity_of(level) for level in levels]
    return combined([beyond_spread(later, earlier) for earlier, later in pairwise(found)])


def above_one(ratio: Interval | None) -> str:
    """Dearer: the whole interval of the ratio lies above 1."""
    if (
        ratio is None
        or ratio.low is None
        or ratio.high is None
        or not all(map(math.isfinite, (ratio.low, ratio.high)))
    ):
        return UNTESTED
    return HOLDS if ratio.low > 1 else FAILS if ratio.high < 1 else OPEN


def smaller(one: float | None, other: float | None) -> str:
    """Of two counts, which have no spread, the first is smaller."""
    if one is None or other is None or not math.isfinite(one - other):
        return UNTESTED
    return HOLDS if one < other else FAILS if one > other else OPEN


def is_tested(values: Sequence[float]) -> bool:
    """Whether there are two seeds at least, and no NaN."""
    return len(values) > 1 and all(map(math.isfinite, values))


def signed(values: Sequence[float], unit: str = "points", decimals: int = 1) -> str:
    """`+0.7 ± 0.5 points (n = 3)`."""
    found = quantity_of(values)
    if found is None:
        return "nothing"
    spread = f" ± {shown(found.spread, decimals)}" if found.spread is not None else ""
    return (
        f"{'+' if found.mean > 0 else ''}{shown(found.mean, decimals)}{spread} {unit} (n = "
        f"{found.n})"
    )
