"""The fewest samples that a statement may rest on.

For n paired samples that all have one sign, a sign test gives p = 2 / 2**n: 0.06 for five, 0.03 for
six. With fewer than six samples, not even their whole range contains the median 95 times in 100.
"""

from collections.abc import Mapping

FEWEST = 6  # samples for which a median has an interval
SAMPLES = {  # kind of record -> endings of the names in `samples` that hold one value per round
    "step_time": ("_total_ms",),
    "waterfall": (" before", " after"),
    "communication": ("_step_ms",),
    "data_path": ("ours_ms",),
    "labelling_speed": ("_us",),
}
# Kind of record -> the fewest rounds (both sides measured in turn) for which a ratio has an
# interval or a verdict.
ROUNDS = dict.fromkeys(SAMPLES, FEWEST)


def too_few(kind: str, samples: Mapping[str, object]) -> str:
    """For example `2 rounds of the 6 needed`, if a record's ratios have too few; otherwise ""."""
    lists = (values for name, values in samples.items() if name.endswith(SAMPLES.get(kind, ())))
    rounds = min((len(values) for values in lists if isinstance(values, list)), default=None)
    least = ROUNDS.get(kind, 0)
    if rounds is None or rounds >= least:
        return ""
    return f"{rounds} round{'s' * (rounds != 1)} of the {least} needed"
