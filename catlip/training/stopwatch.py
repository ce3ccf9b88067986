"""How long the parts of a step take, on the clock of the device that computes them."""

import itertools
import time
from typing import Any

import torch


class Stopwatch:
    """Marks on the device's own clock; reading them waits for the device to reach the last one."""

    def __init__(self, device: torch.device):
        self.on_gpu = device.type == "cuda"
        self.marks: list[tuple[str, Any]] = []

    def mark(self, part: str = "") -> None:
        """Mark that `part` ends at this moment, in the order of the device's work."""
        if self.on_gpu:
            event = torch.cuda.Event(enable_timing=True)
            event.record()
            self.marks.append((part, event))
        else:
            self.marks.append((part, time.perf_counter()))

    def laps_ms(self) -> list[tuple[str, float]]:
        """What ended at each mark but the first, and the milliseconds since the mark before; the
        marks are then gone.
        """
        marks, self.marks = self.marks, []
        if self.on_gpu and marks:
            marks[-1][1].synchronize()
        return [
            (part, begin.elapsed_time(end) if self.on_gpu else (end - begin) * 1e3)
            for (_, begin), (part, end) in itertools.pairwise(marks)
        ]
