"""How the paper's claims on captions are judged: what a larger data set holds, and which labels are
found in it.
"""

from collections.abc import Callable, Iterator, Sequence

from catlip.kinds import VocabularyCounts, VocabularyStatistics
from catlip.kinds.words.labelling import rule_of
from catlip.table import shown
from reports.paper.evidence import FAILS, HOLDS, UNTESTED, Evidence, Trained, combined, smaller
from reports.read.pretrained import SCALES
from reports.read.records import Record

Vocabulary = Record[VocabularyCounts]
Count = Callable[[VocabularyCounts], float | None]
# % of ImageNet-1k's labels in DataComp-1.3B, Figure 2's caption; about, in points
SHARE, WITHIN = 40, 5


def unique_synsets(counts: VocabularyCounts) -> float:
    """Different synsets in the captions."""
    return counts.unique_synsets


def exact_matches(counts: VocabularyCounts) -> float | None:
    """ImageNet-1k's labels that are exactly a class."""
    return counts.imagenet.exact if counts.imagenet else None


def captions_of_median_match(counts: VocabularyCounts) -> float | None:
    """Captions of the median class that is exactly a label of ImageNet-1k."""
    return counts.imagenet.median if counts.imagenet else None


def more_in_larger_data(groups: Sequence[Trained], count: Count, what: str) -> Iterator[Evidence]:
    """A count in DataComp-1.3B's captions is above that in CC3M's, by the same labelling rule."""
    small, large = (_by_rule(groups, scale, count) for scale in SCALES)
    rules = [rule for rule in small if rule in large]
    if rules:
        pairs = {rule: (count(small[rule].measured), count(large[rule].measured)) for rule in rules}
        said = "; ".join(
            f"rule {rule}, {what}: CC3M {shown(a, 0)}, DataComp-1.3B {shown(b, 0)}"
            for rule, (a, b) in pairs.items()
        )
        outcome = combined([smaller(*pair) for pair in pairs.values()])
        yield Evidence(outcome, f"{said}.", (), anchor=large[rules[0]].anchor)
        return
    for group in groups:
        for record in _counted(group, count):
            said = f"{shown(count(record.measured), 0)} {what} in the one data set there is."
            yield Evidence(UNTESTED, said, group.caveats, anchor=record.anchor)


def _counted(group: Trained, count: Count) -> list[Vocabulary]:
    """The records that hold the count, those of statistics first."""
    records = [*group.of(VocabularyStatistics), *group.of(VocabularyCounts)]
    return [record for record in records if count(record.measured) is not None]


def _by_rule(groups: Sequence[Trained], scale: str, count: Count) -> dict[str, Vocabulary]:
    """The record of each rule at a scale that holds the count: a record of statistics where there
    is one, else the first.
    """
    records = [record for g in groups if g.scale == scale for record in _counted(g, count)]
    records.sort(key=lambda record: record.kind != VocabularyStatistics.kind)
    return {rule_of(record): record for record in reversed(records)}


def exact_share(groups: Sequence[Trained]) -> Iterator[Evidence]:
    """About 40 % of ImageNet-1k's labels are classes of DataComp-1.3B's vocabulary as they are."""
    for group in groups:
        for record in group.of(VocabularyStatistics):
            labels = record.measured.imagenet
            if labels and labels.labels:
                share = 100 * labels.exact / labels.labels
                outcome = HOLDS if abs(share - SHARE) <= WITHIN else FAILS
                if group.scale != "datacomp":
                    outcome = UNTESTED
                said = (
                    f"{shown(labels.exact, 0)} of {shown(labels.labels, 0)}, {shown(share, 1)} %, "
                    f"by rule {rule_of(record)}."
                )
                yield Evidence(outcome, said, (), anchor=record.anchor)
