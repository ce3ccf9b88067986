"""Energy is what the counters of the processor packages grew by, also where one began again."""

from pathlib import Path

import pytest

from catlip.system import energy
from catlip.system.energy import EnergyMeter
from catlip.system.machine import Usage


@pytest.fixture
def packages(tmp_path: Path, monkeypatch) -> list[Path]:
    """The folders of two packages, and of a part of the first, which is in it."""
    monkeypatch.setattr(energy, "RAPL", tmp_path)
    folders = [tmp_path / name for name in ("intel-rapl:0", "intel-rapl:1", "intel-rapl:0:0")]
    for folder in folders:
        folder.mkdir()
        (folder / "energy_uj").write_text("900000\n")
        (folder / "max_energy_range_uj").write_text("1000000\n")
    return folders


def test_packages_add_up_and_a_counter_may_begin_again(packages: list[Path]) -> None:
    meter = EnergyMeter()
    assert meter.joules() == {"processor": 0}
    (packages[0] / "energy_uj").write_text("950000\n")
    (packages[1] / "energy_uj").write_text("100000\n")  # 200,000 further round
    (packages[2] / "energy_uj").write_text("999999\n")
    assert meter.joules() == {"processor": pytest.approx(0.25)}
    assert EnergyMeter().joules() == {"processor": 0}


def test_a_record_has_the_energy_where_a_counter_can_be_read(packages: list[Path]) -> None:
    usage = Usage()
    (packages[0] / "energy_uj").write_text("999000\n")
    assert usage.so_far()["energy_j"] == {"processor": pytest.approx(0.099)}


def test_without_counters_nothing_is_measured(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(energy, "RAPL", tmp_path)
    assert EnergyMeter().joules() == {}
    assert "energy_j" not in Usage().so_far()
    (tmp_path / "intel-rapl:0").mkdir()  # where only root may read, or without a counter
    assert EnergyMeter().joules() == {}
