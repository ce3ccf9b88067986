"""A record appears whole or not at all."""

import json
import math
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.downstream.finetune import Finetune
from bench.downstream.linear_probe import LinearProbe
from bench.downstream.multilabel import MultiLabel
from bench.downstream.probe.config import TransferOptions
from bench.downstream.probe.result import packed, unpacked
from catlip.cli import InputError
from catlip.program.identity import changes, record_changes
from catlip.recipes.pretrain import CATLIP
from catlip.records.record import Record, from_plain, note_begun, plain, read_record, text_of
from catlip.system.files import write_atomically
from reports import reading

REPOSITORY = Path(__file__).parents[2]


def test_record_holds_what_was_put_in_and_where_it_ran(tmp_path: Path) -> None:
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


_plain = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
_values = st.recursive(
    _plain, lambda some: st.lists(some) | st.dictionaries(st.text(), some), max_leaves=20
)


@settings(max_examples=30)
@given(st.dictionaries(st.text(), _values))
def test_text_of_a_record_says_what_it_holds(body: dict) -> None:
    assert json.loads(text_of(body)) == body


def test_list_of_numbers_is_one_line_of_a_record() -> None:
    lines = text_of({"ms": [1, 2.5, None], "said": ["[\n1,\n2]"]}).splitlines()
    assert lines == ["{", ' "ms": [1, 2.5, null],', ' "said": [', '  "[\\n1,\\n2]"', " ]", "}"]


def test_later_field_makes_another_run_only_where_it_is_set() -> None:
    usual = CATLIP["starter"]
    dropping = replace(usual, patch_drop_rate=0.5)
    assert "patch_drop_rate" not in plain(usual) | usual.identity()
    assert plain(dropping)["patch_drop_rate"] == dropping.identity()["patch_drop_rate"] == 0.5
    assert "patch_drop_rate" in changes(usual.identity(), dropping.identity())


@pytest.mark.parametrize(
    ("program", "name"),
    [
        (LinearProbe, "starter/linear_probe/catlip-seed0"),
        (Finetune, "fashion/finetune/catlip-seed0"),
        (MultiLabel, "starter/multilabel/catlip_transfer-seed0"),
    ],
)
def test_field_that_has_gone_does_not_make_another_run_of_a_record(program, name) -> None:
    path = REPOSITORY / f"reports/records/{name}.json"
    config = from_plain(read_record(path)["config"], program)
    assert record_changes(path, config) == ""
    assert "alpha" in record_changes(path, replace(config, transfer=TransferOptions(alpha=0.5)))


def end_with(record: Record, error: BaseException, begin: Callable[[Record], object]) -> None:
    with suppress(InputError, RuntimeError, KeyboardInterrupt), record:
        record.metrics["so_far"] = 1
        begin(record)
        raise error


@pytest.mark.parametrize(
    ("error", "begin", "is_left"),
    [
        (KeyboardInterrupt(), lambda _: None, True),
        (RuntimeError(), lambda _: None, True),
        (InputError("no such data"), lambda _: None, False),  # refused before it began
        (InputError("the loss is not finite"), lambda _: note_begun(), True),
        (InputError("the loss is not finite"), Record.save, True),
    ],
)
def test_run_that_fails_leaves_a_partial_if_it_had_begun(tmp_path, error, begin, is_left) -> None:
    with Record(tmp_path / "good.json", "kind", {}) as good:
        good.metrics["run"] = 1
    before = good.path.read_bytes()
    for name in ("good", "new"):
        record = Record(tmp_path / f"{name}.json", "kind", {})
        end_with(record, error, begin)
        assert record.partial.exists() == is_left
        if is_left:
            assert json.loads(record.partial.read_text())["metrics"] == {"so_far": 1}
    assert not record.path.exists()
    assert good.path.read_bytes() == before


def test_refused_command_keeps_the_partial_of_an_earlier_run_as_it_is(tmp_path: Path) -> None:
    first = Record(tmp_path / "name.json", "kind", {"run": 1})
    end_with(first, KeyboardInterrupt(), lambda _: None)
    before = first.partial.read_bytes()
    end_with(Record(tmp_path / "name.json", "kind", {}), InputError("no data"), lambda _: None)
    assert first.partial.read_bytes() == before
    with Record(tmp_path / "name.json", "kind", {"run": 2}) as record:
        assert first.partial.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["name.json"]
    assert json.loads(record.path.read_text())["config"] == {"run": 2}


def test_full_disk_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")
    # A limit on file size fails a write half-way, as a full disk does.
    script = f"""
import pathlib, resource, signal
from catlip.system.files import write_atomically
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
write_atomically(pathlib.Path({str(path)!r}), b"n" * 100_000)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert "OSError" in done.stderr
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_writers_with_one_process_id_do_not_meet(tmp_path: Path) -> None:
    """Threads stand for the containers that share a cache, and may have the same process ids."""
    path, contents = tmp_path / "file", [bytes([number]) * 10_000 for number in range(8)]

    def write(content: bytes) -> None:
        for _ in range(20):
            write_atomically(path, content)
            assert path.read_bytes() in contents

    with ThreadPoolExecutor() as pool:
        list(pool.map(write, contents))
    assert list(tmp_path.iterdir()) == [path]


def test_partial_record_outlives_a_kill(tmp_path: Path) -> None:
    path = tmp_path / "name.json"
    script = f"""
import os, pathlib, signal
from catlip.records.record import Record
with Record(pathlib.Path({str(path)!r}), "kind", {{}}) as record:
    record.metrics["first"] = 1
    record.save()
    record.metrics["second"] = 2
    os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", script], check=False)
    assert not path.exists()
    assert json.loads((tmp_path / "name.json.partial").read_text())["metrics"] == {"first": 1}


# --- Committed records of every kind are the same after they were read and written again.


# The committed ones, an earlier one of a kind that these lack, and the golden ones.
FOLDERS = ("reports/records", "tests/records", "tests/reports/golden/records")
KINDS = [kind for folder in FOLDERS for kind in sorted((REPOSITORY / folder).glob("*/*/"))]


def without_null(tree: Any) -> Any:
    """None is left out of a record."""
    if isinstance(tree, dict):
        return {key: without_null(value) for key, value in tree.items() if value is not None}
    return [without_null(value) for value in tree] if isinstance(tree, list) else tree


def same(one: Any, other: Any) -> bool:
    """A NaN does not equal itself."""
    return one == other or json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def is_part(read: Any, written: Any) -> bool:
    """Whether all that was read is what was written, which may have more."""
    if isinstance(read, dict) and isinstance(written, dict):
        return all(key in written and is_part(read[key], written[key]) for key in read)
    if isinstance(read, list) and isinstance(written, list):
        return len(read) == len(written) and all(map(is_part, read, written))
    return same(read, written)


@pytest.mark.parametrize("folder", KINDS, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_records_are_read_as_they_were_written(folder: Path) -> None:
    for path in folder.glob("*.json"):
        if path.stem in ("cut-short", "foreign"):
            continue
        run = reading.read_record(path.parents[2], path)
        kind, after = type(run.metrics), run.metrics.as_dict()
        assert same(kind.read(after).as_dict(), after), path
        written = without_null(run.raw_metrics) if kind.kind else {}
        assert not [key for key in after if not is_part(after[key], written.get(key))], path
        for start, row in kind.rows.items():
            for name in (name for name in run.samples if name.startswith(start)):
                assert len(run.rows(name, row)) == len(run.samples[name]), path


@given(st.lists(st.booleans(), max_size=40))
def test_bit_each_image_is_read_as_it_was_written(bits: list[bool]) -> None:
    assert unpacked(packed(np.array(bits, dtype=bool)), len(bits)).tolist() == bits
    with pytest.raises(ValueError, match="bits"):
        unpacked(packed(np.array(bits, dtype=bool)), len(bits) + 8)
