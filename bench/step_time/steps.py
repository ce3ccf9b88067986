"""How the kinds that measure training steps describe a step."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from catlip.program.user_file import names_file
from catlip.records.kind import Kind
from catlip.records.run import Run
from catlip.records.table import RECORDS, Column, clipped

USUAL_RESOLUTION = 224
PACKED = ":packed"  # after the name of a method whose text tower does not compute padding


@dataclass(frozen=True, kw_only=True)
class StepKind(Kind):
    """Metrics of training steps by `world_size` ranks; None in older records."""

    world_size: int | None = None

    def taken_ms(self, run: Run[Any], name: str) -> list[float]:
        """The record's samples of this name. Raises: ValueError if they are no times."""
        samples = run.series(name)
        if not samples or not all(0 <= ms < math.inf for ms in samples):
            raise ValueError(f"the samples {name} are missing, or no times")
        return samples


STEP_HEADS = (Column("Device", "device", head=True), Column("What", "what", head=True))


def step_row(run: Run[Any]) -> dict[str, Any]:
    """What the rows of a record begin with."""
    return {"device": run.where, "what": what_was_timed(run), RECORDS: (run.path,)}


def without_folders(model: str) -> str:
    """The name of an encoder, for readers and for records; a user's file may lie anywhere."""
    return Path(model).name if names_file(model) else model


def what_was_timed(run: Run[StepKind]) -> str:
    """`vit_b16, batch 8, fp32, torch 2.13` and so on."""
    config, ranks = run.config, run.metrics.world_size or 1
    torch = run.environment.packages.get("torch", "").partition("+")[0]
    # A waterfall changes both the attention and whether blocks are compiled.
    kernel, changes = run.environment.attention, run.metrics.kind == "waterfall"
    words = {
        clipped(without_folders(config.model or run.name), 40): True,
        f"batch {config.batch_size}": config.batch_size is not None,
        f"{config.resolution} px": config.resolution not in (None, USUAL_RESOLUTION),
        f"captions of {config.caption_tokens:g} tokens": config.caption_tokens,
        f"{config.tokens_in_use:,} tokens in use": config.tokens_in_use,
        "naive attention": config.attention == "naive",
        f"{clipped(kernel, 24)} attention": kernel and config.attention != "naive" and not changes,
        "checkpointing": config.checkpointing,
        "compiled" if config.compile else "eager": not changes,
        "with data loading": config.data,
        f"{ranks} ranks": ranks > 1,
        "once more": config.again,
        "FSDP2": config.parallel == "fsdp",
        clipped(config.precision, 12): config.precision,
        f"torch {clipped(torch, 24)}": torch,
    }
    return ", ".join(word for word, given in words.items() if given)
