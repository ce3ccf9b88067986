"""The paper's claims and the rule that judges each, read from claims.toml.

A record holds the digest of the rules that its code had.
"""

import hashlib
import json
import tomllib
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any

import msgspec


@dataclass(frozen=True)
class Test:
    """Which numbers of the table of results a claim compares, and how they are paired.

    Attributes:
        compare: the name of the comparison in `reports.paper.evidence.COMPARISONS`.
        kinds, metrics, where: the rows: their kinds and metrics, and values of other columns.
        level: the column whose values are compared.
        levels: which of them, or a word for how they are chosen.
        names: of the metrics, for readers.
        group: scale and encoder, where only these can test the claim.
        factor: to the `unit`.
        on_any_device: whether a CPU's number is evidence, too.
    """

    compare: str
    kinds: tuple[str, ...]
    metrics: tuple[str, ...]
    where: dict[str, Any] = field(default_factory=dict)
    level: str = "method"
    levels: tuple[Any, ...] = ()
    names: tuple[str, ...] = ()
    group: tuple[str, ...] = ()
    unit: str = "points"
    decimals: int = 1
    factor: float = 1.0
    on_any_device: bool = False


@dataclass(frozen=True)
class Claim:
    """One claim of the paper in this project's words.

    Attributes:
        source: where the paper makes it.
        compared: what is measured for it, in which unit, and how values are paired.
        rule: a name in `rules()`.
        bound: the rule's bound, in the unit of `compared`.
        settle: the command whose records would decide the claim.
        tests: selections of the table of results; the claim can be tested by each of them.
    """

    id: str
    topic: str
    claim: str
    source: str
    compared: str
    rule: str
    bound: float
    settle: str
    tests: tuple[Test, ...] = ()


@cache
def claims() -> dict[str, Claim]:
    """Id -> claim, in the order of the page."""
    return {claim["id"]: msgspec.convert(claim, Claim) for claim in _file()["claims"]}


def rules() -> dict[str, str]:
    """Name of a rule -> a sentence that says when a claim holds, and when it does not."""
    return dict(_file()["rules"])


def least_pairs() -> int:
    """The smallest number of pairs from which an interval is computed."""
    return int(_file()["least_pairs"])


def changes() -> str:
    """What was changed after the committed records were made, and is not part of the digest."""
    return str(_file()["changes"])


def is_before_rules(started: str) -> bool:
    """Whether a run was begun before the rules were first written.

    Args:
        started: the time in UTC as records have it; empty if unknown.
    """
    return bool(started) and started < _file()["written"].isoformat()


@cache
def digest() -> str:
    """12 hexadecimal digits that change with the least number of pairs, a rule or a claim.

    Topics and commands are left out, because no verdict depends on them; tests, because `compared`
    says in words what they select.
    """
    judged = [asdict(claim) | {"topic": "", "settle": ""} for claim in claims().values()]
    for claim in judged:
        del claim["tests"]
    content = json.dumps([least_pairs(), rules(), judged], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:12]


@cache
def _file() -> dict[str, Any]:
    return tomllib.loads(files("catlip").joinpath("claims.toml").read_text(encoding="utf-8"))
