"""Moves batches to the device."""

from collections.abc import Iterator
from typing import Any

import torch


def on_device(batches: Iterator[Any], device: torch.device) -> Iterator[Any]:
    """The batches, on the device.

    For a GPU, each batch is copied on a separate stream while the GPU works on the batch before.
    This needs pinned memory.
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
        # Its memory belongs to the copying stream, which must not reuse it while this stream works.
        batch.used_by(torch.cuda.current_stream(device))
        following = copied()
        yield batch
