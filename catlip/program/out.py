"""Checks `--out` before any work is done."""

import dataclasses
import os
from pathlib import Path
from typing import Any

from catlip.program.errors import InputError
from catlip.system.urls import is_remote


def check_out(config: Any) -> None:
    """Check that the config's `out` can be written.

    Raises: InputError when it has no name, is of the wrong kind, or lies where this user cannot
    write.

    The default shows whether a file or a folder is meant: that of a file has a suffix.
    """
    out = getattr(config, "out", None)
    if not isinstance(out, Path) or getattr(config, "dry_run", False):
        return
    if is_remote(out):
        raise InputError(f"--out {out} is remote; give a path on this machine")
    default = next(field.default for field in dataclasses.fields(config) if field.name == "out")
    example = f", such as {default}" if isinstance(default, Path) else ""
    if out.name in ("", ".."):
        raise InputError(
            f"--out '{out}' has no file name; give the path of a new file or folder{example}"
        )
    if isinstance(default, Path) and out.exists() and out.is_dir() == bool(default.suffix):
        there, meant = ("folder", "file") if out.is_dir() else ("file", "folder")
        raise InputError(f"--out {out} is a {there}; give the path of a {meant}{example}")
    above = next(folder for folder in out.absolute().parents if os.path.lexists(folder))
    if not above.is_dir():
        raise InputError(f"--out {out} cannot be written: {above} is not a folder")
    inside = out if out.is_dir() else above
    if not os.access(inside, os.W_OK | os.X_OK):
        raise InputError(f"--out {out} cannot be written: no permission to write in {inside}")
