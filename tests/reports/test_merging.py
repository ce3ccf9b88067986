"""`python -m reports merge`: every record ends up once in the folder, nothing is overwritten, a
second merge does nothing.
"""

import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from report_support import HEAD, run_reports

from catlip.cli import InputError
from reports.compare import merging
from reports.compare.merging import Merge, merge, merge_folders
from reports.read.records import read_records
from reports.render.provenance import view

PLACES = (
    "starter/pretrain/catlip-seed0.json",
    "starter/pretrain/catlip-seed0-A-r.json",
    "bench/memory/x.json",
)
ONE_RECORD = st.tuples(
    st.sampled_from(PLACES),
    st.sampled_from(["A", "B"]),
    st.sampled_from(["r", "s"]),
    st.integers(0, 2),
)
FOLDERS = st.lists(st.lists(ONE_RECORD, min_size=1, max_size=5), min_size=1, max_size=4)


def content_of(device: str, revision: str, value: int) -> bytes:
    environment = {"device": device, "revision": revision}
    record = HEAD | {
        "kind": "of another program",
        "name": "x",
        "environment": environment,
        "metrics": {"value": value},
    }
    return json.dumps(record).encode()


def written(root: Path, records: list[tuple[str, str, str, int]]) -> Path:
    """A folder with these records; of two in one place the last stays."""
    for place, *parts in records:
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        (root / place).write_bytes(content_of(*parts))
    return root


def files(root: Path) -> dict[str, bytes]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file()
    }


def contents(root: Path) -> set[tuple[str, bytes]]:
    """What is held, by the folder of its kind."""
    return {(name.rpartition("/")[0], content) for name, content in files(root).items()}


def test_records_keep_their_bytes_scale_kind_and_name(tmp_path):
    one = written(tmp_path / "one", [("starter/pretrain/catlip-seed0.json", "A", "r", 0)])
    two = written(tmp_path / "two", [("cc3m/step_time/x.json", "B", "r", 0)])
    merged = merge_folders([one, two], tmp_path / "out")
    assert files(tmp_path / "out") == files(one) | files(two)
    assert len(merged.copied) == 2


def test_a_name_that_another_record_has_gets_device_and_revision_and_then_a_digest(tmp_path):
    place = "starter/pretrain/catlip-seed0.json"
    machines = [
        ("A", "r", 0),
        ("NVIDIA H100/80 GB", "123456789abcdef", 1),
        ("NVIDIA H100/80 GB", "123456789abcdef", 2),
    ]
    roots = [written(tmp_path / str(i), [(place, *machine)]) for i, machine in enumerate(machines)]
    merged = merge_folders(roots, tmp_path / "out")
    names = [target.name for _, target in merged.copied]
    assert names[:2] == ["catlip-seed0.json", "catlip-seed0-NVIDIA-H100-80-GB-123456789abc.json"]
    assert names[2].startswith("catlip-seed0-NVIDIA-H100-80-GB-123456789abc-")
    assert set(files(tmp_path / "out").values()) == {content_of(*machine) for machine in machines}
    assert [target.name for _, target in merge_folders(roots, tmp_path / "again").copied] == names


def test_what_says_no_device_and_no_revision_is_told_apart_too(tmp_path):
    roots = [written(tmp_path / str(i), [("s/k/x.json", "", "", i)]) for i in range(3)]
    merge_folders(roots, tmp_path / "out")
    assert len(files(tmp_path / "out")) == 3


def test_equal_records_are_kept_once(tmp_path):
    roots = [
        written(tmp_path / name, [("starter/pretrain/x.json", "A", "r", 0)])
        for name in ("one", "two")
    ]
    merged = merge_folders(roots, tmp_path / "out")
    assert (len(merged.copied), len(merged.there)) == (1, 1)
    assert list(files(tmp_path / "out")) == ["starter/pretrain/x.json"]


def test_records_keep_their_makers_and_those_without_get_the_name_that_is_given(tmp_path):
    place = "starter/pretrain/x.json"
    roots = [written(tmp_path / str(i), [(place, f"Device {i}", "r", i)]) for i in range(2)]
    signed = json.loads((roots[0] / place).read_text()) | {"by": "Ann"}
    (roots[0] / place).write_text(json.dumps(signed))
    merge(Merge(tuple(roots), tmp_path / "out", "Bo"))
    records = read_records([tmp_path / "out"]).every
    assert [(record.by, record.device) for record in records] == [
        ("Bo", "Device 1"),
        ("Ann", "Device 0"),
    ]
    for record in records:
        assert view(record).where.endswith(f"made by {record.by}")
    before = files(tmp_path / "out")
    for by in ("Bo", "", "Cy"):
        assert not merge_folders(roots, tmp_path / "out", by).copied
    assert files(tmp_path / "out") == before


def test_a_name_is_all_that_is_added(tmp_path):
    place = "starter/pretrain/x.json"
    root = written(tmp_path / "one", [(place, "A", "r", 0)])
    merge_folders([root], tmp_path / "out", "Bo")
    assert json.loads((tmp_path / "out" / place).read_text()) == json.loads(
        (root / place).read_text()
    ) | {"by": "Bo"}
    assert view(read_records([root]).every[0]).where == "A, revision r"


def test_a_record_that_was_written_with_other_spaces_is_the_same(tmp_path):
    place = "starter/pretrain/x.json"
    root = written(tmp_path / "one", [(place, "A", "r", 0)])
    merge_folders([root], tmp_path / "out")
    (root / place).write_text(json.dumps(json.loads((root / place).read_text()), indent=4))
    assert not merge_folders([root], tmp_path / "out").copied


@pytest.mark.parametrize("held", [b"{", b"", content_of("A", "r", 9)])
def test_what_the_folder_holds_stays_as_it_is(tmp_path, held):
    root = written(tmp_path / "one", [("starter/pretrain/x.json", "A", "r", 0)])
    (tmp_path / "out/starter/pretrain").mkdir(parents=True)
    (tmp_path / "out/starter/pretrain/x.json").write_bytes(held)
    merge_folders([root], tmp_path / "out")
    assert files(tmp_path / "out") == {
        "starter/pretrain/x.json": held,
        "starter/pretrain/x-A-r.json": content_of("A", "r", 0),
    }


def test_a_file_that_appears_meanwhile_is_not_overwritten(tmp_path, monkeypatch):
    root = written(tmp_path / "one", [("s/k/x.json", "A", "r", 0)])
    target = tmp_path / "out/s/k/x.json"
    put = merging._put

    def late(content: bytes, path: Path) -> None:
        target.parent.mkdir(parents=True)
        target.write_bytes(b"mine")
        put(content, path)

    monkeypatch.setattr(merging, "_put", late)
    with pytest.raises(FileExistsError):
        merge_folders([root], tmp_path / "out")
    assert files(tmp_path / "out") == {"s/k/x.json": b"mine"}


def test_a_full_disk_leaves_no_half_record(tmp_path, monkeypatch):
    def full(path: Path, content: bytes) -> None:
        path.open("wb").write(content[:5])
        raise OSError(28, "No space left on device")

    root = written(tmp_path / "one", [("s/k/x.json", "A", "r", 0)])
    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space"):
        merge_folders([root], tmp_path / "out")
    assert not files(tmp_path / "out")


def test_a_record_is_left_out_where_every_name_is_taken(tmp_path):
    root = written(tmp_path / "one", [("s/k/x.json", "A", "r", 0)])
    (target,) = (path for _, path in merge_folders([root], tmp_path / "out").copied)
    taken = [target]
    for _ in range(2):
        taken[-1].write_bytes(b"mine")
        taken += [path for _, path in merge_folders([root], tmp_path / "out").copied]
    taken[-1].write_bytes(b"mine")
    assert len(merge_folders([root], tmp_path / "out").left_out) == 1
    assert set(files(tmp_path / "out").values()) == {b"mine"}


def test_what_is_no_record_or_incomplete_is_listed_and_left_out(tmp_path, capsys):
    root = written(tmp_path / "one", [("starter/pretrain/good.json", "A", "r", 0)])
    bad = {
        "cut.json": "{",
        "foreign.json": "[]",
        "run.json.partial": "{}",
        "later.json": '{"schema": 2}',
    }
    for name, content in bad.items():
        (root / "starter/pretrain" / name).write_text(content)
    merge(Merge((root,), tmp_path / "out"))
    printed = capsys.readouterr().out
    for name, reason in zip(bad, ("corrupt", "foreign", "incomplete", "schema 2"), strict=True):
        assert any(
            name in line and reason in line
            for line in printed.splitlines()
            if line.startswith("left out: ")
        )
    assert printed.splitlines()[-1].endswith("1 copied, 0 already there, 4 left out")
    assert list(files(tmp_path / "out")) == ["starter/pretrain/good.json"]


def test_a_name_that_is_too_long_for_a_suffix_is_left_out(tmp_path):
    place = f"s/k/{'x' * 240}.json"
    roots = [written(tmp_path / str(i), [(place, "Device", "revision", i)]) for i in range(2)]
    merged = merge_folders(roots, tmp_path / "out")
    assert len(merged.copied) == 1
    assert "the longer names are taken or too long" in merged.left_out[0].reason


def test_what_went_where_is_printed(tmp_path):
    place = "starter/pretrain/x.json"
    for name in ("one", "two"):
        written(tmp_path / name, [(place, name, "r", 0)])
    done = run_reports(tmp_path, "merge", "one", "two", "--out", "out")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        f"copied: one/{place} -> out/{place}",
        (
            f"copied: two/{place} -> out/starter/pretrain/x-two-r.json, because another record has "
            "its name"
        ),
        "out: 2 copied, 0 already there, 0 left out",
    ]
    again = run_reports(tmp_path, "merge", "two", "one", "--out", "out").stdout.splitlines()
    assert again[-1] == "out: 0 copied, 2 already there, 0 left out"
    assert len(again) == 3


@settings(max_examples=60, deadline=None)
@given(FOLDERS)
def test_merging_again_changes_nothing_and_nothing_is_lost(folders):
    with tempfile.TemporaryDirectory() as place:
        roots = [written(Path(place) / str(i), records) for i, records in enumerate(folders)]
        out = Path(place) / "out"
        merge_folders(roots, out)
        held = files(out)
        assert contents(out) == set().union(*map(contents, roots))
        assert len(held) == len(contents(out))  # each once
        for order in (roots, roots[::-1], [out]):
            assert not merge_folders(order, out).copied
        assert files(out) == held


@settings(max_examples=60, deadline=None)
@given(FOLDERS, st.randoms())
def test_the_order_of_the_folders_does_not_change_what_is_held(folders, random):
    with tempfile.TemporaryDirectory() as place:
        roots = [written(Path(place) / str(i), records) for i, records in enumerate(folders)]
        shuffled = random.sample(roots, len(roots))
        merge_folders(roots, Path(place) / "out")
        merge_folders(shuffled, Path(place) / "other")
        assert contents(Path(place) / "out") == contents(Path(place) / "other")


@pytest.mark.parametrize(
    ("folders", "complaint"),
    [
        ([], "no folder is given"),
        (["nowhere"], "no such folder: .*nowhere"),
        (["one/s/k/x.json"], "no such folder: .*x.json"),
        (
            ["one/s"],
            "no <scale>/<kind>/<name>.json in .*one/s; give the folder that holds the scales",
        ),
    ],
)
def test_what_cannot_be_merged_is_one_line_and_nothing_is_copied(tmp_path, folders, complaint):
    written(tmp_path / "one", [("s/k/x.json", "A", "r", 0)])
    with pytest.raises(InputError, match=complaint):
        merge_folders(
            [tmp_path / folder for folder in (["one"] if folders else []) + folders],
            tmp_path / "out",
        )
    assert not (tmp_path / "out").exists()


def test_a_mistake_exits_with_2_and_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    written(tmp_path / "one", [("s/k/x.json", "A", "r", 0)])
    for arguments in (
        ("nowhere", "--out", "out"),
        ("--out", "out"),
        ("one", "--out", "file"),
        ("one",),
    ):
        done = run_reports(tmp_path, "merge", *arguments)
        assert done.returncode == 2, arguments
        assert done.stderr.startswith("error: ")
        assert done.stderr.count("\n") == 1
