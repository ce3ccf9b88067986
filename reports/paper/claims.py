"""Judges each of the paper's claims from our records, by the rules in catlip/claims.toml.

The verdict is holds, does not hold, or cannot tell. Away from the paper's data, encoder and length
it is a verdict on an analogue of the claim, and named and counted as such. A claim without any
comparison is not tested. Of several pieces of evidence, the nearest to the paper's scale counts.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby

from catlip.claims import Claim, changes, claims, digest, least_pairs, rules
from catlip.results.estimate import FAILS, HOLDS, OPEN, outcome, power, verdict
from catlip.results.run import Records, text
from catlip.table import Cell, Table, shown, signed
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
    """

    outcome: str
    evidence: Evidence

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
    outcomes = {*_outcomes(claim, evidence)}
    return Verdict(outcomes.pop() if len(outcomes) == 1 else OPEN, evidence)


def _outcomes(claim: Claim, evidence: Evidence) -> list[str]:
    estimates = [one.estimate for one in evidence.compared]
    return [outcome(claim.rule, one, claim.bound) if one else OPEN for one in estimates]


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
        as_list=True,
    )
    return [verdicts_table, _rules_table(records)]


def _rules_table(records: Records) -> Table:
    """What each claim is judged by, and how it would be settled at the paper's scale."""
    rows = []
    for claim in claims().values():
        bound = "" if claim.rule == "none" else f"{claim.bound:g}"
        words = (claim.claim, claim.compared, rules()[claim.rule], bound, claim.settle)
        rows.append([*map(Cell, words)])
    made = Counter(text(record.environment, "rules") for record in records.every)
    own, nameless = made[digest()], made[""]
    caption = (
        f"The rules have the digest {digest()}; of {made.total()} records, {own} name it, "
        f"{nameless} name none, and {made.total() - own - nameless} were made under other rules. "
        f"{changes()}"
    )
    title = "The rules, and the commands that would settle each claim"
    columns = ["Claim", "Compared", "Rule", "Bound", "Command"]
    return Table("rules", title, columns, rows=rows, caption=caption, folded=True)


def _row(claim: Claim, judged: Verdict) -> list[Cell]:
    """A claim's row. A footnote says how often experiments of this size find a difference as large
    as the bound.
    """
    evidence, is_tested = judged.evidence, judged.outcome != NOT_TESTED
    words = [""] * len(evidence.compared)
    if is_tested and len({*_outcomes(claim, evidence)}) > 1:
        words = _outcomes(claim, evidence)
    said = [_said(claim, one, word) for one, word in zip(evidence.compared, words, strict=True)]
    numbers = [f"{'; '.join(said)}."] if said else []
    numbers += filter(None, (evidence.said, evidence.untested))
    found_by = {
        one.what: f"{one.what} {100 * often:.0f} %"
        for one in evidence.compared
        if one.estimate and (often := power(one.estimate, claim.bound)) is not None
    }
    remark = (
        f"Experiments of this size would find a true difference of {claim.bound:g} this often: "
        f"{', '.join(found_by.values())}."
    )
    return [
        Cell(claim.claim, claim.source),
        Cell(
            str(judged),
            BY_ANALOGUE if judged.is_analogue else "",
            anchor=evidence.anchor,
            remarks=(remark,) if is_tested and claim.bound and found_by else (),
        ),
        Cell(" ".join(numbers)) if numbers else Cell(),
    ]


def _said(claim: Claim, compared: Compared, word: str) -> str:
    """`concepts: better, +9.4 points (7.8 to 11.1; 6 pairs, 435 images)`; `word` is the outcome of
    this comparison, if others of the claim have another.
    """
    estimate, decimals = compared.estimate, compared.decimals
    if estimate is None:
        return f"{compared.what}: no pairs, or not a number"
    number = (shown if compared.unit == "times" else signed)(estimate.value, decimals)
    if not word and claim.rule == "not worse":
        word = verdict(estimate, claim.bound)
    over = []
    if estimate.low is not None:
        over.append(f"{shown(estimate.low, decimals)} to {shown(estimate.high, decimals)}")
    if estimate.pairs is not None:
        few = f", at least {least_pairs()} needed" if estimate.pairs < least_pairs() else ""
        over.append(f"{estimate.pairs} pair{'s' * (estimate.pairs != 1)}{few}")
    if estimate.images is not None:
        over[-1] += f", {estimate.images:,} images"
    word += ", " * bool(word)
    interval = f" ({'; '.join(over)})" if over and not estimate.is_count else ""
    return f"{compared.what}: {word}{number} {compared.unit}{interval}"
