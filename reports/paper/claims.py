"""Judges each of the paper's claims from our records, by the rules in catlip/records/claims.toml.

The verdict is holds, does not hold, depends on the task, or cannot tell, and survives Holm's method
over all claims with an interval. With other data, another encoder or another length than the
paper's, it is a verdict on an analogue of the claim, and named and counted as such. A claim without
any comparison is not tested. If there are several pieces of evidence, the nearest to the paper's
scale counts.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import groupby

from catlip.records.claims import Claim, changes, claims, judging, min_pairs, rules, versions
from catlip.records.estimate import (
    COVERAGE,
    FAILS,
    HOLDS,
    OPEN,
    holm,
    outcome,
    p_values,
    smallest_effect,
    verdict,
)
from catlip.records.run import Records
from catlip.records.table import MISSING, Cell, Table, format_number, listed, signed
from reports.paper.evidence import Compared, Evidence, evidence, groups_of
from reports.results import frame_of

NOT_TESTED, MIXED = "not tested", "depends on the task"
AT_THE_PAPERS = "at the paper's scale"
BY_ANALOGUE = "by an analogue"
NOT_JUDGED = "not judged, CLIP cannot be told from an untrained encoder"


@dataclass(frozen=True)
class Verdict:
    """What the records say of one claim.

    Attributes:
        outcome: HOLDS, FAILS, MIXED, OPEN or NOT_TESTED.
        evidence: compares nothing where no record is about the claim.
        p: the p-value of its outcome, 1 for OPEN; None for what is not tested or only counted.
        alone: its outcome without Holm's method.
        elsewhere: what other data or encoders say by themselves, where that differs.
    """

    outcome: str
    evidence: Evidence
    p: float | None = None
    alone: str = ""
    elsewhere: tuple["Verdict", ...] = ()

    @property
    def is_analogue(self) -> bool:
        return self.outcome != NOT_TESTED and bool(self.evidence.caveats)

    @property
    def is_weakened(self) -> bool:
        """Whether Holm's method leaves open what it shows by itself."""
        return self.alone not in ("", self.outcome)

    def __str__(self) -> str:
        """For example `holds at starter scale`."""
        if self.outcome == NOT_TESTED:
            return NOT_TESTED
        return f"{self.outcome} {', '.join(self.evidence.caveats) or AT_THE_PAPERS}"


def verdicts(records: Records) -> dict[str, Verdict]:
    """Claim -> its verdict, for the claims that have a rule: by the first evidence with the fewest
    caveats, among the evidence that tests the claim.
    """
    groups, frame = groups_of(records), frame_of(records)
    judged = {}
    for claim in filter(lambda claim: claim.is_judged, claims().values()):
        found = [judge(claim, one) for test in claim.tests for one in evidence(test, groups, frame)]
        found.sort(key=lambda one: (one.outcome == NOT_TESTED, len(one.evidence.caveats)))
        first, *others = found or [Verdict(NOT_TESTED, Evidence(()))]
        differ = (one for one in others if one.outcome not in (first.outcome, NOT_TESTED))
        judged[claim.id] = replace(first, elsewhere=tuple(differ))
    for family in families(judged).values():
        for key, p in zip(family, holm([*family.values()]), strict=True):
            survives = p < 1 - COVERAGE
            judged[key] = replace(judged[key], outcome=judged[key].alone if survives else OPEN)
    return judged


def families(judged: Mapping[str, Verdict]) -> dict[str, dict[str, float]]:
    """First caveat, such as the scale -> the claims with a p-value that have it, and this value."""
    grouped: dict[str, dict[str, float]] = {}
    for key, one in judged.items():
        if one.p is not None:
            first = next(iter(one.evidence.caveats), AT_THE_PAPERS)
            grouped.setdefault(first, {})[key] = one.p
    return grouped


def judge(claim: Claim, evidence: Evidence) -> Verdict:
    """The verdict of one piece of evidence, by itself."""
    compared = [one for one in evidence.compared if one.is_judged]
    if evidence.untested or not any(one.estimate for one in compared):
        return Verdict(NOT_TESTED, evidence)
    outcomes = {_outcome(claim, one) for one in compared}
    holds, fails = zip(
        *(
            p_values(claim.rule, one.estimate, _bound(claim, one)) if one.estimate else (1, 1)
            for one in compared
        ),
        strict=True,
    )
    word, p = OPEN, 1.0
    if outcomes == {HOLDS}:
        word, p = HOLDS, max(holds)
    elif outcomes == {FAILS}:
        word, p = FAILS, max(fails)
    elif outcomes >= {HOLDS, FAILS}:  # each may be the most extreme of several tasks
        word, p = MIXED, min(1, len(compared) * max(min(holds), min(fails)))
    if all(one.estimate is None or one.estimate.is_count for one in compared):
        return Verdict(word, evidence, alone=word)
    return Verdict(word, evidence, p, alone=word)


def _outcome(claim: Claim, compared: Compared) -> str:
    if not compared.is_judged:
        return NOT_JUDGED
    if compared.estimate is None:
        return OPEN
    return outcome(claim.rule, compared.estimate, _bound(claim, compared))


def _bound(claim: Claim, compared: Compared) -> float:
    learnt = compared.learnt
    if claim.fraction is None or learnt is None or learnt.low is None:
        return claim.bound
    return min(claim.bound, claim.fraction * learnt.low)


def counts_sentence(judged: Mapping[str, Verdict]) -> str:
    """`As stated 1 holds; by an analogue 9 hold, 2 cannot tell; not tested 14. After Holm's method
    over 11 claims.`
    """
    tested = [one for one in judged.values() if one.outcome != NOT_TESTED]
    words = {
        HOLDS: (HOLDS, "hold"),
        FAILS: (FAILS, "do not hold"),
        MIXED: (MIXED, "depend on the task"),
        OPEN: (OPEN, OPEN),
    }
    tallies = []
    for title, is_analogue in (("As stated", False), (BY_ANALOGUE, True)):
        counts = Counter(one.outcome for one in tested if one.is_analogue == is_analogue)
        each = [f"{counts[key]} {words[key][counts[key] > 1]}" for key in words if counts[key]]
        tallies.append(f"{title} {', '.join(each) or 'none'}")
    tally = f"{'; '.join(tallies)}; {NOT_TESTED} {len(judged) - len(tested)}."
    return f"{tally} {_after_holm(judged)}".strip()


def _after_holm(judged: Mapping[str, Verdict]) -> str:
    """`After Holm's method over 11 claims at starter scale.`; empty for one or none."""
    sizes = {caveat: len(family) for caveat, family in families(judged).items()}
    each = [f"{size} claims {caveat}" for caveat, size in sizes.items() if size > 1]
    return f"After Holm's method over {listed(each)}." if each else ""


def claims_tables(records: Records, judged: Mapping[str, Verdict]) -> list[Table]:
    """Two tables with one row for each claim."""
    rows: list[list[Cell]] = []
    for topic, on_topic in groupby(claims().values(), key=lambda claim: claim.topic):
        rows.append([Cell(topic)])
        rows += [_row(claim, judged[claim.id]) for claim in on_topic if claim.is_judged]
    caption = (
        f"The verdict follows the rule in the table below. {judging().clip} {judging().tasks} "
        f"{judging().family} {_after_holm(judged)} One by an analogue is about the data, encoder "
        "or length that it names, in place of the claim's own. Claims about GPUs are tested on "
        "GPUs. Intervals are of 95 %, each by itself, over the named pairs or seeds and, where "
        f"these are named, over the test images; fewer than {min_pairs()} pairs have none. "
        '"Cannot tell" is neither for nor against a claim; 80 % power: the smallest true '
        "difference that such an experiment tells from none in 4 of 5 cases."
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
    """The rule of each claim, and the command that would settle it at the paper's scale."""
    rows, commands = [], set[str]()
    for claim in claims().values():
        bound = f"{claim.bound:g}" if claim.is_judged else ""
        if claim.fraction:
            bound += f"; {judging().learnt.format(fraction=claim.fraction)}"
        command = "the same as above" if claim.settle in commands else claim.settle
        commands.add(claim.settle)
        words = (claim.claim, claim.compared, claim.rule, bound, command)
        rows.append([*map(Cell, words)])
    meanings = [f'"{rule.capitalize()}": {meaning}' for rule, meaning in rules().items()]
    caption = f"{' '.join(meanings)} {_when_made(records)} {changes()}"
    title = "The rules, and the commands that would settle each claim"
    columns = ["Claim", "Compared", "Rule", "Bound", "Command"]
    return Table("rules", title, columns, rows=rows, caption=caption, folded=True)


def _when_made(records: Records) -> str:
    """Which records were made under which version of the rules, and how many were begun before
    there were any.
    """
    made = Counter(record.environment.rules for record in records.every)
    first = versions()[0]
    begun = (record.environment.started for record in records.every)
    before = sum("" < at < f"{first.since:%Y-%m-%dT%H:%M:%S}" for at in begun)
    counts = [
        f"{made[version.digest]} name the rules of {version.since:%-d %B %Y} ({version.digest})"
        for version in reversed(versions())
    ]
    were = " was" if before == 1 else "s were"
    other = made.total() - made[""] - sum(made[version.digest] for version in versions())
    counts += [f"{other} name others"] * bool(other)
    return (
        f"Of {made.total():,} records, {', '.join(counts)}, {made['']} name none. The first rules "
        f"were written on {first.since:%-d %B %Y}: {before} record{were} begun before."
    )


def _row(claim: Claim, judged: Verdict) -> list[Cell]:
    """A claim's row. A footnote says what Holm's method changed."""
    evidence = judged.evidence
    numbers = "; ".join(_in_words(claim, one, judged) for one in evidence.compared)
    elsewhere = "; ".join(dict.fromkeys(map(str, judged.elsewhere)))
    words = [numbers and f"{numbers}.", evidence.words, evidence.untested]
    words.append(elsewhere and f"Elsewhere, each by itself: {elsewhere}.")
    remarks: tuple[str, ...] = ()
    if judged.is_weakened:
        remarks = (f"By itself, without Holm's method, it {judged.alone} (p = {judged.p:.2g}).",)
    analogue = BY_ANALOGUE if judged.is_analogue else ""
    return [
        Cell(claim.claim, claim.source),
        Cell(str(judged), analogue, anchor=evidence.anchor, remarks=remarks),
        Cell(" ".join(filter(None, words)) or MISSING),
    ]


def _in_words(claim: Claim, compared: Compared, judged: Verdict) -> str:
    """`concepts: better, +9.4 points (7.8 to 11.1; 6 pairs, 435 images)`, with the outcome if the
    outcomes of the claim's comparisons differ, and the smallest effect if one cannot tell.
    """
    estimate, decimals, is_tested = compared.estimate, compared.decimals, bool(judged.alone)
    result = _outcome(claim, compared)
    differ = is_tested and any(_outcome(claim, one) != result for one in judged.evidence.compared)
    word = result if differ or result == NOT_JUDGED else ""
    if estimate is None:
        return f"{compared.what}: no pairs, or not a number"
    show = format_number if compared.unit == "times" else signed
    bound, over = _bound(claim, compared), []
    if estimate.low is not None:
        over.append(
            f"{format_number(estimate.low, decimals)} to {format_number(estimate.high, decimals)}"
        )
    if estimate.pairs is not None:
        few = f", at least {min_pairs()} needed" if estimate.pairs < min_pairs() else ""
        over.append(f"{estimate.pairs} pair{'s' * (estimate.pairs != 1)}{few}")
    if estimate.images is not None:
        over[-1] += f", {estimate.images:,} images"
    if estimate.clusters is not None:
        over[-1] += f" in {estimate.clusters:,} groups"
    if bound < claim.bound and compared.is_judged:
        over.append(f"margin {format_number(bound, decimals + 1)}")
    is_open = is_tested and (result == OPEN or judged.is_weakened)
    if is_open and (effect := smallest_effect(estimate)) is not None:
        over.append(f"80 % power from {format_number(effect, decimals)}")
    if not word and claim.rule == "not worse" and not judged.is_weakened:
        word = verdict(estimate, bound)
    word += ", " * bool(word)
    interval = f" ({'; '.join(over)})" if over and not estimate.is_count else ""
    return f"{compared.what}: {word}{show(estimate.value, decimals)} {compared.unit}{interval}"
