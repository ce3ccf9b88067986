"""`python -m reports merge`: copies records from other machines into one folder, and overwrites
nothing.

Records are copied byte for byte, so each still holds its machine, its revision and its original
name; `--by` adds who made it. A second merge of the same folders copies nothing.
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from catlip.cli import InputError
from catlip.results.run import Problem, Run, slug, text
from catlip.system.foreign import UnreadableError, read_regular
from catlip.table import clipped
from reports.read.records import BY, read_records

LONGEST_NAME = 255  # bytes of a file name, on every file system in common use
REVISION, DEVICE, DIGEST = 12, 32, 12  # characters of each in a file name


@dataclass(frozen=True)
class Merge:
    """Copy the records of several folders into one; files that are no complete record are listed
    with the reason.

    python -m reports merge from-a100/runs from-h100/runs --out runs/together

    python -m reports merge /media/stick/runs --out runs --by "Ann Example"

    If another record already has the name, device and git revision are added to the name. The
    report averages all runs under one root: merge only runs of one experiment, and give the report
    other experiments as separate roots.
    """

    folders: tyro.conf.Positional[tuple[Path, ...]]
    """Folders that hold <scale>/<kind>/<name>.json."""
    out: Path
    """The folder that the records are copied to; what it already holds is not changed."""
    by: str = ""
    """Who made these records; the page shows it. A record that already names its maker keeps that
    name.
    """


@dataclass(frozen=True)
class Merged:
    """What a merge did: (source, path in the merged folder) of the records that were copied and of
    those that were already there, and the files that were left out.
    """

    copied: tuple[tuple[str, Path], ...]
    there: tuple[tuple[str, Path], ...]
    left_out: tuple[Problem, ...]


def merge(config: Merge) -> None:
    """Merge the folders, and print what was done with each record."""
    merged = merge_folders(config.folders, config.out, config.by)
    for source, target in merged.copied:
        has_its_name = target.name == Path(source).name
        why = "" if has_its_name else ", because another record has its name"
        print(f"copied: {clipped(source, 160)} -> {clipped(str(target), 240)}{why}")
    for source, target in merged.there:
        print(f"already there: {clipped(source, 160)} -> {clipped(str(target), 240)}")
    for problem in merged.left_out:
        print(f"left out: {clipped(problem.path, 160)}: {clipped(problem.reason, 160)}")
    counts = (
        f"{len(merged.copied)} copied, {len(merged.there)} already there, {len(merged.left_out)} "
        "left out"
    )
    print(f"{clipped(str(config.out), 240)}: {counts}")


def merge_folders(folders: Sequence[Path], out: Path, by: str = "") -> Merged:
    """Copy every record below `folders` to the same path below `out`, or to a longer name if
    another record has that path.

    Args:
        by: the maker of records that name none; "" leaves all records as they are.
    Returns: what was copied, what was there before, and what was left out.
    Raises: InputError if a folder does not exist, or has no files where records would be; OSError
        if `out` cannot be written.
    """
    if not folders:
        raise InputError("no folder is given; give those that hold <scale>/<kind>/<name>.json")
    records = read_records(folders)
    if not records.every and not records.problems:
        raise InputError(f"no records in {', '.join(map(str, folders))}")
    copied: list[tuple[str, Path]] = []
    there: list[tuple[str, Path]] = []
    left_out = list(records.problems)
    held: dict[Path, dict[str, Path]] = {}
    for record in records.every:
        try:
            content = read_regular(Path(record.path))
        except (UnreadableError, OSError) as error:  # it could be read a moment ago
            left_out.append(Problem(record.path, f"cannot be read again: {error}"))
            continue
        folder = out / Path(os.path.relpath(record.path, record.root)).parent
        digest = _digest(content)
        if folder not in held:
            held[folder] = _held(folder)
        if digest in held[folder]:
            there.append((record.path, held[folder][digest]))
        elif (target := _free(folder, _names(record, digest))) is None:
            reason = "another record has its name, and the longer names are taken or too long"
            left_out.append(Problem(record.path, reason))
        else:
            _put(_signed(content, by) if by and not record.by else content, target)
            held[folder][digest] = target
            copied.append((record.path, target))
    return Merged(tuple(copied), tuple(there), tuple(left_out))


def _held(folder: Path) -> dict[str, Path]:
    """Digest -> path of the records in a folder, so that a record that an earlier merge renamed is
    not copied again.
    """
    held: dict[str, Path] = {}
    for path in sorted(folder.glob("*.json")):
        # A file that cannot be read is no record, so it is no earlier copy of one.
        with contextlib.suppress(UnreadableError, OSError, ValueError, RecursionError):
            held[_digest(read_regular(path))] = path
    return held


def _digest(content: bytes) -> str:
    """The SHA-256 of a record's content, without the name of its maker."""
    held = json.loads(content)
    if isinstance(held, dict):
        held.pop(BY, None)
    return hashlib.sha256(json.dumps(held, sort_keys=True).encode()).hexdigest()


def _signed(content: bytes, by: str) -> bytes:
    """The record with its maker's name, formatted as every record is."""
    return json.dumps(json.loads(content) | {BY: by}, indent=1).encode() + b"\n"


def _names(record: Run, digest: str) -> list[str]:
    """File names to try for a record: its own, then with device and revision, then with digest."""
    device = slug(record.where)[:DEVICE]
    revision = slug(text(record.environment, "revision"))[:REVISION]
    stem = Path(record.path).name.removesuffix(".json")
    longer = "-".join(part for part in (stem, device, revision) if part)
    return [f"{name}.json" for name in (stem, longer, f"{longer}-{digest[:DIGEST]}")]


def _free(folder: Path, names: Sequence[str]) -> Path | None:
    fit = (folder / name for name in names if len(os.fsencode(name)) <= LONGEST_NAME)
    return next((path for path in fit if not os.path.lexists(path)), None)


def _put(content: bytes, path: Path) -> None:
    """Write a file that appears whole or not at all, and never replaces another."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".merging.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(content)
        os.link(temporary, path)  # unlike a rename, this fails if the path exists
    finally:
        temporary.unlink(missing_ok=True)
