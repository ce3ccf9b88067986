"""Error against cost: the law error = E + A cost^-a, what it says of a length that it was not
fitted to, and what two methods reach at equal cost.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

EXPONENTS = np.linspace(0.02, 2.0, 100)
LEAST_LENGTHS = 5  # of three unknowns, and one length held out
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
    """The law of least squares with a floor and a factor of at least 0.

    Args:
        costs: [n] above 0, of at least three lengths; errors: [n].
    """
    cost, error = np.asarray(costs, dtype=float), np.asarray(errors, dtype=float)
    scale = float(np.exp(np.log(cost).mean()))
    falling = (cost / scale) ** -EXPONENTS[:, None]  # [exponents, n]
    slope = falling - falling.mean(axis=1, keepdims=True)
    factor = slope @ (error - error.mean()) / (slope**2).sum(axis=1)
    floor = error.mean() - factor * falling.mean(axis=1)
    without_floor = np.maximum(0, falling @ error / (falling**2).sum(axis=1))
    none = np.zeros_like(floor)
    # Where least squares makes one of the two negative, the best is with it at 0.
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
    """A length that a law was not fitted to.

    Attributes:
        predicted, low, high: the law's error there, and 95 % of those of laws of resampled seeds.
    """

    cost: float
    measured: float
    predicted: float
    low: float
    high: float

    @property
    def covered(self) -> bool:
        """Whether the measured error is in that interval."""
        return self.low <= self.measured <= self.high


def leave_one_out(costs: Sequence[float], errors: NDArray[np.float64]) -> list[HeldOut]:
    """Each length, predicted from the others.

    Args:
        costs: [n]; errors: [seeds, n].
    """
    draw = np.random.default_rng(SEED)
    seeds = len(errors)
    resampled = errors[draw.integers(seeds, size=(RESAMPLES, seeds))].mean(axis=1)
    left_out = []
    for place, cost in enumerate(costs):
        others = [number for number in range(len(costs)) if number != place]
        kept = [costs[number] for number in others]
        predictions = [fit(kept, errors_of[others])(cost) for errors_of in resampled]
        low, high = np.percentile(predictions, (2.5, 97.5)).tolist()
        mean = errors.mean(axis=0)
        left_out.append(
            HeldOut(cost, float(mean[place]), fit(kept, mean[others])(cost), low=low, high=high)
        )
    return left_out


def at_cost(costs: Sequence[float], values: Sequence[float], cost: float) -> float | None:
    """The value at a cost, along straight lines between the ascending costs' logarithms; None
    outside.
    """
    if not costs[0] <= cost <= costs[-1]:
        return None
    return float(np.interp(np.log(cost), np.log(costs), values))


def cost_of(costs: Sequence[float], values: Sequence[float], value: float) -> float | None:
    """The least cost at which the value is reached, along the same lines; None where no length
    reaches it, or the shortest does, since how much less would do is not known.
    """
    enough = next((n for n, reached in enumerate(values) if reached >= value), 0)
    if enough == 0:
        return None
    ends = [enough - 1, enough]
    logarithm = np.interp(value, [values[n] for n in ends], np.log([costs[n] for n in ends]))
    return float(np.exp(logarithm))
