"""A copy of a run's folder behind a URL, for a machine whose disk is lost with it.

After each checkpoint, and at the end, changed files of the folder are copied, and last an index of
the files that belong together. A run goes on from the copy if that has a newer checkpoint.
"""

import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path

from catlip.cli import InputError
from catlip.data.remote import get_file, names_in, put_file, read_file, remove_file, write_file
from catlip.system.lock import NAME as LOCK
from catlip.system.urls import url_of
from catlip.training.checkpoint import step_of

INDEX = "mirror.json"
CHECKPOINTS = "checkpoints/"


class Mirror:
    """The copy at `url` of the run in `folder`; for the main process."""

    def __init__(self, url: Path, folder: Path):
        self.url, self.folder = url, folder
        # The files of the copy, with size and time of change of the local file when it was sent;
        # None if an earlier process sent it.
        self.sent: dict[str, tuple[int, int] | None] = {}

    def fetch(self, restart: bool) -> None:
        """Fetch the run if the copy is ahead; with `restart`, this run replaces the copy."""
        # Listed, because in a search for its name the characters * ? [ would be wildcards.
        if INDEX not in names_in(self.url):
            return
        names: list[str] = json.loads(read_file(self.url / INDEX))["files"]
        if any(name.startswith("/") or ".." in Path(name).parts for name in names):
            raise InputError(f"{url_of(self.url / INDEX)} names files outside the run")
        self.sent = dict.fromkeys(names)
        if restart:
            remove_file(self.url / INDEX)
        elif _newest(names) > _newest(self._files()):
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
        files = self._files()
        for name, version in files.items():
            if self.sent.get(name) != version:
                put_file(self.folder / name, self.url / name)
                self.sent[name] = version
        write_file(self.url / INDEX, json.dumps({"files": list(files)}).encode())
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

    def _files(self) -> dict[str, tuple[int, int]]:
        files = {}
        for path in sorted(self.folder.rglob("*")):
            if path.is_file() and path.suffix != ".tmp" and path.name != LOCK:
                about = path.stat()
                files[path.relative_to(self.folder).as_posix()] = (about.st_size, about.st_mtime_ns)
        return files


def _newest(names: Iterable[str]) -> int:
    """The step of the newest checkpoint among files of a run; -1 without one."""
    steps = [step_of(Path(name)) for name in names if name.startswith(f"{CHECKPOINTS}step-")]
    return max(steps, default=-1)
