"""How a method is shown: its label, its colour on white, and its marker.

A method states them in its class, and its records repeat them, so that a page is made without its
code. Those of this project stand here too: earlier records hold only their names.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from catlip.table import clipped
from reports.read.records import Record, text

OTHER = "#7a6000"  # of what is not known
OTHER_MARKER = "P"
MARKERS = frozenset("os^vDPX*<>pdhH8")  # matplotlib's, filled


@dataclass(frozen=True)
class Shown:
    """A method as readers see it."""

    label: str
    colour: str
    marker: str


KNOWN = {
    "random": Shown("Random init", "#5f666e", "D"),
    "catlip": Shown("CatLIP", "#0067a5", "o"),
    "catlip_chunked": Shown("CatLIP, loss in chunks", "#0067a5", "o"),
    "catlip_dense": Shown("CatLIP, dense targets", "#0067a5", "o"),
    "clip": Shown("CLIP", "#b34700", "s"),
    "clip_nonlocal": Shown("CLIP, loss not local", "#b34700", "s"),
    "siglip": Shown("SigLIP", "#007a5a", "^"),
    "siglip_gather": Shown("SigLIP, gathering", "#007a5a", "^"),
    "superclass": Shown("SuperClass", "#a34a83", "v"),
}
_stated: dict[str, Shown] = {}  # by the records of the page that is being made


def learn(records: Iterable[Record]) -> None:
    """Take what these records state of methods that are not KNOWN, in place of what earlier ones
    stated.
    """
    _stated.clear()
    for record in records:
        for method, stated in record.shown_as.items():
            label, marker = text(stated, "label"), text(stated, "marker")
            colour = text(stated, "colour").lower()
            _stated[method] = Shown(
                clipped(label or method),
                colour if re.fullmatch("#[0-9a-f]{6}", colour) else OTHER,
                marker if marker in MARKERS else OTHER_MARKER,
            )


def name_of(method: str) -> str:
    """How a method is called in text; the name in the record, cut to what fits a line, where it is
    not known.
    """
    shown = KNOWN.get(method) or _stated.get(method)
    return shown.label if shown else clipped(method)


def colour_of(method: str) -> str:
    """A method's colour; a variant such as `catlip:raw` has its method's."""
    shown = _shown(method)
    return shown.colour if shown else OTHER


def marker_of(method: str) -> str:
    """A method's marker, as its colour."""
    shown = _shown(method)
    return shown.marker if shown else OTHER_MARKER


def stated_colours() -> list[str]:
    """Those that only records state."""
    return sorted({shown.colour for shown in _stated.values()})


def _shown(method: str) -> Shown | None:
    family = method.replace(":", "_").partition("_")[0]
    return KNOWN.get(method) or _stated.get(method) or KNOWN.get(family)
