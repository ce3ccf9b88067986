"""The paper's claims and the rule that judges each, read from claims.toml.

A record holds the digest of the rules that its code had.
"""

import hashlib
import json
import tomllib
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
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
    factor: float = 1.0
    on_any_device: bool = False


@dataclass(frozen=True)
class Claim:
    """One claim of the paper: where it is made, what is measured for it, a rule of `rules()` with
    its bound (at most `fraction` of what CLIP learnt), the deciding command, and its tests.
    """

    id: str
    topic: str
    claim: str
    source: str
    compared: str
    rule: str
    bound: float
    settle: str
    fraction: float | None = None
    tests: tuple[Test, ...] = ()

    @property
    def is_judged(self) -> bool:
        return self.rule != "none"


@cache
def claims() -> dict[str, Claim]:
    commands = _file()["commands"]
    every = [msgspec.convert(claim, Claim) for claim in _file()["claims"]]
    return {
        claim.id: replace(claim, settle=commands.get(claim.settle, claim.settle)) for claim in every
    }


@dataclass(frozen=True)
class Judging:
    """What all claims are judged by, beside the rule of each."""

    least_pairs: int  # of this name in the digest of the rules
    clip: str
    tasks: str
    family: str
    learnt: str


@dataclass(frozen=True)
class Version:
    digest: str
    since: datetime


@cache
def judging() -> Judging:
    return Judging(**_file()["judging"])


def rules() -> dict[str, str]:
    return dict(_file()["rules"])


def min_pairs() -> int:
    return judging().least_pairs


def versions() -> list[Version]:
    """Every version of the rules, the first first; the last is the file's own."""
    return [Version(**version) for version in _file()["versions"]]


def changes() -> str:
    """What was changed after records were made that are judged by it."""
    return str(_file()["history"]["changes"])


def factorial() -> dict[str, Any]:
    """What was expected of losses and words: `bench.study.result.Factorial`."""
    return dict(_file()["factorial"])


def likeness() -> list[str]:
    """Scales of this repository's records, those most like the paper's data first."""
    return [*_file()["evidence"]["likeness"]]


@cache
def digest() -> str:
    """12 hexadecimal digits that change with all that verdicts depend on, and nothing else."""
    judged = [asdict(claim) | {"topic": "", "settle": ""} for claim in claims().values()]
    for claim in judged:
        del claim["tests"]
    content = json.dumps([asdict(judging()), rules(), judged], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:12]


@cache
def _file() -> dict[str, Any]:
    return tomllib.loads(
        files("catlip.records").joinpath("claims.toml").read_text(encoding="utf-8")
    )
