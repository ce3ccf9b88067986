"""Judges each of the paper's claims from our records, by the rule that catlip/claims.toml set
before the runs.

The verdict is holds, does not hold, or cannot tell, at the scale of the evidence; a claim without
any comparison is not tested. Of several pieces of evidence, the nearest to the paper's scale
counts.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, groupby

from catlip.claims import Claim, claims, digest, least_pairs, rules
from catlip.kinds.estimate import FAILS, HOLDS, OPEN, RULES, Estimate, power, verdict
from catlip.table import Cell, Table, clipped, shown, signed
from reports.paper import claims_accuracy as accuracy
from reports.paper import claims_cost as cost
from reports.paper import claims_learning as learning
from reports.paper import claims_scaling as scaling
from reports.paper import claims_words as words
from reports.paper.evidence import Compared, Evidence, Trained, groups_of
from reports.read.records import Records, text

NOT_TESTED = "not tested"
AT_THE_PAPERS = "at the paper's scale"

Judge = Callable[[Sequence[Trained]], Iterable[Evidence]]


def _either(*judges: Judge) -> Judge:
    """A judge that yields the evidence of all these judges."""
    return lambda groups: chain.from_iterable(judge(groups) for judge in judges)


JUDGES: Mapping[str, Judge] = {
    "probe_parity": partial(accuracy.as_good, kind="linear_probe"),
    "finetune_parity": partial(accuracy.as_good, kind="finetune"),
    **{f"{kind}_parity": partial(accuracy.as_good, kind=kind) for kind in accuracy.DENSE},
    "public_clips": lambda groups: (),
    "cheaper": cost.trainings_cheaper,
    "speed_up": cost.speed_up,
    "step": cost.step_faster,
    "parameters": cost.fewer_parameters,
    "memory": cost.less_memory,
    "batch": cost.larger_batch,
    "loss_time": cost.loss_faster,
    "bytes": cost.fewer_bytes,
    "exposed": cost.waits_less,
    "catlip_longer": partial(learning.longer_helps, method="catlip"),
    "clip_plateaus": partial(learning.longer_helps, method="clip"),
    "less_compute": learning.less_compute,
    "transfer_init": learning.transfer_init_gains,
    "gain_falls": learning.gain_falls,
    "tuned_gain": learning.tuned_gain_is_smaller,
    "larger_data": _either(accuracy.larger_data_helps, scaling.more_data_helps),
    "larger_encoder": _either(
        partial(accuracy.larger_encoder_helps, levels_of=accuracy.accuracies),
        partial(scaling.larger_encoders_help, levels_of=scaling.accuracies),
    ),
    "larger_with_few": partial(accuracy.larger_encoder_helps, levels_of=accuracy.with_one_percent),
    "loss_and_size": _either(
        partial(accuracy.larger_encoder_helps, levels_of=accuracy.negative_loss, unit="nats"),
        partial(scaling.larger_encoders_help, levels_of=scaling.negative_loss, unit="nats"),
    ),
    "loss_unsaturated": accuracy.loss_still_falls,
    "more_synsets": partial(
        words.more_in_larger_data, count=words.unique_synsets, what="different synsets"
    ),
    "more_matches": partial(
        words.more_in_larger_data,
        count=words.exact_matches,
        what="labels of ImageNet-1k found exactly",
    ),
    "more_samples": partial(
        words.more_in_larger_data,
        count=words.captions_of_median_match,
        what="captions of the median label found exactly",
    ),
    "exact_share": words.exact_share,
    "thresholds_alike": learning.thresholds_alike,
    "large_thresholds": learning.large_thresholds_lose,
}


@dataclass(frozen=True)
class Verdict:
    """What the records say of one claim.

    Attributes:
        outcome: HOLDS, FAILS, OPEN or NOT_TESTED.
        evidence: compares nothing where no record is about the claim.
        room: how far the deciding interval would have to move to change the outcome.
    """

    outcome: str
    evidence: Evidence
    room: float = 0.0

    def __str__(self) -> str:
        """For example `holds at starter scale`."""
        if self.outcome == NOT_TESTED:
            return NOT_TESTED
        return f"{self.outcome} {', '.join(self.evidence.caveats) or AT_THE_PAPERS}"


def verdicts(records: Records) -> dict[str, Verdict]:
    """Claim -> its verdict. Of the evidence that tested anything, the one with the fewest caveats
    counts; of equals, the first.
    """
    groups = groups_of(records)
    return {
        claim.id: min(
            (_judged(claim, evidence) for evidence in JUDGES[claim.id](groups)),
            key=lambda one: (one.outcome == NOT_TESTED, len(one.evidence.caveats)),
            default=Verdict(NOT_TESTED, Evidence(())),
        )
        for claim in claims().values()
    }


def _judged(claim: Claim, evidence: Evidence) -> Verdict:
    """The verdict of one piece of evidence. It fails if one comparison fails, and holds if all
    hold; with a comparison that could not be made, it can only fail or stay open.
    """
    if not any(one.estimate for one in evidence.compared):
        return Verdict(NOT_TESTED, evidence)
    rule = RULES[claim.rule]
    judged = [
        rule.judge(one.estimate, claim.bound) if one.estimate else (OPEN, 0.0)
        for one in evidence.compared
    ]
    outcome = next(word for word in (FAILS, OPEN, HOLDS) if word in dict(judged))
    rooms = [room for own, room in judged if own == outcome]
    return Verdict(outcome, evidence, min(rooms) if outcome == HOLDS else max(rooms))


def claims_tables(records: Records, judged: Mapping[str, Verdict]) -> list[Table]:
    """Two tables with one row for each claim: its verdict and the numbers behind it, under its
    topic; then its rule and what would settle it.

    Args:
        judged: the `verdicts` of these records.
    """
    rows: list[list[Cell]] = []
    for topic, own in groupby(claims().values(), key=lambda claim: claim.topic):
        rows.append([Cell(topic)])
        rows += [_row(claim, judged[claim.id]) for claim in own]
    caption = (
        'The verdict "holds", "does not hold" or "cannot tell" follows the rule in the table '
        "below, at the scale that it names. Intervals are of 95 %, over the named pairs or seeds; "
        f'fewer than {least_pairs()} have none. "Cannot tell" is neither for nor against a claim.'
    )
    verdicts_table = Table(
        "claims",
        "Each claim, its verdict, and the numbers that it rests on",
        ["Claim", "Verdict", "Numbers"],
        rows=rows,
        caption=caption,
    )
    return [verdicts_table, _rules_table(records)]


def _rules_table(records: Records) -> Table:
    """What each claim is judged by, and how it would be settled at the paper's scale."""
    rows = [
        [
            Cell(claim.claim),
            Cell(claim.compared),
            Cell(rules()[claim.rule]),
            Cell(f"{claim.bound:g}" if claim.rule in RULES else ""),
            Cell(claim.settle),
        ]
        for claim in claims().values()
    ]
    return Table(
        "rules",
        "The rules, and the commands that would settle each claim",
        ["Claim", "Compared", "Rule", "Bound", "Command"],
        rows=rows,
        caption=_written_when(records),
        folded=True,
    )


def _written_when(records: Records) -> str:
    """How many records were made under these rules."""
    made = Counter(text(record.environment, "rules") for record in records.every)
    total = made.total()
    own, before = made.pop(digest(), 0), made.pop("", 0)
    said = f"The rules have the digest {digest()}; {own} of {total} records name it."
    if before:
        said += f" Made before rules had a digest: {before}."
    if made:
        others = ", ".join(f"{clipped(name, 12)} ({n})" for name, n in made.most_common(3))
        said += f" Made under other rules: {others}."
    return said


def _row(claim: Claim, judged: Verdict) -> list[Cell]:
    """A claim's row. Footnotes say how far the verdict is from changing, and the power."""
    evidence = judged.evidence
    said = [_said(claim, one) for one in evidence.compared]
    numbers = [f"{'; '.join(said)}."] if said else []
    if evidence.said:
        numbers.append(evidence.said)
    remarks = (*_turns(judged), *_powers(claim, evidence))
    return [
        Cell(claim.claim, claim.source),
        Cell(str(judged), anchor=evidence.anchor, remarks=remarks),
        Cell(" ".join(numbers)) if numbers else Cell(),
    ]


def _turns(judged: Verdict) -> Iterator[str]:
    """By how much an interval would have to move to change the verdict; nothing for counts."""
    first = next(iter(judged.evidence.compared), None)
    if judged.room and first and first.estimate and not first.estimate.is_count:
        unit = "" if first.unit == "times" else f" {first.unit}"
        yield f"It would change if an interval moved by {shown(judged.room, first.decimals)}{unit}."


def _powers(claim: Claim, evidence: Evidence) -> Iterator[str]:
    """How often experiments of this size find a difference as large as the bound."""
    found_by: dict[str, str] = {}
    for one in evidence.compared:
        often = power(one.estimate, claim.bound) if one.estimate and claim.bound else None
        if often is not None:
            found_by[one.what] = f"{one.what} {100 * often:.0f} %"
    if found_by:
        yield (
            f"Experiments of this size would find a true difference of {claim.bound:g} this often: "
            f"{', '.join(found_by.values())}."
        )


def _said(claim: Claim, compared: Compared) -> str:
    """`concepts: better, +9.4 points (7.8 to 11.1; 6 pairs, 435 images)`."""
    estimate = compared.estimate
    if estimate is None:
        return f"{compared.what}: no pairs, or not a number"
    value, decimals = estimate.value, compared.decimals
    number = shown(value, decimals) if compared.unit == "times" else signed(value, decimals)
    word = f"{verdict(estimate, claim.bound)}, " if compared.unit == "points" else ""
    return f"{compared.what}: {word}{number} {compared.unit}{_over(estimate, decimals)}"


def _over(estimate: Estimate, decimals: int) -> str:
    """The interval, and the pairs and images that it is over; empty for a count."""
    if estimate.is_count:
        return ""
    parts = []
    if estimate.low is not None:
        parts.append(f"{shown(estimate.low, decimals)} to {shown(estimate.high, decimals)}")
    if estimate.pairs is not None:
        few = f", at least {least_pairs()} needed" if estimate.pairs < least_pairs() else ""
        parts.append(f"{estimate.pairs} pair{'s' * (estimate.pairs != 1)}{few}")
    if estimate.images is not None:
        parts[-1] += f", {estimate.images:,} images"
    return f" ({'; '.join(parts)})" if parts else ""
