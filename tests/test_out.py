"""An --out that nothing can be written to is refused before any work is done."""

import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from catlip.cli import InputError
from catlip.program.out import check_out


@dataclass(frozen=True)
class ToFile:
    out: Path = Path("runs/record.json")


@dataclass(frozen=True)
class ToFolder:
    out: Path = Path("runs/folder")
    dry_run: bool = False


@pytest.mark.parametrize("config", [ToFile, ToFolder])
@pytest.mark.parametrize("out", ["", "/", ".", ".."])
def test_a_path_without_a_name_is_refused(config, out) -> None:
    with pytest.raises(InputError, match="--out"):
        check_out(config(Path(out)))


def test_a_folder_where_a_file_is_meant_and_the_reverse(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("here")
    check_out(ToFolder(tmp_path / "folder"))
    check_out(ToFile(tmp_path / "file"))
    for config in (ToFile(tmp_path / "folder"), ToFolder(tmp_path / "file")):
        with pytest.raises(InputError, match=str(config.out)):
            check_out(config)
    with pytest.raises(InputError, match=str(tmp_path / "file")):
        check_out(ToFolder(tmp_path / "file" / "run" / "deep"))


def test_folders_that_are_not_there_yet_will_be_made(tmp_path: Path) -> None:
    check_out(ToFile(tmp_path / "a" / "b" / "record.json"))
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a user to become another one")
def test_a_folder_of_someone_else_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    child = os.fork()
    if not child:
        status = 1
        try:
            for folder in (tmp_path, *tmp_path.parents):
                os.access(folder, os.X_OK)
            os.setgid(65534)
            os.setuid(65534)
            check_out(ToFolder(tmp_path / "run", dry_run=True))  # writes nothing
            try:
                check_out(ToFolder(tmp_path / "run"))
            except (InputError, PermissionError):
                status = 0
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
