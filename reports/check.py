"""`python -m reports check`: records that others contributed, before they are added to ours.

Nothing in an archive is trusted: only its `.json` files are unpacked, into a folder that is removed
again, by tarfile's filter for data, and up to a size; no member is run or unpickled.
"""

import re
import sys
import tarfile
import tempfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from catlip.cli import InputError
from catlip.records import claims as rules
from catlip.records.run import Records, Run
from catlip.records.table import clipped, format_number
from catlip.system.foreign import printable
from reports.kinds import KINDS
from reports.numbers import numbers
from reports.pairs import MEASURES
from reports.reading import read_records

MAX_BYTES = 512 * 2**20  # of all that an archive unpacks to
FRACTIONS = {*MEASURES, "top5", "few_label_top1", "data_wait_share", "busy", "busy_before"}
TIMES = {"total_ms", "train_seconds", "seconds_per_image", "step_ms", "images_per_s"}
WITH_DATA = {"pretrain", "linear_probe", "finetune", "readout", "scaling"}
HOME = re.compile(r"(?:/home|/Users)/[^/\s\"']+")
Findings = dict[str, list[str]]  # what is found -> the files


@dataclass(frozen=True)
class Check:
    """Check records that others contributed: errors and doubts. What they show is on the page that
    `python -m reports --records FOLDER` makes of them.

    python -m reports check contributed.tar.gz
    python -m reports check runs/bench/device

    Exits with 1 if there are errors.
    """

    records: tyro.conf.Positional[Path]
    """A .tar.gz of records, as `python -m bench.device` leaves one, or a folder of them."""


@dataclass(frozen=True)
class Checked:
    """What was found, each group by what is found."""

    records: Records
    errors: Findings
    doubts: Findings


def check(config: Check) -> None:
    with _folder(config.records) as folder:
        found = checked(folder)
    lines = [*_lines("errors", found.errors), *_lines("doubts", found.doubts)]
    kinds = len({run.kind for run in found.records.every})
    lines.append(
        f"{len(found.records.every):,} records of {kinds} kinds: {len(found.errors)} errors, "
        f"{len(found.doubts)} doubts"
    )
    print("\n".join(lines))
    if found.errors:
        sys.exit(1)


def _lines(title: str, findings: Mapping[str, Sequence[str]]) -> Iterator[str]:
    yield f"{title}: {len(findings) or 'none'}"
    for words, files in findings.items():
        more = f" and {len(files) - 1:,} more" if len(files) > 1 else ""
        yield f"  {clipped(words, 400)}" + (f": {clipped(files[0], 120)}{more}" if files else "")


def checked(folder: Path) -> Checked:
    records = read_records([folder])
    errors, doubts = Findings(), Findings()
    for problem in records.problems:
        is_left_out = problem.reason.startswith(("incomplete", "another probe"))
        into = doubts if is_left_out else errors
        into.setdefault(clipped(problem.reason, 160), []).append(_short(problem.path, folder))
    if not records.every:
        errors.setdefault("there is no record", []).append(folder.name)
    once: dict[tuple[object, ...], str] = {}
    contents: dict[str, str] = {}
    for run in records.every:
        path = _short(run.path, folder)
        for words in _implausible(run):
            errors.setdefault(words, []).append(path)
        for words in _doubtful(run):
            doubts.setdefault(words, []).append(path)
        if run.seed is not None and run.kind == "pretrain":
            key = (run.root, run.scale, run.method, run.seed, run.settings_key)
            if (other := once.setdefault(key, path)) != path:
                errors.setdefault(f"the same method, recipe and seed as {other}", []).append(path)
        body = f"{run.kind} {run.raw_metrics} {run.samples}" if run.samples else path
        if (other := contents.setdefault(body, path)) != path:
            errors.setdefault(f"the same numbers as {other}", []).append(path)
    return Checked(records, errors, doubts)


def _short(path: str, folder: Path) -> str:
    with suppress(ValueError):
        return str(Path(path).relative_to(folder))
    return path


def _implausible(run: Run[Any]) -> Iterator[str]:
    """What cannot be: a kind that is not ours, numbers out of their range, and those that are not
    what the rest of the record gives.
    """
    if run.kind not in KINDS:
        yield f"of kind {clipped(run.kind, 40)}, which this version does not know"
        return
    for row in numbers(run):
        value, parts = row["value"], {*row["metric"].split(".")}
        name = " ".join(filter(None, (row.get("method"), row.get("task"), row["metric"])))
        if parts & FRACTIONS and not 0 <= value <= 1:
            yield f"the fraction {clipped(name, 40)} is {format_number(value)}, not in 0 to 1"
        elif parts & TIMES and not parts & {"cv", "n"} and not (isfinite(value) and value > 0):
            yield f"the time {clipped(name, 40)} is {format_number(value)}, not above 0"
    try:
        with np.errstate(all="ignore"):
            yield from run.metrics.faults(run)
    except Exception as error:  # a record of others can make any line fail
        yield f"it cannot be checked: {error}"


def _doubtful(run: Run[Any]) -> Iterator[str]:
    environment = run.environment
    if not environment.device:
        yield "the device is not named"
    if environment.revision in ("", "unknown"):
        yield "the revision of the code is unknown"
    if environment.dirty:
        yield "the code had local changes"
    if environment.doubts and (run.metrics.rounds or run.kind == "pretrain"):
        yield f"its times are in doubt: {', '.join(environment.doubts)}"
    if run.too_few:
        yield f"too few rounds for an interval: {run.too_few}"
    if run.kind in WITH_DATA and not run.raw_environment.get("data"):
        yield "no digest of the data"
    if environment.rules != rules.digest():
        yield "made under other rules for the claims than this version's"
    if run.metrics.broken:
        yield "some images could not be read"
    if home := HOME.search(str(run.raw_config)):
        yield f"names a home folder, {clipped(home[0], 40)}"


@contextmanager
def _folder(path: Path) -> Iterator[Path]:
    """The folder itself, or one with the records of an archive. Raises: InputError if it is
    neither.
    """
    if path.is_dir():
        yield path
        return
    if not path.is_file():  # a pipe would be waited for
        raise InputError(f"{path} is neither a folder nor a .tar.gz")
    with tempfile.TemporaryDirectory(prefix="catlip-check-") as name:
        folder = Path(name) / path.name.partition(".")[0]
        folder.mkdir()
        try:
            with tarfile.open(path, "r:gz") as archive:
                archive.extractall(folder, [*_records_in(archive)], filter="data")
        except InputError:
            raise
        except (tarfile.TarError, EOFError, OSError, ValueError, zlib.error) as error:
            raise InputError(f"{path} cannot be unpacked: {printable(str(error))}") from None
        yield folder


def _records_in(archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    size = 0
    for member in archive:
        size += member.size  # of all: what is not unpacked is read, too
        if size > MAX_BYTES:
            raise InputError(f"{archive.name!s} unpacks to more than {MAX_BYTES >> 20} MiB")
        if member.isfile() and member.name.endswith((".json", ".json.partial")):
            yield member
