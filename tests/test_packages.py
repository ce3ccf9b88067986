"""Packages are fetched by their registries' own clients; here from local files."""

import json
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from functools import partial
from hashlib import sha256
from pathlib import Path

import pytest

from catlip.cli import InputError
from catlip.system.cache import cache_dir
from catlip.system.packages import fetch_npm, fetch_wheel

WRONG = "0" * 64


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("CATLIP_CACHE", str(tmp_path / "cache"))


def write_wheel(path: Path) -> None:
    """A minimal wheel that pip accepts."""
    about = {
        "METADATA": "Metadata-Version: 2.1\nName: words\nVersion: 1.0\n",
        "WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "RECORD": "",
    }
    with zipfile.ZipFile(path, "w") as wheel:
        for name, content in about.items():
            wheel.writestr(f"words-1.0.dist-info/{name}", content)


@pytest.fixture(params=["pip", "npm"])
def words(request, tmp_path) -> tuple[Path, Callable[[str], Path]]:
    """A package of each registry: its file, and what fetches it if it has this digest."""
    if request.param == "pip":
        write_wheel(origin := tmp_path / "words-1.0-py3-none-any.whl")
        return origin, partial(fetch_wheel, str(origin))
    (folder := tmp_path / "package").mkdir()
    (folder / "package.json").write_text(json.dumps({"name": "words", "version": "1.0.0"}))
    with tarfile.open(origin := tmp_path / "words.tgz", "w:gz") as tar:
        tar.add(folder, "package")
    return origin, partial(fetch_npm, "words", f"file:{origin}")


def kept_files() -> list[Path]:
    return [path for path in cache_dir("packages").rglob("*") if path.is_file()]


def test_package_is_fetched_once_and_again_only_if_it_is_damaged(words):
    origin, fetch = words
    content, digest = origin.read_bytes(), sha256(origin.read_bytes()).hexdigest()
    stored = fetch(digest)
    stored.write_bytes(content[:-10])
    assert fetch(digest) == stored
    origin.unlink()
    assert fetch(digest) == stored
    assert stored.read_bytes() == content
    if origin.suffix == ".whl":
        assert stored.name == origin.name


def test_package_with_another_digest_is_refused_and_runs_nothing(tmp_path):
    write_wheel(wheel := tmp_path / "words-1.0-py3-none-any.whl")
    folder, marker = tmp_path / "hostile", tmp_path / "ran"
    folder.mkdir()
    names = ("prepack", "prepare", "preinstall", "install", "postinstall", "postpack")
    scripts = dict.fromkeys(names, f"touch {marker}")
    (folder / "package.json").write_text(
        json.dumps({"name": "hostile", "version": "1.0.0", "scripts": scripts})
    )
    with pytest.raises(InputError, match=WRONG):
        fetch_npm("hostile", f"file:{folder}", WRONG)
    with pytest.raises(InputError, match=WRONG):
        fetch_wheel(str(wheel), WRONG)
    assert not marker.exists()
    assert kept_files() == []


@pytest.mark.parametrize(
    "fetch",
    [partial(fetch_npm, "no-such-words", "1.0.0"), partial(fetch_wheel, "no-such-words==1.0")],
)
def test_unreachable_registry_is_one_line_that_names_the_package(fetch, monkeypatch):
    nobody = "http://127.0.0.1:9"
    monkeypatch.setenv("npm_config_registry", nobody)
    monkeypatch.setenv("PIP_INDEX_URL", nobody)
    with pytest.raises(InputError) as failure:
        fetch(WRONG)
    assert "no-such-words" in str(failure.value)
    assert "\n" not in str(failure.value)
    assert kept_files() == []


def test_packages_fit_together() -> None:
    """But for what detectron2 asks for and does not need."""
    done = subprocess.run([sys.executable, "-m", "pip", "check"], capture_output=True, text=True)
    fine = ("sal-detectron2", "No broken")
    assert [line for line in done.stdout.splitlines() if not line.startswith(fine)] == []
