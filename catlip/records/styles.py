"""How a method is shown: its label, its colour on white, and its marker; and the order of methods.

The class of a method states its style, and its records repeat it, for a page that is made where its
file is not.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any

from catlip.program.methods import methods
from catlip.records.table import clipped

CATLIP, RANDOM = "catlip", "random"
# CLIP by its text tower: a bag of words, or the paper's transformer.
CLIPS = ("clip_bag", "clip")
OTHER = "#7a6000"  # the colour of unknown methods
OTHER_MARKER = "P"
MARKERS = frozenset("os^vDPX*<>pdhH8")  # matplotlib's, filled


@dataclass(frozen=True)
class Style:
    label: str
    colour: str
    marker: str


def stated_style(method: str, stated: Mapping[str, Any]) -> Style:
    """The stated style; what cannot be drawn is replaced by that of unknown methods."""
    label, colour, marker = (stated.get(key) for key in ("label", "colour", "marker"))
    is_colour = isinstance(colour, str) and re.fullmatch("#[0-9a-fA-F]{6}", colour)
    return Style(
        clipped(label if isinstance(label, str) and label else method),
        colour.lower() if isinstance(colour, str) and is_colour else OTHER,
        marker if isinstance(marker, str) and marker in MARKERS else OTHER_MARKER,
    )


OTHER_STYLES = {
    RANDOM: Style("Random init", "#5f666e", "D"),
    "catlip_dense": Style("CatLIP, dense targets", "#0067a5", "o"),
}
KNOWN = OTHER_STYLES | {name: stated_style(name, vars(facts)) for name, facts in methods().items()}
# How the names of encoders begin that are neither trained here nor `random`, this project's
# untrained one.
NOT_OURS = ("timm:", "openclip:", "released:", "random:")
_stated: dict[str, Style] = {}  # by the records of the page that is being made


def stated_by(config: Mapping[str, Any], metrics: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The styles of the methods that a record is of, for the record."""
    several = (tree.get("methods") or () for tree in (config, metrics))
    names = [metrics.get("method"), *chain(*several)]
    return {name: vars(KNOWN[name]) for name in names if name in KNOWN}


def learn(records: Iterable[Mapping[str, Any]]) -> None:
    """Store the styles that records state, method -> style, in place of earlier ones."""
    _stated.clear()
    for styles in records:
        for method, stated in styles.items():
            _stated[method] = stated_style(method, stated if isinstance(stated, dict) else {})


def name_of(method: str) -> str:
    style = KNOWN.get(method) or _stated.get(method)
    return style.label if style else clipped(method)


def style_of(method: str) -> Style:
    """A method's style; a variant such as `catlip:raw` has that of its method."""
    family = method.replace(":", "_").partition("_")[0]
    style = KNOWN.get(method) or _stated.get(method) or KNOWN.get(family)
    return style or Style(method, OTHER, OTHER_MARKER)


def stated_colours() -> list[str]:
    return sorted({style.colour for style in _stated.values()})


def ordered(methods: Iterable[str]) -> list[str]:
    """Each method once: known ones in order, with variants; others by name, foreign ones last."""
    rank = {name: i for i, name in enumerate(KNOWN)}
    return sorted(
        set(methods),
        key=lambda name: (not is_ours(name), rank.get(name.partition(":")[0], len(rank)), name),
    )


def is_ours(method: str) -> bool:
    """Whether the encoder was trained here, or is this project's untrained one."""
    return not method.startswith(NOT_OURS)
