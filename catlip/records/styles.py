"""How a method is shown: its label, its colour on white, and its marker; and the order of methods.

The class of a method states its style, and its records repeat it. Those of this project's methods
are listed here too, because earlier records hold only the names of their methods.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from catlip.records.table import clipped

CATLIP = "catlip"
# CLIP by its text tower: a bag of words, or the paper's transformer. The page compares CatLIP with
# the one that is best on validation (`bench.study.result.best_clip`).
CLIPS = ("clip_bag", "clip")
OTHER = "#7a6000"  # the colour of unknown methods
OTHER_MARKER = "P"
MARKERS = frozenset("os^vDPX*<>pdhH8")  # matplotlib's, filled


@dataclass(frozen=True)
class Style:
    label: str
    colour: str
    marker: str


KNOWN = {
    "random": Style("Random init", "#5f666e", "D"),
    "catlip": Style("CatLIP", "#0067a5", "o"),
    "catlip_dense": Style("CatLIP, dense targets", "#0067a5", "o"),
    "catlip_words": Style("CatLIP on all words", "#3f8fc4", "d"),
    "clip_bag": Style("CLIP, bag of words", "#d4782a", "X"),
    "clip": Style("CLIP", "#b34700", "s"),
    "clip_nouns": Style("CLIP on nouns", "#8d5524", "<"),
    "siglip": Style("SigLIP", "#007a5a", "^"),
    "superclass": Style("SuperClass", "#a34a83", "v"),
    "catlip_softmax": Style("CatLIP, softmax", "#5b3fa0", "p"),
    "batch_nouns": Style("CatLIP, softmax in the batch", "#3c7a89", ">"),
    "clip_catlip": Style("CLIP + CatLIP", "#4d6600", "h"),
}
# How the names of encoders begin that are neither trained here nor `random`, the untrained one.
NOT_OURS = ("timm:", "openclip:", "released:", "random:")
_stated: dict[str, Style] = {}  # by the records of the page that is being made


def learn(records: Iterable[Mapping[str, Any]]) -> None:
    """Store the styles that records state, method -> style, in place of earlier ones."""
    _stated.clear()
    for styles in records:
        for method, stated in styles.items():
            _stated[method] = _stated_style(method, stated if isinstance(stated, dict) else {})


def _stated_style(method: str, stated: Mapping[str, Any]) -> Style:
    """The stated style; what cannot be drawn is replaced by that of unknown methods."""
    label, colour, marker = (stated.get(key) for key in ("label", "colour", "marker"))
    is_colour = isinstance(colour, str) and re.fullmatch("#[0-9a-fA-F]{6}", colour)
    return Style(
        clipped(label if isinstance(label, str) and label else method),
        colour.lower() if isinstance(colour, str) and is_colour else OTHER,
        marker if isinstance(marker, str) and marker in MARKERS else OTHER_MARKER,
    )


def name_of(method: str) -> str:
    style = KNOWN.get(method) or _stated.get(method)
    return style.label if style else clipped(method)


def colour_of(method: str) -> str:
    """A method's colour; a variant such as `catlip:raw` has that of its method."""
    return _style(method).colour


def marker_of(method: str) -> str:
    return _style(method).marker


def stated_colours() -> list[str]:
    return sorted({style.colour for style in _stated.values()})


def _style(method: str) -> Style:
    family = method.replace(":", "_").partition("_")[0]
    style = KNOWN.get(method) or _stated.get(method) or KNOWN.get(family)
    return style or Style(method, OTHER, OTHER_MARKER)


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
