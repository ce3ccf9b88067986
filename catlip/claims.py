"""The paper's claims and the rule that judges each, read from claims.toml.

A record holds the digest of the rules that its code had.
"""

import hashlib
import json
import tomllib
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from importlib.resources import files
from typing import Any

import msgspec


@dataclass(frozen=True)
class Test:
    """Which numbers of the table of results a claim compares (a comparison of
    `reports.paper.evidence.COMPARISONS`, kinds, metrics and values of other columns), and how they
    are paired: by `levels` of the column `level`, or a word for how these are chosen.
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
    """One claim of the paper in this project's words: where the paper makes it, what is measured
    for it, a rule of `rules()` with its bound, the command that would decide it, and selections of
    the table of results, by each of which it can be tested.
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
    commands = _file()["commands"]
    every = [msgspec.convert(claim, Claim) for claim in _file()["claims"]]
    return {
        claim.id: replace(claim, settle=commands.get(claim.settle, claim.settle)) for claim in every
    }


def rules() -> dict[str, str]:
    return dict(_file()["rules"])


def least_pairs() -> int:
    return int(_file()["least_pairs"])


def changes() -> str:
    """What was changed after the committed records were made, and is not part of the digest."""
    return str(_file()["changes"])


@cache
def digest() -> str:
    """12 hexadecimal digits that change with the least number of pairs, a rule or a claim, but not
    with topics, commands and tests, on which no verdict depends.
    """
    judged = [asdict(claim) | {"topic": "", "settle": ""} for claim in claims().values()]
    for claim in judged:
        del claim["tests"]
    content = json.dumps([least_pairs(), rules(), judged], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:12]


@cache
def _file() -> dict[str, Any]:
    return tomllib.loads(files("catlip").joinpath("claims.toml").read_text(encoding="utf-8"))
