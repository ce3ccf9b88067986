"""The paper's claims and the rule that judges each, from claims.toml, which every record names by
its digest.
"""

import hashlib
import json
import tomllib
from dataclasses import asdict, dataclass
from functools import cache
from importlib.resources import files
from typing import Any


@dataclass(frozen=True)
class Claim:
    """One claim of the paper in our words.

    Attributes:
        source: where the paper makes it.
        compared: what is measured for it, in which unit, and what makes a pair.
        rule: a name in `rules()`.
        bound: of the rule, in the unit of `compared`.
        settle: the command that would settle it.
    """

    id: str
    topic: str
    claim: str
    source: str
    compared: str
    rule: str
    bound: float
    settle: str


@cache
def claims() -> dict[str, Claim]:
    """By their ids, in the order of the page."""
    return {claim["id"]: Claim(**claim) for claim in _file()["claims"]}


def rules() -> dict[str, str]:
    """Name -> when a claim holds by it, and when it does not."""
    return dict(_file()["rules"])


def least_pairs() -> int:
    """Behind an interval."""
    return int(_file()["least_pairs"])


@cache
def digest() -> str:
    """12 hexadecimal digits, the same as long as no verdict can change for another reason than its
    records.
    """
    judged = [asdict(claim) | {"topic": "", "settle": ""} for claim in claims().values()]
    content = json.dumps([least_pairs(), rules(), judged], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:12]


@cache
def _file() -> dict[str, Any]:
    return tomllib.loads(files("catlip").joinpath("claims.toml").read_text(encoding="utf-8"))
