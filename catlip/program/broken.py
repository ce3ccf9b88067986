"""Images that could not be read: which, why, and when there are too many.

A program leaves them out and goes on; its record has their number by cause and the first of them. A
training lists all in `broken.jsonl` in its folder.
"""

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import tyro

from catlip.cli import InputError
from catlip.program.ranges import Fraction
from catlip.records.record import Record
from catlip.system.files import write_atomically
from catlip.system.foreign import read_json

MAX_BROKEN = 0.01  # the default of --max-broken
# The type of that flag, with its help.
MaxBroken = Annotated[
    Fraction,
    tyro.conf.arg(
        help="Fraction of the images, or rows of a table, that may be broken and left out; unless "
        "it is 0, ten broken ones are always allowed."
    ),
]
FEW = 10  # broken images that are always allowed, unless --max-broken is 0
MAX_LISTED = 100  # in a record
MAX_NAMED = 3  # in a message
BROKEN_FILE = "broken.jsonl"
TYPES = {"step": int, "key": str, "cause": str}  # of the fields of its lines


class BrokenImage(NamedTuple):
    """PATH:KEY of a sample, or the path of a file, and why, in a phrase that can be counted."""

    key: str
    cause: str

    @classmethod
    def of(cls, path: Path, key: str, error: ValueError | OSError) -> "BrokenImage":
        """The image `key` of the shard or folder at `path`, for which `error` was raised."""
        named = key if key.startswith(str(path)) else f"{path}:{key}"
        return cls(named, cause_of(error))


def cause_of(error: Exception) -> str:
    """The `cause` of a PictureError of catlip.data.decode, or a phrase for another error."""
    # An error of the system; Pillow raises OSErrors without strerror for bad content.
    if isinstance(error, OSError) and error.strerror:
        return f"file not readable ({error.strerror})"
    return str(getattr(error, "cause", "cut short" if "truncated" in str(error) else "damaged"))


def too_many(broken: int, seen: int, max_broken: float) -> bool:
    """Whether too much is broken: more than the fraction `max_broken`, and, above 0, than FEW."""
    return broken > max(FEW if max_broken else 0, max_broken * seen)


@dataclass
class BrokenImages:
    """Broken images, or rows, each once: key -> cause, in the order in which they were seen."""

    causes: dict[str, str] = field(default_factory=dict)
    what: str = "images"

    def __len__(self) -> int:
        return len(self.causes)

    def add(self, images: Iterable[BrokenImage]) -> list[BrokenImage]:
        """Add images, and return those that are new."""
        new = [image for image in dict.fromkeys(images) if image.key not in self.causes]
        self.causes.update(new)
        return new

    def images(self) -> list[BrokenImage]:
        return [BrokenImage(key, cause) for key, cause in self.causes.items()]

    def counts(self) -> dict[str, int]:
        """Cause -> number of images, the most frequent cause first."""
        return dict(Counter(self.causes.values()).most_common())

    def listed(self, most: int = MAX_LISTED) -> list[str]:
        return [f"{key} ({cause})" for key, cause in list(self.causes.items())[:most]]

    def summary(self) -> str:
        causes = ", ".join(f"{count:,} {cause}" for cause, count in self.counts().items())
        return (
            f"{len(self):,} {self.what} cannot be read: {causes}; first: "
            f"{', '.join(self.listed(MAX_NAMED))}"
        )

    def check(self, seen: int, max_broken: float) -> None:
        """Raises InputError when too many of `seen` images are broken."""
        if too_many(len(self), seen, max_broken):
            raise InputError(
                f"{self.summary()}; of {seen:,} {self.what}, that is more than max-broken "
                f"{max_broken:g}: mend them or download them again, or allow more"
            )

    def note(self, record: Record) -> None:
        if self.causes:
            record.samples["broken_keys"] = self.listed()


class BrokenLog:
    """All broken images that a training `met` up to `step`, in a file of its folder."""

    def __init__(self, folder: Path, step: int, writes: bool):
        self.path, self.writes = folder / BROKEN_FILE, writes
        lines = [line for line in read_lines(self.path, **TYPES) if line["step"] <= step]
        self.met = BrokenImages({line["key"]: line["cause"] for line in lines})
        if writes and self.path.exists():
            write_atomically(self.path, "".join(json.dumps(line) + "\n" for line in lines).encode())

    def add(self, step: int, images: Iterable[BrokenImage]) -> None:
        new = self.met.add(images)
        if new and self.writes:
            with open(self.path, "a") as file:
                file.writelines(
                    json.dumps({"step": step, **image._asdict()}) + "\n" for image in new
                )


def read_broken(folder: Path) -> BrokenImages:
    lines = read_lines(folder / BROKEN_FILE, **TYPES)
    return BrokenImages({line["key"]: line["cause"] for line in lines})


def read_lines(path: Path, **fields: type) -> list[dict[str, Any]]:
    """The lines, JSON objects with these fields, of a file that a program goes on writing, without
    one that a kill cut short; [] without a file. Raises: InputError for a damaged line.
    """
    if not path.is_file():
        return []
    return [
        read_json(path, f"delete its line {number}", content=line, **fields)
        for number, line in enumerate(path.read_bytes().splitlines(), 1)
        if line.endswith(b"}")
    ]
