"""Batches on their way to the device."""

from collections.abc import Iterator
from typing import Any

import torch


def on_device(batches: Iterator[Any], device: torch.device) -> Iterator[Any]:
    """The batches, on the device. To a GPU each is copied beside the work on the one before, on a
    stream of its own; that takes pinned memory.
    """
    if device.type != "cuda":
        for batch in batches:
            yield batch.to(device)
        return
    aside = torch.cuda.Stream(device)

    def copied() -> Any:
        batch = next(batches, None)
        with torch.cuda.stream(aside):
            return None if batch is None else batch.to(device)

    following = copied()
    while (batch := following) is not None:
        torch.cuda.current_stream(device).wait_stream(aside)
        # Its memory is the other stream's, which must not take it back while this one works.
        batch.used_by(torch.cuda.current_stream(device))
        following = copied()
        yield batch
