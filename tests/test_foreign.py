"""Pickles from outside run nothing, damaged files of our own are named, and nothing of others is
deleted or replaced.
"""

import contextlib
import json
import os
import pickle
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bench.downstream.outputs import SCORE, load_or_measure
from catlip.cli import InputError
from catlip.data import annotated_scenes, starter
from catlip.data.starter.__main__ import Starter
from catlip.data.starter.__main__ import main as build_starter
from catlip.label.__main__ import Label
from catlip.label.__main__ import main as label
from catlip.label.sidecar import planned_names, read_sidecar
from catlip.program.broken import read_broken, read_lines
from catlip.records.record import read_record
from catlip.system.foreign import load_plain
from catlip.training.distributed import THREADS, Rank, threads_of
from catlip.vocabulary import Vocabulary
from catlip.vocabulary.__main__ import BuildVocabulary, build_from_labels
from catlip.words import wordnet, wordnet_dir
from pipeline.options import read_options
from pipeline.stages import steps_of


class Calls:
    """Pickles as a call of `function`."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", [0, 2, pickle.HIGHEST_PROTOCOL])
@pytest.mark.parametrize(
    "call", [(os.system, "touch {}"), (eval, "open('{}', 'w')"), (getattr, "", "join")]
)
def test_pickle_that_runs_code_is_refused(tmp_path, call, protocol):
    function, *arguments = call
    trap = tmp_path / "trap"
    calls = Calls(function, *(argument.format(trap) for argument in arguments))
    with pytest.raises(InputError, match="the file"):
        load_plain(pickle.dumps({"n2084071": calls}, protocol), "the file")
    assert not trap.exists()


def test_only_admitted_built_ins_may_be_imported():
    content = pickle.dumps(({"a": 0.5}, {"NN", "VB"}), protocol=2)
    assert load_plain(content, "the file", admitted=("set",)) == ({"a": 0.5}, {"NN", "VB"})
    with pytest.raises(InputError):
        load_plain(content, "the file")


@settings(max_examples=200)
@given(st.binary(max_size=60), st.integers(0, 40))
@example(b"\x80\x02}r\xff\xff\xff\x7f.", 0)  # it would allocate gigabytes
def test_broken_pickles_are_refused_in_one_way(noise, cut):
    whole = pickle.dumps({"n1740": 3, "n2084071": 5})
    for content in (noise, whole[:cut] + noise, whole[: -1 - cut]):
        with contextlib.suppress(InputError):
            load_plain(content, "the file")


RANK = Rank(0, 1, torch.device("cpu"))
PHOTOS = ("--scale", "photos", "--dry-run")
# A file that a program writes and reads again, and the reader that meets it.
OWN = {
    "corenet.plan": (["a.labels.npz"], lambda path: planned_names(path.parent, "corenet")),
    THREADS: (2, lambda path: threads_of(path.parent)),
    "starter.json": (
        {"edition": 5, "shards": {}},
        lambda path: starter.edition_of(path.parent / "train"),
    ),
    "./starter.json": (
        {"edition": 5, "shards": {}},
        lambda path: build_starter(Starter(path.parent)),
    ),
    "scenes.json": (
        {"edition": 5},
        lambda path: annotated_scenes.main(annotated_scenes.Scenes(path.parent)),
    ),
    SCORE: (
        {"identity": {}, "score": {}},
        lambda path: load_or_measure(path.parent, {}, RANK, lambda: pytest.fail("it tests again")),
    ),
    "record.json": ({"kind": "memory", "metrics": {}}, read_record),
    "vocabulary.json": ({"schema": 2, "synsets": []}, Vocabulary.load),
    "photos/vocabulary.json": (
        {"synsets": []},
        lambda path: steps_of("bench", read_options([*PHOTOS, "--out", str(path.parents[1])])),
    ),
    "a.labels.npz": ({}, read_sidecar),
}
# A folder of that name is not taken for the file.
NOT_TAKEN = ("starter.json", SCORE, "photos/vocabulary.json")


def damaged(path: Path, content: bytes, damage: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if damage == "folder":
        path.mkdir()
        return
    other = b"[]" if content.startswith(b"{") else b"{}"
    of_damage = {"empty": b"", "half": content[: len(content) // 2], "other": other}
    path.write_bytes(of_damage.get(damage, b"\xff\xfe" + content))


@pytest.mark.parametrize("damage", ["empty", "half", "other", "not UTF-8", "folder"])
@pytest.mark.parametrize("name", OWN)
def test_damaged_file_of_our_own_is_named_in_one_line(name, damage, tmp_path) -> None:
    content, read = OWN[name]
    path = tmp_path / name
    damaged(path, json.dumps(content).encode(), damage)
    if damage == "folder" and name in NOT_TAKEN:
        return
    with pytest.raises((InputError, IsADirectoryError)) as error:
        read(path)
    named = getattr(error.value, "filename", None) or str(error.value)
    assert str(path) in named
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize(
    "line", ["nonsense}", '{"step": 1}', '{"step": "1", "key": "", "cause": ""}', "\ud800}"]
)
def test_damaged_line_of_a_log_is_named(line, tmp_path) -> None:
    path = tmp_path / "broken.jsonl"
    whole = json.dumps({"step": 1, "key": "a", "cause": "b"})
    path.write_text(f"{whole}\n{whole[:9]}")
    assert read_broken(tmp_path).counts() == {"b": 1}
    assert read_lines(path, step=int) == [json.loads(whole)]
    path.write_text(f"{whole}\n{line}\n{whole}\n", errors="surrogatepass")
    with pytest.raises(InputError, match=r"broken\.jsonl .*line 2"):
        read_broken(tmp_path)


@pytest.mark.parametrize("damage", ["empty", "half", "other", "not UTF-8"])
def test_nouns_in_the_cache_are_made_again(damage, tmp_path, monkeypatch) -> None:
    folder = tmp_path / "words"
    shutil.copytree(wordnet_dir(), folder)
    monkeypatch.setattr(wordnet, "wordnet_dir", lambda: folder)
    path = folder / wordnet.INDEX_FILE
    before = wordnet.nouns()
    damaged_content = path.read_bytes() if path.exists() else b"{}"
    path.unlink(missing_ok=True)
    damaged(path, damaged_content, damage)
    wordnet.nouns.cache_clear()
    assert np.array_equal(wordnet.nouns().offsets, before.offsets)


WRITTEN = ("step-00000001.pt", "annotations/train.json", ".step-00000002.pt.0a.tmp")
OF_OTHERS = ("llama.pt", "step-1.pt", "annotations/mine.json", "a/step-00000001.pt")


def test_finished_run_deletes_its_own_checkpoints_only(tmp_path: Path) -> None:
    for name in (*WRITTEN, *OF_OTHERS):
        (tmp_path / "run/checkpoints" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "run/checkpoints" / name).touch()
    load_or_measure(tmp_path / "run", {}, RANK, dict)
    left = (tmp_path / "run/checkpoints").rglob("*")
    names = {str(path.relative_to(tmp_path / "run/checkpoints")) for path in left if path.is_file()}
    assert names == {*OF_OTHERS}
    for name in WRITTEN:
        (tmp_path / "other/checkpoints" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "other/checkpoints" / name).touch()
    load_or_measure(tmp_path / "other", {}, RANK, dict)
    assert [path.name for path in (tmp_path / "other").iterdir()] == [SCORE]


@pytest.mark.parametrize("name", ["mine.parquet", "mine.json", "labels.parquet"])
def test_file_of_others_is_not_replaced(name: str, tmp_path: Path, monkeypatch) -> None:
    """By a table of labels, or a vocabulary, nor a table of ours that is labelled itself."""
    monkeypatch.chdir(tmp_path)
    frame = pd.DataFrame({"key": ["a", "b"], "caption": ["a dog", "a cat"], "mine": [1, 2]})
    frame.to_csv("mine.csv", index=False)
    frame.to_parquet("mine.parquet")
    frame.to_json("mine.json")
    given = Label(("mine.csv",), labels_dir=Path("labels"), quiet=True, workers=1)
    if name == "labels.parquet":
        label(replace(given, out=Path(name)))
        label(replace(given, out=Path(name)))  # which is ours
        given = replace(given, sources=(name,))
    elif name == "mine.json":
        label(given)
    content = Path(name).read_bytes()
    write = partial(label, replace(given, out=Path(name)))
    if name == "mine.json":
        config = BuildVocabulary((Path("labels"),), out=Path(name), threshold=0)
        write = partial(build_from_labels, config)
    with pytest.raises(InputError, match=name):
        write()
    assert Path(name).read_bytes() == content
