"""Captions from tables are the same captions, whatever the kind of table."""

import csv
import json
import re
import tracemalloc

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from catlip.captions import labeller_of
from catlip.cli import InputError
from catlip.data.shards import write_shard
from catlip.data.tables import caption_in
from catlip.label import label_captions
from catlip.label.sources import Table, TarShard, Unusable, find

KINDS = ("csv", "tsv", "jsonl", "parquet")
TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
CHARACTERS = ' "\r\x00\ufeff'
CAPTIONS = ['a dog\non a "couch"', "two\tbikes, a cat", "über 犬", "don't", "\r\n", ""]
WORDS = st.sampled_from([*CHARACTERS, *CAPTIONS])
# In TSV a line is a row; in CSV a line in a caption may look like one.
UNCLEAR = {"tsv": re.compile(r"[\r\n]"), "csv": re.compile(r"[\r\n].*,(?! )", re.DOTALL)}


def write_table(path, captions, row_group_size=3):
    """Write the captions as the column "caption" of two, in the kind that the name says."""
    kind = path.suffix.removeprefix(".")
    if kind == "parquet":
        table = pa.table({"url": ["u"] * len(captions), "caption": pa.array(captions, pa.string())})
        pq.write_table(table, path, row_group_size=row_group_size)
    elif kind in ("csv", "tsv"):
        with open(path, "w", newline="", encoding="utf-8") as file:
            rows = csv.writer(file, "excel" if kind == "csv" else "excel-tab")
            rows.writerows([["url", "caption"], *(["u", caption] for caption in captions)])
    else:
        lines = [json.dumps({"url": "u", "caption": caption}) + "\n" for caption in captions]
        path.write_text("".join(lines))
    return path


def samples(path, text_column=None):
    return [*Table(path, text_column).samples()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("tables")


@settings(max_examples=60)
@given(texts=st.lists(TEXTS | WORDS, min_size=1, max_size=12))
@example(texts=["a dog", "NULL", '"a\ncat"', "\r\n", "", '",\t"'])
def test_labels_are_those_of_a_shard_whatever_the_kind(folder, texts):
    """Keys and captions, too: the digest is made of them."""
    shard, labeller = folder / "0.tar", labeller_of("paper", ())
    captions = [json.dumps({"caption": caption_in(text)}).encode() for text in texts]
    write_shard(shard, ((str(n), {"json": caption}) for n, caption in enumerate(captions)))
    expected = label_captions(TarShard(shard).samples(), labeller)
    for kind in KINDS:
        if kind in UNCLEAR and any(UNCLEAR[kind].search(text) for text in texts):
            continue
        table = Table(write_table(folder / f"t.{kind}", texts))
        found = label_captions(table.samples(), labeller)
        assert found.values.tolist() == expected.values.tolist(), kind
        assert found.offsets.tolist() == expected.offsets.tolist(), kind
        assert found.meta == expected.meta, kind


@pytest.mark.parametrize(("kind", "comma"), [("csv", b","), ("tsv", b"\t")])
def test_file_without_a_header_row_has_numbered_columns(tmp_path, kind, comma):
    path = tmp_path / f"cc3m.{kind}"
    path.write_bytes(comma.join([b"a dog", b"u"]) + b"\n" + comma.join([b"a cat", b"v"]) + b"\n")
    assert samples(path, "1") == [("0", "u"), ("1", "v")]
    with pytest.raises(InputError, match=f"{path.name} has no column 2; there are: 0, 1"):
        samples(path, "2")
    with pytest.raises(InputError, match=f"{path.name}.*a dog, u"):
        samples(path)


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        *(
            (f"t.{kind}", end.join(lines), ["a dog", "a cat"])
            for end in ("\n", "\r\n", "\r")
            for kind, lines in {
                "csv": ["caption,x", "a dog,1", "a cat,2"],
                "jsonl": ['{"caption": "a dog"}', '{"caption": "a cat"}'],
            }.items()
        ),
        ("t.jsonl", '\ufeff{"caption": "a dog"}\n', ["a dog"]),
        ("t.csv", "caption\n\na dog\n\n\na cat\n\n", ["a dog", "a cat"]),
        ("t.jsonl", '\n{"caption": "a dog"}\n  \n{"caption": "a cat"}\n\n', ["a dog", "a cat"]),
        ("t.jsonl", '{"x": 1, "TEXT": "a dog"}\n', ["a dog"]),
        ("t.csv", b"caption\na caf\xe9\x92s \xff\nein \xc3\xbc\n", ["a café\u2019s ÿ", "ein ü"]),
        ("t.jsonl", b'{"caption": "a caf\xe9 \xff"}\n', ["a café ÿ"]),
        ("t.tsv", "image,caption\n0.jpg,a dog\n", ["a dog"]),
        ("t.csv", "title,image\na dog,0.jpg\n", ["a dog"]),
        ("t.csv", "x,caption\n1,nan\n2,None\n3,a nan\n", [None, None, "a nan"]),
        (
            "t.csv",
            "caption,x\na dog,1\na cat, black,2\n",
            ["a dog", Unusable("a row of more fields than columns")],
        ),
        (
            "t.csv",
            "x,caption\n1,a dog\n2\n3,\n4,a cat,5\n",
            ["a dog", Unusable("a row without caption"), "", "a cat,5"],
        ),
    ],
)
def test_text_tables_are_read_whatever_their_line_ends_and_marks(tmp_path, name, content, expected):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert samples(path) == [(str(number), caption) for number, caption in enumerate(expected)]


def test_row_of_json_without_a_caption_says_why(tmp_path):
    rows = {
        '{"caption": "a dog"}': "a dog",
        '{"caption": null}': None,
        '{"x": 1}': Unusable("a row without caption"),
        **dict.fromkeys(('{"caption": ["a"]}', '{"caption": 3.5}'), Unusable("not text")),
        **dict.fromkeys(("[1]", '"a dog"', "17", "null"), Unusable("not a JSON object")),
        **dict.fromkeys(('{"caption": "a', "9" * 5000, "[" * 100_000), Unusable("not JSON")),
    }
    (tmp_path / "t.jsonl").write_text("\n".join(rows))
    assert [caption for _, caption in samples(tmp_path / "t.jsonl")] == list(rows.values())


def parquet(folder):
    path = write_table(folder / "p.parquet", [f"caption {n}" for n in range(1000)], 1000)
    return path.read_bytes()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.csv", lambda _: b""),
        ("t.parquet", lambda _: b""),
        ("t.parquet", lambda folder: parquet(folder)[:-4]),
        ("t.parquet", lambda folder: parquet(folder)[:1000]),
        ("t.parquet", lambda folder: parquet(folder)[:50] + bytes(2950) + parquet(folder)[3000:]),
        ("t.csv", lambda _: b'caption\n"a dog\n' + b"a cat\n" * 4_000_000),  # an open quote
        ("t.csv, line 2", lambda _: b"caption,x\na,b,c\n" + b"a dog, black,1\n" * 10),
    ],
)
def test_empty_or_damaged_table_is_named(tmp_path, name, content):
    path = tmp_path / name.partition(",")[0]
    path.write_bytes(content(tmp_path))
    with pytest.raises(InputError, match=re.escape(name)):
        samples(path)


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_memory_does_not_grow_with_the_rows(tmp_path, kind):
    path, endless = tmp_path / f"t.{kind}", tmp_path / f"endless.{kind}"
    write_table(path, [f"caption {n} of a rather long file" for n in range(50_000)])
    with open(endless, "wb") as file:
        file.write(b"caption\n")
        file.truncate(200_000_000)  # takes no disk
    tracemalloc.start()
    for _ in Table(path).samples():
        pass
    assert tracemalloc.get_traced_memory()[1] < 1_000_000 < path.stat().st_size
    with pytest.raises(InputError, match=rf"endless\.{kind}"):
        samples(endless)
    assert tracemalloc.get_traced_memory()[1] < 60_000_000
    tracemalloc.stop()


def paths_of(*patterns):
    return [source.path for source in find(patterns)]


def test_folder_stands_for_its_tars_or_else_for_one_kind_of_table(tmp_path):
    for name in ("b.tar", "a.tar", "a.parquet", "a_stats.json"):
        (tmp_path / name).touch()
    tars = [tmp_path / "a.tar", tmp_path / "b.tar"]
    assert paths_of(str(tmp_path)) == tars
    assert paths_of(f"{tmp_path}/*.tar", f"{tmp_path}/{{a..b}}.tar") == tars, "each once"
    for path in (*tars, tmp_path / "a.parquet"):
        path.unlink()
    for name in ("README.txt", "d.csv", "c.csv", "._c.csv", "e.jsonl"):
        (tmp_path / name).touch()
    assert paths_of(str(tmp_path)) == [tmp_path / "c.csv", tmp_path / "d.csv"]


@pytest.mark.parametrize("name", ["notes.md", "a.csv.gz", "captions", "no.tar"])
def test_what_is_no_shard_or_table_is_refused(tmp_path, name):
    if name != "no.tar":
        (tmp_path / name).touch()
    with pytest.raises(InputError, match=re.escape(name)):
        find([str(tmp_path / name)])
    with pytest.raises(InputError):
        find([])
