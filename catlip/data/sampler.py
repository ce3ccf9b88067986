"""Which samples a step sees, in which order and at which size, as a function of seed and step.

The data set is an endless stream, epoch after epoch, and a *position* in it is a number;
`SampleOrder` gives the sample at each position. Each step draws one image size, and its batch grows
as the image shrinks so that the work stays the same (the multi-scale variable batch sampler of the
paper's Appendix A); `StepPlan` gives the positions that a step takes. Resuming at any step is
therefore exact and costs nothing, and every rank knows what every other rank does.

A *lane* is every L-th position of the stream, and has its own shards. A training has one lane for
each 8 devices, or as its recipe says, so a machine fetches only the shards of its own devices.
"""

import functools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from catlip import streams
from catlip.cli import InputError

# All lanes together mix samples across this many shards at a time, and each across one at least: so
# few shards are read at once.
WINDOW_SHARDS = 16
# As many as a usual machine has. With a lane for each device, one machine that stands for all of a
# large recipe's devices would read too many shards at once for its cache.
DEVICES_PER_LANE = 8


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
    """An optimizer step takes the next samples of the stream from `start` on, `batch` a device."""

    resolution: int
    batch: int
    start: int

    def positions(self, device: int, num_devices: int, lanes: int) -> NDArray[np.int64]:
        """[batch], the stream positions of a device of the recipe: the next ones of its lane."""
        lane, turn = divmod(device, num_devices // lanes)
        return self.start + lane + lanes * (turn * self.batch + np.arange(self.batch))


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


def devices_of(rank: int, accumulation: int) -> range:
    """The devices of the recipe whose batches a rank takes, one in each micro-step. They are
    neighbours, which share a lane.
    """
    return range(rank * accumulation, (rank + 1) * accumulation)


def lanes_of(num_devices: int, per_lane: int = DEVICES_PER_LANE) -> int:
    """How many lanes a recipe for this many devices has: one for each `per_lane`, or for fewer if
    these do not divide them.
    """
    return num_devices // math.gcd(num_devices, per_lane)


class SampleOrder:
    """Position in the endless stream -> (shard number, sample number).

    Shards are shuffled each epoch and laid end to end. Lane l of L, which has the positions p with
    p % L == l, reads one stretch of them, and mixes samples within windows of consecutive shards.
    Each epoch has each sample once: its stretches have the lengths that make its positions those
    from `epoch * total` on, so they differ by at most one sample, and lanes begin an epoch at most
    one sample apart. A shard on the border of two lanes is cut, and both read it; with fewer shards
    than lanes, several lanes read each shard.

    Only the counts [S] of the shards and the permutation of a few windows are ever in memory.
    """

    def __init__(self, counts: Sequence[int] | NDArray[np.int64], seed: int, lanes: int = 1):
        self.counts = np.asarray(counts, dtype=np.int64)
        self.total = int(self.counts.sum())
        if self.total == 0:
            raise InputError("the shards hold no samples")
        self.seed = seed
        self.lanes = lanes
        self._epoch = functools.lru_cache(maxsize=2)(self._plan_epoch)
        self._mixed = functools.lru_cache(maxsize=3)(self._mix_window)

    def __reduce__(self) -> tuple[type["SampleOrder"], tuple[NDArray[np.int64], int, int]]:
        # A spawned worker plans again.
        return SampleOrder, (self.counts, self.seed, self.lanes)

    def __call__(self, positions: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Shard and sample number, [n] int64 each, at [n] stream positions."""
        shards, numbers = np.empty_like(positions), np.empty_like(positions)
        epochs = positions // self.total
        for epoch in np.unique(epochs):
            in_epoch = np.flatnonzero(epochs == epoch)
            windows, read = self._locate(epoch, positions[in_epoch])
            for window in np.unique(windows):
                here = windows == window
                window_shards, window_numbers = self._mixed(epoch, window)
                shards[in_epoch[here]] = window_shards[read[here]]
                numbers[in_epoch[here]] = window_numbers[read[here]]
        return shards, numbers

    def windows_at(
        self, start: int, lanes: Iterable[int] = (0,), count: int = 1
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The shards of the windows that hold the next `count` samples of each of these lanes, from
        the position at which a step starts, and those of the windows that follow, for as many
        samples again. A shard on the border of two lanes may be named twice.
        """
        now: list[NDArray[np.int64]] = []
        next_: list[NDArray[np.int64]] = []
        for lane in lanes:
            position = start + lane
            for found in (now, next_):
                end = position + count * self.lanes
                while position < end:
                    shards, position = self._window_at(position)
                    found.append(shards)
        return np.concatenate(now), np.concatenate(next_)

    def _window_at(self, position: int) -> tuple[NDArray[np.int64], int]:
        """The shards of the window at a position, and the lane's first position after it."""
        epoch = position // self.total
        (window,), (read,) = self._locate(epoch, np.array([position]))
        plan = self._epoch(epoch)
        left = int(plan.windows[window + 1] - plan.windows[window] - read)
        return plan.order[slice(*plan.span(window))], position + left * self.lanes

    def _locate(
        self, epoch: int, positions: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The window at each of [n] positions of an epoch, and how many of its samples come before.

        Every other lane reads its stretch backward: neighbours are at their common border at the
        same time, so a machine that has both lanes fetches that shard once.
        """
        plan = self._epoch(epoch)
        lanes, turns = positions % self.lanes, (positions - epoch * self.total) // self.lanes
        backward = lanes % 2 == 1
        places = np.where(backward, plan.lanes[lanes + 1] - 1 - turns, plan.lanes[lanes] + turns)
        windows = np.searchsorted(plan.windows, places, side="right") - 1
        begins, ends = plan.windows[windows], plan.windows[windows + 1]
        return windows, np.where(backward, ends - 1 - places, places - begins)

    def _plan_epoch(self, epoch: int) -> "_Epoch":
        draw = streams.generator(self.seed, streams.SAMPLE_ORDER, epoch)
        order = draw.permutation(len(self.counts))
        shards = _begins(self.counts[order])
        # The n-th position of the epoch is in lane (epoch * total + n) % lanes.
        first = (np.arange(self.lanes) - epoch * self.total) % self.lanes
        lanes = _begins((self.total - first + self.lanes - 1) // self.lanes)
        window = max(1, WINDOW_SHARDS // self.lanes)
        # Not made distinct: the number of a window is part of its seed.
        windows = np.sort(np.concatenate([shards[:-1:window], lanes[1:]]))
        return _Epoch(order, shards, lanes, windows)

    def _mix_window(self, epoch: int, window: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        plan = self._epoch(epoch)
        first, last = plan.span(window)
        begin, end = plan.windows[window : window + 2]
        counts = np.diff(plan.shards[first : last + 1].clip(begin, end))
        draw = streams.generator(self.seed, streams.SAMPLE_ORDER, epoch, window + 1)
        mixed = draw.permutation(end - begin)
        places = np.repeat(np.arange(first, last), counts)[mixed]
        return plan.order[places], begin + mixed - plan.shards[places]


class _Epoch(NamedTuple):
    """The order of an epoch's shards [S], and where shards [S + 1], lanes [L + 1] and windows begin
    among its samples laid end to end, each with the end of the last.
    """

    order: NDArray[np.int64]
    shards: NDArray[np.int64]
    lanes: NDArray[np.int64]
    windows: NDArray[np.int64]

    def span(self, window: int) -> tuple[int, int]:
        """Where the shards of a window begin and end in the order."""
        begin, end = self.windows[window : window + 2]
        first = int(np.searchsorted(self.shards, begin, side="right")) - 1
        return first, int(np.searchsorted(self.shards, end, side="left"))


def _begins(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(counts)])
