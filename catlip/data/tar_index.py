"""Finds where the members of each sample of a tar lie, in one walk over its headers.

Nothing is extracted. Members that are not files (links, devices, folders) are skipped. A sample
whose name is not UTF-8, or that would fill the memory of a worker, is left out and counted. A tar
whose paths lead out of it, or that would never end, is refused with one line.

The walk also computes a digest of the shard: of every name and size, of all captions, and of the
end of each image, which is in the block before the next header and so costs no extra reading. The
digest does not depend on where the shard is.
"""

import io
import itertools
import json
import os
import re
import tarfile
from array import array
from collections import defaultdict
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from catlip.cli import InputError
from catlip.data.layout import IMAGE_SUFFIXES

EDITION = 4  # raised whenever the same tar gives another index than before
KINDS = ("image", "text", "meta")
KIND_OF = dict.fromkeys(IMAGE_SUFFIXES, "image") | {".txt": "text", ".cls": "text", ".json": "meta"}
ABSENT = -1
BUFFER_BYTES = 4096  # read at a time: some headers with the captions between them
# A larger member is left out: no photograph or caption of this size, but the memory of a worker.
MAX_KIND_BYTES = {"image": 2**26, "text": 2**20, "meta": 2**20}
DIGEST_DIGITS = 32
NOT_UTF8 = "a name that is not UTF-8"
NUMBERED = re.compile(r"caption_([0-9]{1,6})")
SURROGATES = re.compile("[\ud800-\udfff]")  # what tarfile reads of bytes that are not UTF-8


def index_tar(path: Path, raw: io.FileIO | None = None) -> dict[str, Any]:
    """The fields of `catlip.data.shards.Shard`, but for path and identity, of a tar, which may be
    open as `raw`. Raises: InputError when it is not a whole tar, empty or hostile.
    """
    try:
        raw = raw or io.FileIO(path)
    except PermissionError:
        raise InputError(f"shard {path} cannot be read: no permission") from None
    rows: dict[str, int] = {}
    spans = {kind: array("q") for kind in KINDS}
    left_out: defaultdict[str, set[str]] = defaultdict(set)  # cause -> keys
    first: dict[str, str] = {}  # cause -> member
    digest = sha256()
    multiline: set[int] = set()  # samples whose text may be several captions
    with io.BufferedReader(raw, BUFFER_BYTES) as file:
        for member, key, kind, fault in walk(path, file):
            if fault:
                left_out[fault].add(key)
                first.setdefault(fault, ascii(member.name))
                continue
            row = 2 * rows.setdefault(key, len(rows))
            if row == len(spans[kind]):
                for span in spans.values():
                    span.extend((ABSENT, 0))
            spans[kind][row], spans[kind][row + 1] = member.offset_data, member.size
            content = _digest_part(file.fileno(), member, kind)
            digest.update(b"%s\n%d\n%s" % (member.name.encode(), member.size, content))
            if kind == "text" and b"\n" in content:
                multiline.add(row // 2)
        index: dict[str, Any] = {
            kind: np.array(spans[kind], dtype=np.int64).reshape(-1, 2) for kind in KINDS
        }
        text, meta = index["text"], index["meta"]
        num_captions = np.ones(len(rows), dtype=np.int64)
        only_json = np.flatnonzero((text[:, 0] == ABSENT) & (meta[:, 0] != ABSENT))
        for row in multiline | set(only_json.tolist()):
            num_captions[row] = len(captions_at(file.fileno(), text[row], meta[row]))
    # A sample with a member that is left out is left out as a whole.
    faulty = set[str]().union(*left_out.values())
    kept = [key not in faulty for key in rows]
    if not all(kept):
        digest.update(bytes(kept))
    if not any(kept):
        raise InputError(
            f"shard {path} holds no samples (members named KEY.jpg|png|webp|gif, KEY.txt, KEY.json)"
        )
    skipped = {cause: (len(left_out[cause]), name) for cause, name in first.items()}
    index["num_captions"] = num_captions
    index = {name: array[kept] for name, array in index.items()}
    index |= {"keys": [*itertools.compress(rows, kept)], "skipped": skipped}
    return index | {"digest": digest.hexdigest()[:DIGEST_DIGITS]}


def walk(path: Path, file: BinaryIO) -> Iterator[tuple[tarfile.TarInfo, str, str, str]]:
    """Each member that is part of a sample, with the sample's key, its kind (of `KINDS`) and why it
    is left out, or "". Raises: InputError for a tar that is cut short or hostile.
    """
    size, count = os.fstat(file.fileno()).st_size, 0
    try:
        with tarfile.open(fileobj=file, mode="r:", encoding="utf-8") as tar:
            while member := tar.next():
                tar.members.clear()  # type: ignore[attr-defined]  # tarfile would keep them all
                count += 1
                if tar.offset <= member.offset:  # the walk would go back, and never end
                    raise tarfile.ReadError(f"{member.name!a} has {member.size} bytes")
                if not member.isreg():
                    continue
                if member.offset_data + member.size > size:
                    raise tarfile.ReadError(
                        f"it is cut short inside {member.name!a}, its member {count}"
                    )
                key, kind = _key_and_kind(member.name)
                if not kind:
                    continue
                fault, limit = "", MAX_KIND_BYTES[kind]
                if SURROGATES.search(member.name):
                    fault = NOT_UTF8
                elif member.size > limit:
                    fault = f"a member of over {limit / 2**20:g} MiB"
                yield member, key, kind, fault
            file.seek(tar.offset)
            # tarfile takes a header that is cut short for the end of the tar.
            if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
                raise tarfile.ReadError(
                    f"it is cut short, without an end mark after its {count} members"
                )
    # ValueError, LookupError and MemoryError are of malformed extended headers.
    except (tarfile.TarError, ValueError, LookupError, MemoryError) as error:
        raise InputError(f"shard {path} is refused: {error}; download it again") from None


def _digest_part(file: int, member: tarfile.TarInfo, kind: str) -> bytes:
    """The part of a member's content in the digest: all of a caption, the end of an image."""
    last = member.offset_data + (member.size - 1) // tarfile.BLOCKSIZE * tarfile.BLOCKSIZE
    end = os.pread(file, member.offset_data + member.size - last, last) if member.size else b""
    if kind == "image" or member.size <= tarfile.BLOCKSIZE:
        return end
    return os.pread(file, member.size, member.offset_data) + end


def captions_at(file: int, text: NDArray[np.int64], meta: NDArray[np.int64]) -> list[str | None]:
    """The captions of a sample at these spans; [None] if it has none. They are the lines of its
    `.txt`, or all of it as one caption if the `.json` repeats it (img2dataset does, for texts with
    line breaks), or the captions in the `.json`.
    """
    caption, lines = None, []
    if text[0] != ABSENT:
        caption = read_member(file, text).decode("utf-8", "replace")
        lines = nonblank_lines(caption) if "\n" in caption else []
        if len(lines) < 2:
            return [caption]
    try:
        metadata = read_metadata(read_member(file, meta))
    except ValueError:
        metadata = {}
    if caption is not None:
        return [caption] if metadata.get("caption") == caption else [*lines]
    return captions_in(metadata)


def captions_in(metadata: dict[str, object]) -> list[str | None]:
    """`caption` or else `captions`, a string or a list; or else `caption_0`, `caption_1` and so on
    in the order of their numbers. Blank captions beside others do not count.
    """
    value = metadata.get("caption")
    if value is None:
        value = metadata.get("captions")
    if value is None:
        numbered = [(int(n[1]), name) for name in metadata if (n := NUMBERED.fullmatch(name))]
        value = [metadata[name] for _, name in sorted(numbered)]
    values = value if isinstance(value, list) else [value]
    texts = [str(text) for text in values if text is not None]
    return [*(text for text in texts if text.strip())] or [*texts[:1]] or [None]


def nonblank_lines(text: str) -> list[str]:
    """The lines of a text that are not blank, without spaces at their ends."""
    return [line.strip() for line in text.split("\n") if line.strip()]


def read_metadata(content: bytes) -> dict[str, object]:
    """The content of a `.json`, {} of none. Raises: ValueError when it is not a JSON object."""
    try:
        metadata = json.loads(content or b"{}")
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(metadata, dict):
        raise ValueError("it is not an object")
    return metadata


def read_member(file: int, span: NDArray[np.int64]) -> bytes:
    """The bytes of the member at a span; empty where it is absent."""
    offset, size = span.tolist()
    return b"" if offset == ABSENT else os.pread(file, size, offset)


def _key_and_kind(name: str) -> tuple[str, str | None]:
    """WebDataset's rule: the key is the member's path up to the first dot of its last part."""
    # Not pathlib, which keeps every name that it has seen in memory.
    *folders, last = [part for part in name.split("/") if part not in ("", ".")] or [""]
    if name.startswith("/") or ".." in (*folders, last) or "\n" in name:
        raise tarfile.ReadError(f"its member {name!r} has an unsafe path")
    stem, dot, suffix = last.partition(".")
    return "/".join([*folders, stem]), KIND_OF.get(dot + suffix.lower())
