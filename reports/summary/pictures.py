"""Six training images beside six test images: what the methods learn from, and are tested on."""

import io
import re
from collections.abc import Iterable

from PIL import Image

from bench.downstream.gallery.result import Gallery, pictures_of
from catlip.label.result import Example, Examples
from catlip.records.blocks import Block, Picture, Pictures
from catlip.records.figures import thinned
from catlip.records.panels import decoded
from catlip.records.table import clipped, listed
from reports.read.setting import Setting

COUNT = 6


def pictures(setting: Setting) -> list[Block]:
    """Both rows; a sentence in place of what was not recorded, as photographs may be."""
    rows, missing = [], []
    examples = [one for run in setting.of(Examples)[:1] for one in run.rows("pictures", Example)]
    shown_examples = [
        (one.image, f"“{clipped(one.caption, 60)}”", _classes(one)) for one in examples
    ]
    tested = [one for run in setting.of(Gallery)[:1] for one in pictures_of(run)]
    shown_tests = [(one.image, _name(one.label), "") for one in tested]
    for title, name, of_row in (
        ("Training images, not hand-picked: caption, classes in it", "train", shown_examples),
        ("Test images: the class to find", "test", shown_tests),
    ):
        if kept := _kept(name, of_row):
            rows.append((title, kept))
        else:
            missing.append(title.partition(" images")[0].lower() + " images")
    if not rows:
        return []
    caption = f"No {listed(missing)} were recorded." if missing else ""
    return [Pictures(rows, caption)]


def _kept(name: str, of_row: Iterable[tuple[str | None, str, str]]) -> list[Picture]:
    """COUNT of the pictures that can be read, evenly spread."""
    every = []
    for image, words, small in of_row:
        pixels = decoded(image, "RGB")
        if pixels is not None:
            png = io.BytesIO()
            Image.fromarray(pixels).save(png, "PNG")
            every.append((png.getvalue(), words, small))
    kept = [every[place] for place in thinned(len(every), COUNT)]
    return [
        Picture(f"{name}_{number}", png, words, small)
        for number, (png, words, small) in enumerate(kept, 1)
    ]


def _classes(example: Example) -> str:
    return ", ".join(map(_name, example.classes)) or "no class"


def _name(synset: str) -> str:
    return clipped(re.sub(r"\.n\.\d+$", "", synset).replace("_", " "), 24)
