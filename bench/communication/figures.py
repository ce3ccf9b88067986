"""A figure of what the ranks send each other in a step."""

from bench.communication.result import MOST_COLLECTIVES, Communication
from bench.step_time.steps import shown_methods, step_description
from catlip.results.figures import Figure, Part, bars_figure, is_drawable
from catlip.results.run import Run


def communication_figure(record: Run[Communication], suffix: str = "") -> list[Figure]:
    """MB that a rank sends in a step: one bar for each method, one piece for each kind of
    collective.
    """
    bars = {
        method: parts
        for method in shown_methods(record.measured.methods)
        if (parts := _sent_by_kind(record, method))
    }
    if not bars:
        return []
    name = f"communication{suffix}"
    caption = (
        f"What a rank sends in a step, by purpose and collective ({step_description(record)})."
    )
    return [bars_figure(name, caption, bars, unit="MB", axis="MB sent by a rank in a step")]


def _sent_by_kind(record: Run[Communication], method: str) -> list[Part]:
    sums: dict[str, float] = {}
    for calls in record.measured.methods[method].collectives[:MOST_COLLECTIVES]:
        if is_drawable(calls.sent_mb):
            sums[calls.label] = sums.get(calls.label, 0.0) + calls.sent_mb
    return list(sums.items())
