"""Where the members of each sample of a tar lie: one walk over its headers, bounded whoever wrote it.

Nothing is extracted and no member is read. What is not a sample (links, devices, folders) is passed over; what could lead
out of the tar, fill the memory or never end is refused in one line.
"""

import io
import tarfile
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from catlip.cli import InputError

IMAGE_SUFFIXES = ("jpg", "jpeg", "png", "webp")
KINDS = ("image", "text", "meta")
ABSENT = -1
MAX_MEMBERS = 1_000_000  # of one tar; a shard has some thousands
MAX_MEMBER_BYTES = 2**30  # of one image or caption
MAX_HEADER_BYTES = 2**20  # of the long names and extended headers that a tar may have


@dataclass(frozen=True)
class TarIndex:
    """The samples of a tar, in its order.

    Attributes:
        keys: [N] sample keys.
        image, text, meta: [N, 2] int64, offset and size in bytes of the image, of the `.txt` (or `.cls`) and of the `.json`
            member; -1 where absent.
    """

    keys: list[str]
    image: NDArray[np.int64]
    text: NDArray[np.int64]
    meta: NDArray[np.int64]


def index_tar(path: Path) -> TarIndex:
    """Walk a tar. Raises: InputError when it is not a tar, cut short, empty, or hostile."""
    rows: dict[str, int] = {}
    spans = {kind: array("q") for kind in KINDS}
    size = path.stat().st_size
    for member in _files(path):
        if member.offset_data + member.size > size:
            raise InputError(f"shard {path} is cut short inside {member.name} ({len(rows)} samples begin before it)")
        key, kind = _key_and_kind(path, member.name)
        if not kind:
            continue
        row = 2 * rows.setdefault(key, len(rows))
        if row == len(spans[kind]):
            for span in spans.values():
                span.extend((ABSENT, 0))
        spans[kind][row], spans[kind][row + 1] = member.offset_data, member.size
    if not rows:
        raise InputError(f"shard {path} holds no samples (members named KEY.jpg|png|webp, KEY.txt, KEY.json)")
    return TarIndex(list(rows), *(np.array(spans[kind], dtype=np.int64).reshape(-1, 2) for kind in KINDS))


def _files(path: Path) -> Iterator[tarfile.TarInfo]:
    """The regular files of a tar, forgotten as they pass. Raises: InputError."""
    count = 0
    try:
        with _Headers(io.FileIO(path)) as file, tarfile.open(fileobj=file, mode="r:") as tar:
            while member := tar.next():
                tar.members.clear()  # type: ignore[attr-defined]  # tarfile would keep them all
                count += 1
                if count > MAX_MEMBERS:
                    raise InputError(f"shard {path} is refused: over {MAX_MEMBERS:,} members; split it")
                if member.size > MAX_MEMBER_BYTES or tar.offset <= member.offset:
                    raise InputError(f"shard {path} is refused: its member {member.name!r} says it has {member.size:,} bytes")
                if member.isreg():
                    yield member
            file.seek(tar.offset)
            if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):  # tarfile takes a header cut in two for the end
                raise InputError(f"shard {path} is cut short: no end mark after its {count} members")
    except tarfile.TarError as error:
        raise InputError(f"shard {path} is not a whole tar file: {error}") from None


class _Headers(io.BufferedReader):
    """A file of which only headers are read: a size that a header claims is no reason to fill the memory."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or not 0 <= size <= MAX_HEADER_BYTES:
            raise tarfile.ReadError(f"a header of {size} bytes")
        return super().read(size)


def _key_and_kind(path: Path, name: str) -> tuple[str, str | None]:
    """WebDataset's rule: the key is the member's path up to the first dot of its last part."""
    *folders, last = [part for part in name.split("/") if part not in ("", ".")] or [""]  # pathlib keeps every name
    if name.startswith("/") or ".." in (*folders, last) or "\n" in name:
        raise InputError(f"shard {path} is refused: the path of its member {name!r} escapes")
    stem, _, suffix = last.partition(".")
    suffix = suffix.lower()
    kind = "image" if suffix in IMAGE_SUFFIXES else {"txt": "text", "cls": "text", "json": "meta"}.get(suffix)
    return "/".join([*folders, stem]), kind
