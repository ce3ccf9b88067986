"""The copy of a run elsewhere is that of its last checkpoint, and of no other run."""

import json
from pathlib import Path

import pytest

from catlip.cli import InputError
from catlip.pretraining.mirror import INDEX, Mirror

CONFIG = {"seed": 0}


class Run:
    """A folder with two checkpoints, a file and a folder, and its mirror.

    The name of the mirror has characters that are wildcards elsewhere.
    """

    def __init__(self, folder: Path, elsewhere: Path, *steps: int):
        self.folder, self.elsewhere = folder, elsewhere
        (folder / "checkpoints").mkdir(parents=True)
        for step in steps:
            self.add(step)
        self.mirror = Mirror(Path(f"file://{elsewhere}"), folder, CONFIG)

    def add(self, step: int) -> None:
        path = self.folder / "checkpoints" / f"step-{step:08d}"
        if step % 2:
            path.with_suffix(".pt").write_text(f"{step}")
        else:
            path.mkdir()
            (path / "part").write_text(f"{step}")
        (self.folder / "log.jsonl").write_text(f"{step}\n")

    def content(self) -> dict[str, str]:
        return content(self.folder)


def content(folder: Path) -> dict[str, str]:
    paths = [path for path in folder.rglob("*") if path.is_file() and path.name != INDEX]
    return {path.relative_to(folder).as_posix(): path.read_text() for path in paths}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    run = Run(tmp_path / "run", tmp_path / "else[where]? *", 1, 2)
    run.mirror.send()
    return run


@pytest.fixture
def other(run: Run) -> Run:
    """An empty folder with the same mirror."""
    return Run(run.folder.with_name("other"), run.elsewhere)


@pytest.fixture
def of_another_seed(other: Run) -> Run:
    """The same of a run with another config."""
    other.mirror.config = {"seed": 1}
    return other


def test_it_holds_the_folder_and_not_what_was_deleted_nor_what_is_half_written(run: Run) -> None:
    assert content(run.elsewhere) == run.content()
    run.add(3)
    (run.folder / "checkpoints" / "step-00000001.pt").unlink()
    run.mirror.send()
    assert content(run.elsewhere) == run.content()
    (run.folder / "checkpoints" / ".sharded.tmp").mkdir()
    (run.folder / "checkpoints" / ".sharded.tmp" / "part").write_text("half")
    (run.folder / ".lock").write_text("4711")
    run.mirror.send()
    assert not [name for name in content(run.elsewhere) if "tmp" in name or "lock" in name]


@pytest.mark.parametrize("here", [(), (1,), (1, 2), (2, 3)])
def test_what_is_newer_is_fetched_and_nothing_else(
    run: Run, other: Run, here: tuple[int, ...]
) -> None:
    for step in here:
        other.add(step)
    before = other.content()
    other.mirror.fetch(restart=False)
    if max(here, default=0) >= 2:
        assert other.content() == before
    else:
        assert other.content() == run.content()
    other.add(5)
    other.mirror.send()
    assert content(run.elsewhere) == other.content()


def test_the_record_of_a_finished_run_is_fetched_too(run: Run, other: Run) -> None:
    record = run.folder.with_name("run.json")
    record.write_text("record")
    run.mirror.send_record(record)
    other.mirror.fetch(restart=False)
    assert not other.folder.with_name("other.json").exists()
    (run.folder / "weights.safetensors").write_text("weights")
    run.add(3)
    run.mirror.send_record(record)
    other.mirror.fetch(restart=False)
    assert other.folder.with_name("other.json").read_text() == "record"
    assert other.content() == run.content()


def test_a_restart_fetches_nothing_and_takes_its_place(of_another_seed: Run) -> None:
    restarted = of_another_seed
    restarted.mirror.fetch(restart=True)
    assert restarted.content() == {}
    assert not (restarted.elsewhere / INDEX).exists()
    restarted.add(1)
    restarted.mirror.send()
    assert content(restarted.elsewhere) == restarted.content()


def test_of_two_runs_with_one_mirror_the_later_one_writes(run: Run, other: Run) -> None:
    other.mirror.fetch(restart=False)
    for step in (3, 5):
        other.add(step)
        other.mirror.send()
        run.add(step + 1)
        with pytest.raises(InputError, match="another run"):
            run.mirror.send()
        assert content(run.elsewhere) == other.content()


@pytest.mark.parametrize(
    "index", ["", "[]", json.dumps({"config": CONFIG, "files": ["../../escaped"]})]
)
def test_an_index_that_is_none_is_one_line(other: Run, index: str) -> None:
    (other.elsewhere / INDEX).write_text(index)
    with pytest.raises(InputError, match=INDEX):
        other.mirror.fetch(restart=False)


def test_what_could_not_be_sent_is_sent_the_next_time(run: Run, capsys, monkeypatch) -> None:
    def fails(source: Path, path: Path) -> None:
        raise InputError(f"{path} cannot be written")

    run.add(3)
    with monkeypatch.context() as patched:
        patched.setattr("catlip.pretraining.mirror.put_file", fails)
        run.mirror.send_or_warn()
    assert "cannot be written" in capsys.readouterr().err
    assert "log.jsonl" in content(run.elsewhere)
    run.mirror.send()
    assert content(run.elsewhere) == run.content()
