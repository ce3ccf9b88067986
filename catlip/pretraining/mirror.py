"""A copy of a run's folder behind a URL, for a machine whose disk is lost with it.

After each checkpoint, and at the end, changed files of the folder are copied, and last an index,
which lists the files that belong together and names their run. A run goes on from its copy if the
copy has a newer checkpoint; the copy of another run is neither fetched nor replaced.
"""

import json
import os
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from catlip.cli import InputError
from catlip.data.remote import get_file, names_in, put_file, read_file, remove_file, write_file
from catlip.program.identity import changes
from catlip.system.lock import NAME as LOCK
from catlip.system.urls import url_of

INDEX = "mirror.json"
CHECKPOINTS = "checkpoints/"
CHECKPOINT = re.compile(rf"{CHECKPOINTS}step-(\d+)\.pt")


class Mirror:
    """The copy at `url` of the run in `folder`, which has this identity; for the main process."""

    def __init__(self, url: Path, folder: Path, identity: dict[str, Any]):
        self.url, self.folder = url, folder
        self.run = json.loads(json.dumps(identity))  # as it is when it is read
        # The files of the copy, with size and time of change of the local file when it was sent;
        # None if an earlier process sent it.
        self.sent: dict[str, tuple[int, int] | None] = {}

    def fetch(self, restart: bool) -> None:
        """Fetch the run if the copy is ahead; with `restart`, this run replaces the copy.
        Raises: InputError if the copy is of another run, or its index is damaged.
        """
        if not (index := self._index(replaced=restart)):
            return
        names, newest = index["files"], _newest(self._files())
        self.sent = dict.fromkeys(names)
        if restart:
            remove_file(self.url / INDEX)
        elif _newest(names) > newest:
            # Checkpoints last: a run that is killed before fetches all files again.
            for name in sorted(names, key=lambda name: name.startswith(CHECKPOINTS)):
                fetched, target = self.folder / ".fetched.tmp", self.folder / name
                target.parent.mkdir(parents=True, exist_ok=True)
                get_file(self.url / name, fetched)
                os.replace(fetched, target)
            url = url_of(self.url)
            print(f"fetched from {url}: step-{_newest(names):08d}", file=sys.stderr)

    def send(self) -> None:
        """Copy files that changed since they were last sent; delete those that are gone here."""
        self._index()  # refuses to replace the copy of another run
        files = self._files()
        for name, version in files.items():
            if self.sent.get(name) != version:
                put_file(self.folder / name, self.url / name)
                self.sent[name] = version
        write_file(self.url / INDEX, json.dumps({"files": list(files), "run": self.run}).encode())
        for name in self.sent.keys() - files.keys():
            remove_file(self.url / name)
            del self.sent[name]

    def send_or_warn(self) -> None:
        """As `send`, but a failure only prints a warning: the next call sends what is missing."""
        try:
            self.send()
        except (InputError, OSError) as error:
            print(f"warning: not mirrored, the run goes on: {error}", file=sys.stderr)

    def send_record(self, record: Path) -> None:
        self.send()
        put_file(record, self.url.with_name(f"{self.url.name}.json"))

    def _index(self, replaced: bool = False) -> dict[str, Any] | None:
        """The `files` of the copy, and its `run`; another run only if that is to be `replaced`."""
        # Listed, because in a search for its name the characters * ? [ would be wildcards.
        if INDEX not in names_in(self.url):
            return None
        url, content = url_of(self.url / INDEX), read_file(self.url / INDEX)
        try:
            index: dict[str, Any] = json.loads(content)
            outside = [name for name in index["files"] if {"/", ".."} & {*Path(name).parts}]
            changed = changes(index["run"], self.run)
        except (ValueError, LookupError, TypeError, RecursionError):
            raise InputError(f"{url} is damaged; remove it") from None
        if outside:
            raise InputError(f"{url} names files outside the run")
        if changed and not replaced:
            raise InputError(f"{url} is of another run ({changed}); give another --mirror")
        return index

    def _files(self) -> dict[str, tuple[int, int]]:
        files = {}
        for path in sorted(self.folder.rglob("*")):
            if path.is_file() and path.suffix != ".tmp" and path.name != LOCK:
                about = path.stat()
                files[path.relative_to(self.folder).as_posix()] = (about.st_size, about.st_mtime_ns)
        return files


def _newest(names: Iterable[str]) -> int:
    """The step of the newest checkpoint among files of a run; -1 without one."""
    checkpoints = filter(None, map(CHECKPOINT.fullmatch, names))
    return max((int(checkpoint[1]) for checkpoint in checkpoints), default=-1)
