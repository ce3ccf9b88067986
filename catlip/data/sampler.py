"""Which samples a step sees, in which order and at which size, as a function of seed and step.

The data set is an endless stream, epoch after epoch, and a *position* in it is a number;
`SampleOrder` gives the sample at each position. Each step draws one image size, and its batch grows
as the image shrinks so that the work stays the same (the multi-scale variable batch sampler of the
paper's Appendix A); `StepPlan` gives the positions that a step takes. Resuming at any step is
therefore exact and costs nothing, and every rank knows what every other rank does.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from catlip import streams
from catlip.cli import InputError

# Samples are mixed across this many shards at a time, so that few shards are read at once.
WINDOW_SHARDS = 16


@dataclass(frozen=True)
class ImageSize:
    """The side of square images in pixels, and how many of them a device takes."""

    resolution: int
    batch: int


def image_sizes(
    base: int, batch: int, low: int, high: int, count: int, multiple: int
) -> list[ImageSize]:
    """The distinct sizes of the multi-scale variable batch sampler (Mehta & Rastegari 2021), as
    released: `base`, at which a device takes `batch` images, and `count` sizes evenly from `low` to
    `high`, each rounded to a multiple of `multiple` pixels. All batches have about as many pixels.
    """
    wanted = {*np.linspace(low, high, count).tolist(), base}
    resolutions = sorted({_round_to(size, multiple) for size in wanted})
    return [
        ImageSize(size, max(1, int(round(base * base * batch / (size * size), 2))))
        for size in resolutions
    ]


def _round_to(size: float, multiple: int) -> int:
    rounded = max(multiple, int(size + multiple / 2) // multiple * multiple)
    return rounded + multiple if rounded < 0.9 * size else rounded


@dataclass(frozen=True)
class Step:
    """An optimizer step takes `batch` samples per device and micro-step from `start` on."""

    resolution: int
    batch: int
    start: int

    def begins(self, micro_steps: int, ranks: int) -> NDArray[np.int64]:
        """[micro_steps, ranks], the position of the first sample of each micro-step and rank."""
        return self.start + np.arange(micro_steps * ranks).reshape(micro_steps, ranks) * self.batch


class StepPlan:
    """The image size and the stream positions of every optimizer step.

    Args:
        sizes: each step draws one of these sizes uniformly, the same on all ranks.
        replicas: devices times micro-steps; each takes one batch of the drawn size per step.
    """

    def __init__(self, sizes: Sequence[ImageSize], replicas: int, num_steps: int, seed: int):
        self.sizes = sizes
        draw = streams.generator(seed, streams.IMAGE_SIZES)
        self.choice = draw.integers(len(sizes), size=num_steps)
        taken = np.array([size.batch * replicas for size in sizes], dtype=np.int64)[self.choice]
        self.starts = np.concatenate([[0], np.cumsum(taken)])

    def __len__(self) -> int:
        return len(self.choice)

    def __getitem__(self, step: int) -> Step:
        size = self.sizes[self.choice[step]]
        return Step(size.resolution, size.batch, int(self.starts[step]))


def steps_for(num_samples: float, sizes: Sequence[ImageSize], replicas: int) -> int:
    """How many steps see `num_samples` samples on average, at least one."""
    return max(1, round(num_samples / images_per_step(sizes, replicas)))


def images_per_step(sizes: Sequence[ImageSize], replicas: int) -> float:
    """The mean over the sizes, which steps draw alike."""
    return replicas * float(np.mean([size.batch for size in sizes]))


class SampleOrder:
    """Position in the endless stream -> (shard number, sample number).

    Shards are shuffled each epoch, then samples within a window of consecutive shards. Only the
    counts [S] of the shards and the permutation of one window are ever in memory.
    """

    def __init__(
        self, counts: Sequence[int] | NDArray[np.int64], seed: int, window: int = WINDOW_SHARDS
    ):
        self.counts = np.asarray(counts, dtype=np.int64)
        self.total = int(self.counts.sum())
        if self.total == 0:
            raise InputError("the shards hold no samples")
        self.seed = seed
        self.window = window
        self._epoch = functools.lru_cache(maxsize=2)(self._plan_epoch)
        self._mixed = functools.lru_cache(maxsize=3)(self._mix_window)

    def __reduce__(self) -> tuple[type["SampleOrder"], tuple[NDArray[np.int64], int, int]]:
        return SampleOrder, (self.counts, self.seed, self.window)  # a spawned worker plans again

    def __call__(self, positions: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Shard and sample number, [n] int64 each, at [n] stream positions."""
        shards, numbers = np.empty_like(positions), np.empty_like(positions)
        epochs, offsets = np.divmod(positions, self.total)
        for epoch in np.unique(epochs):
            begins = self._epoch(epoch)[1]
            windows = np.searchsorted(begins, offsets, side="right") - 1
            for window in np.unique(windows[epochs == epoch]):
                here = (epochs == epoch) & (windows == window)
                window_shards, window_numbers = self._mixed(epoch, window)
                in_window = offsets[here] - begins[window]
                shards[here], numbers[here] = window_shards[in_window], window_numbers[in_window]
        return shards, numbers

    def windows_at(self, position: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The shards of the window at a stream position, and the shards of the next window."""
        epoch, offset = divmod(position, self.total)
        order, begins = self._epoch(epoch)
        first = self.window * int(np.searchsorted(begins, offset, side="right"))
        after = order[first : first + self.window]
        if not len(after):
            after = self._epoch(epoch + 1)[0][: self.window]
        return order[first - self.window : first], after

    def _plan_epoch(self, epoch: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The epoch's order of shards, and the position in the epoch where each window begins."""
        draw = streams.generator(self.seed, streams.SAMPLE_ORDER, epoch)
        order = draw.permutation(len(self.counts))
        begins = np.concatenate([[0], np.cumsum(self.counts[order])])
        return order, begins[:-1][:: self.window]

    def _mix_window(self, epoch: int, window: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        members = self._epoch(epoch)[0][window * self.window : (window + 1) * self.window]
        counts = self.counts[members]
        shards = np.repeat(members, counts)
        numbers = np.concatenate([np.arange(count) for count in counts])
        draw = streams.generator(self.seed, streams.SAMPLE_ORDER, epoch, window + 1)
        mixed = draw.permutation(len(shards))
        return shards[mixed], numbers[mixed]
