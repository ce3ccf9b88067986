"""Labels in a bucket are those of a folder, and a run that was stopped goes on there as well."""

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from one_line import one_line_error
from remote_servers import BUCKET, S3Server, s3_server

from bench.wording import nltk_rules as oracle
from catlip.data.shard_set import open_shards
from catlip.data.shards import write_shard
from catlip.label.__main__ import Label, main
from catlip.label.sidecar import UnwritableError
from catlip.vocabulary import Vocabulary
from catlip.vocabulary.__main__ import BuildVocabulary, build_from_labels
from catlip.vocabulary.sample_labels import VocabularyLabels

READ_ONLY = "readonly"
DENY_WRITING = f"""{{"Statement": [{{"Effect": "Deny", "Principal": "*", "Action": "s3:PutObject",
    "Resource": "arn:aws:s3:::{READ_ONLY}/*"}}]}}"""


@pytest.fixture(scope="module")
def s3() -> Iterator[S3Server]:
    """A bucket that keeps all versions, and one that may not be written."""
    with s3_server() as server:
        server.client.put_bucket_versioning(
            Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"}
        )
        server.client.create_bucket(Bucket=READ_ONLY)
        server.client.put_bucket_policy(Bucket=READ_ONLY, Policy=DENY_WRITING)
        yield server


@pytest.fixture(autouse=True)
def surroundings(s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The keys of the server, and a working folder that is empty."""
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


@pytest.fixture
def url(tmp_path: Path) -> Path:
    """A folder of the bucket for this test alone."""
    return Path(f"s3://{BUCKET}/{tmp_path.name}/labels")


@pytest.fixture
def sources(tmp_path: Path) -> list[Path]:
    """Two shards and a table of real sentences."""
    sentences = oracle.glosses()
    paths = [make_shard(tmp_path / "data" / f"{n}.tar", sentences[n::5000]) for n in range(2)]
    (tmp_path / "data" / "captions.txt").write_text("\n".join(sentences[::400]))
    return [*paths, tmp_path / "data" / "captions.txt"]


def make_shard(path: Path, captions: list[str]) -> Path:
    write_shard(path, ((f"{n:05d}", {"txt": text.encode()}) for n, text in enumerate(captions)))
    return path


def label(sources: list[Path], labels_dir: Path, workers: int = 1, part_rows: int = 60) -> None:
    names = tuple(map(str, sources))
    main(Label(names, labels_dir=labels_dir, workers=workers, part_rows=part_rows, quiet=True))


def command(sources: list[Path], labels_dir: Path | str) -> list[str]:
    labels = ["--labels-dir", str(labels_dir), "--quiet"]
    return [sys.executable, "-m", "catlip.label", *map(str, sources), *labels]


def local_labels(sources: list[Path], folder: Path, part_rows: int = 60) -> dict[str, bytes]:
    label(sources, folder, part_rows=part_rows)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def key_of(url: Path) -> str:
    return "/".join(url.parts[2:])


def contents(s3: S3Server, url: Path) -> dict[str, bytes]:
    listed = s3.client.list_objects_v2(Bucket=BUCKET, Prefix=f"{key_of(url)}/")
    return {
        Path(each["Key"]).name: s3.client.get_object(Bucket=BUCKET, Key=each["Key"])["Body"].read()
        for each in listed.get("Contents", [])
    }


def writes(s3: S3Server, url: Path) -> Counter[str]:
    """How often each file was written."""
    listed = s3.client.list_object_versions(Bucket=BUCKET, Prefix=f"{key_of(url)}/")
    return Counter(Path(each["Key"]).name for each in listed.get("Versions", []))


def test_remote_labels_are_those_of_a_folder_and_are_made_once(
    s3: S3Server, sources: list[Path], url: Path, tmp_path: Path
) -> None:
    expected = local_labels(sources, tmp_path / "labels")
    label(sources, url, workers=2)
    assert contents(s3, url) == expected
    label(sources, url)
    assert writes(s3, url) == Counter(list(expected))


def test_only_what_is_missing_broken_or_changed_is_written_again(
    s3: S3Server, sources: list[Path], url: Path, tmp_path: Path
) -> None:
    label(sources, url)
    make_shard(sources[1], ["a dog on a couch"])
    expected = local_labels(sources, tmp_path / "labels")
    broken, missing, *whole = sorted(name for name in expected if name.startswith("captions"))
    s3.put(f"{key_of(url)}/{broken}", expected[broken][:1000])
    s3.client.delete_object(Bucket=BUCKET, Key=f"{key_of(url)}/{missing}")
    label(sources, url)
    assert contents(s3, url) == expected
    once = ["0.paper.labels.npz", *whole, "paper.plan"]
    assert sorted(name for name, times in writes(s3, url).items() if times == 1) == once
    # Parts that are gone lose their labels.
    label(sources, url, part_rows=150)
    fewer = local_labels(sources, tmp_path / "labels", part_rows=150)
    assert len(fewer) < len(expected)
    assert contents(s3, url) == fewer


def test_a_bucket_that_is_not_there_is_one_line(sources: list[Path]) -> None:
    words = command(sources, "s3://nobucket/labels")
    one_line_error(subprocess.run(words, capture_output=True, text=True), "s3://nobucket/labels")
    assert not list(Path("runs").rglob("*.*"))


def test_a_bucket_that_may_not_be_written_ends_the_run_at_once(
    sources: list[Path],
) -> None:
    with pytest.raises(UnwritableError, match=rf"s3://{READ_ONLY}/labels/paper"):
        label(sources, Path(f"s3://{READ_ONLY}/labels"), workers=2)


def test_vocabulary_and_training_read_remote_labels_as_those_of_a_folder(
    sources: list[Path], url: Path, tmp_path: Path
) -> None:
    shards, folder = open_shards(sources[:2]), tmp_path / "labels"
    samples = [(shards[number], sample, 0) for number in (1, 0) for sample in (0, 3, 5)]
    read = []
    for number, labels_dir in enumerate((folder, url)):
        out = tmp_path / str(number) / "vocabulary.json"
        label(sources[:2], labels_dir)
        build_from_labels(BuildVocabulary((labels_dir,), out=out, threshold=0, quiet=True))
        labels = VocabularyLabels(labels_dir, Vocabulary.load(out))
        labels.check(shards, ["shards"])
        read.append([out.read_bytes(), *(array.tolist() for array in labels(samples))])
    assert read[0] == read[1]


def test_records_of_remote_labels_are_here_one_for_each_folder(
    sources: list[Path], url: Path
) -> None:
    for folder in (url, url.parent / "other" / "labels"):
        label(sources[:1], folder)
    assert len(list(Path("runs/labelling").glob("*.json"))) == 2
