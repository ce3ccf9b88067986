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
    best: tuple[float, Law] | None = None
    for exponent in EXPONENTS:
        falling = (cost / scale) ** -exponent
        for floor, factor in _candidates(falling, error):
            missed = float(((floor + factor * falling - error) ** 2).sum())
            if best is None or missed < best[0]:
                best = missed, Law(floor, factor, float(exponent), scale=scale)
    assert best is not None, "there is a candidate for every exponent"
    return best[1]


def _candidates(
    falling: NDArray[np.float64], error: NDArray[np.float64]
) -> list[tuple[float, float]]:
    """Floor and factor of least squares; where one would be negative, with it at 0."""
    slope, mean = falling - falling.mean(), error.mean()
    factor = float(slope @ (error - mean) / (slope @ slope))
    floor = float(mean - factor * falling.mean())
    if floor >= 0 and factor >= 0:
        return [(floor, factor)]
    return [(0.0, max(0.0, float(falling @ error / (falling @ falling)))), (float(mean), 0.0)]


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
