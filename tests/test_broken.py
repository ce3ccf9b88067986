"""What cannot be read is counted by cause, survives a resume, and too much ends a run."""

from contextlib import nullcontext
from pathlib import Path

import pytest

from catlip.cli import InputError
from catlip.program.broken import BrokenImage, BrokenImages, BrokenLog, read_broken


def some(count: int, cause: str = "cut short", first: int = 0) -> list[BrokenImage]:
    return [BrokenImage(f"0.tar:{number}", cause) for number in range(first, first + count)]


@pytest.mark.parametrize(
    ("count", "seen", "fraction", "is_refused"),
    [
        (10, 20, 0.01, False),
        (11, 1_099, 0.01, True),
        (11, 1_100, 0.01, False),
        (1, 10_000, 0.0, True),
        (0, 10, 0.0, False),
    ],
)
def test_ten_broken_images_are_never_too_many(count, seen, fraction, is_refused) -> None:
    broken = BrokenImages()
    broken.add(some(count))
    with pytest.raises(InputError) if is_refused else nullcontext():
        broken.check(seen, fraction)


def test_resumed_run_knows_what_it_met_before_its_checkpoint(tmp_path: Path) -> None:
    log = BrokenLog(tmp_path, 0, writes=True)
    log.add(5, some(2))
    log.add(10, some(3))
    with open(tmp_path / "broken.jsonl", "a") as file:
        file.write('{"step": 10, "key": "half a li')  # a kill
    resumed = BrokenLog(tmp_path, 5, writes=True)
    assert resumed.met.images() == some(2)
    resumed.add(10, some(3))
    assert read_broken(tmp_path).images() == some(3)
    other_rank = BrokenLog(tmp_path, 10, writes=False)
    other_rank.add(15, some(9))
    assert len(other_rank.met) == 9
    assert len(read_broken(tmp_path)) == 3
