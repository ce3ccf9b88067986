"""What is measured in a budget of seconds, and what is said of the rest."""

import tarfile
import time

import pytest

from bench import device
from bench.device import Device, Part, measure_in_time, parts_of
from bench.measuring.deadline import in_time
from catlip.cli import InputError


def ended(part: Part, left: float) -> str:
    return measure_in_time(part, time.monotonic() + left, quiet=True)


def fails(left: float) -> None:
    raise InputError("no such encoder")


def test_a_part_is_measured_if_the_time_is_enough_and_what_fails_is_said() -> None:
    done: list[float] = []
    part = Part("steps", 60, done.append)
    assert "left out" in ended(part, 50)
    assert not done
    assert "measured" in ended(part, 70)
    assert done == [pytest.approx(70, abs=1)]
    assert "no such encoder" in ended(Part("steps", 1, fails), 60)
    assert "two GPUs" in ended(Part("ranks", 1, fails, missing="needs two GPUs"), 60)


def test_a_part_that_takes_longer_than_expected_is_cut_off_when_the_budget_ends() -> None:
    begin = time.monotonic()
    assert "cut off" in ended(Part("steps", 1, lambda _: time.sleep(10)), 5.2)
    assert time.monotonic() - begin < 8


def test_a_part_that_would_end_too_late_keeps_the_rounds_that_it_has() -> None:
    rounds: list[int] = []

    def takes_turns(left: float) -> None:
        for number in in_time(range(1000)):
            time.sleep(0.1)
            rounds.append(number)

    assert "measured" in ended(Part("steps", 1, takes_turns), 7)
    assert 1 < len(rounds) < 25
    assert len(list(in_time(range(1000)))) == 1000  # the limit is over


def test_the_archive_has_the_records(tmp_path, monkeypatch) -> None:
    def measure(left: float) -> None:
        (tmp_path / "device" / "steps").mkdir(parents=True)
        (tmp_path / "device" / "steps" / "0.json").write_text("{}")

    monkeypatch.setattr(device, "parts_of", lambda *_, **__: [Part("steps", 0, measure)])
    device.main(Device(budget=10**6, device="cpu", out=tmp_path / "device", quiet=True))
    with tarfile.open(tmp_path / "device.tar.gz") as packed:
        assert "device/steps/0.json" in packed.getnames()


@pytest.mark.parametrize("gpu", [False, True])
def test_every_part_has_its_bench_and_data_is_asked_for(gpu, tmp_path) -> None:
    parts = parts_of(Device(out=tmp_path), gpu=gpu)
    assert len({part.name for part in parts}) == len(parts)
    assert [part.missing for part in parts if "shards" in part.name] == ["needs --data"]
    assert sum(part.seconds for part in parts) < 12 * 60
