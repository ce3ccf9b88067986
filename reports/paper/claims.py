"""The paper's claims, and what our records say: a verdict each, by a rule that is written beside
it.

`published/claims.csv` holds the claims in our words, where the paper makes them, the rule that
judges each and the command that would settle it. *Supported* and *not supported* are for evidence
at the paper's scale: its data and encoders, or a step of its encoder on an accelerator. Any other
evidence points the same way or the other way, and the verdict says what it is of. A claim with one
seed, a NaN or no record is not tested.
"""

import csv
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from catlip.table import Cell, Table
from reports.paper import claims_accuracy as accuracy
from reports.paper import claims_cost as cost
from reports.paper import claims_learning as learning
from reports.paper import claims_words as words
from reports.paper.evidence import (
    FAILS,
    HOLDS,
    OPEN,
    UNTESTED,
    WIDEST,
    Evidence,
    Trained,
    best,
    groups_of,
)
from reports.paper.published import FOLDER
from reports.read.records import Records

RULES = {
    "as_good": "Over seeds, the mean of CatLIP - CLIP is not below 0 by more than its sample "
    "standard deviation; where that is "
    f"above {WIDEST:g} points, neither way.",
    "every_time": (
        "In every pair of trainings of the same seed and device CLIP takes longer, per image."
    ),
    "speed_up": (
        "In every pair of trainings of the same seed and device CLIP takes 2.65 times as long or "
        "longer, per image."
    ),
    "interval": "The 95 % interval of the ratio of step times lies above 1.",
    "apart": "The two intervals do not overlap.",
    "count": (
        "A count without spread: the smaller is the smaller, everywhere that both were counted."
    ),
    "beyond": (
        "The difference of the means is larger than the larger of the two standard deviations over "
        "seeds or pairs."
    ),
    "within": (
        "The difference of the means is not larger than the larger of the two standard deviations "
        "over seeds."
    ),
    "compute": (
        "The shortest CatLIP training as accurate as CLIP's best takes a quarter of its time or "
        "less, on one device."
    ),
    "rising": (
        "Each encoder differs from the next smaller one by more than the larger of their standard "
        "deviations over seeds."
    ),
    "every_pair": "Every seed or pair has it; neither way where they disagree.",
    "share": f"Within {words.WITHIN} points.",
    "no_rule": (
        "No rule: these encoders differ in data and recipe and were trained once each, so no "
        "spread tells them apart."
    ),
}
PAPER = {HOLDS: "supported", FAILS: "not supported", OPEN: "not supported"}
ELSEWHERE = {
    HOLDS: "points the same way",
    FAILS: "points the other way",
    OPEN: "points neither way",
}
NOT_TESTED = "not tested"

Judge = Callable[[Sequence[Trained]], Iterable[Evidence]]
LARGER = accuracy.larger_encoder_helps
COUNTED = words.more_in_larger_data
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
    "catlip_longer": partial(learning.longer_helps, method="catlip", plateaus=False),
    "clip_plateaus": partial(learning.longer_helps, method="clip", plateaus=True),
    "less_compute": learning.less_compute,
    "transfer_init": learning.transfer_init_gains,
    "gain_falls": learning.gain_falls,
    "tuned_gain": learning.tuned_gain_is_smaller,
    "larger_data": accuracy.larger_data_helps,
    "larger_encoder": partial(LARGER, levels_of=accuracy.accuracies),
    "larger_with_few": partial(LARGER, levels_of=accuracy.with_one_percent),
    "loss_and_size": partial(LARGER, levels_of=accuracy.negative_loss),
    "loss_unsaturated": accuracy.loss_still_falls,
    "more_synsets": partial(COUNTED, count=words.unique_synsets, what="different synsets"),
    "more_matches": partial(
        COUNTED, count=words.exact_matches, what="of ImageNet-1k's labels exactly"
    ),
    "more_samples": partial(
        COUNTED,
        count=words.captions_of_median_match,
        what="captions of the median label found exactly",
    ),
    "exact_share": words.exact_share,
    "thresholds_alike": learning.thresholds_alike,
    "large_thresholds": learning.large_thresholds_lose,
}


@dataclass(frozen=True)
class Claim:
    """One claim of the paper in our words: where it stands, the rule that judges it, and what would
    settle it.
    """

    key: str
    topic: str
    claim: str
    source: str
    rule: str
    settle: str


def read_claims() -> list[Claim]:
    """All claims, in the order of the page."""
    with open(FOLDER / "claims.csv", newline="", encoding="utf-8") as file:
        return [Claim(**row) for row in csv.DictReader(file)]


def verdicts(records: Records) -> dict[str, Evidence | None]:
    """Claim -> the evidence that speaks for or against it; None where there is none."""
    groups = groups_of(records)
    return {claim.key: best(JUDGES[claim.key](groups)) for claim in read_claims()}


def verdict(evidence: Evidence | None) -> str:
    """In words: `supported`, or `points the same way at starter scale`."""
    if evidence is None or evidence.outcome == UNTESTED:
        return NOT_TESTED
    if not evidence.caveats:
        return PAPER[evidence.outcome]
    return f"{ELSEWHERE[evidence.outcome]} {', '.join(evidence.caveats)}"


def claims_table(records: Records) -> Table:
    """A row a claim, under its topic: the verdict, and the numbers that it rests on."""
    found, rows, topic = verdicts(records), list[list[Cell]](), ""
    for claim in read_claims():
        if claim.topic != topic:
            topic = claim.topic
            rows.append([Cell(topic)])
        rows.append(_row(claim, found[claim.key]))
    caption = (
        "Supported and not supported are said of evidence at the paper's scale alone: its "
        "encoders, pre-trained on CC3M or DataComp-1.3B, or a training step of one on an "
        "accelerator. All other evidence points the same way, the other way or neither, and the "
        "verdict says what it is of. Not supported is not refuted: what was tested does not meet "
        "the rule. A claim with one seed, a NaN or no record is not tested. Of several records, "
        "those nearest to the paper's scale speak."
    )
    return Table(
        "claims",
        "Each claim, its verdict, and the numbers that it rests on",
        ["Claim", "Verdict", "Numbers"],
        rows=rows,
        caption=caption,
    )


def _row(claim: Claim, evidence: Evidence | None) -> list[Cell]:
    """The rule is a footnote of the claim; the command that would settle it one of the verdict,
    unless that is settled.
    """
    said = verdict(evidence)
    settled = evidence is not None and evidence.outcome != UNTESTED and not evidence.caveats
    settle = () if settled else (f"Would settle it: `{claim.settle}`",)
    numbers = Cell(evidence.said) if evidence else Cell()
    return [
        Cell(claim.claim, claim.source, remarks=(RULES[claim.rule],)),
        Cell(said, anchor=evidence.anchor if evidence else "", remarks=settle),
        numbers,
    ]
