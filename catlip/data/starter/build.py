"""The default data set: fetch the drawings, render them, compose the samples, write the shards.

It consists of real drawings with the names and keywords that people gave them. Five sets of
drawings are for pre-training (alone, and in generated scenes of several), two others for fitting a
linear probe, and two more, of other teams, for testing it. It shows that the pipeline learns and
transfers; it is not a collection of web photos. The shards depend only on package versions, size,
scenes and seed, not on the number of processes.

A build is made in a folder aside and moved to its place when it is whole, so that no program reads
half of one. A second build for the same folder waits for the first. A build is complete when its
shards are those that its `starter.json` lists.
"""

import json
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

from catlip.cli import InputError
from catlip.data.parallel import Map, in_processes
from catlip.data.shards import write_shard
from catlip.data.starter.card import data_card
from catlip.data.starter.emoji import (
    TEXT,
    Concept,
    Drawing,
    Source,
    read_concepts,
    read_drawings,
    read_sources,
    render,
)
from catlip.data.starter.samples import SPLITS, Plan, make, plan
from catlip.data.starter.scenes import Sprite
from catlip.program.progress import Bar, progress
from catlip.program.ranges import Count, Natural, Range, Seed
from catlip.record import write_atomically
from catlip.system.lock import only_writer

EDITION = 2  # raised whenever the same arguments give other shards than before
SHARD_SAMPLES = 1000
# A drawing is rendered larger than the image, so that it stays sharp when its margin is cut off.
RENDER_SCALE = 1.5
# Rendered drawings of larger images would take more than 2 GiB of memory.
Size = Annotated[int, Range(at_least=16, at_most=160)]
MANIFEST = "starter.json"
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
    names = ("size", "scenes", "seed", "limit")
    arguments = {name: getattr(config, name) for name in names}
    sources = read_sources()
    packages = _packages(sources)
    wanted: dict[str, Any] = {"edition": EDITION, "arguments": arguments, "packages": packages}
    if _is_complete(config.out, wanted):
        print(f"{config.out} is up to date")
        return
    with only_writer(config.out, wait=True):
        if _is_complete(config.out, wanted):
            print(f"{config.out} was built by another process")
            return
        _check_owner(config.out)
        aside = config.out / UNFINISHED
        shutil.rmtree(aside, ignore_errors=True)  # of a build that was killed
        manifest = wanted | _build(replace(config, out=aside), sources)
        write_atomically(aside / "DATA_CARD.md", data_card(aside, sources, manifest).encode())
        write_atomically(aside / MANIFEST, json.dumps(manifest, indent=1).encode() + b"\n")
        _put_in_place(aside, config.out)
    for split, counts in manifest["counts"].items():
        by_source = ", ".join(f"{name} {count}" for name, count in counts.items())
        print(f"{split}: {sum(counts.values())} samples ({by_source})")
    print(f"written to {config.out}; described in {config.out / 'DATA_CARD.md'}")


def _build(config: Starter, sources: Sequence[Source]) -> dict[str, Any]:
    """Write all shards.

    Returns: the manifest's entries on what was made and with which packages.
    """
    concepts = _spread(read_concepts(), config.limit)
    with in_processes(config.workers) as in_parallel:
        sprites = _sprites(sources, concepts, config, in_parallel=in_parallel)
        plans = plan(sprites, config.scenes, config.size, config.seed)
        shards = _write_shards(plans, config, in_parallel)
    counts = {split: _count(plans[split], sources) for split in SPLITS}
    made_with = {package: version(package) for package in ("numpy", "pillow", "resvg_py")}
    return {"made_with": made_with, "concepts": len(concepts), "counts": counts, "shards": shards}


def _packages(sources: Sequence[Source]) -> dict[str, str]:
    pinned = [(source.package, source.version, source.digest) for source in sources]
    return {f"{package}@{number}": digest for package, number, digest in [*pinned, TEXT]}


def _is_complete(out: Path, wanted: dict[str, Any]) -> bool:
    """Whether `out` holds a finished, unchanged build of what is wanted, and no other shards."""
    try:
        manifest = json.loads((out / MANIFEST).read_text())
        if any(manifest[key] != value for key, value in wanted.items()):
            return False
        digests = {str(path.relative_to(out)): _sha256(path) for path in _shards(out)}
        return digests == {name: shard["sha256"] for name, shard in manifest["shards"].items()}
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return False


def _check_owner(out: Path) -> None:
    """Raises: InputError when `out` has shards that are not of an earlier build."""
    if (shards := _shards(out)) and not (out / MANIFEST).exists():
        raise InputError(
            f"{shards[0]} was not written by this program and would be mixed with its shards; "
            "choose another --out"
        )


def _put_in_place(aside: Path, out: Path) -> None:
    """Move a whole build to its place, where it replaces an earlier one and nothing else."""
    for name in (MANIFEST, "DATA_CARD.md"):
        (aside / name).replace(out / name)
    for path in _shards(out):
        path.unlink()
    for split in SPLITS:
        with suppress(OSError):  # it has other files, such as labels
            (aside / split).rename(out / split)
        for path in (aside / split).glob("*.tar"):
            path.rename(out / split / path.name)
    shutil.rmtree(aside)


def _shards(out: Path) -> list[Path]:
    return [path for split in SPLITS for path in sorted((out / split).glob("*.tar"))]


def _spread(concepts: Sequence[Concept], limit: int | None) -> Sequence[Concept]:
    count = min(limit or len(concepts), len(concepts))
    return [concepts[i * len(concepts) // count] for i in range(count)]


def _sprites(
    sources: Sequence[Source], concepts: Sequence[Concept], config: Starter, in_parallel: Map
) -> list[Sprite[Drawing]]:
    """The rendered drawings.

    Where a team uses one picture for several concepts, only the first concept keeps it.
    """
    drawings: dict[Drawing, str] = {}
    for source in progress(sources, desc="fetch", unit="package", disable=config.quiet):
        drawings |= read_drawings(source, concepts)
    side = round(config.size * RENDER_SCALE)
    rendered = in_parallel(render, drawings.values(), [side] * len(drawings))
    bar = progress(
        rendered, desc="render", total=len(drawings), unit="drawing", disable=config.quiet
    )
    distinct: dict[tuple[Any, ...], Sprite[Drawing]] = {}
    for drawing, pixels in zip(drawings, bar, strict=True):
        if pixels.size:
            identity = (drawing.source.name, pixels.shape, sha256(pixels.tobytes()).digest())
            distinct.setdefault(identity, Sprite(drawing, pixels))
    return list(distinct.values())


def _write_shards(
    plans: dict[str, list[Plan]], config: Starter, in_parallel: Map
) -> dict[str, dict[str, Any]]:
    """Write every split.

    Returns: path inside the data set -> the shard's sample count and sha256.
    """
    total = sum(map(len, plans.values()))
    shards = {}
    with progress(desc="compose", total=total, unit="sample", disable=config.quiet) as bar:
        for split in SPLITS:
            for start in range(0, len(plans[split]), SHARD_SAMPLES):
                name = f"{split}/{start // SHARD_SAMPLES:05d}.tar"
                samples = in_parallel(make, plans[split][start : start + SHARD_SAMPLES])
                count = write_shard(config.out / name, _counted(samples, bar))
                shards[name] = {"samples": count, "sha256": _sha256(config.out / name)}
    return shards


def _counted(samples: Iterable[Any], bar: Bar) -> Iterator[Any]:
    for sample in samples:
        yield sample
        bar.update()


def _count(plans: Sequence[Plan], sources: Sequence[Source]) -> dict[str, int]:
    """Number of samples by drawing team, in the order of `sources`, and of the scenes."""
    counts = Counter(
        "scenes" if p.kind == "scene" else p.sprites[0].what.source.name for p in plans
    )
    names = [*(source.name for source in sources), "scenes"]
    return {name: counts[name] for name in names if counts[name]}


def _sha256(path: Path) -> str:
    return sha256(path.read_bytes()).hexdigest()
