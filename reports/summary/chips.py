"""The verdicts on the paper's claims, in a few words each."""

from collections.abc import Mapping
from itertools import product

from catlip.records.blocks import Block, Chip, Chips
from catlip.records.estimate import FAILS, HOLDS
from reports.paper.claims import AT_THE_PAPERS, NOT_TESTED, Verdict

SHORT = {  # claim -> what the first screens call it
    "probe_parity": "linear probes as good",
    "finetune_parity": "fine-tuned as good",
    "multilabel_parity": "as good on labels",
    "segmentation_parity": "as good on masks",
    "detection_parity": "as good on boxes",
    "cheaper": "fewer GPU hours",
    "speed_up": "2.7 times fewer GPU hours",
    "step": "a step is faster",
    "parameters": "fewer parameters",
    "memory": "less memory",
    "batch": "a larger batch fits",
    "loss_time": "the loss is faster",
    "bytes": "less is sent",
    "exposed": "less waiting",
    "catlip_longer": "CatLIP improves with length",
    "clip_plateaus": "CLIP stops improving",
    "less_compute": "a quarter of the compute",
    "transfer_init": "Transfer Init helps",
    "gain_falls": "Transfer Init helps most with few images",
    "tuned_gain": "Transfer Init helps less when fine-tuned",
    "larger_data": "more data is better",
    "larger_encoder": "larger encoders are better",
    "loss_and_size": "larger encoders, lower loss",
    "loss_unsaturated": "the loss still falls",
    "large_thresholds": "high thresholds cost accuracy",
    "thresholds_alike": "low thresholds do alike",
}


def chips(judged: Mapping[str, Verdict]) -> list[Block]:
    """Those at the paper's scale, then those by an analogue, by first caveat and by outcome."""
    tested = {id: one for id, one in judged.items() if one.outcome != NOT_TESTED}
    caveats = [next(iter(one.evidence.caveats), "") for one in tested.values()]
    outcomes = dict.fromkeys((HOLDS, FAILS, *(one.outcome for one in tested.values())))
    groups = []
    # Those at the paper's scale have no caveat, and come first.
    for caveat, outcome in product(sorted(dict.fromkeys(caveats)), outcomes):
        of_group = [
            Chip(_words(id, one), outcome, one.evidence.anchor)
            for (id, one), first in zip(tested.items(), caveats, strict=True)
            if (first, one.outcome) == (caveat, outcome)
        ]
        if of_group:
            groups.append((f"{(caveat or AT_THE_PAPERS).capitalize()}: {outcome}", of_group))
    return [Chips(groups)] if groups else []


def _words(id: str, judged: Verdict) -> str:
    """What the claim is called, and where the contrary was found."""
    contrary = {HOLDS: FAILS, FAILS: HOLDS}.get(judged.outcome)
    found = dict.fromkeys(str(one) for one in judged.elsewhere if one.outcome == contrary)
    return SHORT.get(id, id.replace("_", " ")) + (f" ({'; '.join(found)})" if found else "")
