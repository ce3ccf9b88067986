"""The copy of a run elsewhere has its last checkpoint."""

import json
from pathlib import Path

import pytest

from catlip.cli import InputError
from catlip.pretraining.mirror import INDEX, Mirror


class Run:
    """A run's folder and its mirror, whose name has characters that are wildcards elsewhere."""

    def __init__(self, folder: Path, *steps: int, seed: int = 0):
        self.folder, self.elsewhere = folder, folder.parent / "else[where]? *"
        (folder / "checkpoints").mkdir(parents=True)
        for step in steps:
            self.add(step)
        identity = {"seed": seed, "sizes": (1, 2)}
        self.mirror = Mirror(Path(f"file://{self.elsewhere}"), folder, identity)

    def add(self, step: int) -> None:
        (self.folder / "checkpoints" / f"step-{step:08d}.pt").write_text(f"{step}")
        (self.folder / "log.jsonl").write_text(f"{step}\n")

    def content(self) -> dict[str, str]:
        return content(self.folder)


def content(folder: Path) -> dict[str, str]:
    paths = [path for path in folder.rglob("*") if path.is_file() and path.name != INDEX]
    return {path.relative_to(folder).as_posix(): path.read_text() for path in paths}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    run = Run(tmp_path / "run", 1, 2)
    run.mirror.send()
    return run


def test_mirror_holds_the_folder_and_nothing_half_written(run: Run) -> None:
    assert content(run.elsewhere) == run.content()
    run.add(3)
    (run.folder / "checkpoints" / "step-00000001.pt").unlink()
    run.mirror.send()
    assert content(run.elsewhere) == run.content()
    (run.folder / "checkpoints" / ".writing.tmp").write_text("half")
    (run.folder / ".lock").write_text("4711")
    run.mirror.send()
    assert not [name for name in content(run.elsewhere) if "tmp" in name or "lock" in name]


@pytest.mark.parametrize("here", [(), (1,), (1, 2), (2, 3)])
def test_newer_copy_is_fetched(run: Run, here: tuple[int, ...]) -> None:
    other = Run(run.folder.with_name("other"), *here)
    before = other.content()
    other.mirror.fetch(restart=False)
    assert other.content() == (before if max(here, default=0) >= 2 else run.content())
    other.add(5)
    other.mirror.send()
    assert content(run.elsewhere) == other.content()


def test_restart_fetches_nothing_and_takes_its_place(run: Run) -> None:
    restarted = Run(run.folder.with_name("other"))
    restarted.mirror.fetch(restart=True)
    assert restarted.content() == {}
    assert not (run.elsewhere / INDEX).exists()
    restarted.add(1)
    restarted.mirror.send()
    assert content(run.elsewhere) == restarted.content()


def test_files_outside_the_run_are_not_fetched(run: Run) -> None:
    index = {"files": ["../../escaped"], "run": run.mirror.run}
    (run.elsewhere / INDEX).write_text(json.dumps(index))
    with pytest.raises(InputError, match=f"{INDEX} names files outside"):
        run.mirror.fetch(restart=False)


@pytest.mark.parametrize("steps", [(), (1,), (7,)])
def test_copy_of_another_run_is_replaced_by_a_restart_alone(run, steps):
    before = content(run.elsewhere) | {INDEX: (run.elsewhere / INDEX).read_text()}
    other = Run(run.folder.with_name("other"), *steps, seed=1)
    here = other.content()
    with pytest.raises(InputError, match=f"{INDEX} .*seed 0 there, 1 now"):
        other.mirror.fetch(restart=False)
    with pytest.raises(InputError, match=INDEX):
        other.mirror.send()  # started at the same time
    after = content(run.elsewhere) | {INDEX: (run.elsewhere / INDEX).read_text()}
    assert (after, other.content()) == (before, here)
    other.mirror.fetch(restart=True)
    other.add(8)
    other.mirror.send()
    assert content(run.elsewhere) == other.content()
    with pytest.raises(InputError, match=INDEX):
        run.mirror.send()


@pytest.mark.parametrize(
    "damaged", ["", "[]", "[" * 10**5, '{"files": 3}', '{"files": ["a"]', '{"files": []}']
)
def test_damaged_index_is_one_line(damaged: str, run: Run) -> None:
    (run.elsewhere / INDEX).write_text(damaged)
    with pytest.raises(InputError, match=f"{INDEX} is damaged"):
        run.mirror.fetch(restart=False)


def test_failed_copy_is_sent_the_next_time(run: Run, capsys, monkeypatch) -> None:
    def fails(source: Path, path: Path) -> None:
        raise InputError(f"{path} cannot be written")

    run.add(3)
    with monkeypatch.context() as patched:
        patched.setattr("catlip.pretraining.mirror.put_file", fails)
        run.mirror.send_or_warn()
    assert "cannot be written" in capsys.readouterr().err
    run.mirror.send()
    assert content(run.elsewhere) == run.content()
