"""A record appears whole or not at all."""

import json
import math
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from catlip.cli import InputError
from catlip.recipes.pretrain import CATLIP
from catlip.record import Record, environment, note_begun, plain, write_atomically
from catlip.training.folder import changes


def test_a_record_holds_what_was_put_in_and_where_it_ran(tmp_path: Path) -> None:
    with Record(tmp_path / "kind" / "name.json", "kind", CATLIP["starter"]) as record:
        record.metrics["share"] = np.float32(0.5)
        record.samples["ms"] = [1, np.int64(2), math.nan]
    read = json.loads(record.path.read_text())
    assert read["schema"] == 1
    assert (read["kind"], read["name"]) == ("kind", "name")
    assert read["config"]["encoder"] == "hybrid_mini"
    assert read["metrics"] == {"share": 0.5}
    assert read["samples"]["ms"][:2] == [1, 2]
    named = {"device", "cpu", "python", "packages", "revision", "dirty", "started"}
    assert named <= read["environment"].keys()
    assert not record.partial.exists()


@pytest.mark.parametrize(
    ("told", "name"),
    [
        (
            "cpu family\t: 25\nmodel\t\t: 1\nmodel name\t: AMD EPYC\n",
            "AMD EPYC, family 25, model 1",
        ),
        ("cpu family\t: 6\nmodel\t\t: 143\nmodel name\t: Xeon 8480+\n", "Xeon 8480+"),
        ("CPU part\t: 0xd0c\n", "unknown CPU"),
    ],
)
def test_processors_of_two_generations_and_one_name_are_told_apart(
    monkeypatch: pytest.MonkeyPatch, told: str, name: str
) -> None:
    read = Path.read_text

    def of_another_machine(path: Path, *arguments: str, **options: str) -> str:
        return told if path == Path("/proc/cpuinfo") else read(path, *arguments, **options)

    monkeypatch.setattr(Path, "read_text", of_another_machine)
    assert environment()["cpu"] == name


def test_a_field_that_earlier_records_lack_makes_another_run_only_where_it_is_set() -> None:
    usual = CATLIP["starter"]
    dropping = replace(usual, patch_drop_rate=0.5)
    assert "patch_drop_rate" not in plain(usual) | usual.identity()
    assert plain(dropping)["patch_drop_rate"] == dropping.identity()["patch_drop_rate"] == 0.5
    assert "patch_drop_rate" in changes(usual.identity(), dropping.identity())


def test_a_run_cut_short_leaves_only_the_partial(tmp_path: Path) -> None:
    record = Record(tmp_path / "name.json", "kind", {})
    with pytest.raises(KeyboardInterrupt):
        _fail_after_one_metric(record)
    assert not record.path.exists()
    assert json.loads(record.partial.read_text())["metrics"] == {"so_far": 1}


def _fail_after_one_metric(record: Record) -> None:
    with record:
        record.metrics["so_far"] = 1
        raise KeyboardInterrupt


def test_a_failed_run_does_not_touch_the_record_of_the_last_good_one(tmp_path: Path) -> None:
    for metric in (1, 2):
        with suppress(RuntimeError), Record(tmp_path / "name.json", "kind", {}) as record:
            record.metrics["run"] = metric
            if metric == 2:
                raise RuntimeError
    assert json.loads(record.path.read_text())["metrics"] == {"run": 1}


def test_a_refused_command_leaves_no_partial(tmp_path: Path) -> None:
    record = Record(tmp_path / "name.json", "kind", {})
    record.metrics["num_classes"] = 10  # a description, before anything ran
    with pytest.raises(InputError), record:
        raise InputError("no such data")
    assert not list(tmp_path.iterdir())


def test_a_refused_command_keeps_the_partial_of_an_earlier_run_as_it_is(tmp_path: Path) -> None:
    first = Record(tmp_path / "name.json", "kind", {"run": 1})
    with pytest.raises(KeyboardInterrupt):
        _fail_after_one_metric(first)
    before = first.partial.read_bytes()
    with pytest.raises(InputError), Record(tmp_path / "name.json", "kind", {"run": 2}):
        raise InputError("no such data")
    assert first.partial.read_bytes() == before
    with Record(tmp_path / "name.json", "kind", {"run": 2}) as record:
        assert first.partial.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["name.json"]
    assert json.loads(record.path.read_text())["config"] == {"run": 2}


def test_a_run_that_fails_after_it_began_stays_as_incomplete(tmp_path: Path) -> None:
    for number, begin in enumerate((lambda _: note_begun(), Record.save)):
        record = Record(tmp_path / f"{number}.json", "kind", {})
        with pytest.raises(InputError):
            _diverge(record, begin)
        assert record.partial.exists()


def _diverge(record: Record, begin: Callable[[Record], None]) -> None:
    with record:
        begin(record)
        raise InputError("the loss is not finite")


def test_a_full_disk_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")
    # A limit on file size fails a write half-way, as a full disk does.
    script = f"""
import pathlib, resource, signal
from catlip.record import write_atomically
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
write_atomically(pathlib.Path({str(path)!r}), b"n" * 100_000)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert "OSError" in done.stderr
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_what_was_saved_on_the_way_outlives_a_kill(tmp_path: Path) -> None:
    path = tmp_path / "name.json"
    script = f"""
import os, pathlib, signal
from catlip.record import Record
with Record(pathlib.Path({str(path)!r}), "kind", {{}}) as record:
    record.metrics["first"] = 1
    record.save()
    record.metrics["second"] = 2
    os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", script], check=False)
    assert not path.exists()
    assert json.loads((tmp_path / "name.json.partial").read_text())["metrics"] == {"first": 1}


def test_a_rank_that_does_not_write_saves_nothing(tmp_path: Path) -> None:
    Record(tmp_path / "name.json", "kind", {}).save()
    assert list(tmp_path.iterdir()) == []
