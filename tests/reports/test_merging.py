"""`python -m reports merge`: every record ends up once in the folder, nothing is overwritten, a
second merge does nothing.
"""

import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from one_line import one_line_error
from report_support import HEAD, run_reports

from catlip.cli import InputError
from reports.compare import merging
from reports.compare.merging import Merge, merge, merge_folders
from reports.read.records import read_records
from reports.render.provenance import view

X = "starter/pretrain/x.json"
PLACES = (X, "starter/pretrain/x-A-r.json", "bench/memory/x.json")
ONE_RECORD = st.tuples(
    *map(st.sampled_from, (PLACES, ["A", "B"], ["r", "s"])),
    st.integers(0, 2),
)
FOLDERS = st.lists(st.lists(ONE_RECORD, min_size=1, max_size=5), min_size=1, max_size=4)


def content_of(device: str, revision: str, value: int) -> bytes:
    parts = {
        "environment": {"device": device, "revision": revision},
        "metrics": {"value": value},
    }
    record = HEAD | {"kind": "of another program", "name": "x"} | parts
    return json.dumps(record).encode()


def written(root: Path, records: list[tuple[str, str, str, int]]) -> Path:
    """A folder with these records; of two in one place the last stays."""
    for place, *parts in records:
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        (root / place).write_bytes(content_of(*parts))
    return root


@pytest.fixture
def one(tmp_path: Path) -> Path:
    """A folder with one record, in the place X."""
    return written(tmp_path / "one", [(X, "A", "r", 0)])


def files(root: Path) -> dict[str, bytes]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file()
    }


def contents(root: Path) -> set[tuple[str, bytes]]:
    """What is held, by the folder of its kind."""
    return {(name.rpartition("/")[0], content) for name, content in files(root).items()}


def test_records_keep_their_bytes_scale_kind_and_name(one, tmp_path):
    two = written(tmp_path / "two", [("cc3m/step_time/x.json", "B", "r", 0)])
    merged = merge_folders([one, two], tmp_path / "out")
    assert files(tmp_path / "out") == files(one) | files(two)
    assert len(merged.copied) == 2


def test_a_name_that_another_record_has_gets_device_and_revision_and_then_a_digest(tmp_path):
    h100 = ("NVIDIA H100/80 GB", "123456789abcdef")
    machines = [("A", "r", 0), (*h100, 1), (*h100, 2)]
    roots = [written(tmp_path / str(i), [(X, *machine)]) for i, machine in enumerate(machines)]
    merged = merge_folders(roots, tmp_path / "out")
    names = [target.name for _, target in merged.copied]
    assert names[:2] == ["x.json", "x-NVIDIA-H100-80-GB-123456789abc.json"]
    assert names[2].startswith("x-NVIDIA-H100-80-GB-123456789abc-")
    assert set(files(tmp_path / "out").values()) == {content_of(*machine) for machine in machines}
    assert [target.name for _, target in merge_folders(roots, tmp_path / "again").copied] == names


def test_what_says_no_device_and_no_revision_is_told_apart_too(tmp_path):
    roots = [written(tmp_path / str(i), [("s/k/x.json", "", "", i)]) for i in range(3)]
    merge_folders(roots, tmp_path / "out")
    assert len(files(tmp_path / "out")) == 3


def test_equal_records_are_kept_once(one, tmp_path):
    two = written(tmp_path / "two", [(X, "A", "r", 0)])
    merged = merge_folders([one, two], tmp_path / "out")
    assert (len(merged.copied), len(merged.there)) == (1, 1)
    assert list(files(tmp_path / "out")) == [X]


def test_records_keep_their_makers_and_those_without_get_the_name_that_is_given(tmp_path):
    roots = [written(tmp_path / str(i), [(X, f"Device {i}", "r", i)]) for i in range(2)]
    signed = json.loads((roots[0] / X).read_text()) | {"by": "Ann"}
    (roots[0] / X).write_text(json.dumps(signed))
    merge(Merge(tuple(roots), tmp_path / "out", "Bo"))
    records = read_records([tmp_path / "out"]).every
    made = [(record.by, record.device) for record in records]
    assert made == [("Bo", "Device 1"), ("Ann", "Device 0")]
    for record in records:
        assert view(record).where.endswith(f"made by {record.by}")
    before = files(tmp_path / "out")
    for by in ("Bo", "", "Cy"):
        assert not merge_folders(roots, tmp_path / "out", by).copied
    assert files(tmp_path / "out") == before


def test_a_name_is_all_that_is_added(one, tmp_path):
    merge_folders([one], tmp_path / "out", "Bo")
    before, after = (json.loads((root / X).read_text()) for root in (one, tmp_path / "out"))
    assert after == before | {"by": "Bo"}
    assert view(read_records([one]).every[0]).where == "A, revision r"


def test_a_record_that_was_written_with_other_spaces_is_the_same(one, tmp_path):
    merge_folders([one], tmp_path / "out")
    (one / X).write_text(json.dumps(json.loads((one / X).read_text()), indent=4))
    assert not merge_folders([one], tmp_path / "out").copied


@pytest.mark.parametrize("held", [b"{", b"", content_of("A", "r", 9)])
def test_what_the_folder_holds_stays_as_it_is(one, tmp_path, held):
    (tmp_path / "out" / X).parent.mkdir(parents=True)
    (tmp_path / "out" / X).write_bytes(held)
    merge_folders([one], tmp_path / "out")
    added = {"starter/pretrain/x-A-r.json": content_of("A", "r", 0)}
    assert files(tmp_path / "out") == {X: held} | added


def test_a_file_that_appears_meanwhile_is_not_overwritten(one, tmp_path, monkeypatch):
    target = tmp_path / "out" / X
    put = merging._put

    def late(content: bytes, path: Path) -> None:
        target.parent.mkdir(parents=True)
        target.write_bytes(b"mine")
        put(content, path)

    monkeypatch.setattr(merging, "_put", late)
    with pytest.raises(FileExistsError):
        merge_folders([one], tmp_path / "out")
    assert files(tmp_path / "out") == {X: b"mine"}


def test_a_full_disk_leaves_no_half_record(one, tmp_path, monkeypatch):
    def full(path: Path, content: bytes) -> None:
        path.open("wb").write(content[:5])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space"):
        merge_folders([one], tmp_path / "out")
    assert not files(tmp_path / "out")


def test_a_record_is_left_out_where_every_name_is_taken(one, tmp_path):
    for _ in range(3):  # its own name, that with the machine, and that with a digest
        ((_, target),) = merge_folders([one], tmp_path / "out").copied
        target.write_bytes(b"mine")
    assert len(merge_folders([one], tmp_path / "out").left_out) == 1
    assert set(files(tmp_path / "out").values()) == {b"mine"}


def test_what_is_no_record_or_incomplete_is_listed_and_left_out(one, tmp_path, capsys):
    bad = {
        "cut.json": ("{", "corrupt"),
        "foreign.json": ("[]", "foreign"),
        "run.json.partial": ("{}", "incomplete"),
        "later.json": ('{"schema": 2}', "schema 2"),
    }
    for name, (content, _) in bad.items():
        (one / X).with_name(name).write_text(content)
    merge(Merge((one,), tmp_path / "out"))
    lines = capsys.readouterr().out.splitlines()
    left_out = [line for line in lines if line.startswith("left out: ")]
    for name, (_, reason) in bad.items():
        assert any(name in line and reason in line for line in left_out)
    assert lines[-1].endswith("1 copied, 0 already there, 4 left out")
    assert list(files(tmp_path / "out")) == [X]


def test_a_name_that_is_too_long_for_a_suffix_is_left_out(tmp_path):
    place = f"s/k/{'x' * 240}.json"
    roots = [written(tmp_path / str(i), [(place, "Device", "revision", i)]) for i in range(2)]
    merged = merge_folders(roots, tmp_path / "out")
    assert len(merged.copied) == 1
    assert "the longer names are taken or too long" in merged.left_out[0].reason


def test_what_went_where_is_printed(tmp_path):
    for name in ("one", "two"):
        written(tmp_path / name, [(X, name, "r", 0)])
    done = run_reports(tmp_path, "merge", "one", "two", "--out", "out")
    assert done.returncode == 0, done.stderr
    copied, renamed, summary = done.stdout.splitlines()
    assert copied == f"copied: one/{X} -> out/{X}"
    target = "out/starter/pretrain/x-two-r.json"
    assert renamed == f"copied: two/{X} -> {target}, because another record has its name"
    assert summary == "out: 2 copied, 0 already there, 0 left out"
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


@pytest.mark.parametrize("given", ["one", "one/starter", f"one/{X}"])
@pytest.mark.usefixtures("one")
def test_a_folder_a_scale_and_a_file_are_merged_to_the_same_place(tmp_path, given):
    (copied,) = merge_folders([tmp_path / given], tmp_path / "out").copied
    assert copied[1] == tmp_path / "out" / X


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
        (["one", "nowhere"], "no such file or folder: .*nowhere"),
        (["empty"], "no records in .*empty"),
    ],
)
@pytest.mark.usefixtures("one")
def test_what_cannot_be_merged_is_one_line_and_nothing_is_copied(tmp_path, folders, complaint):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=complaint):
        merge_folders([tmp_path / folder for folder in folders], tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("one")
def test_a_mistake_exits_with_2_and_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    for arguments in ("nowhere --out out", "--out out", "one --out file", "one"):
        done = run_reports(tmp_path, "merge", *arguments.split())
        one_line_error(done)
