"""A copy of a run's folder behind a URL, for a machine whose disk is lost with it.

After each checkpoint, and at the end, what is new in the folder is copied, and last an index of the
files that belong together. What is no longer in the folder is then deleted there. A run that finds
there a newer checkpoint than its own folder has goes on from that.
"""

import json
import os
import re
import shutil
import sys
from pathlib import Path, PurePosixPath
from typing import Any

from catlip.cli import InputError
from catlip.data.remote import find_remote, get_file, put_file, read_file, remove_file, write_file
from catlip.system.lock import NAME as LOCK
from catlip.system.urls import url_of
from catlip.training.distributed import Place, in_turn
from catlip.training.folder import refuse_another
from catlip.training.saving.checkpoint import complete, step_of

INDEX = "mirror.json"
CHECKPOINT = re.compile(r"checkpoints/step-(\d+)")
FETCHED = ".fetched.tmp"  # in the run's folder, until all of it is there


class Mirror:
    """The copy at `url` of the run in `folder`; only the main process uses it.

    Args:
        config: what determines the run.
    Raises: InputError, in `fetch` and `send`, that names the URL.
    """

    def __init__(self, url: Path, folder: Path, config: dict[str, Any]):
        self.url, self.folder, self.config = url, folder, config
        self.there: dict[str, tuple[int, int] | None] = {}
        """What is there: name -> size and time of change here when it was sent."""

    def fetch(self, restart: bool) -> None:
        """Fetch the run if its last checkpoint there is newer than here.

        Args:
            restart: fetch nothing; what is there is replaced by this run.
        """
        if not find_remote(url_of(self.url / INDEX)):
            return
        index = _read_index(self.url / INDEX)
        if not restart:
            refuse_another(self.url, index["config"], self.config, option="--mirror")
        self.there = dict.fromkeys(index["files"])
        if restart:
            remove_file(self.url / INDEX)
            return
        here = [step_of(path) for path in complete(self.folder / "checkpoints")]
        matches = [CHECKPOINT.match(name) for name in self.there]
        if max((int(match[1]) for match in matches if match), default=-1) > max(here, default=-1):
            self._fetch_all()

    def send(self) -> None:
        """Copy what has changed since it was last sent."""
        files = self._files()
        for name, version in files.items():
            if self.there.get(name) != version:
                put_file(self.folder / name, self.url / name)
                self.there[name] = version
        index = {"config": self.config, "files": list(files)}
        write_file(self.url / INDEX, json.dumps(index).encode())
        for name in self.there.keys() - files.keys():
            remove_file(self.url / name)
            del self.there[name]

    def send_or_warn(self) -> None:
        """The same, with a warning when it fails: the next time sends what is missing."""
        try:
            self.send()
        except (InputError, OSError) as error:
            print(f"warning: not mirrored, the run goes on: {error}", file=sys.stderr)

    def send_record(self, record: Path) -> None:
        """Copy all that is left, and the record of the run, which lies beside its folder."""
        self.send()
        put_file(record, self.url.with_name(f"{self.url.name}.json"))

    def _files(self) -> dict[str, tuple[int, int]]:
        """The files of the run, checkpoints first, with size and time of change."""
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
    """The mirror, in the main process, after the run was fetched from it if it was ahead; all ranks
    call it.

    Returns: None in the others, and without a URL.
    """
    if url is None:
        return None
    mirror = Mirror(url, folder, config) if place.is_main else None
    in_turn(lambda: mirror.fetch(restart) if mirror else None, place)
    return mirror


def _read_index(path: Path) -> dict[str, Any]:
    try:
        index: dict[str, Any] = json.loads(read_file(path))
        names = [PurePosixPath(name) for name in index["files"]]
        if any(name.is_absolute() or ".." in name.parts for name in names):
            raise ValueError("names of files outside the run")
        dict(index["config"])
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise InputError(
            f"{url_of(path)} is no index of a run ({error}); give another --mirror"
        ) from None
    return index
