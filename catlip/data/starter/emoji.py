"""The starter data's sources: nine sets of drawings of the same concepts, by seven teams.

A *concept* is one base emoji of Unicode with its name, its keywords and its group in the hierarchy,
from emojibase and the Unicode CLDR. A *drawing* is one set's picture of a concept, an SVG with
transparency. Skin tones, flags, symbols and components are left out: they are variants and signs
rather than things.
"""

import io
import json
import re
import tarfile
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import resvg_py
from numpy.typing import NDArray
from PIL import Image

from catlip.system.packages import fetch_npm

TEXT = (
    "emojibase-data",
    "17.0.0",
    "d01d0e2ca4e22cb402679532155342c71e2e871f25c32223c013b8b166ebdf5a",
)
LEFT_OUT_GROUPS = {"component", "symbols", "flags"}
Map = Callable[..., Iterator[Any]]
VARIANT = re.compile(r"-\d+$")  # "boy-1" and "boy-2" draw one concept; the first is used


@dataclass(frozen=True)
class Source:
    """One set of drawings: an npm package of icons, with the sha256 of its tarball. The drawings of
    `misnamed` concepts show something else (a "keyboard" that is a piano's) and are left out.
    """

    name: str
    title: str
    authors: str
    licence: str
    split: str
    misnamed: tuple[str, ...]
    package: str
    version: str
    digest: str


@dataclass(frozen=True)
class Concept:
    """One base emoji; its group and subgroup ("food-fruit") are Unicode's."""

    hexcode: str
    name: str
    tags: tuple[str, ...]
    group: str
    subgroup: str


@dataclass(frozen=True)
class Drawing:
    source: Source
    concept: Concept

    @property
    def key(self) -> str:
        """Its sample key, such as "noto-1f34e"."""
        return f"{self.source.name}-{self.concept.hexcode.lower()}"


def read_sources() -> list[Source]:
    """The nine sets of drawings, those for pre-training first."""
    entries = json.loads(Path(__file__).with_name("starter_sources.json").read_text())
    return [Source(**entry | {"misnamed": tuple(entry["misnamed"])}) for entry in entries]


def read_concepts() -> list[Concept]:
    """The 1,420 base concepts in Unicode's order."""
    package = fetch_npm(*TEXT)
    levels, entries = _read_json(package, "meta/groups.json"), _read_json(package, "en/data.json")
    concepts = []
    grouped = [entry for entry in entries if "group" in entry]
    for entry in sorted(grouped, key=lambda entry: entry["order"]):
        group = levels["groups"][str(entry["group"])]
        subgroup = levels["subgroups"][str(entry["subgroup"])]
        name, *tags = (text.replace("\u2019", "'") for text in (entry["label"], *entry["tags"]))
        if group not in LEFT_OUT_GROUPS:
            concepts.append(Concept(entry["hexcode"], name, tuple(tags), group, subgroup))
    return concepts


def read_drawings(source: Source, concepts: Sequence[Concept]) -> dict[Drawing, str]:
    """The SVG text of each drawing that `source` has of `concepts`, found by code point or name."""
    package = fetch_npm(source.package, source.version, source.digest)
    icons = _read_json(package, "icons.json")
    codes = _read_json(package, "chars.json")
    icon_by_code = {_code_points(code): name for code, name in codes.items()}
    names = sorted([*icons["icons"], *icons.get("aliases", {})])
    icon_by_name: dict[str, str] = {}
    for name in names:  # sorted: a plain name comes before its variants
        icon_by_name.setdefault(_letters(name), name)
        icon_by_name.setdefault(_letters(VARIANT.sub("", name)), name)
    drawings = {}
    for concept in concepts:
        icon = icon_by_code.get(_code_points(concept.hexcode))
        icon = icon or icon_by_name.get(_letters(concept.name))
        if icon and concept.name not in source.misnamed:
            drawings[Drawing(source, concept)] = _svg(icons, icon)
    return drawings


@contextmanager
def process_map(count: int) -> Iterator[Map]:
    """`map` in this process or in `count` others; results come in the order of the inputs."""
    if count == 1:
        yield map
        return
    with ProcessPoolExecutor(count, mp_context=get_context("spawn")) as pool:
        yield lambda function, *inputs: pool.map(function, *inputs, chunksize=32)


def render(svg: str, size: int) -> NDArray[np.uint8]:
    """An SVG, fitted into a square of `size` pixels, as straight-alpha RGBA [h, w, 4] cut to what
    is visible, [0, 0, 4] if nothing is.
    """
    png = resvg_py.svg_to_bytes(svg_string=svg, width=size, height=size, skip_system_fonts=True)
    image = Image.open(io.BytesIO(bytes(png)), formats=("PNG",)).convert("RGBA")
    return np.array(image.crop(image.getchannel("A").getbbox() or (0, 0, 0, 0)))


def _svg(icons: dict[str, Any], name: str) -> str:
    """The SVG of an icon or of an alias, which is another icon, mirrored or not."""
    alias = icons.get("aliases", {}).get(name, {})
    icon = icons["icons"][alias.get("parent", name)]
    width, height = (icon.get(side, icons[side]) for side in ("width", "height"))
    body = icon["body"]
    if alias.get("hFlip"):
        body = f'<g transform="translate({width} 0) scale(-1 1)">{body}</g>'
    space = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    size = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    return f"<svg {space} {size}>{body}</svg>"


def _code_points(code: str) -> str:
    # The variation selector asks for colour; some packages write it, others do not.
    return code.lower().replace("-fe0f", "")


def _letters(name: str) -> str:
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]", "", plain)


def _read_json(package: Path, member: str) -> Any:
    with tarfile.open(package) as tar:
        file = tar.extractfile(f"package/{member}")
        assert file is not None, member  # the digest guarantees the package's content
        return json.load(file)
