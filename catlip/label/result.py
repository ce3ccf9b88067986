"""The labels of a data set's captions, and how labelling rules are named and ordered."""

from dataclasses import dataclass, field

from catlip.results.kind import Kind
from catlip.results.run import Run
from catlip.table import clipped

RULES = ("paper", "corenet", "paper_multiword")


@dataclass(frozen=True, kw_only=True)
class ByRule(Kind):
    """Metrics of labels that one rule made. Older records name the rule only in their config."""

    rule: str | None = None


@dataclass(frozen=True, kw_only=True)
class Labelling(ByRule):
    """Labels of captions. The oldest records lack `sources`, `cut` and `captions_labelled_now`.

    Attributes:
        sources: number of shards and of parts of tables.
        unlabelled: cause -> number of captions without a label.
        first_unlabelled: cause -> the first of these.
        skipped: cause -> number of samples without a readable caption.
        first_skipped: cause -> the first of these.
        cut: number of captions that were too long to be read whole.
        captions_labelled_now: number of captions that no earlier run had labelled.
        captions_per_s: rate at which these were labelled; None if there were none.
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
    """The rule that made the labels; the record's name if the rule is not recorded."""
    return clipped(run.measured.rule or run.setup.rule or run.name, 24)


def rule_rank(rule: str) -> tuple[int, str]:
    """A sort key: the known rules first, in the order of RULES, then the others by name."""
    return (RULES.index(rule) if rule in RULES else len(RULES), rule)
