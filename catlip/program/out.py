"""Checks `--out` before any work is done."""

import os
from pathlib import Path
from typing import Any

from catlip.program.errors import InputError
from catlip.system.urls import is_remote


def check_out(config: Any) -> None:
    """Raises: InputError when the config's `out` is of the wrong kind or cannot be written.

    The default shows whether a file or a folder is meant: that of a file has a suffix.
    """
    out = getattr(config, "out", None)
    if not isinstance(out, Path) or getattr(config, "dry_run", False):
        return
    if is_remote(out) or out.name in ("", ".."):
        raise InputError(f"--out '{out}': give the path of a new file or folder on this machine")
    default = type(config).__dataclass_fields__["out"].default
    if isinstance(default, Path) and out.exists() and out.is_dir() == bool(default.suffix):
        there, meant = ("folder", "file") if out.is_dir() else ("file", "folder")
        raise InputError(f"--out {out} is a {there}; give the path of a {meant}")
    above = next(folder for folder in out.absolute().parents if os.path.lexists(folder))
    inside = out if out.is_dir() else above
    if not inside.is_dir() or not os.access(inside, os.W_OK | os.X_OK):
        raise InputError(f"--out {out}: {inside} is not a folder that you may write to")
