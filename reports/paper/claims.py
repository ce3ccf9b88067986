"""Judges each of the paper's claims from the records, by the rules in catlip/records/claims.toml.

The verdict is holds, does not hold, depends on the task, or cannot tell, and survives Holm's method
over all claims with an interval. With other data, another encoder or another length than the
paper's, it is a verdict on an analogue of the claim. A claim without any comparison is not tested.
If there are several pieces of evidence, the nearest to the paper's scale counts.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

from catlip.records.claims import Claim, claims, judging, rules, versions
from catlip.records.estimate import (
    COVERAGE,
    FAILS,
    HOLDS,
    OPEN,
    holm,
    outcome,
    p_values,
    smallest_effect,
)
from catlip.records.table import RECORDS, Column, Row, Spec
from reports.pairs import Comparisons
from reports.paper.evidence import Compared, Evidence, evidence

NOT_TESTED, MIXED = "not tested", "depends on the task"
AT_THE_PAPERS = "as stated"


@dataclass(frozen=True)
class Verdict:
    """What the records say of one claim.

    Attributes:
        outcome: HOLDS, FAILS, MIXED, OPEN or NOT_TESTED.
        evidence: compares nothing where no record is about the claim.
        p: the p-value of its outcome, 1 for OPEN; None without an interval, or if only counted.
        alone: its outcome without Holm's method.
        elsewhere: what other data or encoders say by themselves.
    """

    outcome: str
    evidence: Evidence
    p: float | None = None
    alone: str = ""
    elsewhere: tuple["Verdict", ...] = ()

    @property
    def is_thin(self) -> bool:
        return self.outcome in (OPEN, NOT_TESTED) and self.p is None

    @property
    def on(self) -> str:
        """What it is about: `as stated`, or the data, encoder or length in place of the claim's."""
        return ", ".join(self.evidence.caveats) or AT_THE_PAPERS


@lru_cache(maxsize=1)
def verdicts(comparisons: Comparisons) -> dict[str, Verdict]:
    """Claim -> its verdict, for the claims that have a rule: by the first evidence with the fewest
    caveats, among the evidence that tests the claim. What has too few pairs for an interval stands
    behind what has enough in the same folder.
    """
    judged = {}

    def roots(verdict: Verdict) -> set[str]:
        return {comparisons.runs[path].root for path in verdict.evidence.records}

    def rank(verdict: Verdict) -> tuple[bool, bool, int]:
        is_behind = verdict.is_thin and roots(verdict) <= enough
        return verdict.outcome == NOT_TESTED, is_behind, len(verdict.evidence.caveats)

    for claim in filter(lambda claim: claim.is_judged, claims().values()):
        pieces = (piece for test in claim.tests for piece in evidence(test, comparisons))
        found = [judge(claim, piece) for piece in pieces]
        enough = {root for one in found if not one.is_thin for root in roots(one)}
        found.sort(key=rank)
        first, *others = found or [Verdict(NOT_TESTED, Evidence(()))]
        settled = (first.outcome, NOT_TESTED)
        differ = (verdict for verdict in others if verdict.outcome not in settled)
        judged[claim.id] = replace(first, elsewhere=tuple(differ))
    for family in families(judged).values():
        for key, p in zip(family, holm([*family.values()]), strict=True):
            survives = p < 1 - COVERAGE
            judged[key] = replace(judged[key], outcome=judged[key].alone if survives else OPEN)
    return judged


def families(judged: Mapping[str, Verdict]) -> dict[str, dict[str, float]]:
    """First caveat, such as the data -> the claims with a p-value that have it, and this value."""
    grouped: dict[str, dict[str, float]] = {}
    for key, verdict in judged.items():
        if verdict.p is not None:
            first = next(iter(verdict.evidence.caveats), AT_THE_PAPERS)
            grouped.setdefault(first, {})[key] = verdict.p
    return grouped


def judge(claim: Claim, evidence: Evidence) -> Verdict:
    """The verdict of one piece of evidence, by itself."""
    compared = [found for found in evidence.compared if found.is_judged]
    estimates = [found.estimate for found in compared if found.estimate]
    if evidence.untested or not estimates:
        return Verdict(NOT_TESTED, evidence)
    outcomes, chances = set[str](), []
    for found in compared:  # without an estimate nothing is said
        tested = found.estimate and (claim.rule, found.estimate, bound_of(claim, found))
        outcomes.add(outcome(*tested) if tested else OPEN)
        chances.append(p_values(*tested) if tested else (1, 1))
    holds, fails = zip(*chances, strict=True)
    word, p = OPEN, 1.0
    if outcomes == {HOLDS}:
        word, p = HOLDS, max(holds)
    elif outcomes == {FAILS}:
        word, p = FAILS, max(fails)
    elif outcomes >= {HOLDS, FAILS}:  # each may be the most extreme of several tasks
        word, p = MIXED, min(1, len(compared) * max(min(holds), min(fails)))
    told = any(one.low is not None and not one.is_count for one in estimates)
    return Verdict(word, evidence, p if told else None, alone=word)


def bound_of(claim: Claim, compared: Compared) -> float:
    learnt = compared.learnt
    if claim.fraction is None or learnt is None or learnt.low is None:
        return claim.bound
    return min(claim.bound, claim.fraction * learnt.low)


def claim_rows(comparisons: Comparisons) -> Iterator[Row]:
    """A row for each comparison of each claim."""
    for key, verdict in verdicts(comparisons).items():
        claim, evidence = claims()[key], verdict.evidence
        shared = {
            "topic": claim.topic,
            "claim": claim.claim,
            "source": claim.source,
            "verdict": verdict.outcome,
            "on": verdict.on if verdict.outcome != NOT_TESTED else evidence.untested or None,
            "elsewhere": "; ".join(f"{other.on}: {other.outcome}" for other in verdict.elsewhere)
            or None,
            RECORDS: evidence.records,
        }
        test = claim.tests[0] if claim.tests else None
        for found in evidence.compared or [Compared("", None)]:
            estimate, is_open = found.estimate, verdict.outcome == OPEN
            yield shared | {
                "what": found.what or None,
                "estimate": estimate,
                "unit": test.unit if test and estimate else None,
                "pairs": estimate and estimate.pairs,
                "power": smallest_effect(estimate) if estimate and is_open else None,
            }


CLAIMS = Spec(
    "claims",
    "The paper's claims, and what the records say",
    "Each verdict follows from the rule below, after Holm's method over the claims of each data "
    "set. Other data, encoders or lengths than the paper's are named. Intervals are of 95 %, over "
    "pairs and, where both have them, test images; power: the smallest true difference that such "
    "an experiment tells from none in 4 of 5 cases.",
    [
        Column("Topic", "topic", head=True),
        Column("Claim", "claim", head=True),
        Column("Source", "source", head=True),
        Column("Verdict", "verdict", head=True),
        Column("On", "on", head=True),
        Column("Elsewhere", "elsewhere", head=True),
        Column("Compared", "what"),
        Column("Difference", "estimate", 2),
        Column("Unit", "unit"),
        Column("Pairs", "pairs", 0),
        Column("80 % power from", "power", 2),
    ],
    claim_rows,
)


def verdict_rows(comparisons: Comparisons) -> Iterator[Row]:
    for key, verdict in verdicts(comparisons).items():
        if verdict.outcome != NOT_TESTED:
            yield {
                "claim": claims()[key].claim,
                "verdict": verdict.outcome,
                "on": verdict.on,
                RECORDS: verdict.evidence.records,
            }


VERDICTS = Spec(
    "verdicts",
    "The paper's claims that were tested",
    "By rules written before the runs. All claims, with each comparison, stand below.",
    [Column("Claim", "claim"), Column("Verdict", "verdict"), Column("On", "on")],
    verdict_rows,
)


def rule_rows(comparisons: Comparisons) -> Iterator[Row]:
    """The rule of each claim, and the command that would settle it at the paper's scale."""
    for claim in claims().values():
        yield {
            "claim": claim.claim,
            "compared": claim.compared,
            "rule": f"{claim.rule.capitalize()}: {rules()[claim.rule]}",
            "bound": claim.bound if claim.is_judged else None,
            "fraction": judging().learnt.format(fraction=claim.fraction)
            if claim.fraction
            else None,
            "command": claim.settle,
        }


RULES = Spec(
    "rules",
    "The rules, and the commands that would settle each claim",
    "Written before the runs that they judge; changes are listed in claims.toml.",
    [
        Column("Claim", "claim"),
        Column("Compared", "compared"),
        Column("Rule", "rule"),
        Column("Bound", "bound"),
        Column("And", "fraction"),
        Column("Command", "command"),
    ],
    rule_rows,
)


def version_rows(comparisons: Comparisons) -> Iterator[Row]:
    """How many records were made under which version of the rules."""
    made = Counter(record.environment.rules for record in comparisons.records.every)
    for version in versions():
        count = made.pop(version.digest, 0)
        yield {"since": f"{version.since:%-d %B %Y}", "digest": version.digest, "records": count}
    older = made.pop("", 0)
    yield {"since": "older records", "digest": None, "records": older}
    if made:
        yield {"since": "other versions", "digest": None, "records": made.total()}


VERSIONS = Spec(
    "versions",
    "Records by the version of the rules that their code had",
    "A rule that was changed after a run shows here.",
    [
        Column("Rules since", "since"),
        Column("Digest", "digest"),
        Column("Records", "records", 0),
    ],
    version_rows,
)
