"""Labels beside shards: right, resumable, the same whoever makes them, and tied to their shard."""

import json
import os
import signal
import subprocess
import sys
import time

import nltk_oracle as oracle
import numpy as np
import pytest

from catlip.captions import Labeller
from catlip.cli import InputError
from catlip.data.shards import open_shard, write_shard
from catlip.label import Explain, Label, explain, is_labelled, label_shard, main
from catlip.sidecar import captions_digest, read_labels, read_sidecar

DOG, SOFA = 2084071, 4256520


def make_shard(path, captions):
    write_shard(path, ((f"{n:05d}", {"txt": text.encode()}) for n, text in enumerate(captions)))
    return path


@pytest.fixture
def shards(tmp_path):
    """Three shards of real sentences."""
    return [make_shard(tmp_path / "data" / f"{n}.tar", oracle.glosses()[n::5000]) for n in range(3)]


def label(shards, labels_dir, **options):
    main(Label(tuple(map(str, shards)), labels_dir=labels_dir, **{"workers": 1, "quiet": True, **options}))


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*"))}


@pytest.mark.parametrize("rule", ["paper", "corenet"])
def test_every_sample_has_the_labels_of_its_caption(shards, tmp_path, rule):
    label(shards, tmp_path / "labels", rule=rule)
    for path in shards:
        shard, labeller = open_shard(path), Labeller(rule)
        labels = read_labels(shard, tmp_path / "labels", rule)
        found = [part.tolist() for part in np.split(labels.values, labels.offsets[1:-1])]
        assert found == [labeller(shard.caption(number)) for number in range(len(shard))]
        assert labels.values.dtype == labels.offsets.dtype == np.uint32


def test_any_number_of_workers_writes_the_same_bytes(shards, tmp_path):
    label(shards, tmp_path / "one" / "labels")
    label(shards, tmp_path / "two" / "labels", workers=2)
    assert contents(tmp_path / "one" / "labels") == contents(tmp_path / "two" / "labels")
    assert len(contents(tmp_path / "one" / "labels")) == 3


def test_a_second_run_does_nothing_and_says_so(shards, tmp_path, capsys):
    label(shards, tmp_path / "labels")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.*")}
    capsys.readouterr()
    label(shards, tmp_path / "labels")
    assert "nothing to do: all 3 shards" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.*")} == before


def test_only_what_is_missing_or_changed_is_labelled_again(shards, tmp_path, capsys):
    label(shards, tmp_path / "labels")
    (tmp_path / "labels" / "0.paper.labels.npz").unlink()
    make_shard(shards[1], ["a dog on a couch"])
    untouched = (tmp_path / "labels" / "2.paper.labels.npz").stat().st_mtime_ns
    capsys.readouterr()
    label(shards, tmp_path / "labels")
    assert "1 of 3 shards were done before" in capsys.readouterr().out
    assert (tmp_path / "labels" / "2.paper.labels.npz").stat().st_mtime_ns == untouched
    assert read_labels(open_shard(shards[1]), tmp_path / "labels", "paper").values.tolist() == [DOG, SOFA]


def test_a_changed_shard_is_noticed_even_at_the_same_size(tmp_path):
    path = make_shard(tmp_path / "0.tar", ["a dog", "a cat"])
    label_shard(path, None, "paper")
    assert is_labelled(path, None, "paper")
    make_shard(path, ["a cat", "a dog"])
    assert not is_labelled(path, None, "paper")


def test_labels_are_refused_when_missing_or_of_another_shard(tmp_path):
    path = make_shard(tmp_path / "0.tar", ["a dog", "a cat"])
    with pytest.raises(InputError, match=r"has no labels at .*run `python -m catlip.label .*0.tar --rule paper`"):
        read_labels(open_shard(path), None, "paper")
    label_shard(path, None, "paper")
    make_shard(path, ["a dog", "a cat", "a bird"])
    with pytest.raises(InputError, match="has changed since"):
        read_labels(open_shard(path), None, "paper")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"nonsense"])
def test_a_broken_labels_file_is_refused_and_made_again(tmp_path, content):
    path = make_shard(tmp_path / "0.tar", ["a dog"])
    label_shard(path, None, "paper")
    sidecar = tmp_path / "0.paper.labels.npz"
    whole = sidecar.read_bytes()
    sidecar.write_bytes(content or whole[: len(whole) // 2])
    with pytest.raises(InputError, match="not a whole labels file"):
        read_sidecar(sidecar)
    label([path], None)
    assert sidecar.read_bytes() == whole


def test_a_killed_run_leaves_only_whole_files_and_is_taken_up_again(tmp_path):
    shards = [make_shard(tmp_path / f"{n}.tar", oracle.glosses()[n::120]) for n in range(8)]
    command = [
        sys.executable,
        "-m",
        "catlip.label",
        *map(str, shards),
        "--labels-dir",
        str(tmp_path / "labels"),
        "--workers",
        "1",
    ]
    process = subprocess.Popen([*command, "--quiet"])
    while not list((tmp_path / "labels").glob("*.npz")):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = list((tmp_path / "labels").glob("*.npz"))
    assert 0 < len(done) < len(shards)
    for path in done:
        read_sidecar(path)
    assert (tmp_path / "labelling" / "paper.json.partial").exists()
    label(shards, tmp_path / "labels")
    assert len(list((tmp_path / "labels").glob("*.npz"))) == len(shards)
    assert not (tmp_path / "labelling" / "paper.json.partial").exists()


def test_an_interrupted_run_stops_soon_and_says_how_to_go_on(tmp_path):
    for n in range(16):
        make_shard(tmp_path / "data" / f"{n}.tar", oracle.glosses()[n::120])
    command = [sys.executable, "-m", "catlip.label", str(tmp_path / "data"), "--labels-dir", str(tmp_path / "labels")]
    process = subprocess.Popen(
        [*command, "--workers", "2", "--quiet"], stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    while not list((tmp_path / "labels").glob("*.npz")):
        assert process.poll() is None
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)
    _, error = process.communicate(timeout=30)
    assert process.returncode == 130
    assert error == "stopped; run the same command again to go on\n"
    assert len(list((tmp_path / "labels").glob("*.npz"))) < 16


def test_a_bad_shard_is_named_and_the_others_are_labelled(shards, tmp_path):
    shards[1].write_bytes(shards[1].read_bytes()[:5000])
    with pytest.raises(InputError, match=r"1 of 3 shards are not labelled, the others are; first: .*1\.tar"):
        label(shards, tmp_path / "labels")
    assert len(contents(tmp_path / "labels")) == 2


def test_the_record_counts_captions_without_a_label_by_cause(tmp_path):
    path = tmp_path / "data" / "0.tar"
    samples = [("a", b"a dog"), ("b", b""), ("c", b"quickly and really"), ("d", b"xqzt"), ("e", b"dog " * 2000)]
    write_shard(path, [*((key, {"txt": text}) for key, text in samples), ("f", {"png": b""})])
    label([path], tmp_path / "run" / "labels")
    record = json.loads((tmp_path / "run" / "labelling" / "paper.json").read_text())
    assert record["metrics"]["unlabelled"] == {"an empty caption": 1, "no noun": 1, "no noun of WordNet": 1, "no caption": 1}
    assert record["metrics"]["cut"] == 1
    assert record["metrics"]["captions"] == 6
    assert record["metrics"]["captions_per_s"] > 0
    assert record["metrics"]["bytes_per_caption"] * 6 == os.path.getsize(tmp_path / "run" / "labels" / "0.paper.labels.npz")


def test_two_shards_of_one_name_need_a_folder_of_labels_each(tmp_path):
    paths = [make_shard(tmp_path / folder / "0.tar", ["a dog"]) for folder in "ab"]
    with pytest.raises(InputError, match="2 shards are named 0"):
        label(paths, tmp_path / "labels")
    label(paths, None)
    assert all((path.parent / "0.paper.labels.npz").exists() for path in paths)


def test_a_missing_caption_and_an_empty_one_have_different_digests(tmp_path):
    write_shard(tmp_path / "0.tar", [("a", {"txt": b""})])
    write_shard(tmp_path / "1.tar", [("a", {"png": b""})])
    assert captions_digest(open_shard(tmp_path / "0.tar")) != captions_digest(open_shard(tmp_path / "1.tar"))


def test_the_digest_tells_keys_and_captions_apart(tmp_path):
    variants = [[("a", "b"), ("c", "d")], [("a", "bc"), ("c", "d")], [("ab", "b"), ("c", "d")], [("a", "b\nc"), ("c", "d")]]
    digests = set()
    for number, samples in enumerate(variants):
        write_shard(tmp_path / f"{number}.tar", ((key, {"txt": text.encode()}) for key, text in samples))
        digests.add(captions_digest(open_shard(tmp_path / f"{number}.tar")))
    assert len(digests) == len(variants)


def test_explaining_prints_a_line_for_each_word(capsys):
    explain(Explain("two bikes on a couch"))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 5
    assert lines[1].split() == ["bikes", "NNS", "bike", "label", "motorcycle.n.01"]


def test_the_command_explains_and_reports_errors_in_one_line():
    command = [sys.executable, "-m", "catlip.label"]
    explained = subprocess.run([*command, "explain", "a dog", "--rule", "corenet"], capture_output=True, text=True)
    assert "label dog.n.01" in explained.stdout
    failed = subprocess.run([*command, "nowhere/*.tar"], capture_output=True, text=True)
    assert failed.returncode == 2
    assert failed.stderr.count("\n") == 1
