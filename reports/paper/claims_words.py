"""How the paper's claims on captions are judged: what a larger data set holds, and which labels are
found in it.
"""

from collections.abc import Iterator, Sequence

from catlip.table import shown
from reports.paper.evidence import FAILS, HOLDS, UNTESTED, Evidence, Trained, combined, smaller
from reports.read.measured import anchor_of
from reports.read.pretrained import SCALES
from reports.read.records import Record, number
from reports.read.rules import rule_of

KINDS = ("vocabulary_statistics", "vocabulary")
SYNSETS = ("unique_synsets",)
MATCHED = ("labels", "imagenet", "exact")
SAMPLES = ("labels", "imagenet", "median")
SHARE, WITHIN = (
    40,
    5,
)  # % of ImageNet-1k's labels in DataComp-1.3B, Figure 2's caption; about, in points


def more_in_larger_data(
    groups: Sequence[Trained], keys: tuple[str, ...], what: str
) -> Iterator[Evidence]:
    """A count in DataComp-1.3B's captions is above that in CC3M's, by the same labelling rule."""
    small, large = (_by_rule(groups, scale, keys) for scale in SCALES)
    found = {rule: (small[rule], large[rule]) for rule in small if rule in large}
    if found:
        pairs = {
            rule: [number(record.metrics, *keys) for record in pair] for rule, pair in found.items()
        }
        said = "; ".join(
            f"rule {rule}, {what}: CC3M {shown(a, 0)}, DataComp-1.3B {shown(b, 0)}"
            for rule, (a, b) in pairs.items()
        )
        outcome = combined([smaller(*pair) for pair in pairs.values()])
        yield Evidence(outcome, f"{said}.", (), anchor_of(next(iter(found.values()))[1]))
        return
    for group in groups:
        for record in (
            r for kind in KINDS for r in group.of(kind) if number(r.metrics, *keys) is not None
        ):
            said = f"{shown(number(record.metrics, *keys), 0)} {what} in the one data set there is."
            yield Evidence(UNTESTED, said, group.caveats, anchor_of(record))


def _by_rule(groups: Sequence[Trained], scale: str, keys: tuple[str, ...]) -> dict[str, Record]:
    """The first record of each rule at a scale that holds the count."""
    own = [
        r
        for kind in KINDS
        for g in groups
        if g.scale == scale
        for r in g.of(kind)
        if number(r.metrics, *keys) is not None
    ]
    return {rule_of(record): record for record in reversed(own)}


def exact_share(groups: Sequence[Trained]) -> Iterator[Evidence]:
    """About 40 % of ImageNet-1k's labels are classes of DataComp-1.3B's vocabulary as they are."""
    for group in groups:
        for record in group.of("vocabulary_statistics"):
            exact, size = (
                number(record.metrics, *MATCHED),
                number(record.metrics, "labels", "imagenet", "labels"),
            )
            if exact is not None and size and 0 <= exact <= size:
                share = 100 * exact / size
                outcome = (
                    UNTESTED
                    if group.scale != "datacomp"
                    else HOLDS
                    if abs(share - SHARE) <= WITHIN
                    else FAILS
                )
                said = (
                    f"{shown(exact, 0)} of {shown(size, 0)}, {shown(share, 1)} %, by rule "
                    f"{rule_of(record)}."
                )
                yield Evidence(outcome, said, (), anchor_of(record))
