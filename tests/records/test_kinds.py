"""Committed records of every kind are the same after they were read and written again."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.downstream.probe.result import packed, unpacked
from reports.reading import read_record

ROOT = Path(__file__).parents[2]
# The committed ones, an earlier one of a kind that these lack, and the golden ones.
FOLDERS = ("reports/records", "tests/records", "tests/reports/golden/records")
KINDS = [kind for folder in FOLDERS for kind in sorted((ROOT / folder).glob("*/*/"))]


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
        run = read_record(path.parents[2], path)
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
