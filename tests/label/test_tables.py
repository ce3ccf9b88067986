"""Captions from tables are the same captions, whatever the kind of table and wherever it is cut."""

import csv
import gzip
import json
import re
import tracemalloc

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from catlip.captions import Labeller
from catlip.cli import InputError
from catlip.data.shards import write_shard
from catlip.label import label_captions
from catlip.label.sources import TarShard, find
from catlip.label.tables.columns import Unusable
from catlip.label.tables.parts import cut

KINDS = ("csv", "tsv", "jsonl", "parquet")
TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
CHARACTERS = ' "\r\x00\ufeff'
CAPTIONS = ['a dog\non a "couch"', "two\tbikes, a cat", "über 犬", "don't", "\r\n", ""]
WORDS = st.sampled_from([*CHARACTERS, *CAPTIONS])


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


def samples(path, text_column=None, part_rows=10):
    return [sample for part in cut(path, text_column, part_rows) for sample in part.samples()]


def captions(path, text_column=None, part_rows=10):
    return [caption for _, caption in samples(path, text_column, part_rows)]


@pytest.fixture(scope="module")
def labeller():
    return Labeller("paper")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("tables")


@settings(max_examples=60)
@given(texts=st.lists(TEXTS | WORDS, min_size=1, max_size=12), part_rows=st.integers(1, 13))
@example(texts=["a dog", '"a\ncat"', "\r\n", "", '",\t"'], part_rows=2)
def test_labels_are_those_of_a_shard_whatever_the_kind_and_the_parts(
    folder, labeller, texts, part_rows
):
    """Keys and captions, too: the digest is made of them."""
    shard = folder / "0.tar"
    captions = [json.dumps({"caption": text}).encode() for text in texts]
    write_shard(shard, ((str(n), {"json": caption}) for n, caption in enumerate(captions)))
    expected = label_captions(TarShard(shard).samples(), labeller)
    for kind in KINDS:
        parts = cut(write_table(folder / f"t.{kind}", texts), part_rows=part_rows)
        found = label_captions((sample for part in parts for sample in part.samples()), labeller)
        assert found.values.tolist() == expected.values.tolist(), kind
        assert found.offsets.tolist() == expected.offsets.tolist(), kind
        assert found.meta == expected.meta, kind
        assert [part.num_rows for part in parts[:-1]] == [part_rows] * (len(parts) - 1)
        assert [part.first_row for part in parts] == list(range(0, len(texts), part_rows))


@given(
    texts=st.lists(TEXTS.filter(lambda text: not set(text) & {"\n", "\r"}), min_size=1),
    part_rows=st.integers(1, 5),
)
def test_every_line_of_a_text_file_is_a_caption(folder, texts, part_rows):
    (folder / "t.txt").write_bytes("\n".join([*texts, ""]).encode())
    expected = [(str(n), text) for n, text in enumerate(texts)]
    assert samples(folder / "t.txt", None, part_rows) == expected


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("kind", ["csv", "jsonl", "txt"])
def test_any_line_ends_will_do_and_the_last_may_be_missing(tmp_path, kind, end):
    lines = {
        "csv": ["caption,x", "a dog,1", "a cat,2"],
        "jsonl": ['{"caption": "a dog"}', '{"caption": "a cat"}'],
    }
    path = tmp_path / f"t.{kind}"
    path.write_bytes(end.join(lines.get(kind, ["a dog", "a cat"])).encode())
    assert captions(path, part_rows=1) == ["a dog", "a cat"]


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "txt"])
def test_a_gzipped_table_is_read_like_a_plain_one(tmp_path, kind):
    texts = [f"caption {n}" for n in range(25)]
    plain = write_table(tmp_path / f"t.{kind}", texts)
    packed = tmp_path / f"t.{kind}.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    assert samples(packed) == samples(plain)
    assert cut(packed, part_rows=10)[2].name == "t-00002"
    packed.write_bytes(packed.read_bytes()[:-20])
    with pytest.raises(InputError, match=re.escape(str(packed))):
        samples(packed)


def test_a_byte_order_mark_is_no_part_of_the_first_column(tmp_path):
    (tmp_path / "t.csv").write_bytes("\ufeffcaption,x\na dog,1\n".encode())
    (tmp_path / "t.jsonl").write_bytes('\ufeff{"caption": "a dog"}\n'.encode())
    (tmp_path / "t.txt").write_bytes("\ufeffa dog\n".encode())
    assert [captions(path) for path in sorted(tmp_path.iterdir())] == [["a dog"]] * 3


def test_empty_lines_are_no_rows_of_csv_and_json_but_captions_of_text(tmp_path):
    (tmp_path / "t.csv").write_text("caption\n\na dog\n\n\na cat\n\n")
    (tmp_path / "t.jsonl").write_text('\n{"caption": "a dog"}\n  \n{"caption": "a cat"}\n\n')
    (tmp_path / "t.txt").write_text("a dog\n\na cat\n")
    for name in ("t.csv", "t.jsonl"):
        assert samples(tmp_path / name, part_rows=1) == [("0", "a dog"), ("1", "a cat")]
    assert captions(tmp_path / "t.txt", part_rows=1) == ["a dog", "", "a cat"]


@pytest.mark.parametrize(("kind", "comma"), [("csv", b","), ("tsv", b"\t")])
def test_a_file_without_a_header_row_has_numbered_columns(tmp_path, kind, comma):
    path = tmp_path / f"cc3m.{kind}"
    path.write_bytes(comma.join([b"a dog", b"u"]) + b"\n" + comma.join([b"a cat", b"v"]) + b"\n")
    assert samples(path, "0") == [("0", "a dog"), ("1", "a cat")]
    assert captions(path, "1") == ["u", "v"]
    with pytest.raises(InputError, match=f"{path.name}.*2 columns"):
        cut(path, "2")
    with pytest.raises(InputError, match=f"{path.name}.*a dog, u"):
        cut(path)


@pytest.mark.parametrize("kind", KINDS)
def test_a_missing_column_is_an_error_that_lists_those_that_are_there(tmp_path, kind):
    path = write_table(tmp_path / f"t.{kind}", ["a dog"])
    with pytest.raises(InputError, match=rf"t\.{kind}.* title.* url, caption.*--text-column"):
        cut(path, "title")
    assert captions(path, "url") == ["u"]


@pytest.mark.parametrize("name", ["caption", "text", "TEXT", "texts"])
def test_the_usual_columns_need_not_be_named(tmp_path, name):
    (tmp_path / "t.csv").write_text(f"texts_,{name}\nx,a dog\n")
    (tmp_path / "t.jsonl").write_text(json.dumps({"x": 1, name: "a dog"}) + "\n")
    pq.write_table(pa.table({"x": [1], name: ["a dog"]}), tmp_path / "t.parquet")
    assert [captions(path) for path in sorted(tmp_path.iterdir())] == [["a dog"]] * 3


def test_a_row_without_a_caption_says_why(tmp_path):
    rows = {
        '{"caption": "a dog"}': "a dog",
        '{"caption": null}': None,
        '{"x": 1}': Unusable("a row without caption"),
        '{"caption": ["a", "b"]}': Unusable("not text but a list"),
        '{"caption": {"en": "a"}}': Unusable("not text but an object"),
        '{"caption": 3.5}': Unusable("not text but a number"),
        '{"caption": true}': Unusable("not text but true or false"),
        "[1]": Unusable("not a JSON object but a list"),
        '"a dog"': Unusable("not a JSON object but text"),
        "17": Unusable("not a JSON object but a number"),
        "null": Unusable("not a JSON object but null"),
        '{"caption": "a': Unusable("not JSON"),
        "b'a dog'": Unusable("not JSON"),
        "9" * 5000: Unusable("not JSON"),
        "[" * 100_000: Unusable("not JSON"),
    }
    (tmp_path / "t.jsonl").write_text("\n".join(rows))
    assert captions(tmp_path / "t.jsonl", part_rows=4) == list(rows.values())
    (tmp_path / "t.csv").write_text("x,caption\n1,a dog\n2\n3,\n4,a cat,5\n")
    short = Unusable("a row that ends before its caption")
    assert captions(tmp_path / "t.csv") == ["a dog", short, "", "a cat"]
    pq.write_table(pa.table({"caption": ["a dog", None, ""]}), tmp_path / "t.parquet")
    assert captions(tmp_path / "t.parquet") == ["a dog", None, ""]


def test_what_is_not_utf8_is_replaced(tmp_path):
    content = b"a caf\xe9 \xff"
    (tmp_path / "t.csv").write_bytes(b"caption\n" + content + b"\n")
    (tmp_path / "t.jsonl").write_bytes(b'{"caption": "' + content + b'"}\n')
    (tmp_path / "t.txt").write_bytes(content)
    text = pa.StringArray.from_buffers(
        1, pa.py_buffer(np.array([0, len(content)], np.int32)), pa.py_buffer(content)
    )
    pq.write_table(pa.table({"caption": text}), tmp_path / "t.parquet")
    assert [captions(path) for path in sorted(tmp_path.iterdir())] == [["a caf\ufffd \ufffd"]] * 4


@pytest.mark.parametrize(
    "kind",
    [
        pa.string(),
        pa.large_string(),
        pa.string_view(),
        pa.binary(),
        pa.dictionary(pa.int8(), pa.string()),
    ],
    ids=str,
)
def test_every_kind_of_text_column_of_parquet_is_read(tmp_path, kind):
    texts = ["a dog", None, "über", "a dog"]
    table = pa.table({"caption": pa.array(texts).cast(kind)})
    pq.write_table(table, tmp_path / "t.parquet", row_group_size=3)
    assert captions(tmp_path / "t.parquet", part_rows=2) == texts


def test_a_column_of_nothing_has_no_captions(tmp_path):
    pq.write_table(pa.table({"caption": pa.nulls(3)}), tmp_path / "t.parquet")
    assert captions(tmp_path / "t.parquet") == [None] * 3


@pytest.mark.parametrize("column", [[1, 2], [["a dog"], ["a cat"]]])
def test_a_parquet_column_that_is_not_text_is_refused(tmp_path, column):
    pq.write_table(pa.table({"caption": column, "title": ["a", "b"]}), tmp_path / "t.parquet")
    with pytest.raises(InputError, match=r"caption.*t\.parquet.* title"):
        cut(tmp_path / "t.parquet")


@pytest.mark.parametrize("size", [4, 1000, -1000, -4])
def test_a_damaged_parquet_file_is_named(tmp_path, size):
    path = write_table(tmp_path / "t.parquet", [f"caption {n}" for n in range(1000)])
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(InputError, match=r"t\.parquet"):
        samples(path)


def test_a_parquet_file_damaged_inside_is_named(tmp_path):
    texts = [f"caption {n}" for n in range(1000)]
    path = write_table(tmp_path / "t.parquet", texts, row_group_size=1000)
    content = bytearray(path.read_bytes())
    content[50:3000] = bytes(2950)
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"t\.parquet"):
        samples(path)


@pytest.mark.parametrize(
    ("name", "content"),
    [("t.csv", ""), ("t.csv", "caption\n"), ("t.jsonl", ""), ("t.txt", ""), ("t.parquet", "")],
)
def test_an_empty_table_or_a_header_alone_is_an_error(tmp_path, name, content):
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=re.escape(name)):
        cut(tmp_path / name)


def test_a_table_that_is_gone_when_it_is_read_is_an_error(tmp_path):
    part = cut(write_table(tmp_path / "x.csv", ["a dog"]))[0]
    part.path.unlink()
    with pytest.raises(InputError, match=r"x\.csv.*No such file"):
        list(part.samples())


def test_a_quote_that_is_never_closed_does_not_swallow_the_file(tmp_path):
    (tmp_path / "t.csv").write_text('caption\n"a dog\n' + "a cat\n" * 4_000_000)
    with pytest.raises(InputError, match=r"t\.csv.*quote"):
        cut(tmp_path / "t.csv")


@pytest.mark.parametrize("kind", ["csv", "jsonl", "txt"])
def test_a_line_without_an_end_is_refused_before_it_fills_the_memory(tmp_path, kind):
    path = tmp_path / f"t.{kind}.gz"
    path.write_bytes(gzip.compress(b"caption\n" + bytes(200_000_000), 1))
    tracemalloc.start()
    with pytest.raises(InputError, match=rf"t\.{kind}\.gz.*16 MiB.*byte 8"):
        cut(path)
    assert tracemalloc.get_traced_memory()[1] < 60_000_000
    tracemalloc.stop()


@pytest.mark.parametrize("kind", ["csv", "jsonl", "txt"])
def test_memory_does_not_grow_with_the_rows(tmp_path, kind):
    path = tmp_path / f"t.{kind}"
    write_table(path, [f"caption {n} of a rather long file" for n in range(50_000)])
    tracemalloc.start()
    for part in cut(path, part_rows=20_000):
        for _ in part.samples():
            pass
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_000_000 < path.stat().st_size


def test_memory_does_not_grow_with_the_row_groups_of_parquet(tmp_path):
    random = np.random.default_rng(0)
    texts = [random.bytes(60).hex() for _ in range(100_000)]
    path = write_table(tmp_path / "t.parquet", texts, row_group_size=len(texts))
    before = pa.total_allocated_bytes()
    held = [
        pa.total_allocated_bytes() - before
        for part in cut(path, part_rows=40_000)
        for _ in part.samples()
    ]
    assert max(held) < path.stat().st_size / 2


def test_a_folder_stands_for_its_tars_or_else_for_one_kind_of_table(tmp_path):
    for name in ("b.tar", "a.tar", "a.parquet", "a_stats.json"):
        (tmp_path / name).touch()
    assert find([str(tmp_path)]) == [tmp_path / "a.tar", tmp_path / "b.tar"]
    for name in ("a.tar", "b.tar", "a.parquet"):
        (tmp_path / name).unlink()
    with pytest.raises(InputError, match=rf"{tmp_path}.*\.parquet"):
        find([str(tmp_path)])
    for name in ("README.txt", "d.csv", "c.csv.gz"):
        (tmp_path / name).touch()
    assert find([str(tmp_path)]) == [tmp_path / "c.csv.gz", tmp_path / "d.csv"]


def test_sources_are_found_by_globs_and_braces_and_each_once(tmp_path):
    names = [f"{n}.jsonl" for n in range(3)]
    for name in names:
        (tmp_path / name).touch()
    found = find([f"{tmp_path}/*.jsonl", f"{tmp_path}/{{0..1}}.jsonl"])
    assert found == [tmp_path / name for name in names]
    with pytest.raises(InputError, match=r"3\.jsonl"):
        find([f"{tmp_path}/{{0..3}}.jsonl"])
    with pytest.raises(InputError):
        find([])


@pytest.mark.parametrize("name", ["notes.md", "a.parquet.gz", "a.tar.gz", "captions"])
def test_a_file_of_another_kind_is_refused(tmp_path, name):
    (tmp_path / name).touch()
    with pytest.raises(InputError, match=rf"{name}.*\.tar.*\.parquet"):
        find([str(tmp_path / name)])
