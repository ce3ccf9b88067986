"""Judges each of the paper's claims from our records, by the rules in catlip/claims.toml.

The verdict is holds, does not hold, or cannot tell. Away from the paper's data, encoder and length
it is a verdict on an analogue of the claim, and named and counted as such. A claim without any
comparison is not tested. Of several pieces of evidence, the nearest to the paper's scale counts.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby

from catlip.claims import Claim, changes, claims, digest, is_before_rules, least_pairs, rules
from catlip.results.estimate import FAILS, HOLDS, OPEN, RULES, power, verdict
from catlip.results.run import Records, text
from catlip.table import Cell, Table, clipped, shown, signed
from reports.paper.evidence import Compared, Evidence, evidence, groups_of
from reports.results import frame_of

NOT_TESTED = "not tested"
AT_THE_PAPERS = "at the paper's scale"
BY_ANALOGUE = "by an analogue"


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

    @property
    def is_analogue(self) -> bool:
        return self.outcome != NOT_TESTED and bool(self.evidence.caveats)

    def __str__(self) -> str:
        """For example `holds at starter scale`."""
        if self.outcome == NOT_TESTED:
            return NOT_TESTED
        return f"{self.outcome} {', '.join(self.evidence.caveats) or AT_THE_PAPERS}"


def verdicts(records: Records) -> dict[str, Verdict]:
    """Claim -> its verdict. Of the evidence that tested anything, the one with the fewest caveats
    counts; of equals, the first.
    """
    groups, frame = groups_of(records), frame_of(records)
    return {
        claim.id: min(
            (_judged(claim, one) for test in claim.tests for one in evidence(test, groups, frame)),
            key=lambda one: (one.outcome == NOT_TESTED, len(one.evidence.caveats)),
            default=Verdict(NOT_TESTED, Evidence(())),
        )
        for claim in claims().values()
    }


def _judged(claim: Claim, evidence: Evidence) -> Verdict:
    """The verdict of one piece of evidence."""
    if evidence.untested or not any(one.estimate for one in evidence.compared):
        return Verdict(NOT_TESTED, evidence)
    judged = _outcomes(claim, evidence)
    outcomes = {outcome for outcome, _ in judged}
    if len(outcomes) > 1:
        return Verdict(OPEN, evidence)
    return Verdict(outcomes.pop(), evidence, min(room for _, room in judged))


def _outcomes(claim: Claim, evidence: Evidence) -> list[tuple[str, float]]:
    """The outcome of each comparison, and how far its interval would have to move to change it."""
    rule = RULES[claim.rule]
    return [
        rule.judge(one.estimate, claim.bound) if one.estimate else (OPEN, 0.0)
        for one in evidence.compared
    ]


def counts_sentence(judged: Mapping[str, Verdict]) -> str:
    """`As stated 1 holds; by an analogue 9 hold, 2 cannot tell; not tested 14.`"""
    tested = [one for one in judged.values() if one.outcome != NOT_TESTED]
    words = {HOLDS: (HOLDS, "hold"), FAILS: (FAILS, "do not hold"), OPEN: (OPEN, OPEN)}
    said = []
    for title, is_analogue in (("As stated", False), (BY_ANALOGUE, True)):
        counts = Counter(one.outcome for one in tested if one.is_analogue == is_analogue)
        each = [f"{counts[key]} {words[key][counts[key] > 1]}" for key in words if counts[key]]
        said.append(f"{title} {', '.join(each) or 'none'}")
    return f"{'; '.join(said)}; {NOT_TESTED} {len(judged) - len(tested)}."


def claims_tables(records: Records, judged: Mapping[str, Verdict]) -> list[Table]:
    """Two tables with one row for each claim."""
    rows: list[list[Cell]] = []
    for topic, own in groupby(claims().values(), key=lambda claim: claim.topic):
        rows.append([Cell(topic)])
        rows += [_row(claim, judged[claim.id]) for claim in own]
    caption = (
        'The verdict "holds", "does not hold" or "cannot tell" follows the rule in the table '
        'below; several tasks must agree, or it is "cannot tell". One by an analogue is about the '
        "data, encoder or length that it names, in place of the claim's own. Claims about GPUs are "
        "tested on GPUs. Intervals are of 95 %, over the named pairs or seeds; "
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
    own = made.pop(digest(), 0)
    said = f"The rules have the digest {digest()}; {own} of {total} records name it."
    if nameless := made.pop("", 0):
        earlier = sum(
            is_before_rules(record.machine.started)
            for record in records.every
            if not text(record.environment, "rules")
        )
        said += (
            f" Without a digest: {nameless}, {earlier} of them begun before the rules were "
            "written; the list of records marks them."
        )
    if made:
        others = ", ".join(f"{clipped(name, 12)} ({n})" for name, n in made.most_common(3))
        said += f" Made under other rules: {others}."
    return f"{said} {changes()}"


def _row(claim: Claim, judged: Verdict) -> list[Cell]:
    """A claim's row. Footnotes say how far the verdict is from changing, and the power."""
    evidence = judged.evidence
    words = [""] * len(evidence.compared)
    if judged.outcome != NOT_TESTED:
        outcomes = [outcome for outcome, _ in _outcomes(claim, evidence)]
        words = outcomes if len(set(outcomes)) > 1 else words
    said = [_said(claim, one, word) for one, word in zip(evidence.compared, words, strict=True)]
    numbers = [f"{'; '.join(said)}."] if said else []
    numbers += filter(None, (evidence.said, evidence.untested))
    return [
        Cell(claim.claim, claim.source),
        Cell(
            str(judged),
            BY_ANALOGUE if judged.is_analogue else "",
            anchor=evidence.anchor,
            remarks=_remarks(claim, judged) if judged.outcome != NOT_TESTED else (),
        ),
        Cell(" ".join(numbers)) if numbers else Cell(),
    ]


def _remarks(claim: Claim, judged: Verdict) -> tuple[str, ...]:
    """By how much an interval would have to move to change the verdict; and how often experiments
    of this size find a difference as large as the bound.
    """
    remarks = []
    first = next(iter(judged.evidence.compared), None)
    if judged.room and first and first.estimate and not first.estimate.is_count:
        by = f"{shown(judged.room, first.decimals)} {first.unit}".removesuffix(" times")
        remarks.append(f"It would change if an interval moved by {by}.")
    found_by: dict[str, str] = {}
    for one in judged.evidence.compared:
        often = power(one.estimate, claim.bound) if one.estimate and claim.bound else None
        if often is not None:
            found_by[one.what] = f"{one.what} {100 * often:.0f} %"
    if found_by:
        remarks.append(
            f"Experiments of this size would find a true difference of {claim.bound:g} this often: "
            f"{', '.join(found_by.values())}."
        )
    return tuple(remarks)


def _said(claim: Claim, compared: Compared, outcome: str) -> str:
    """`concepts: better, +9.4 points (7.8 to 11.1; 6 pairs, 435 images)`; `outcome` is that of this
    comparison, if others of the claim have another.
    """
    estimate, decimals = compared.estimate, compared.decimals
    if estimate is None:
        return f"{compared.what}: no pairs, or not a number"
    number = (shown if compared.unit == "times" else signed)(estimate.value, decimals)
    if not outcome and claim.rule == "not worse":
        outcome = verdict(estimate, claim.bound)
    word = f"{outcome}, " if outcome else ""
    over = []
    if estimate.low is not None:
        over.append(f"{shown(estimate.low, decimals)} to {shown(estimate.high, decimals)}")
    if estimate.pairs is not None:
        few = f", at least {least_pairs()} needed" if estimate.pairs < least_pairs() else ""
        over.append(f"{estimate.pairs} pair{'s' * (estimate.pairs != 1)}{few}")
    if estimate.images is not None:
        over[-1] += f", {estimate.images:,} images"
    interval = f" ({'; '.join(over)})" if over and not estimate.is_count else ""
    return f"{compared.what}: {word}{number} {compared.unit}{interval}"
