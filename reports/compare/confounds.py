"""Finds confounds: reasons why two records may differ other than the one in question, one sentence
each.
"""

from collections import Counter
from collections.abc import Sequence
from itertools import chain
from typing import Any

from catlip.results.run import Run, lookup, one_device, text
from catlip.table import clipped
from reports.compare.differences import ABSENT, Place, differing, named, told
from reports.compare.pairing import Pair

# These fields differ between almost any two runs; the page has its own warning for a busy machine.
NO_CONFOUND = ("started", "load_start", "load_end", "wall_s", "cpu_s", "other_cpu_s", "energy_j")
TREATED_APART = ("device", "revision", "dirty")
# Config fields that say which data were used, at any depth.
DATA = ("data", "shards", "sources", "labels", "labels_dir", "vocabulary", "probe")
# Endings of the metrics that differ if the data differ.
DATA_SIZES = ("num_train", "num_test", "num_classes", "num_captions", "captions")

MOST_OF_A_SORT = 6


def warnings_of(pairs: Sequence[Pair]) -> list[str]:
    """The confounds of several pairs, each once; if one is not of all pairs, with the number of
    pairs that have it.
    """
    counted = Counter(chain.from_iterable(dict.fromkeys(confounds(pair)) for pair in pairs))
    return [
        words if count == len(pairs) else f"{words} ({count} of {len(pairs)} pairs)"
        for words, count in counted.items()
    ]


def confounds(pair: Pair) -> list[str]:
    """What, other than the question, may make the two records differ; values of A come first."""
    one, other = pair.one, pair.other
    return [
        *_of_device(one, other),
        *_of_code(one, other),
        *_of_environment(one, other),
        *_of_run(one, other),
    ]


def _of_device(one: Run, other: Run) -> list[str]:
    unsaid = [
        f"{side} does not name its device"
        for side, record in _sides(one, other)
        if not text(record.environment, "device")
    ]
    if one_device([one, other]) or unsaid:
        return unsaid
    names = (one.where, other.where)
    first, second = names if names[0] != names[1] else (one.device, other.device)
    return [f"different devices: {' and '.join(told([first], [second]))}"]


def _of_code(one: Run, other: Run) -> list[str]:
    """Different revisions, local changes, and records that do not name their revision."""
    sentences = []
    first, second = (text(record.environment, "revision") for record in (one, other))
    if first != second:
        sentences.append(f"different git revisions: {clipped(first)} and {clipped(second)}")
    for side, record in _sides(one, other):
        if lookup(record.environment, "dirty") is True:
            sentences.append(f"{side} ran with local changes that are not in its git revision")
        if text(record.environment, "revision") in ("", "unknown"):
            sentences.append(f"{side} does not name its git revision")
    return sentences


def _of_environment(one: Run, other: Run) -> list[str]:
    """Different versions, threads, and whatever else is recorded about the machine."""
    different = differing(one.environment, other.environment)
    return [
        _sentence(f"different {named(place).removeprefix('packages.')}", values)
        for place, values in different.items()
        if place[0] not in (*NO_CONFOUND, *TREATED_APART)
    ]


def _of_run(one: Run, other: Run) -> list[str]:
    """Different method, seed, data, precision, or number of images seen."""
    config, metrics = differing(one.config, other.config), differing(one.metrics, other.metrics)
    seeds = [f"different seeds: {one.seed} and {other.seed}"] if one.seed != other.seed else []
    data = {place: values for place, values in config.items() if any(key in DATA for key in place)}
    data |= {place: values for place, values in metrics.items() if place[-1].endswith(DATA_SIZES)}
    # A field that only one side has is no confound: a method may not need it.
    data = {place: values for place, values in data.items() if ABSENT not in values}
    precision = {place: values for place, values in config.items() if place[-1] == "precision"}
    images = {place: values for place, values in metrics.items() if place[-1] == "images_seen"}
    return [
        *_of_method(one, other),
        *seeds,
        *_sentences("different data", data),
        *_sentences("different precision", precision),
        *_sentences("different number of images seen", images),
    ]


def _of_method(one: Run, other: Run) -> list[str]:
    first, second = (text(r.metrics, "method") or text(r.config, "method") for r in (one, other))
    return [] if first == second else ["different methods: their losses are not comparable"]


def _sides(one: Run, other: Run) -> tuple[tuple[str, Run], tuple[str, Run]]:
    return ("A", one), ("B", other)


def _sentences(what: str, different: dict[Place, tuple[Any, Any]]) -> list[str]:
    said = [_sentence(f"{what} ({named(place)})", values) for place, values in different.items()]
    more = len(said) - MOST_OF_A_SORT
    return said if more <= 0 else [*said[:MOST_OF_A_SORT], f"{what}: {more} more fields"]


def _sentence(what: str, values: tuple[Any, Any]) -> str:
    return f"{what}: {' and '.join(told([values[0]], [values[1]]))}"
