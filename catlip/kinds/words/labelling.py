"""What labels the captions of a data set got, and how labelling rules are named and ordered."""

from dataclasses import dataclass, field

from catlip.kinds.base import Kind
from catlip.kinds.run import Run
from catlip.table import clipped

RULES = ("paper", "corenet", "paper_multiword")


@dataclass(frozen=True, kw_only=True)
class ByRule(Kind):
    """Metrics of labels that one rule made. Earlier records name it only in their config."""

    rule: str | None = None


@dataclass(frozen=True, kw_only=True)
class Labelling(ByRule):
    """Labels of captions. The first records did not have `sources`, `cut` and
    `captions_labelled_now`.

    Attributes:
        sources: shards, and parts of tables.
        unlabelled, skipped: cause -> captions without a label, and samples without a caption that
            can be read; `first_unlabelled` and `first_skipped` are the first of each.
        cut: captions that were too long to be read whole.
        captions_labelled_now: those that no earlier run had labelled, `captions_per_s` so many a
            second; None where there were none.
    """

    kind = "labelling"

    sources: int | None = None
    captions: int
    labels_per_caption: float
    bytes_per_caption: float
    unlabelled: dict[str, int]
    first_unlabelled: dict[str, str] = field(default_factory=dict)
    skipped: dict[str, int] = field(default_factory=dict)
    first_skipped: dict[str, str] = field(default_factory=dict)
    cut: int | None = None
    captions_labelled_now: int | None = None
    captions_per_s: float | None = None


def rule_of(run: Run[ByRule]) -> str:
    """The rule that labels were made by; where it is not recorded, the record's name."""
    return clipped(run.measured.rule or run.setup.rule or run.name, 24)


def rule_rank(rule: str) -> tuple[int, str]:
    """Sorts the known rules first, in their order."""
    return (RULES.index(rule) if rule in RULES else len(RULES), rule)
