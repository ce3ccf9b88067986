"""Evidence on the paper's claims on captions: what a larger data set holds, and which labels are
found in it.
"""

from collections.abc import Callable, Iterator, Sequence

from catlip.label.result import RULES, rule_of
from catlip.results.estimate import counted
from catlip.results.pretrained import SCALES
from catlip.results.run import Run
from catlip.table import shown
from catlip.vocabulary.result import VocabularyCounts, VocabularyStatistics
from reports.paper.evidence import Compared, Evidence, Trained

Vocabulary = Run[VocabularyCounts]
Count = Callable[[VocabularyCounts], float | None]
SHARE = 40  # about this % of ImageNet-1k's labels are in DataComp-1.3B; Figure 2's caption


def unique_synsets(counts: VocabularyCounts) -> float:
    """The number of different synsets in the captions."""
    return counts.unique_synsets


def exact_matches(counts: VocabularyCounts) -> float | None:
    """The number of ImageNet-1k's labels that are exactly a class."""
    return counts.imagenet.exact if counts.imagenet else None


def captions_of_median_match(counts: VocabularyCounts) -> float | None:
    """The median number of captions of a class, over the classes that are exactly a label of
    ImageNet-1k.
    """
    return counts.imagenet.median if counts.imagenet else None


def more_in_larger_data(groups: Sequence[Trained], count: Count, what: str) -> Iterator[Evidence]:
    """A count in DataComp-1.3B's captions is above that in CC3M's, by the same labelling rule."""
    small, large = (_by_rule(groups, scale, count) for scale in SCALES)
    rules = [rule for rule in small if rule in large]
    if rules:
        compared, said = [], []
        for rule in rules:
            a, b = (count(counts[rule].measured) or 0 for counts in (small, large))
            compared.append(Compared(f"{what}, by rule {rule}", counted(b - a), "", decimals=0))
            said.append(f"CC3M {shown(a, 0)}, DataComp-1.3B {shown(b, 0)} by rule {rule}")
        yield Evidence(compared, f"{'; '.join(said)}.", (), anchor=large[rules[0]].anchor)
        return
    for group in groups:
        for record in _counted(group, count):
            counts = f"{shown(count(record.measured), 0)} {what} in one data set"
            words = f"{counts}; the claim compares two."
            yield Evidence([], words, group.caveats, anchor=record.anchor)


def _counted(group: Trained, count: Count) -> list[Vocabulary]:
    """The records that hold the count, those of kind `vocabulary_statistics` first."""
    records = [*group.of(VocabularyStatistics), *group.of(VocabularyCounts)]
    return [record for record in records if count(record.measured) is not None]


def _by_rule(groups: Sequence[Trained], scale: str, count: Count) -> dict[str, Vocabulary]:
    """Rule -> its first record at a scale that holds the count, preferably one of kind
    `vocabulary_statistics`.
    """
    records = [record for g in groups if g.scale == scale for record in _counted(g, count)]
    records.sort(key=lambda record: record.kind != VocabularyStatistics.kind)
    return {rule_of(record): record for record in reversed(records)}


def exact_share(groups: Sequence[Trained]) -> Iterator[Evidence]:
    """About 40 % of ImageNet-1k's labels are classes of DataComp-1.3B's vocabulary as they are, by
    the paper's labelling rule; another rule makes other classes.
    """
    for group in groups:
        for record in group.of(VocabularyStatistics):
            labels = record.measured.imagenet
            if labels and labels.labels:
                share = 100 * labels.exact / labels.labels
                said = (
                    f"{shown(labels.exact, 0)} of {shown(labels.labels, 0)}, {shown(share, 1)} %, "
                    f"by rule {rule_of(record)}."
                )
                compared = [Compared(f"against {SHARE} %", counted(share - SHARE))]
                untested = ""
                if group.scale != "datacomp":
                    untested = "The claim is about DataComp-1.3B."
                elif rule_of(record) != RULES[0]:
                    untested = f"The paper's share is by rule {RULES[0]}."
                yield Evidence(compared, said, (), anchor=record.anchor, untested=untested)
