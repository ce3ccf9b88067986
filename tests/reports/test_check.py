"""`python -m reports check`: faults that are put into good records are found, and no others."""

import io
import json
import math
import os
import shutil
import tarfile

import pytest
from report_support import REPOSITORY

from bench.device import pack
from catlip.cli import InputError
from catlip.records.claims import digest
from reports import check as module
from reports.check import Check, check, checked

RECORDS = REPOSITORY / "reports/records"


def copy(source, target):
    """A committed record, or the first that a pattern names, in another place."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(sorted(RECORDS.glob(source))[0], target)


@pytest.fixture
def folder(tmp_path):
    """Real records: a probe of CatLIP and of CLIP, and the times of their steps."""
    place = tmp_path / "sent" / "starter"
    for name in ("catlip-seed0", "clip-seed0"):
        copy(f"starter/linear_probe/{name}.json", place / f"linear_probe/{name}.json")
    copy("starter/step_time/hybrid*.json", place / "step_time/steps.json")
    return tmp_path / "sent"


def changed(folder, name, change):
    """A record in which `change` puts a fault."""
    path = next(folder.rglob(name))
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_our_records_have_no_errors(folder):
    assert checked(folder).errors == {}
    for times in RECORDS.glob("*/step_time"):
        assert checked(times).errors == {}


def test_an_archive_of_bench_device_is_read_as_the_folder(folder, capsys):
    outputs = []
    for records in (folder, pack(folder / "starter", "the log")):
        check(Check(records))
        outputs.append(capsys.readouterr().out)
    assert outputs[0].startswith("errors: none")
    assert outputs[0].splitlines()[-1].startswith("3 records of 2 kinds")
    assert outputs[0] == outputs[1]


METHODS = "metrics/methods"
STEPS = "starter/step_time/hybrid*"
FAULTS = [  # a committed record, what is changed in it, to what, and words of the error
    ("starter/linear_probe/catlip-seed0", "metrics/concepts_top1", 1.2, "top1 is 1.2"),
    ("starter/linear_probe/catlip-seed0", "metrics/concepts_top1", 0.38, "concepts.top1 is 0.38"),
    ("starter/linear_probe/catlip-seed0", "metrics/concepts_top5", 0.1, "below a top-1"),
    ("starter/linear_probe/catlip-seed0", "samples/runs/0/top5", 0.01, "below a top-1"),
    ("starter/linear_probe/catlip-seed0", "samples/runs/0/correct", "A" * 108, "a classifier"),
    ("starter/readout/clip_bag-seed0", "metrics/concepts_knn_top1", math.nan, "knn_top1 is NaN"),
    (
        "starter/scaling/catlip-hybrid_mini-694300-seed0",
        "metrics/accuracies/concepts",
        0.5,
        "concepts.top1 is 0.5",
    ),
    ("starter/retrieval/*", "metrics/image_to_text/r5", 0.0, "r5"),
    ("starter/pretrain/clip-seed0", "metrics/train_seconds", 1.0, "train_seconds is 1,"),
    ("starter/pretrain/clip-seed0", "metrics/images_per_s", 0.0, "images_per_s is 0"),
    ("starter/pretrain/clip-seed0", "metrics/images_seen", 1e9, "images_seen is 1e+09"),
    ("starter/pretrain/clip-seed0", "metrics/final_loss", 0.1, "final_loss is 0.1"),
    ("starter/pretrain/clip-seed0", "metrics/data_wait_share", 1.5, "data_wait_share is 1.5"),
    (STEPS, "schema", 2, "schema 2"),
    (STEPS, "kind", "warmth", "warmth"),
    (STEPS, "metrics/ratios/clip~catlip/value", 2.7, "value is 2.7"),
    (STEPS, "metrics/ratios/clip~catlip/low", 1.5, "low is 1.5"),
    (STEPS, "metrics/flops_ratios/clip~catlip", 2.7, "flops_ratios.clip"),
    (STEPS, f"{METHODS}/clip/total_ms/median", 9.0, "total_ms.median is 9"),
    (STEPS, f"{METHODS}/clip/total_ms/median", 0.0, "not above 0"),
    (STEPS, f"{METHODS}/clip/forward_ms/p95", 9.0, "forward_ms.p95 is 9"),
    (STEPS, f"{METHODS}/clip/images_per_s", 1e6, "images_per_s is 1e+06"),
    (STEPS, f"{METHODS}/clip/tflops", 3.0, "tflops is 3"),
    (STEPS, f"{METHODS}/clip/mfu", 3.0, "of what the device can"),
    (STEPS, f"{METHODS}/clip/mfu_datasheet", 1.36, "136% of what the device can"),
    (STEPS, f"{METHODS}/clip/mfu", 0.9, "mfu is 0.9"),
    (STEPS, "config/num_classes", 100_000, "tflops is"),
    (STEPS, "config/batch_size", 10**9, "pixels at once"),
    (STEPS, "samples/clip_total_ms", [], "clip_total_ms are missing"),
    (STEPS, "samples/clip_total_ms/3", -1.0, "or no times"),
    ("bench/waterfall/*", "metrics/release/total/ratio/value", 9.0, "release total.ratio.value"),
    ("bench/waterfall/*", "metrics/release/orders/forward/0/ratio/high", 9.0, "attention.ratio"),
    ("bench/waterfall/*", "metrics/release/total/busy", 1.5, "busy is 1.5"),
    ("starter/communication/*", f"{METHODS}/clip/exposed_ms/value", 900, "exposed_ms.value"),
    ("starter/communication/*", f"{METHODS}/clip/sent_mb", 900, "sent_mb is 900"),
    ("bench/plan/step-vit_b16*", "metrics/flops_ratios/clip~catlip", 2.7, "flops_ratios.clip"),
]


def put(content, place, value):
    *folders, last = (name.replace("~", "/") for name in place.split("/"))
    for name in folders:
        content = content[int(name) if isinstance(content, list) else name]
    content[int(last) if isinstance(content, list) else last] = value


@pytest.mark.parametrize(("source", "place", "value", "words"), FAULTS)
def test_what_cannot_be_is_an_error(tmp_path, source, place, value, words):
    copy(f"{source}.json", tmp_path / "sent/record.json")
    assert checked(tmp_path / "sent").errors == {}
    changed(tmp_path, "record.json", lambda content: put(content, place, value))
    errors = checked(tmp_path / "sent").errors
    assert words in " ".join(errors)
    assert ["record.json"] in errors.values()


def test_errors_are_printed_and_exit_with_1(folder, capsys):
    changed(folder, "steps.json", lambda one: one.update(kind="warmth"))
    with pytest.raises(SystemExit) as ended:
        check(Check(folder))
    assert ended.value.code == 1
    assert "warmth" in capsys.readouterr().out.partition("doubts:")[0]


def test_a_copy_under_another_seed_is_an_error(folder):
    probes = folder / "starter/linear_probe"
    shutil.copy(probes / "clip-seed0.json", probes / "clip-seed1.json")
    changed(folder, "clip-seed1.json", lambda one: one.update(name="clip-seed1"))
    (files,) = checked(folder).errors.values()
    assert files == ["starter/linear_probe/clip-seed1.json"]


DOUBTS = [
    ("steps.json", "environment/device", "", "device"),
    ("steps.json", "environment/revision", "unknown", "revision"),
    ("steps.json", "environment/dirty", True, "local changes"),
    ("steps.json", "environment/other_cpu_s", 1e4, "busy"),
    ("steps.json", "environment/rules", "0" * 12, "other rules"),
    ("clip-seed0.json", "environment/data", {}, "no digest of the data"),
    ("clip-seed0.json", "config/data", "x:/home/ann/data", "/home/ann"),
]


@pytest.mark.parametrize(("name", "place", "value", "words"), DOUBTS)
def test_what_is_in_doubt_is_no_error(folder, name, place, value, words):
    changed(folder, "steps.json", lambda one: one["environment"].update(rules=digest()))
    before = checked(folder).doubts
    changed(folder, name, lambda one: put(one, place, value))
    found = checked(folder)
    new = {key for key, files in found.doubts.items() if files != before.get(key)}
    assert len(new) == 1
    assert words in new.pop()
    assert not found.errors


def test_few_rounds_are_in_doubt(folder):
    def few(content):
        content["samples"] = {name: rows[:3] for name, rows in content["samples"].items()}
        content["metrics"]["methods"] = {}

    changed(folder, "steps.json", few)
    assert "3 rounds of the 6" in " ".join(checked(folder).doubts)


def tar_of(path, *members):
    with tarfile.open(path, "w:gz") as archive:
        for name, kind, content in members:
            info = tarfile.TarInfo(name)
            info.type, info.size = kind, len(content)
            info.linkname = "/etc/passwd" if kind == tarfile.SYMTYPE else ""
            archive.addfile(info, io.BytesIO(content))


def test_nothing_is_unpacked_outside_and_no_link_is_followed(folder, tmp_path, monkeypatch):
    record = next(folder.rglob("steps.json")).read_bytes()
    good = ("device/step_time/good.json", tarfile.REGTYPE, record)
    link = ("device/step_time/link.json", tarfile.SYMTYPE, b"")
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr(module.tempfile, "tempdir", str(tmp_path / "scratch"))
    tar_of(tmp_path / "good.tar.gz", link, good, ("a/b.txt", tarfile.REGTYPE, b"no record"))
    with module._folder(tmp_path / "good.tar.gz") as place:
        files = [path for path in place.rglob("*") if not path.is_dir()]
        assert [path.name for path in files] == ["good.json"]
    for name in ("../out.json", "a/../../out.json"):
        tar_of(tmp_path / "bad.tar.gz", good, (name, tarfile.REGTYPE, record))
        with pytest.raises(InputError, match="outside the destination"):
            check(Check(tmp_path / "bad.tar.gz"))
    assert not [*(tmp_path / "scratch").iterdir()], "and it is removed again"


def test_bombs_and_what_is_no_archive_are_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MAX_BYTES", 1 << 20)
    tar_of(tmp_path / "bomb.tar.gz", ("a/b/c.json", tarfile.REGTYPE, bytes(2 << 20)))
    (tmp_path / "cut.tar.gz").write_bytes((tmp_path / "bomb.tar.gz").read_bytes()[:60])
    tar_of(tmp_path / "long.tar.gz", (f"{'x' * 300}\x1b.json", tarfile.REGTYPE, b"{}"))
    (tmp_path / "records.pkl").write_bytes(b"cos\nsystem\n(S'touch x'\ntR.")
    os.mkfifo(tmp_path / "pipe.tar.gz")
    sparse = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "9"}
    map_of_holes = tarfile.TarInfo("a.json")
    map_of_holes.pax_headers, map_of_holes.size = sparse, 512
    with tarfile.open(tmp_path / "holes.tar.gz", "w:gz") as archive:
        archive.addfile(map_of_holes, io.BytesIO(b"9" * 512))
    names = ("bomb", "cut", "long", "none", "pipe", "holes")
    for name in ("records.pkl", *(f"{name}.tar.gz" for name in names)):
        with pytest.raises(InputError, match=name.replace(".", r"\.")) as raised:
            check(Check(tmp_path / name))
        assert "\x1b" not in str(raised.value)
