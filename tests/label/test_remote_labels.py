"""A bucket gets the same labels as a folder, and a run that was stopped goes on there as well."""

import json
from pathlib import Path

import pytest
from glosses import glosses, make_shard
from remote_servers import BUCKET, S3Server

from catlip.cli import InputError
from catlip.label.__main__ import Label, main
from catlip.vocabulary.__main__ import BuildVocabulary, build_from_labels


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
    sentences = glosses()
    paths = [make_shard(tmp_path / "data" / f"{n}.tar", sentences[n::5000]) for n in range(2)]
    rows = [json.dumps({"text": text}) + "\n" for text in sentences[::400]]
    (tmp_path / "data" / "captions.jsonl").write_text("".join(rows))
    return [*paths, tmp_path / "data" / "captions.jsonl"]


def label(sources: list[Path], labels_dir: Path, workers: int = 1) -> None:
    names = tuple(map(str, sources))
    main(Label(names, labels_dir=labels_dir, workers=workers, quiet=True))


def local_labels(sources: list[Path], folder: Path) -> dict[str, bytes]:
    label(sources, folder)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def key_of(url: Path) -> str:
    return "/".join(url.parts[2:])


def contents(s3: S3Server, url: Path) -> dict[str, bytes]:
    listed = s3.client.list_objects_v2(Bucket=BUCKET, Prefix=f"{key_of(url)}/")
    return {
        Path(each["Key"]).name: s3.client.get_object(Bucket=BUCKET, Key=each["Key"])["Body"].read()
        for each in listed.get("Contents", [])
    }


def test_remote_labels_are_those_of_a_folder_and_lost_ones_made_again(s3, sources, url, tmp_path):
    label(sources, url, workers=2)
    assert contents(s3, url) == local_labels(sources, tmp_path / "labels")
    for number, labels_dir in enumerate((url, tmp_path / "labels")):
        out = tmp_path / f"{number}.json"
        build_from_labels(BuildVocabulary((labels_dir,), out, threshold=0, quiet=True))
    assert (tmp_path / "0.json").read_bytes() == (tmp_path / "1.json").read_bytes()
    make_shard(sources[1], ["a dog on a couch"])
    expected = local_labels(sources, tmp_path / "labels")
    broken, missing = "captions-00000.paper.labels.npz", "0.paper.labels.npz"
    s3.put(f"{key_of(url)}/{broken}", expected[broken][:1000])
    s3.client.delete_object(Bucket=BUCKET, Key=f"{key_of(url)}/{missing}")
    label(sources, url)
    assert contents(s3, url) == expected


def test_bucket_that_is_not_there_is_an_error_and_leaves_no_record(sources: list[Path]) -> None:
    with pytest.raises(InputError, match="s3://nobucket/labels"):
        label(sources, Path("s3://nobucket/labels"))
    assert not list(Path("runs").rglob("*.*"))
