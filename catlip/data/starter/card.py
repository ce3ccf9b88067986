"""The starter data's card: its content, its sources and licences, and what it does not prove."""

from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from catlip.cli import InputError
from catlip.data.shards import open_shard
from catlip.data.starter.emoji import TEXT, Source
from catlip.data.starter.probe_tasks import load_task
from catlip.data.starter.samples import VIEWS
from catlip.data.starter.scenes import HELD_OUT_PHOTOS, TRAINING_PHOTOS

EXAMPLES = 10  # captions of each kind

CARD = """# The starter data set

Real, human-made captioned images, and generated layouts of real drawings; not web photos. Nine sets
of drawings of the same concepts, by seven teams, under the names and keywords that people gave them
in Unicode's CLDR and emojibase. A result on it is evidence that the pipeline learns and transfers,
and is no evidence for or against the paper.

Built by `python -m catlip.data.starter` with size {size}, scenes {scenes}, seed {seed}, limit
{limit}: the same arguments and versions ({made_with}) give the same bytes. Images are {size} x
{size} lossless PNG.

## What the shards hold

| split | source | samples | licence | drawn by |
|---|---|---|---|---|
{rows}

{concepts} concepts in all. Every concept was looked up in every set. Where a set uses one
picture for several concepts, only the first concept keeps it. Drawings that do not show what their
name says are left out.

- **pretrain**: {views[pretrain]} images of each drawing on white, each of another size, at another
  place and under a caption of its own, and {scene_count} scenes: one to four drawings of things,
  each of another concept, pasted on a crop of a photograph without hiding one another. In all
  {drawn[pretrain]} drawings.
- **probe-train**: {views[probe-train]} images of each of {drawn[probe-train]} drawings, on white.
  **probe-test**: one of each of {drawn[probe-test]}. No set is in two splits. The teams of
  probe-test are in no other split; those of probe-train also drew, later, two sets of pretrain.
  Both show the same concepts, which the probes have to recognise; pre-training shows these concepts
  too, in the drawings of other sets. Their tasks (faces and people left out): {task_concepts}
  concepts, {task_subgroups} subgroups.
- **validation**, on which everything is chosen: the probe is fitted to one of the two sets of
  probe-train and tested on one image of each drawing of the other. Give `starter-validation:` in
  place of `starter:`.

The {photos} photographs used here are {photo_names}. {held_out} appear in no sample: they are kept
for test scenes.

## Captions

A drawing's caption is its name, alone or with some of its keywords; no template is added:

{drawing_examples}

A scene's caption lists what is in it, and nothing else:

{scene_examples}

## Each sample

`KEY.png`, `KEY.txt` (the caption) and `KEY.json`: `kind` (drawing or scene), `split`, `background`,
and `objects`, each with `source`, `licence`, `concept` (Unicode code points), `name`, `group`,
`subgroup` and `box` (left, top, right, bottom of its visible pixels; right and bottom are
exclusive). A drawing repeats all of these but the box at the top level.

## Licences and attribution

Names, keywords and hierarchy: {text}, MIT, by Miles Johnson; from Unicode CLDR, Unicode License v3.
The drawings are changed only by scaling, placing and pasting on a background. A scene is under the
licences of all its drawings, which its `.json` names. The photographs are CC0. Full texts and
attributions: NOTICE, and catlip/data/starter/backgrounds/ATTRIBUTION.md.

{attributions}
"""


def data_card(out: Path, sources: Sequence[Source], manifest: dict[str, Any]) -> str:
    """DATA_CARD.md of the shards under `out`, as Markdown.

    Args:
        manifest: the build's manifest, with its `arguments`, `made_with`, `counts` by split and
            source, and number of `concepts`.
    """
    return CARD.format(
        **manifest["arguments"],
        made_with=", ".join(
            f"{package} {version}" for package, version in manifest["made_with"].items()
        ),
        rows="\n".join(_rows(sources, manifest["counts"])),
        concepts=manifest["concepts"],
        scene_count=manifest["counts"]["pretrain"].get("scenes", 0),
        views=VIEWS,
        drawn=_numbers_of_drawings(manifest["counts"]),
        task_concepts=_classes(out, "concepts"),
        task_subgroups=_classes(out, "subgroups"),
        photos=len(TRAINING_PHOTOS),
        photo_names=", ".join(TRAINING_PHOTOS),
        held_out=", ".join(sorted(HELD_OUT_PHOTOS)),
        drawing_examples=_examples(out, "drawing"),
        scene_examples=_examples(out, "scene") or "- (no scenes were asked for)",
        text=f"{TEXT[0]} {TEXT[1]}",
        attributions="\n".join(
            f"- {s.title}, by {s.authors}, {s.licence} ({s.package} {s.version})" for s in sources
        ),
    )


def _numbers_of_drawings(counts: dict[str, dict[str, int]]) -> dict[str, int]:
    """How many drawings each split has."""
    numbers = {}
    for split, by_source in counts.items():
        images = sum(count for source, count in by_source.items() if source != "scenes")
        numbers[split] = images // VIEWS[split]
    return numbers


def _rows(sources: Sequence[Source], counts: dict[str, dict[str, int]]) -> list[str]:
    by_name = {source.name: source for source in sources}
    rows = []
    for split, by_source in counts.items():
        for name, count in by_source.items():
            title, licence, authors = name, "those of its drawings", "composed here"
            if source := by_name.get(name):
                title, licence, authors = source.title, source.licence, source.authors
            rows.append(f"| {split} | {title} | {count} | {licence} | {authors} |")
        rows.append(f"| **{split}** | **total** | **{sum(by_source.values())}** | | |")
    return rows


def _classes(out: Path, task: str) -> int:
    try:
        return len(load_task(out, task).class_names)
    except InputError:
        return 0  # with a small --limit the two probe splits may have no class in common


def _examples(out: Path, kind: str) -> str:
    """The captions of some samples of this kind, as a Markdown list."""
    shard = open_shard(out / "pretrain" / "00000.tar")
    numbers = (number for number in range(len(shard)) if shard.metadata(number)["kind"] == kind)
    return "\n".join(f"- {shard.caption(number)}" for number in islice(numbers, EXAMPLES))
