"""Shards from a hub, a bucket, a server or a disk, or from files that a table names, with large
images made small.

A training reads images at some 224 pixels; images of the web are several times as large. CC3M, for
example, has 269 GB, and some 65 GB when its images are 256 pixels on the shorter side. A file is
the unit of work: it is fetched whole into the output folder, rewritten, and noted as done. A file
that was interrupted is done again from its beginning, so no shard is lost, doubled or cut.
"""

import functools
import glob
import itertools
import json
import os
import re
import sys
import tarfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from catlip.cli import InputError, run
from catlip.data.decode import PictureError, shrink_picture
from catlip.data.layout import IMAGE_SUFFIXES, TABLES, TAR, has_tars, split_of, visible
from catlip.data.remote import get_file, identities_of, licence_of, size_in
from catlip.data.shards import expand, write_shard
from catlip.data.tar_index import walk
from catlip.data.user_images import UserImages, counted, find_user_images, open_user_images
from catlip.program.broken import MAX_BROKEN, BrokenImage, BrokenImages, MaxBroken
from catlip.program.progress import progress
from catlip.program.ranges import Count, Natural
from catlip.system.engines import worker_pool
from catlip.system.files import write_atomically
from catlip.system.foreign import printable, read_json
from catlip.system.lock import only_writer
from catlip.system.machine import processors
from catlip.system.urls import is_remote, url_of

# Raised when shards that were made before, of remote or of local files, have to be made again.
EDITION, LOCAL_EDITION = 2, {True: 4, False: 5}  # of tars, and of tables and folders
QUALITY = 90  # of the JPEGs, with half the resolution for colours
SHARD_ROWS = 5000  # of a table in one shard
NOTES = ".fetch"  # in the output folder: what was made of each file
MAX_NAMED = 3  # files that cannot be read, in one message
# A key, and suffix -> content of each member, or why it has none.
Sample = tuple[str, Mapping[str, bytes | PictureError]]


@dataclass(frozen=True)
class Fetch:
    """Copy shards of images with captions from a hub, a bucket, a server or a disk, and make large
    images small; run the same command again to go on where it stopped.

    python -m catlip.data.fetch 'hf://datasets/pixparse/cc3m-wds/cc3m-train-*.tar' --out data/cc3m

    python -m catlip.data.fetch 's3://bucket/mine/*.tar' more.parquet --out data/mine

    python -m catlip.data.fetch photographs/captions.csv --out data/mine

    python -m catlip.data.fetch fashion/styles.csv --text-column productDisplayName --dry-run
    """

    sources: tyro.conf.Positional[tuple[str, ...]]
    """Paths, folders, globs, braces or URLs of shards (.tar), or of tables (.parquet, .csv, .tsv,
    .jsonl, COCO's .json) that hold images, or name their files beside the table or in a folder
    there; or a folder of images with a .txt each, or of a folder of images for each class.
    """
    out: Path = Path("data/fetched")
    """Folder of the shards that are written; each has the name of its source."""
    side: Count = 256
    """Pixels of the shorter side to which larger images are reduced; others are copied."""
    image_column: str | None = None
    """A table's column of images, of the names of their files, or of ids that are these names
    without .jpg; by default told by what is there.
    """
    text_column: str | None = None
    """A table's column of captions; by default caption, text, title, description or the like, or
    else caption_0, caption_1 and so on.
    """
    max_broken: MaxBroken = MAX_BROKEN
    workers: Natural = 0
    """Processes; 0 is one a core, and two where files are remote, of which one may wait."""
    dry_run: bool = False
    """Only say how tables and folders of images are understood."""
    yes: bool = False
    """Fetch without asking."""
    quiet: bool = False
    """No progress bar."""


def main(config: Fetch) -> None:
    images, lines = look(config)
    print(*lines, sep="\n", end="\n" if lines else "")
    if config.dry_run:
        return
    paths = [*images]
    identities = identities_of([path for path, own in images.items() if own is None])
    identities |= {path: own.identity() for path, own in images.items() if own}
    columns = [config.image_column, config.text_column]
    # What the shards of a file depend on.
    wanted = {
        path: {
            "edition": EDITION if is_remote(path) else LOCAL_EDITION[path.suffix == TAR],
            "source": _source(path),
            "identity": identities[path],
            "side": config.side,
            "quality": QUALITY,
            "text_column": columns if config.image_column else config.text_column,
        }
        for path in paths
    }
    sizes = {path: size_in(identity) for path, identity in identities.items()}
    notes = {path: _read_finished(config, wanted[path]) for path in paths}
    if todo := [path for path in paths if notes[path] is None]:
        _ask(config, todo, sizes, len(paths))
    errors: list[InputError] = []
    (config.out / NOTES).mkdir(parents=True, exist_ok=True)
    several = 2 if any(map(is_remote, paths)) else 1
    workers = config.workers or processors() * several
    total = sum(sizes[path] for path in todo)
    bar = progress(desc="fetching", total=total, unit="B", unit_scale=True, disable=config.quiet)
    with only_writer(config.out), bar, worker_pool(max(1, min(workers, len(todo)))) as apply:
        write = functools.partial(write_shards, config)
        for (path, _), result in apply(write, [(path, wanted[path]) for path in todo]):
            if isinstance(result, OSError):  # a full disk stops the others too
                raise result
            if isinstance(result, InputError):
                errors.append(result)
            bar.update(sizes[path])
    finished = [_read_finished(config, note) for note in wanted.values()]
    _print_summary(config, [note for note in finished if note])
    if errors:
        first = "; ".join(map(str, errors[:MAX_NAMED]))
        raise InputError(f"{len(errors)} of {len(paths)} files were not fetched: {first}")


def look(config: Fetch) -> tuple[dict[Path, UserImages | None], list[str]]:
    """The sources, local ones that are no shards as they are understood, and lines that say how.
    Raises: InputError for all that can be refused before anything is fetched.
    """
    paths = list(itertools.chain.from_iterable(map(_files, config.sources)))
    names = Counter(path.stem for path in paths)
    if twice := next((name for name, count in names.items() if count > 1), None):
        raise InputError(f"two sources are called {twice}; fetch them into folders of their own")
    _refuse_others(config, paths)
    images: dict[Path, UserImages | None] = dict.fromkeys(paths)
    lines: list[str] = []
    for path in paths:
        if path.suffix != TAR and not is_remote(path):
            own = images[path] = open_user_images(path, config.image_column, config.text_column)
            own.check(config.max_broken)
            lines.append(str(own))
    found = [path for path in paths if images[path] and str(path) not in config.sources]
    for other in sorted({each for path in found for each in visible(path.parent)} - {*paths}):
        if other.suffix in {path.suffix for path in found} and split_of(other.stem, is_part=True):
            lines.append(f"{other}: of another split, not read")
    return images, lines


def _refuse_others(config: Fetch, paths: Sequence[Path]) -> None:
    """Raises InputError if the output folder has shards of other sources: a training reads all."""
    if (config.out / NOTES).is_symlink():
        raise InputError(f"{config.out / NOTES} is a link, which is not followed; remove it")
    noted = {path.stem for path in paths if _note_file(config, path).exists()}
    for path in paths:
        source = _read_note(_note_file(config, path)).get("source", _source(path))
        if source != _source(path):
            raise InputError(f"{config.out} has shards of {source}; choose another --out")
    for shard in sorted(config.out.glob(f"*{TAR}")):
        if not noted & _stems(shard.name):
            raise InputError(f"{shard} was not fetched from these sources; choose another --out")


def _files(pattern: str) -> list[Path]:
    folder = Path(pattern)
    if folder.is_dir() and not has_tars(folder):
        return find_user_images(folder)
    paths = expand(pattern)
    for path in paths:
        if path.suffix.lower() not in (TAR, *TABLES) and not path.is_dir():
            raise InputError(f"{path} is neither a shard ({TAR}) nor a table ({', '.join(TABLES)})")
    return paths


def _read_finished(config: Fetch, wanted: dict[str, Any]) -> dict[str, Any] | None:
    """The note of a file, None if its shards are not all there."""
    note = _read_note(_note_file(config, Path(wanted["source"])))
    shards = note.get("shards", {})
    try:
        sizes = {name: (config.out / name).stat().st_size for name in shards}
    except (OSError, ValueError):  # the note may be a stranger's, with any names
        return None
    if not sizes or sizes != shards or not wanted.items() <= note.items():
        return None
    return note


def _read_note(note_file: Path) -> dict[str, Any]:
    """Empty if there is none, or none that is whole."""
    with suppress(FileNotFoundError, InputError):
        note: dict[str, Any] = read_json(note_file, "fetch again", shards=dict)
        return note
    return {}


def _source(path: Path) -> str:
    return url_of(path) if is_remote(path) else str(path.resolve())


def _note_file(config: Fetch, source: Path) -> Path:
    return config.out / NOTES / f"{source.stem}.json"


def _stems(shard: str) -> set[str]:
    """The names that the source of a shard may have, without their suffixes; empty of no name."""
    match = re.fullmatch(rf"(([^/]+?)(-\d{{5,}})?){re.escape(TAR)}", shard)
    return {*match.group(1, 2)} if match else set()


def _ask(config: Fetch, todo: Sequence[Path], sizes: dict[Path, int], total: int) -> None:
    """Say what will be fetched and, if it comes over a network, ask."""
    remote = [path for path in todo if is_remote(path)]
    print(
        f"{len(todo)} of {total} files to fetch, {_gigabytes(sum(sizes[path] for path in todo))}; "
        f"images are reduced to {config.side} pixels on the shorter side (JPEG of quality "
        f"{QUALITY}) and written to {config.out}"
    )
    for folder in dict.fromkeys(path.parent for path in remote):
        print(f"  from {url_of(folder)}{licence_of(folder)}")
    if not remote or config.yes:
        return
    if not sys.stdin.isatty():
        raise InputError("nothing was fetched: give --yes to fetch without being asked")
    if input("Fetch? [y/N] ").strip().lower() not in ("y", "yes"):
        raise InputError("nothing was fetched")


def write_shards(config: Fetch, file: tuple[Path, dict[str, Any]]) -> None:
    """Write the shards of one file, and its note."""
    path, wanted = file
    note_file, is_tar = _note_file(config, path), path.suffix == TAR
    write_atomically(note_file, json.dumps(wanted | {"shards": {}}).encode())
    copy = config.out / NOTES / f"part-{path.name}" if is_remote(path) else path
    counts, broken, shards = Counter[str](), BrokenImages(), {}
    try:
        if copy != path:
            get_file(path, copy, wanted["identity"])
        if is_tar:
            samples, understood = _read_tar(copy), Counter[str]()
        else:
            images = open_user_images(copy, config.image_column, config.text_column)
            samples, understood = images.samples(config.max_broken), images.counts
            broken.add(images.broken.images())
        small = _shrink_images(samples, config.side, counts, broken)
        for number, first in enumerate(small):
            name = path.name if is_tar else f"{path.stem}-{number:05d}{TAR}"
            others = small if is_tar else itertools.islice(small, SHARD_ROWS - 1)
            write_shard(config.out / name, itertools.chain([first], others))
            shards[name] = (config.out / name).stat().st_size
        broken.check(counts["images"] + len(broken), config.max_broken)
    except InputError as error:
        for name in shards:  # of a table that may have fewer when it is mended
            (config.out / name).unlink()
        if copy == path:
            raise
        raise InputError(str(error).replace(str(copy), wanted["source"])) from None
    finally:
        if copy != path:
            copy.unlink(missing_ok=True)
    if not shards:
        raise InputError(f"{wanted['source']} holds no image that can be read")
    if not is_tar:  # the table may have had more shards
        for shard in config.out.glob(f"{glob.escape(path.stem)}-*{TAR}"):
            is_its = path.stem in _stems(shard.name) and not _note_file(config, shard).exists()
            if is_its and shard.name not in shards:
                shard.unlink()
    first_of = {cause: key for key, cause in reversed(broken.causes.items())}
    left_out = {cause: [count, first_of[cause]] for cause, count in broken.counts().items()}
    note = wanted | {"shards": shards, **counts, "broken": left_out}
    note |= {"understood": understood} if understood else {}
    write_atomically(note_file, json.dumps(note, indent=1).encode() + b"\n")


def _shrink_images(
    samples: Iterable[Sample], side: int, counts: Counter[str], broken: BrokenImages
) -> Iterator[tuple[str, dict[str, bytes]]]:
    """The samples with small images; those without one are left out and counted by cause."""
    for key, members in samples:
        written, images = {}, 0
        try:
            for suffix, content in members.items():
                if isinstance(content, PictureError):
                    raise content
                if f".{suffix}" not in IMAGE_SUFFIXES:
                    written[suffix] = content
                    continue
                counts["read"] += len(content)
                small = shrink_picture(content, side, QUALITY)
                written[suffix if small is content else "jpg"] = small
                images += 1
                counts["reduced"] += small is not content
            if not images:
                raise PictureError("no image", "a sample without one")
        except PictureError as error:
            broken.add([BrokenImage(f"{key}: {error.detail}", error.cause)])
            continue
        counts["images"] += 1
        yield key, written


def _read_tar(path: Path) -> Iterator[Sample]:
    """The samples of a tar, whose members need not follow each other."""
    with open(path, "rb") as file:
        # All headers first: it is faster, and a tar that is cut short costs no work.
        members_of: dict[str, list[tuple[tarfile.TarInfo, str]]] = {}
        for member, key, _, fault in walk(path, file):
            members_of.setdefault(key, []).append((member, fault))
        for key, members in members_of.items():
            sample: dict[str, bytes | PictureError] = {}
            for member, fault in members:
                suffix = member.name.rpartition("/")[2].partition(".")[2].lower()
                content = b"" if fault else os.pread(file.fileno(), member.size, member.offset_data)
                sample[suffix] = PictureError(fault, member.name) if fault else content
            yield key, sample


def _print_summary(config: Fetch, notes: Sequence[dict[str, Any]]) -> None:
    images, small = (sum(note.get(name, 0) for note in notes) for name in ("images", "reduced"))
    sizes = [size for note in notes for size in note["shards"].values()]
    before = sum(note.get("read", size_in(note["identity"])) for note in notes)
    print(
        f"{images:,} images in {len(sizes):,} shards, {_gigabytes(sum(sizes))} in place of "
        f"{_gigabytes(before)}; {small:,} were reduced"
    )
    if understood := sum((Counter(note.get("understood", {})) for note in notes), Counter[str]()):
        print(f"of {counted(understood)}")
    broken, first = Counter[str](), dict[str, str]()
    for note in notes:
        for cause, (count, key) in note.get("broken", {}).items():
            broken[cause] += count
            first.setdefault(cause, f"{key} of {note['source']}")
    for cause, count in broken.items():
        print(f"  {count:,} left out: {cause} (first: {printable(first[cause])})")
    print(f"shards: {config.out}")


def _gigabytes(size: float) -> str:
    if size < 1e7:
        return f"{size / 1e6:.2f} MB"
    return f"{size / 1e9:.2f} GB" if size < 1e10 else f"{size / 1e9:,.0f} GB"


if __name__ == "__main__":
    run(Fetch, main)
