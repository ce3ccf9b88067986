"""Do two runs of the same bench agree?"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from bench.measuring.statistics import unpaired_ratio
from catlip.cli import InputError, run
from catlip.record import read_record
from catlip.results.least_counts import FEWEST, too_few
from catlip.system.foreign import printable

WITHOUT_EFFECT = ("out", "quiet")


@dataclass(frozen=True)
class Compare:
    """Compare two records of one kind that were made on one device, ratio by ratio and sample by
    sample.

    Ratios of interleaved samples should agree: their intervals overlap. Times may differ: a machine
    is not equally fast every day.

    python -m bench.compare runs/bench/step_time/A.json elsewhere/A.json
    """

    one: tyro.conf.Positional[Path]
    """A record."""
    other: tyro.conf.Positional[Path]
    """Another, of the same bench and device."""


def compare(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """Lines that say how two records agree.

    Raises: InputError when they are not of one kind and device.
    """
    for what, first, second in (
        ("kinds", one["kind"], other["kind"]),
        ("devices", _device(one), _device(other)),
    ):
        if first != second:
            raise InputError(f"records of different {what} are not compared: {first} and {second}")
    lines = [f"config differs: {line}" for line in _differences(one["config"], other["config"])]
    few = too_few(one["kind"], one["samples"]) or too_few(one["kind"], other["samples"])
    ratios, other_ratios = _ratios(one["metrics"]), _ratios(other["metrics"])
    lines += [
        _of_ratio(name, of_one, other_ratios[name], few=few)
        for name, of_one in ratios.items()
        if name in other_ratios
    ]
    for name, samples in one["samples"].items():
        others = other["samples"].get(name)
        # Samples can also be words or rows of a table.
        if others and all(isinstance(value, int | float) for value in [*samples, *others]):
            ratio = unpaired_ratio(others, samples)
            line = f"{name}: other / one = {ratio.value:.3f}"
            if min(len(samples), len(others)) >= FEWEST:
                line += f" [{ratio.low:.3f}, {ratio.high:.3f}]"
            lines.append(line)
    return lines or ["nothing in common to compare"]


def _of_ratio(name: str, one: dict[str, float], other: dict[str, float], few: str) -> str:
    if few:
        return (
            f"{name}: {one['value']:.3f} and {other['value']:.3f}: {few}, so neither has an "
            "interval"
        )
    agree = one["low"] <= other["high"] and other["low"] <= one["high"]
    each = " and ".join(f"{r['value']:.3f} [{r['low']:.3f}, {r['high']:.3f}]" for r in (one, other))
    return f"{name}: {each}: {'agree' if agree else 'DISAGREE'}"


def _ratios(metrics: Any, path: str = "") -> dict[str, dict[str, float]]:
    """Every metric that has a value and an interval, by its path in the metrics."""
    if isinstance(metrics, list):
        metrics = {str(number): metric for number, metric in enumerate(metrics)}
    if not isinstance(metrics, dict):
        return {}
    if {"value", "low", "high"} <= metrics.keys():
        return {path: metrics}
    ratios: dict[str, dict[str, float]] = {}
    for name, below in metrics.items():
        ratios |= _ratios(below, f"{path} {name}".strip())
    return ratios


def _device(record: dict[str, Any]) -> str:
    environment = record["environment"]
    return f"{environment['device_count']} x {environment['device']}"


def _differences(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    return [
        f"{name} {one.get(name)} and {other.get(name)}"
        for name in one | other
        if name not in WITHOUT_EFFECT and one.get(name) != other.get(name)
    ]


def main(config: Compare) -> None:
    """Print how the records agree."""
    one, other = read_record(config.one), read_record(config.other)
    try:
        print("\n".join(" ".join(printable(line).split()) for line in compare(one, other)))
    except (KeyError, TypeError, AttributeError):
        raise InputError(
            f"at least one is not a record of a bench: {config.one} or {config.other}"
        ) from None


if __name__ == "__main__":
    run(Compare, main)
