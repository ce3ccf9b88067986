"""How the kinds that measure training steps describe a step."""

from dataclasses import dataclass

from catlip.records.kind import Kind
from catlip.records.run import Run
from catlip.records.table import Cell, clipped, number_cell

USUAL_RESOLUTION = 224
CPU_CAUTION = (
    "Numbers marked (CPU) were measured on a CPU: neither times nor ratios carry over to a GPU."
)


@dataclass(frozen=True, kw_only=True)
class StepKind(Kind):
    """Metrics of training steps by `world_size` ranks; None in older records."""

    world_size: int | None = None


def step_description(run: Run[StepKind]) -> str:
    """What was timed, and where: `vit_b16, batch 8, fp32, torch 2.13, on DEVICE`."""
    return f"{what_was_timed(run)}, on {run.where}"


def what_was_timed(run: Run[StepKind]) -> str:
    """As `step_description`, without the device."""
    setup, ranks = run.setup, run.measured.world_size or 1
    torch = run.machine.packages.get("torch", "").partition("+")[0]
    # A waterfall changes both the attention and whether blocks are compiled.
    kernel, changes = run.machine.attention, run.measured.kind == "waterfall"
    words = {
        clipped(setup.model or run.name, 40): True,
        f"batch {setup.batch_size}": setup.batch_size is not None,
        f"{setup.resolution} px": setup.resolution not in (None, USUAL_RESOLUTION),
        f"captions of {setup.caption_tokens:g} tokens": setup.caption_tokens,
        "naive attention": setup.attention == "naive",
        f"{clipped(kernel, 24)} attention": kernel and setup.attention != "naive" and not changes,
        "checkpointing": setup.checkpointing,
        "products kept": setup.checkpointing and setup.keep_products,
        "compiled" if setup.compile else "eager": not changes,
        "one graph": setup.whole_graph,
        "with data loading": setup.data,
        f"{ranks} ranks": ranks > 1,
        "FSDP2": setup.parallel == "fsdp",
        clipped(setup.precision, 12): setup.precision,
        f"torch {clipped(torch, 24)}": torch,
    }
    return ", ".join(word for word, given in words.items() if given)


def percent_cell(fraction: float | None, anchor: str, small: str = "") -> Cell:
    return number_cell(None if fraction is None else 100 * fraction, 1, anchor, small=small)
