"""What is measured in a budget of seconds, whatever happens to a part; what is said of the rest."""

import json
import os
import re
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from bench import device
from bench.device import Device, Part, parts_of, run_in_time
from bench.measuring.deadline import until_deadline
from bench.step_time.config import StepTime
from catlip.cli import InputError
from catlip.records.record import build_name

broken = False  # whether an error has left this process unable to compute, as CUDA's can


def writes(out: Path, name: str, ending: str = "json") -> None:
    if broken:
        raise RuntimeError("an illegal memory access was encountered")
    (out / "steps").mkdir(parents=True, exist_ok=True)
    (out / "steps" / f"{name}.{ending}").write_text("{}")


def breaks() -> None:
    global broken
    broken = True
    raise RuntimeError("an illegal memory access was encountered")


def raises(error: BaseException) -> None:
    raise error


def hangs(deaf: bool, pid: Path) -> None:
    """It has a child, as a communication has ranks."""
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    pid.write_text(str(child.pid))
    if deaf:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})
    time.sleep(600)


def kills(process: Callable[[], int], number: int) -> None:
    os.kill(process(), number)
    time.sleep(600)


def no_gpus(device: str) -> list[str]:
    if device == "cuda":
        raise InputError("torch sees no CUDA device")
    return []


@pytest.fixture
def run_parts(monkeypatch, tmp_path) -> Callable[..., dict[str, str]]:
    """Runs these parts; returns how each ended."""
    tables = []
    monkeypatch.setattr(device, "gpu_names", no_gpus)
    monkeypatch.setattr(device, "print_tables", tables.extend)
    monkeypatch.setattr(device, "START_S", 3.0)
    monkeypatch.setattr(device, "GRACE_S", 2.0)

    def run(*parts: Part, **options: object) -> dict[str, str]:
        monkeypatch.setattr(device, "parts_of", lambda *_: list(parts))
        monkeypatch.setattr(device, "BEGIN", time.monotonic())
        handler = signal.getsignal(signal.SIGTERM)
        try:
            device.main(Device(device="cpu", out=tmp_path / "device", quiet=True, **options))
        finally:
            signal.signal(signal.SIGTERM, handler)
        return {row["part"]: row["ended"] for row in tables[-1].rows}

    return run


def packed(folder: Path) -> set[str]:
    with tarfile.open(folder / "device.tar.gz") as archive:
        owners = {(entry.uid, entry.gid, entry.uname, entry.gname) for entry in archive}
        assert owners == {(0, 0, "", "")}, "it names the user"
        return {Path(name).name for name in archive.getnames() if ".json" in name}


FAILURES: dict[str, tuple[str, Callable[[], object]]] = {
    "exit": ("failed: SystemExit", partial(raises, SystemExit(3))),
    "sticky": ("failed: RuntimeError: an illegal memory access", breaks),
    "killed": ("failed: its process died", partial(kills, os.getpid, signal.SIGKILL)),
    "crashed": ("failed: its process died", partial(kills, os.getpid, signal.SIGSEGV)),
}


def test_failure_of_a_part_costs_no_other_record(run_parts, tmp_path) -> None:
    begin, out, pids = time.monotonic(), tmp_path / "device", []
    hanging = {"hanging": "cut off", "deaf": "killed: it hung"}
    failures = dict(FAILURES)
    for name, ended in hanging.items():
        pids.append(tmp_path / name)
        failures[name] = ended, partial(hangs, name == "deaf", pids[-1])
    parts = [Part("first", 1, partial(writes, out, "first", "json.partial"))]
    for name, (_, fail) in failures.items():
        parts += [Part(name, 1, fail), Part(f"after {name}", 1, partial(writes, out, name))]
    parts.append(Part("too long", 1_000, breaks))  # otherwise what hangs may take all that is left
    ended = run_parts(*parts, budget=200)
    for name, (expected, _) in failures.items():
        assert ended[name].startswith(expected)
        assert ended[f"after {name}"].startswith("measured")
    assert packed(tmp_path) == {"first.json.partial", *(f"{name}.json" for name in failures)}
    assert "in raises" in (out / "parts.txt").read_text()  # where it failed
    for pid in pids:
        state = Path(f"/proc/{pid.read_text()}/stat")
        assert not state.exists() or ") Z " in state.read_text()  # ended, if not yet reaped
    assert time.monotonic() - begin < 200


def test_failed_self_check_ends_in_an_error_after_what_follows(run_parts, tmp_path) -> None:
    out, wrong = tmp_path / "device", partial(raises, InputError("the loss is another one"))
    steps = Part("steps", 1, partial(writes, out, "steps"))
    with pytest.raises(InputError, match="the loss is another one"):
        run_parts(Part(device.SELF_CHECK, 1, wrong), steps)
    assert packed(tmp_path) == {"steps.json"}
    run_parts(Part("another", 1, wrong), steps)
    cut_off = Part(device.SELF_CHECK, 1, partial(raises, KeyboardInterrupt()))
    assert run_parts(cut_off, steps)[device.SELF_CHECK].startswith("cut off")


def test_nothing_but_failures_is_an_error(run_parts, tmp_path) -> None:
    out = tmp_path / "device"
    writes(out, "of an earlier run")
    with pytest.raises(InputError, match="no part was measured"):
        run_parts(Part("steps", 1, partial(raises, ImportError("triton"))))


def test_largest_batch_is_that_of_this_card(monkeypatch, tmp_path) -> None:
    import torch  # not above: each process of the parts would take its seconds

    timed = []
    monkeypatch.setattr(device, "run_bench", timed.append)
    bench = StepTime(device="cpu", out=tmp_path / "step_time", num_steps=20)
    (tmp_path / "memory").mkdir()

    def write(card: str, images: int) -> None:
        metrics = {"largest": {"clip": {"images": images, "predicted": 400}}}
        record = {"kind": "memory", "metrics": metrics}
        path = tmp_path / "memory" / f"vit_b16-b256-bf16-{card}.json"
        path.write_text(json.dumps(record))

    write("torch2.15.0-h200", 800)
    with pytest.raises(InputError, match="no memory record"):
        device.time_largest_batch(bench)
    write(build_name(torch.device("cpu")), 400)
    device.time_largest_batch(bench)
    assert timed == [replace(bench, methods=("clip",), batch_size=376)]


def test_part_that_hangs_when_the_budget_ends_is_killed_before(run_parts, monkeypatch, tmp_path):
    monkeypatch.setattr(device, "RESERVE_S", 30.0)
    begin, out = time.monotonic(), tmp_path / "device"
    hang = Part("hanging", 5, partial(hangs, True, tmp_path / "pid"))
    ended = run_parts(Part("steps", 1, partial(writes, out, "steps")), hang, hang, budget=40)
    assert [how.split(":")[0] for how in ended.values()] == ["measured in 0 s", "left out"]
    assert time.monotonic() - begin < 40
    assert packed(tmp_path) == {"steps.json"}


def test_sigterm_ends_it_with_what_it_has(run_parts, tmp_path) -> None:
    out = tmp_path / "device"
    partial_record = Part("steps", 1, partial(writes, out, "steps", "json.partial"))
    with pytest.raises(KeyboardInterrupt):
        run_parts(partial_record, Part("ends", 60, partial(kills, os.getppid, signal.SIGTERM)))
    assert packed(tmp_path) == {"steps.json.partial"}


def test_part_that_keeps_its_rounds_begins_with_a_third_of_its_time(run_parts, tmp_path) -> None:
    whole = Part("whole", 60, partial(writes, tmp_path / "device", "steps"))
    ended = run_parts(whole, replace(whole, name="rounds", keeps_rounds=True), budget=50)
    assert [how.split()[0] for how in ended.values()] == ["left", "measured"]


def test_plan_says_what_fits(run_parts, tmp_path) -> None:
    never = partial(raises, AssertionError())
    seconds = {"one": 50, "two": 40, "long": 200, "missing": 1, "three": 25}
    parts = [Part(n, s, never, "needs --data" * (n == "missing")) for n, s in seconds.items()]
    ended = run_parts(*parts, budget=120, dry_run=True)
    assert ended["one"] == ended["two"] == "fits"
    assert "only if" in ended["three"]
    assert ended["missing"] == "left out: needs --data"
    assert re.match(r"left out: only \d+ s were left", ended["long"])
    assert not list(tmp_path.iterdir())
    with pytest.raises(InputError, match="nothing was measured"):
        run_parts(*parts[2:], budget=30)


def test_part_that_would_end_too_late_keeps_the_rounds_that_it_has() -> None:
    rounds: list[int] = []

    def takes_turns() -> None:
        for number in until_deadline(range(1000)):
            time.sleep(0.1)
            rounds.append(number)

    ended, _ = run_in_time(takes_turns, 7)
    assert "measured" in ended
    assert 1 < len(rounds) < 25
    assert len(list(until_deadline(range(1000)))) == 1000  # the limit is over


@pytest.mark.parametrize("gpus", [0, 1, 8])
def test_every_part_has_its_bench_and_data_is_asked_for(gpus, tmp_path) -> None:
    parts = parts_of(Device(out=tmp_path), gpus)
    assert len({part.name for part in parts}) == len(parts)
    missing = {"needs --data"} | ({"needs two GPUs"} if gpus == 1 else set())
    assert {part.missing for part in parts} == {"", *missing}
    assert parts[0].name == device.SELF_CHECK
    keeping = " ".join(part.name for part in parts if part.keeps_rounds)
    assert "waterfall" in keeping
    assert not re.search("compiled|memory|largest|communication", keeping)
    if gpus == 1:  # all fits into the default budget
        planned = sum(part.seconds for part in parts if not part.missing)
        assert planned <= Device.budget - device.START_S - device.RESERVE_S
