"""`python -m reports check`: faults that are put into good records are found, and no others."""

import io
import json
import shutil
import tarfile

import pytest
from report_support import REPOSITORY

from bench.device import pack
from catlip.cli import InputError
from catlip.records.claims import digest
from reports import check as module
from reports.check import Check, check, checked

PROBES = REPOSITORY / "reports/records/starter/linear_probe"
STEPS = REPOSITORY / "reports/records/starter/step_time"


@pytest.fixture
def folder(tmp_path):
    """Real records: a probe of CatLIP and of CLIP, and the times of their steps."""
    place = tmp_path / "sent" / "starter"
    for kind in ("linear_probe", "step_time"):
        (place / kind).mkdir(parents=True)
    for name in ("catlip-seed0", "clip-seed0"):
        shutil.copy(PROBES / f"{name}.json", place / "linear_probe")
    shutil.copy(sorted(STEPS.glob("hybrid*.json"))[0], place / "step_time/steps.json")
    return tmp_path / "sent"


def changed(folder, name, change):
    """A record in which `change` puts a fault."""
    path = next(folder.rglob(name))
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_our_records_have_no_errors_and_test_what_they_can(folder):
    found = checked(folder)
    assert found.errors == {}
    assert any("2.7" not in words and "parameters" in words for words in found.tests)
    assert len([words for words in found.missing if " 1 seeds " in words]) == 2


def test_an_archive_of_bench_device_is_read_as_the_folder(folder, capsys):
    outputs = []
    for records in (folder, pack(folder / "starter", "the log")):
        check(Check(records))
        outputs.append(capsys.readouterr().out)
    assert outputs[0].startswith("errors: none")
    assert outputs[0].splitlines()[-1].startswith("3 records of 2 kinds")
    assert outputs[0] == outputs[1]


def too_good(content):
    content["metrics"]["concepts_top1"] = 1.2


def not_its_images(content):
    content["metrics"]["concepts_top1"] += 0.05


def not_its_samples(content):
    content["metrics"]["methods"]["catlip"]["total_ms"]["median"] /= 2


def no_time(content):
    content["metrics"]["methods"]["catlip"]["total_ms"]["median"] = 0.0


def newer(content):
    content["schema"] = 2


def other_kind(content):
    content["kind"] = "warmth"


ERRORS = [
    ("catlip-seed0.json", too_good, "top1 is 1.2"),
    ("catlip-seed0.json", not_its_images, "not that of its test images"),
    ("steps.json", not_its_samples, "not that of its samples"),
    ("steps.json", no_time, "not above 0"),
    ("steps.json", newer, "schema 2"),
    ("steps.json", other_kind, "warmth"),
]


@pytest.mark.parametrize(("name", "change", "words"), ERRORS)
def test_what_cannot_be_is_an_error_and_exits_with_1(folder, name, change, words, capsys):
    changed(folder, name, change)
    with pytest.raises(SystemExit) as ended:
        check(Check(folder))
    assert ended.value.code == 1
    errors = capsys.readouterr().out.partition("doubts:")[0]
    assert words in errors
    assert name in errors


def test_a_copy_under_another_seed_is_an_error(folder):
    probes = folder / "starter/linear_probe"
    shutil.copy(probes / "clip-seed0.json", probes / "clip-seed1.json")
    changed(folder, "clip-seed1.json", lambda one: one.update(name="clip-seed1"))
    (files,) = checked(folder).errors.values()
    assert files == ["starter/linear_probe/clip-seed1.json"]


DOUBTS = {
    "device": ("device", ""),
    "revision": ("revision", "unknown"),
    "local changes": ("dirty", True),
    "busy": ("other_cpu_s", 1e4),
    "other rules": ("rules", "0" * 12),
}


@pytest.mark.parametrize("words", DOUBTS)
def test_what_is_in_doubt_is_no_error(folder, words):
    name, value = DOUBTS[words]
    changed(folder, "steps.json", lambda one: one["environment"].update(rules=digest()))
    before = checked(folder).doubts
    changed(folder, "steps.json", lambda one: one["environment"].update({name: value}))
    found = checked(folder)
    new = {key for key, files in found.doubts.items() if files != before.get(key)}
    assert len(new) == 1
    assert words in new.pop()
    assert not found.errors


def test_few_rounds_no_digest_and_a_home_folder_are_in_doubt(folder):
    def few(content):
        content["samples"] = {name: rows[:3] for name, rows in content["samples"].items()}
        content["metrics"]["methods"] = {}

    changed(folder, "steps.json", few)
    changed(folder, "clip-seed0.json", lambda one: one["environment"].pop("data"))
    changed(folder, "clip-seed0.json", lambda one: one["config"].update(data="x:/home/ann/data"))
    doubts = " ".join(checked(folder).doubts)
    for words in ("3 rounds of the 6", "no digest of the data", "/home/ann"):
        assert words in doubts


def tar_of(path, *members):
    with tarfile.open(path, "w:gz") as archive:
        for name, kind, content in members:
            info = tarfile.TarInfo(name)
            info.type, info.size = kind, len(content)
            info.linkname = "/etc/passwd" if kind == tarfile.SYMTYPE else ""
            archive.addfile(info, io.BytesIO(content))


def test_nothing_is_unpacked_outside_and_no_link_is_followed(folder, tmp_path, monkeypatch):
    record = next(folder.rglob("steps.json")).read_bytes()
    names = ["../out.json", f"{tmp_path}/out.json", "a/../../out.json", "C:\\out.json"]
    tar_of(
        tmp_path / "bad.tar.gz",
        *((name, tarfile.REGTYPE, record) for name in names),
        ("device/step_time/link.json", tarfile.SYMTYPE, b""),
        ("device/step_time/good.json", tarfile.REGTYPE, record),
        ("device/step_time/good.json", tarfile.REGTYPE, record),
    )
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr(module.tempfile, "tempdir", str(tmp_path / "scratch"))
    before = {*tmp_path.rglob("*")}
    with module._folder(tmp_path / "bad.tar.gz") as (place, reasons):
        files = [path for path in place.rglob("*") if path.is_file()]
        assert [path.name for path in files] == ["good.json"]
        assert len(reasons) == 6
        inside = {*tmp_path.rglob("*")} - before
        assert all(path.is_relative_to(tmp_path / "scratch") for path in inside)
    assert not [*(tmp_path / "scratch").iterdir()], "and it is removed again"


def test_bombs_and_what_is_no_archive_are_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MAX_BYTES", 1 << 20)
    zeros = bytes(2 << 20)
    tar_of(tmp_path / "bomb.tar.gz", ("a/b/c.json", tarfile.REGTYPE, zeros))
    tar_of(tmp_path / "many.tar.gz", *((f"{n}.txt", tarfile.REGTYPE, b"") for n in range(9)))
    (tmp_path / "cut.tar.gz").write_bytes((tmp_path / "many.tar.gz").read_bytes()[:60])
    (tmp_path / "records.pkl").write_bytes(b"cos\nsystem\n(S'touch x'\ntR.")
    for name in ("bomb.tar.gz", "cut.tar.gz", "records.pkl", "none.tar.gz"):
        with pytest.raises(InputError, match=name.replace(".", r"\.")):
            check(Check(tmp_path / name))
    monkeypatch.setattr(module, "MAX_MEMBERS", 8)
    with pytest.raises(InputError, match="more than 8 files"):
        check(Check(tmp_path / "many.tar.gz"))
