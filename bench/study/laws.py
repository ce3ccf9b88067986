"""Error against cost: the law error = E + A cost^-a, how well it predicts a length that it was not
fitted to, and the accuracy at a given cost.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

EXPONENTS = np.linspace(0.02, 2.0, 100)
MIN_LENGTHS = 5  # more than the three unknowns, after one length is held out
RESAMPLES = 200
SEED = 0


@dataclass(frozen=True)
class Law:
    """error = floor + factor * (cost / scale)^-exponent, with errors in the unit of the fit."""

    floor: float
    factor: float
    exponent: float
    scale: float

    def __call__(self, cost: float) -> float:
        return self.floor + self.factor * (cost / self.scale) ** -self.exponent


def fit(costs: Sequence[float], errors: Sequence[float] | NDArray[np.float64]) -> Law:
    """The least-squares law, whose floor and factor are at least 0, of [n] costs and errors."""
    cost, error = np.asarray(costs, dtype=float), np.asarray(errors, dtype=float)
    scale = float(np.exp(np.log(cost).mean()))
    falling = (cost / scale) ** -EXPONENTS[:, None]  # [exponents, n]
    slope = falling - falling.mean(axis=1, keepdims=True)
    factor = slope @ (error - error.mean()) / (slope**2).sum(axis=1)
    floor = error.mean() - factor * falling.mean(axis=1)
    without_floor = np.maximum(0, falling @ error / (falling**2).sum(axis=1))
    none = np.zeros_like(floor)
    # If least squares makes floor or factor negative, the best allowed law has it at 0.
    floors = np.stack([floor, none, none + error.mean()], axis=1)
    factors = np.stack([factor, without_floor, none], axis=1)
    laws = floors[..., None] + factors[..., None] * falling[:, None]
    missed = ((laws - error) ** 2).sum(axis=2)
    missed[(floors < 0) | (factors < 0)] = np.inf
    row, way = np.unravel_index(missed.argmin(), missed.shape)
    return Law(
        float(floors[row, way]), float(factors[row, way]), float(EXPONENTS[row]), scale=scale
    )


@dataclass(frozen=True)
class HeldOut:
    """A length that a law was not fitted to, the law's error there, and the range of 95 % of the
    predictions by laws fitted to resampled seeds.
    """

    cost: float
    measured: float
    predicted: float
    low: float
    high: float

    @property
    def covered(self) -> bool:
        return self.low <= self.measured <= self.high


def leave_one_out(costs: Sequence[float], errors: NDArray[np.float64]) -> list[HeldOut]:
    """Each of n lengths, predicted by a law fitted to the others; errors are [seeds, n]."""
    draw = np.random.default_rng(SEED)
    seeds = len(errors)
    resampled = errors[draw.integers(seeds, size=(RESAMPLES, seeds))].mean(axis=1)
    mean = errors.mean(axis=0)
    left_out = []
    for place, cost in enumerate(costs):
        others = [number for number in range(len(costs)) if number != place]
        kept = [costs[number] for number in others]
        predictions = [fit(kept, errors_of[others])(cost) for errors_of in resampled]
        low, high = np.percentile(predictions, (2.5, 97.5)).tolist()
        predicted = fit(kept, mean[others])(cost)
        left_out.append(HeldOut(cost, float(mean[place]), predicted, low=low, high=high))
    return left_out


def at_cost(costs: Sequence[float], values: Sequence[float], cost: float) -> float | None:
    """The value at `cost`, interpolated linearly in the logarithm of the ascending `costs`; None
    outside of their range.
    """
    if not costs[0] <= cost <= costs[-1]:
        return None
    return float(np.interp(np.log(cost), np.log(costs), values))


def cost_of(costs: Sequence[float], values: Sequence[float], value: float) -> float | None:
    """The least cost at which `value` is reached, interpolated like `at_cost`. None if no length
    reaches it, or if the shortest does, since a lower cost might then be enough.
    """
    enough = next((n for n, reached in enumerate(values) if reached >= value), 0)
    if enough == 0:
        return None
    ends = [enough - 1, enough]
    logarithm = np.interp(value, [values[n] for n in ends], np.log([costs[n] for n in ends]))
    return float(np.exp(logarithm))
