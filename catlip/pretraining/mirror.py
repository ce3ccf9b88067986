"""A copy of a run's folder behind a URL, for a machine whose disk is lost with it.

After each checkpoint, and at the end, new files of the folder are copied, and last an index of the
files that belong together. A run goes on from the copy if that has a newer checkpoint.
"""

import json
import os
import re
import secrets
import shutil
import sys
from pathlib import Path, PurePosixPath
from typing import Any

from catlip.cli import InputError
from catlip.data.remote import get_file, names_in, put_file, read_file, remove_file, write_file
from catlip.system.lock import NAME as LOCK
from catlip.system.urls import url_of
from catlip.training.checkpoint import complete, step_of
from catlip.training.distributed import Place, in_turn
from catlip.training.folder import refuse_another

INDEX = "mirror.json"
CHECKPOINT = re.compile(r"checkpoints/step-(\d+)")
FETCHED = ".fetched.tmp"  # in the run's folder, holds the files until all are fetched


class Mirror:
    """The copy at `url` of the run in `folder`, which `config` determines; for the main process."""

    def __init__(self, url: Path, folder: Path, config: dict[str, Any]):
        self.url, self.folder, self.config = url, folder, config
        self._record = url.with_name(f"{url.name}.json")
        # The files of the copy, with size and time of change of the local file when it was sent;
        # None if an earlier process sent it.
        self.there: dict[str, tuple[int, int] | None] = {}
        self.writer = secrets.token_hex(8)
        self.earlier_writer: str | None = None

    def fetch(self, restart: bool) -> None:
        """Fetch the run if the copy is ahead; with `restart`, this run replaces the copy."""
        index = self._index()
        if index is None:
            return
        self.earlier_writer = index.get("writer")
        self.there = dict.fromkeys(index["files"])
        if restart:
            remove_file(self.url / INDEX)
            return
        refuse_another(self.url, index["config"], self.config, option="--mirror")
        here = [step_of(path) for path in complete(self.folder / "checkpoints")]
        there = [int(match[1]) for name in self.there if (match := CHECKPOINT.match(name))]
        if max(there, default=-1) > max(here, default=-1):
            self._fetch_all()

    def send(self) -> None:
        """Copy files that changed since they were last sent; delete those that are gone here."""
        index = self._index()
        if index and index.get("writer") not in (self.writer, self.earlier_writer):
            raise InputError(
                f"another run writes to {url_of(self.url)}; stop it, or give --mirror another URL"
            )
        files = self._files()
        for name, version in files.items():
            if self.there.get(name) != version:
                put_file(self.folder / name, self.url / name)
                self.there[name] = version
        index = {"config": self.config, "files": list(files), "writer": self.writer}
        write_file(self.url / INDEX, json.dumps(index).encode())
        for name in self.there.keys() - files.keys():
            remove_file(self.url / name)
            del self.there[name]

    def send_or_warn(self) -> None:
        """As `send`, but a failure only prints a warning: the next call sends what is missing."""
        try:
            self.send()
        except (InputError, OSError) as error:
            print(f"warning: not mirrored, the run goes on: {error}", file=sys.stderr)

    def send_record(self, record: Path) -> None:
        self.send()
        put_file(record, self._record)

    def _index(self) -> dict[str, Any] | None:
        """The index of the copy as it is now; None if there is no copy."""
        # Listed, because in a search for its name the characters * ? [ would be wildcards.
        if INDEX not in names_in(self.url):
            return None
        path = self.url / INDEX
        try:
            index: dict[str, Any] = json.loads(read_file(path))
            names = [PurePosixPath(name) for name in index["files"]]
            if any(name.is_absolute() or ".." in name.parts for name in names):
                raise ValueError("names of files outside the run")
            dict(index["config"])
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise InputError(
                f"{url_of(path)} is not the index of a run ({error}); give another --mirror"
            ) from None
        return index

    def _files(self) -> dict[str, tuple[int, int]]:
        files = {}
        for path in sorted(self.folder.rglob("*")):
            name = path.relative_to(self.folder)
            hidden = any(part.endswith(".tmp") or part == LOCK for part in name.parts)
            if path.is_file() and not hidden:
                about = path.stat()
                files[name.as_posix()] = (about.st_size, about.st_mtime_ns)
        return files

    def _fetch_all(self) -> None:
        fetched = self.folder / FETCHED
        shutil.rmtree(fetched, ignore_errors=True)
        for name in self.there:
            (fetched / name).parent.mkdir(parents=True, exist_ok=True)
            get_file(self.url / name, fetched / name)
        if "weights.safetensors" in self.there and self._record.name in names_in(self.url.parent):
            # The record of a finished run, which could not be made again.
            get_file(self._record, fetched / FETCHED)
            os.replace(fetched / FETCHED, self.folder.with_name(f"{self.folder.name}.json"))
        checkpoints = complete(fetched / "checkpoints")
        others = [fetched / name for name in self.there if not CHECKPOINT.match(name)]
        for source in [*others, *checkpoints]:
            target = self.folder / source.relative_to(fetched)
            target.parent.mkdir(parents=True, exist_ok=True)
            if not target.is_dir():  # a checkpoint that is here already
                os.replace(source, target)
        shutil.rmtree(fetched)
        print(f"fetched from {url_of(self.url)}: {checkpoints[-1].stem}", file=sys.stderr)


def open_mirror(
    url: Path | None, folder: Path, config: dict[str, Any], *, place: Place, restart: bool
) -> Mirror | None:
    """Open the mirror in the main process, and fetch the run if its copy is ahead."""
    if url is None:
        return None
    mirror = Mirror(url, folder, config) if place.is_main else None
    in_turn(lambda: mirror.fetch(restart) if mirror else None, place)
    return mirror
