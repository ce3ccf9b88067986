"""The default data set: fetch the drawings, render them, compose the samples, write the shards.

It consists of real drawings with the names and keywords that people gave them. Five sets of
drawings are for pre-training (alone, and in generated scenes of several), two others for fitting a
linear probe, and two more, of other teams, for testing it. It shows that the pipeline learns and
transfers; it is not a collection of web photos. The shards depend only on package versions, size,
scenes and seed, not on the number of processes.

A build is made in a folder aside and moved to its place when it is whole, so that no program reads
half of one. It is complete when its shards are those that its `starter.json` lists.
"""

import json
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

from catlip.cli import InputError, run
from catlip.data.shards import write_shard
from catlip.data.starter import MANIFEST, emoji, read_manifest
from catlip.data.starter.emoji import Drawing, Source
from catlip.data.starter.samples import SPLITS, VIEWS, make, plan
from catlip.data.starter.scenes import HELD_OUT_PHOTOS, TRAINING_PHOTOS, Sprite
from catlip.program.progress import progress
from catlip.program.ranges import Count, Natural, Range, Seed
from catlip.system.files import sha256_of, write_atomically
from catlip.system.lock import only_writer

EDITION = 2  # raised whenever the same arguments give other shards than before
SHARD_SAMPLES = 1000
# A drawing is rendered larger than the image, so that it stays sharp when its margin is cut off.
RENDER_SCALE = 1.5
# Rendered drawings of larger images would take more than 2 GiB of memory.
Size = Annotated[int, Range(at_least=16, at_most=160)]
CARD = "DATA_CARD.md"
UNFINISHED = ".unfinished"  # the folder of a build that is not whole


@dataclass(frozen=True)
class Starter:
    """Build the starter data set: shards of drawings with human-written captions, and of scenes.

    python -m catlip.data.starter --out data/starter
    """

    out: Path = Path("data/starter")
    """Where the folders pretrain, probe-train and probe-test, DATA_CARD.md and starter.json go."""
    size: Size = 64
    """Side of the images in pixels, 16 to 160."""
    scenes: Natural = 2000
    """Generated scenes of one to four drawings, added to the drawings for pre-training."""
    seed: Seed = 0
    """Chooses backgrounds, places, captions and order; the same seed gives the same bytes."""
    limit: Count | None = None
    """Use only this many of the 1,420 concepts, evenly spread: for a quick look."""
    workers: Count = 2
    """Processes that render and compose; the shards do not depend on it."""
    quiet: bool = False
    """No progress bars."""


def main(config: Starter) -> None:
    sources = emoji.read_sources()
    pinned = [(source.package, source.version, source.digest) for source in sources] + [emoji.TEXT]
    wanted: dict[str, Any] = {
        "edition": EDITION,
        "arguments": {name: getattr(config, name) for name in ("size", "scenes", "seed", "limit")},
        "packages": {f"{package}@{number}": digest for package, number, digest in pinned},
    }
    manifest = config.out / MANIFEST
    built = read_manifest(manifest) if manifest.exists() else {"shards": {}}
    digests = {name: shard["sha256"] for name, shard in built["shards"].items()}
    present = {str(path.relative_to(config.out)): sha256_of(path) for path in _shards(config.out)}
    if built.items() >= wanted.items() and digests == present:
        print(f"{config.out} is up to date")
        return
    with only_writer(config.out):
        if present and not manifest.exists():
            raise InputError(f"{config.out} has shards of another program; choose another --out")
        aside = config.out / UNFINISHED
        shutil.rmtree(aside, ignore_errors=True)  # a build that was killed left it
        built = wanted | _build(replace(config, out=aside), sources)
        # The manifest first: from then on, the shards count as this program's.
        write_atomically(manifest, json.dumps(built, indent=1).encode() + b"\n")
        write_atomically(config.out / CARD, _card(sources, built).encode())
        for path in _shards(config.out):
            path.unlink()
        for path in _shards(aside):
            target = config.out / path.relative_to(aside)
            target.parent.mkdir(exist_ok=True)
            path.rename(target)
        shutil.rmtree(aside)
    for split, counts in built["counts"].items():
        print(f"{split}: {sum(counts.values())} samples {counts}")
    print(f"written to {config.out}; described in {config.out / CARD}")


def _shards(out: Path) -> list[Path]:
    return [path for split in SPLITS for path in sorted((out / split).glob("*.tar"))]


def _build(config: Starter, sources: Sequence[Source]) -> dict[str, Any]:
    """Write all shards. Returns: what the manifest says of them and of the packages used."""
    concepts = emoji.read_concepts()
    count = min(config.limit or len(concepts), len(concepts))
    concepts = [concepts[i * len(concepts) // count] for i in range(count)]
    drawings: dict[Drawing, str] = {}
    for source in progress(sources, desc="fetch", unit="package", disable=config.quiet):
        drawings |= emoji.read_drawings(source, concepts)
    shards, counts = {}, {}
    names = [*(source.name for source in sources), "scenes"]
    with emoji.process_map(config.workers) as parallel_map:
        sprites = _sprites(drawings, config, parallel_map)
        plans = plan(sprites, config.scenes, config.size, config.seed)
        total = sum(map(len, plans.values()))
        with progress(desc="compose", total=total, unit="sample", disable=config.quiet) as bar:
            for split in SPLITS:
                totals = Counter(
                    "scenes" if p.kind == "scene" else p.sprites[0].what.source.name
                    for p in plans[split]
                )
                counts[split] = {name: totals[name] for name in names if totals[name]}
                for start in range(0, len(plans[split]), SHARD_SAMPLES):
                    path = config.out / split / f"{start // SHARD_SAMPLES:05d}.tar"
                    samples = parallel_map(make, plans[split][start : start + SHARD_SAMPLES])
                    written = write_shard(path, samples)
                    bar.update(written)
                    shards[f"{split}/{path.name}"] = {"samples": written, "sha256": sha256_of(path)}
    made_with = {package: version(package) for package in ("numpy", "pillow", "resvg_py")}
    return {"made_with": made_with, "concepts": len(concepts), "counts": counts, "shards": shards}


def _sprites(
    drawings: dict[Drawing, str], config: Starter, parallel_map: emoji.Map
) -> list[Sprite[Drawing]]:
    """The rendered drawings; of concepts with the same picture, only the first keeps it."""
    sides = [round(config.size * RENDER_SCALE)] * len(drawings)
    rendered = parallel_map(emoji.render, drawings.values(), sides)
    bar = progress(rendered, "render", len(drawings), unit="drawing", disable=config.quiet)
    distinct: dict[tuple[Any, ...], Sprite[Drawing]] = {}
    for drawing, pixels in zip(drawings, bar, strict=True):
        if pixels.size:
            identity = (drawing.source.name, pixels.shape, sha256(pixels.tobytes()).digest())
            distinct.setdefault(identity, Sprite(drawing, pixels))
    return list(distinct.values())


def _card(sources: Sequence[Source], manifest: dict[str, Any]) -> str:
    from jinja2 import Template

    template = Path(__file__).with_name("card.md").read_text()
    return Template(template, trim_blocks=True, lstrip_blocks=True).render(
        **manifest["arguments"],
        **manifest,
        sources={source.name: source for source in sources},
        views=VIEWS,
        photos=TRAINING_PHOTOS,
        held_out=sorted(HELD_OUT_PHOTOS),
        text=" ".join(emoji.TEXT[:2]),
    )


if __name__ == "__main__":
    run(Starter, main)
