"""Labels of shards and tables: right, resumable, the same whoever makes them, tied to captions."""

import json
import re
import resource
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from glosses import glosses, make_shard
from one_line import one_line_error
from remote_servers import BUCKET

from catlip.captions import LabelVersion
from catlip.cli import InputError
from catlip.data.shards import open_shard, write_shard
from catlip.label import is_labelled
from catlip.label.__main__ import Explain, Label, explain, main, summarise
from catlip.label.sidecar import read_labels, read_sidecar, write_sidecar
from catlip.label.sources import TarShard
from catlip.vocabulary import Vocabulary
from catlip.vocabulary.__main__ import BuildVocabulary, build_from_labels

DOG, SOFA = 2084071, 4256520


def make_table(path, texts):
    """A table of real sentences."""
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return path


@pytest.fixture
def shards(tmp_path):
    """Three shards of real sentences."""
    return [make_shard(tmp_path / "data" / f"{n}.tar", glosses()[n::5000]) for n in range(3)]


def label(shards, labels_dir, workers=1, **options):
    sources = tuple(map(str, shards))
    main(Label(sources, labels_dir=labels_dir, workers=workers, quiet=True, **options))


@pytest.fixture(autouse=True)
def _in_a_new_folder(tmp_path, monkeypatch):
    """Records go to runs/ in the working folder."""
    monkeypatch.chdir(tmp_path)


def command(*words):
    """`python -m catlip.label` with these arguments."""
    return [sys.executable, "-m", "catlip.label", *map(str, words), "--quiet"]


def contents(folder, pattern="*.npz"):
    return {path.name: path.read_bytes() for path in sorted(folder.glob(pattern))}


def times(folder):
    return {path: path.stat().st_mtime_ns for path in sorted(folder.rglob("*.*"))}


def test_parts_label_every_source_once_and_leave_the_record_to_the_whole(shards, tmp_path):
    for number in (2, 0):
        label(shards, tmp_path / "labels", part=(number, 3))
    assert list(contents(tmp_path / "labels")) == ["0.paper.labels.npz", "2.paper.labels.npz"]
    assert not (tmp_path / "labelling").exists()
    with pytest.raises(InputError, match="1 labels files are missing"):
        counted(tmp_path / "labels")
    label(shards, tmp_path / "labels")
    metrics = json.loads((tmp_path / "labelling/paper.json").read_text())["metrics"]
    assert metrics["captions_labelled_now"] == len(open_shard(shards[1])) < metrics["captions"]
    label(shards, tmp_path / "at once")
    assert contents(tmp_path / "labels") == contents(tmp_path / "at once")
    with pytest.raises(InputError, match="--part 3 3"):
        label(shards, tmp_path / "labels", part=(3, 3))


RAY = """
import os, threading, time
from pathlib import Path
from ray.cluster_utils import Cluster
from catlip.label import __main__ as program, label_source

folder = Path("labels")

def dying(source, **options):
    time.sleep(0.1)
    try:
        Path("died").touch(exist_ok=False)
    except FileExistsError:
        return label_source(source, **options)
    os.kill(os.getpid(), 9)

def remove():
    while len([*folder.glob("*.npz")]) < 3:
        time.sleep(0.01)
    cluster.remove_node(second, allow_graceful=False)
    print(len([*folder.glob("*.npz")]), "were labelled when a machine died", flush=True)

machine = {"num_cpus": 1, "object_store_memory": 80 * 2**20, "include_dashboard": False}
cluster = Cluster(initialize_head=True, head_node_args=machine)
second = cluster.add_node(**machine)
os.environ["RAY_ADDRESS"] = cluster.address
program.label_source = dying
threading.Thread(target=remove).start()
program.main(program.Label(("captions",), labels_dir=folder, engine="ray"))
"""


@pytest.mark.slow
def test_ray_finds_all_labels_though_a_worker_and_a_machine_die(tmp_path):
    pytest.importorskip("ray")
    (tmp_path / "captions").mkdir()
    for number in range(20):
        make_table(tmp_path / "captions" / f"{number}.jsonl", glosses()[number:1000:20])
    label([tmp_path / "captions"], tmp_path / "local" / "labels")
    # A process of its own: forks of one that used Ray die of a segmentation fault.
    done = subprocess.run([sys.executable, "-c", RAY], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "died").exists()
    (labelled_before,) = re.findall(r"(\d+) were labelled when", done.stdout)
    assert int(labelled_before) < 20
    assert "nodes at work: 2" in done.stderr
    assert contents(tmp_path / "labels") == contents(tmp_path / "local" / "labels")


def test_only_what_is_missing_or_changed_is_labelled_again(shards, tmp_path):
    """A table also if it has another order, at the same size."""
    table = make_table(tmp_path / "captions.jsonl", glosses()[:210])
    sources, labels_dir = [*shards, table], tmp_path / "labels"
    label(sources, labels_dir)
    before, of_table = times(tmp_path), labels_dir / "captions-00000.paper.labels.npz"
    assert len(read_sidecar(of_table)) == 210
    label(sources, labels_dir)
    assert times(tmp_path) == before, "a second run does nothing"
    (labels_dir / "0.paper.labels.npz").unlink()
    make_shard(shards[1], ["a dog on a couch"])
    table.write_text("".join(table.read_text().splitlines(keepends=True)[::-1]))
    untouched, ordered = labels_dir / "2.paper.labels.npz", of_table.read_bytes()
    label(sources, labels_dir)
    assert times(tmp_path)[untouched] == before[untouched]
    again = read_labels(open_shard(shards[1]), labels_dir, "paper")
    assert again.values.tolist() == [DOG, SOFA]
    assert again.values.dtype == again.offsets.dtype == np.uint32
    assert of_table.read_bytes() != ordered
    assert len(contents(labels_dir)) == 4


def test_bucket_gets_the_labels_of_a_folder_and_lost_ones_again(s3, shards, tmp_path, monkeypatch):
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    sources = [*shards[:2], make_table(tmp_path / "captions.jsonl", glosses()[::400])]
    folder, prefix = tmp_path / "labels", f"{tmp_path.name}/labels/"
    bucket = Path(f"s3://{BUCKET}/{prefix}")

    def stored():
        found = s3.client.list_objects_v2(Bucket=BUCKET, Prefix=prefix)["Contents"]
        keys = [each["Key"] for each in found]
        objects = {key: s3.client.get_object(Bucket=BUCKET, Key=key) for key in keys}
        return {key.removeprefix(prefix): each["Body"].read() for key, each in objects.items()}

    label(sources, folder)
    label(sources, bucket, workers=2)
    assert stored() == contents(folder, "*")
    assert counted(bucket) == counted(folder)
    make_shard(shards[1], ["a dog on a couch"])
    label(sources, folder)
    broken = "captions-00000.paper.labels.npz"
    s3.put(f"{prefix}{broken}", (folder / broken).read_bytes()[:1000])
    s3.client.delete_object(Bucket=BUCKET, Key=f"{prefix}0.paper.labels.npz")
    label(sources, bucket)
    assert stored() == contents(folder, "*")
    records = [*Path("runs").rglob("*.*")]
    with pytest.raises(InputError, match="s3://nobucket/labels"):
        label(sources, Path("s3://nobucket/labels"))
    assert [*Path("runs").rglob("*.*")] == records


@pytest.mark.parametrize(("name", "other"), [("tagger", "x"), ("size", 1), ("content", "0" * 32)])
def test_labels_that_were_made_otherwise_or_are_damaged_are_made_again(tmp_path, name, other):
    """And are an error among others, as when machines of a cluster have other words."""
    source = TarShard(make_shard(tmp_path / "0.tar", ["a dog"]))
    label([source.path], tmp_path)
    sidecar = tmp_path / "0.paper.labels.npz"
    whole, labels = sidecar.read_bytes(), read_sidecar(sidecar)
    write_sidecar(sidecar, replace(labels, meta=labels.meta | {name: other}))
    assert not is_labelled(source, tmp_path, LabelVersion.from_meta(labels.meta))
    if name == "tagger":
        with pytest.raises(InputError, match=str(sidecar)):
            summarise({source: sidecar}, set(), LabelVersion.from_meta(labels.meta), 1.0)
    label([source.path], tmp_path)
    assert sidecar.read_bytes() == whole
    for damaged in (b"", b"PK\x03\x04", whole[: len(whole) // 2]):
        sidecar.write_bytes(damaged)
        label([source.path], tmp_path)
        assert sidecar.read_bytes() == whole


def counted(*places):
    """How many captions a vocabulary of these labels counts."""
    build_from_labels(BuildVocabulary(places, Path("vocabulary.json"), threshold=0, quiet=True))
    return Vocabulary.load(Path("vocabulary.json")).source.captions


def test_jobs_that_label_other_shards_into_one_folder_are_one_vocabulary(tmp_path):
    paths = [make_shard(tmp_path / f"{n}.tar", ["a dog on a couch"] * (n + 1)) for n in range(3)]
    folder = tmp_path / "labels"
    for part in (paths[:1], paths[2:], paths[1:2], paths[2:]):
        label(part, folder)
    assert counted(folder) == 1 + 2 + 3
    (folder / "2.paper.labels.npz").unlink()
    with pytest.raises(InputError, match=r"1 labels .* first 2\.paper\.labels\.npz; run"):
        counted(folder)
    assert counted(*folder.glob("*.npz")) == 3
    label(paths[2:], folder)
    assert counted(folder) == 6
    label(paths[:2], folder)
    assert counted(folder) == 6, "it names whole plans only"
    label(paths, folder)
    label(paths[:2], folder)
    assert counted(folder) == 3
    next(folder.glob("*.plan")).unlink()
    assert counted(folder) == 6, "labels of a version without plans"


def test_record_counts_captions_without_a_label_by_cause(tmp_path):
    path = tmp_path / "data" / "0.tar"
    captions = (b"a dog", b"", b"quickly and really", b"xqzt", b"dog " * 2000)
    samples = [(key, {"txt": text}) for key, text in zip("abcde", captions, strict=True)]
    write_shard(path, [*samples, ("f", {"png": b""})])
    longer = [(key, {"txt": bytes(2**20 + 1)}) for key in "gh"]  # left out
    write_shard(tmp_path / "data" / "1.tar", [*longer, ("i", {"txt": b"a dog"})])
    write_shard(tmp_path / "data" / "2.tar", [longer[0], ("i", {"txt": b"a dog"})])
    label(path.parent.glob("*.tar"), tmp_path / "run" / "labels")
    metrics = json.loads((tmp_path / "run/labelling/paper.json").read_text())["metrics"]
    assert [*metrics["skipped"].values()] == [3]
    causes = ("an empty caption", "no noun", "no noun of WordNet", "no caption")
    assert metrics["unlabelled"] == dict.fromkeys(causes, 1)
    first = metrics["first_unlabelled"]
    assert (first["no caption"], first["no noun"]) == ("f of 0.tar", "c of 0.tar")
    assert metrics["captions"] == 8
    assert metrics["captions_per_s"] > 0


def test_killed_run_leaves_only_whole_files_and_is_taken_up_again(tmp_path):
    shards = [make_shard(tmp_path / f"{n}.tar", glosses()[n::120]) for n in range(8)]
    options = ("--labels-dir", tmp_path / "labels", "--workers", 1)
    process = subprocess.Popen(command(*shards, *options))
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
    with pytest.raises(InputError, match=f"{8 - len(done)} labels files are missing"):
        counted(tmp_path / "labels")
    label(shards, tmp_path / "labels")
    assert counted(tmp_path / "labels") == sum(len(glosses()[n::120]) for n in range(8))
    assert len(list((tmp_path / "labels").glob("*.npz"))) == len(shards)
    assert not (tmp_path / "labelling" / "paper.json.partial").exists()


def test_bad_source_is_named_and_others_are_labelled(shards, tmp_path):
    good, bad = tmp_path / "good.csv", tmp_path / "bad.csv"
    good.write_text("title,url\na dog,u\n")
    bad.write_text("caption,url\na dog,u\n")
    with pytest.raises(InputError, match=r"^1 .*bad\.csv .*title"):
        label([bad, good], tmp_path, text_column="title")
    assert read_sidecar(tmp_path / "good-00000.paper.labels.npz").values.tolist() == [DOG]
    with pytest.raises(InputError, match=r"bad-00000\.paper\.labels\.npz"):
        counted(tmp_path)
    with pytest.raises(InputError, match=r"^2 .*bad\.csv"):
        label([bad, good], tmp_path, text_column="x")
    shards[1].write_bytes(shards[1].read_bytes()[:5000])
    with pytest.raises(InputError, match=rf"^1 .*{shards[1]}"):
        label(shards, tmp_path / "labels")
    assert len(contents(tmp_path / "labels")) == 2


def test_two_sources_do_not_overwrite_each_other_s_labels(tmp_path):
    for kind in ("tsv", "csv"):
        (tmp_path / f"captions.{kind}").write_text("caption\na dog\n")
    with pytest.raises(InputError, match=r"captions\.csv .*captions\.tsv .*--labels-dir"):
        label(sorted(tmp_path.iterdir()), tmp_path / "labels")


GERMAN = """Ein brauner Hund läuft über eine grüne Wiese
Zwei Kinder spielen mit einem roten Ball im Garten
Eine Frau mit Hut sitzt auf einer Bank vor dem Haus
Der Mann fährt mit dem Fahrrad durch die Stadt
Ein weißes Boot liegt am Strand in der Sonne"""


@pytest.mark.parametrize(
    ("captions", "warned"),
    [
        (glosses()[:400], False),
        (["a dog", "a cat", "a couch", "quickly and really"], True),
        (["a dog"] * 4 + ["quickly and really"], False),
        (GERMAN.splitlines(), True),
        (["Puma Men Mns Body Train Black Tshirts", "Fossil Women Flight Silver Watch"], False),
    ],
)
@pytest.mark.parametrize("rule", ["paper", "corenet"])
def test_captions_that_may_not_be_english_are_warned_of(tmp_path, capsys, captions, warned, rule):
    label([make_shard(tmp_path / "0.tar", captions)], tmp_path, rule=rule)
    assert ("warning" in capsys.readouterr().err) == warned


def test_explaining_prints_a_line_for_each_word(capsys):
    explain(Explain("two bikes on a \x1b[31mdog\x9b \u202ecat"))
    printed = capsys.readouterr().out
    words = printed.splitlines()[2].split()[:5]
    assert words == ["bikes", "NNS", "bike", "label", "motorcycle.n.01:"]
    assert printed.replace("\n", "").isprintable()


def test_full_disk_is_named_and_what_is_written_is_kept(tmp_path):
    """A limit on file size fails a write half-way, as a full disk does."""
    make_table(tmp_path / "a.jsonl", glosses()[:100])
    make_table(tmp_path / "b.jsonl", glosses()[:1500])
    words = command("a.jsonl", "b.jsonl", "--labels-dir", "run/labels", "--workers", 1)
    options = {"cwd": tmp_path, "capture_output": True, "text": True}
    limit = (16_000, 16_000)
    done = subprocess.run(
        words, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit), **options
    )
    one_line_error(done, "run/labels/b-00000.paper.labels.npz")
    names = sorted(path.name for path in (tmp_path / "run" / "labels").iterdir())
    assert names[0] == "a-00000.paper.labels.npz"
    assert [path.suffix for path in map(Path, names)] == [".npz", ".plan"]
    subprocess.run(words, **options, check=True)
    assert len(contents(tmp_path / "run" / "labels")) == 2
