"""The bench times a training alone and beside a busy process, each way to wait in a process of its
own.
"""

import os

import pytest

from bench import busy_machine
from bench.busy_machine import (
    SETTINGS,
    BusyMachine,
    Setting,
    busy_process,
    time_in_a_process,
    waiting,
)
from catlip.cli import InputError


def test_a_setting_is_that_of_its_process_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    setting = Setting("one thread", {"OMP_NUM_THREADS": "1", "GOMP_SPINCOUNT": "0"})
    timed = time_in_a_process(setting, num_steps=1)
    assert timed["threads"] == 1
    assert timed["seconds"] > 0
    assert os.environ["OMP_NUM_THREADS"] == "7"


def test_the_busy_process_ends_with_the_block() -> None:
    before = children_of(os.getpid())
    with busy_process():
        (started,) = children_of(os.getpid()) - before
    assert started not in children_of(os.getpid())


def children_of(pid: int) -> set[str]:
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return set(file.read().split())


def test_times_are_compared_with_libgomp_s_own_alone() -> None:
    rows = []
    for number in range(3):
        for setting, alone in zip(SETTINGS, (10.0, 11.0, 12.0, 13.0), strict=True):
            row = {"setting": setting.name, "round": number}
            rows.append(row | {"busy": False, "threads": 2, "seconds": alone})
            rows.append(row | {"busy": True, "threads": 1, "seconds": 4 * alone})
    settings = [waiting(rows, setting) for setting in SETTINGS]
    assert [way.alone_ratio.value for way in settings] == [1.0, 1.1, 1.2, 1.3]
    assert [way.busy_ratio.value for way in settings] == [4.0, 4.4, 4.8, 5.2]
    assert {way.busy_threads for way in settings} == {1}


def test_the_default_is_what_a_user_gets() -> None:
    """It adds nothing to the environment: what `import catlip` sets is measured."""
    (default,) = [setting for setting in SETTINGS if setting.chosen_threads]
    assert default.environment == {}


@pytest.mark.parametrize("numbers", [{"num_steps": 0}, {"num_rounds": 0}])
def test_nothing_to_time_is_refused(numbers: dict[str, int]) -> None:
    with pytest.raises(InputError, match="--num-steps"):
        BusyMachine(**numbers)


def test_it_writes_a_record(
    tmp_path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def timed(setting: Setting, num_steps: int, busy: bool) -> dict[str, float]:
        return {"seconds": 2.0 * num_steps, "threads": 2}

    monkeypatch.setattr(busy_machine, "time_in_a_process", timed)
    busy_machine.main(BusyMachine(num_steps=1, num_rounds=2, out=tmp_path, quiet=True))
    (path,) = tmp_path.glob("*.json")
    assert f"wrote {path}" in capsys.readouterr().out
