"""Images with captions are read in the forms in which people have them: nothing is misread, and
every row is counted.
"""

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unicodedata import normalize

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pictures import plain, save
from PIL import Image

from catlip.cli import InputError
from catlip.data.fetch import Fetch, main
from catlip.data.shards import open_shard
from catlip.data.user_images import find_user_images, open_user_images

SHADE = 10  # of the first image; the second has twice as much
Given = Mapping[str, Any]  # path -> the number of an image, a text, bytes, or where a link leads


@dataclass(frozen=True)
class Form:
    """What is given, beside `images` in files 1.jpg, 2.jpg ..., and what is understood: number of
    an image -> its captions, or what the one line that refuses says; what is counted, and what is
    left out.
    """

    given: Given
    expected: dict[int, list[str]] | str
    counts: Given = field(default_factory=dict)
    left_out: Given = field(default_factory=dict)
    images: int = 3
    text_column: str | None = None


def csv(*rows: str, header: str = "image,caption") -> Given:
    return {"t.csv": "".join(f"{row}\n" for row in (header, *rows))}


def files(folder: str, *numbers: int, suffix: str = ".jpg") -> Given:
    return {f"{folder}{number}{suffix}": number for number in numbers}


def parquet(**columns: list[Any] | pa.Array) -> Given:
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer)
    return {"t.parquet": buffer.getvalue()}


def image(number: int, side: int = 20) -> bytes:
    return plain((SHADE * number, 0, 0), (side, side))


def photograph_on_its_side() -> bytes:
    """400 x 20 pixels, which a viewer shows as 20 x 400; the first image."""
    exif = Image.Exif()
    exif[0x112] = 6
    return save(Image.new("RGB", (400, 20), (SHADE, 0, 0)), exif=exif)


PLAIN = {1: ["a dog"], 2: ["a cat, black"], 3: ["a bus"]}
DOGS = [f"{n}.jpg,a dog" for n in range(1, 6)]
OBJECTS = [{"file_name": f"{n}.jpg", "text": text} for n, (text,) in PLAIN.items()]
COCO = {
    "images": [{"id": 7 * n, "file_name": f"{n}.jpg"} for n in PLAIN],
    "annotations": [{"image_id": 7 * n, "caption": PLAIN[n][0]} for n in (1, 2)],
}
NFC, NFD = normalize("NFC", "\u00e9"), normalize("NFD", "\u00e9")
NOT_READ = "not a JPEG, PNG, WebP or GIF"
SPLITS = ["train", "restval", "val", "test", "test"]

LATEST = pa.array([2**63 - 1] * 2, pa.timestamp("us"))
CELLS = [{"bytes": image(1)}, {"bytes": image(2)}]

FORMS = {
    # Tables, by what separates their fields
    "csv": Form(
        csv("1.jpg,a dog", '2.jpg,"a cat, black"', "3.jpg,a bus"),
        PLAIN,
        {"rows": 3, "lines": 4, "images": 3, "captions": 3},
    ),
    "csv of Excel": Form(
        {"t.csv": "\ufeffimage;caption;;\r\n1.jpg;a dog;;\r\n2.jpg;a cat, b;;\r\n3.jpg;a bus;;"},
        PLAIN | {2: ["a cat, b"]},
    ),
    "bars and spaces, as Flickr30k": Form(
        files("Images/", 1, 2)
        | {"results.txt": "image_name| n| comment\n1.jpg| 0| a dog\n2.jpg| 0| a cat, black\n"},
        {1: ["a dog"], 2: ["a cat, black"]},
        images=0,
    ),
    "without a header": Form(
        csv("a cat,2.jpg", header="a dog,1.jpg"),
        {1: ["a dog"], 2: ["a cat"]},
        {"rows": 2},
        text_column="0",
    ),
    "utf-16": Form({"t.tsv": "image\tcaption\n".encode("utf-16")}, "UTF-16"),
    # Quotation marks
    "tsv with a mark that is not closed": Form(
        {"t.tsv": 'image\tcaption\n1.jpg\t"big dog\n2.jpg\ta 19" screen\n3.jpg\t"x" y\n'},
        {1: ['"big dog'], 2: ['a 19" screen'], 3: ['"x" y']},
        {"rows": 3, "lines": 4},
    ),
    "tsv of pandas": Form(
        {"t.tsv": 'image\tcaption\n1.jpg\t"a ""big"" dog"\n2.jpg\t"a\tcat"\n'},
        {1: ['a "big" dog'], 2: ["a\tcat"]},
    ),
    "csv with a mark that an inch closes": Form(
        csv("1.jpg,a dog", '2.jpg,"big dog', "3.jpg,a dog", '4.jpg,a 19"'),
        r"t\.csv, line 3: a quotation",
    ),
    "csv with a mark that the next field closes": Form(
        csv("a dog,1.jpg", '"big dog,2.jpg', '"a",3.jpg', header="caption,image"),
        r"t\.csv, line 3: a quotation",
    ),
    "csv with a mark in the last row": Form(csv(*DOGS, '5.jpg,"a'), r"t\.csv, line 7: a quotation"),
    "csv with line breaks and commas": Form(
        csv('1.jpg,"a dog,', "running, and", '""a cat"""', "2.jpg,a bus"),
        {1: ['a dog,\nrunning, and\n"a cat"'], 2: ["a bus"]},
        {"rows": 2, "lines": 5},
    ),
    "csv whose marks are not doubled": Form(csv('1.jpg,"S" camera, 19"'), {1: ['S camera, 19"']}),
    # Fields too many or too few
    "commas that nobody quoted": Form(
        csv("1.jpg,a dog", "2.jpg,a cat, black", "3.jpg,a bus"), PLAIN
    ),
    "commas that nobody quoted, before another column": Form(
        csv("1.jpg,a dog,7", "2.jpg,a cat, black,7", "3.jpg,a bus,7", header="image,caption,x"),
        {1: ["a dog"], 3: ["a bus"]},
        {"rows": 3, "images": 2, "captions": 2, "broken": 1},
        {"a row of more fields than columns": 1},
    ),
    "rows that end early": Form(
        csv("1.jpg,a dog", "2.jpg", header="image,caption,x"),
        {1: ["a dog"], 2: []},
        {"rows": 2, "captions": 1, "captionless": 1},
    ),
    # Captions
    "cells that are no caption": Form(
        csv("1.jpg,nan", "2.jpg,None", "3.jpg,null", "4.jpg,", "5.jpg,a nan of bread"),
        {1: [], 2: [], 3: [], 4: [], 5: ["a nan of bread"]},
        {"rows": 5, "images": 5, "captions": 1, "captionless": 4},
        images=5,
    ),
    "a title of numbers": Form(
        csv("1.jpg,1001,a dog", "2.jpg,SKU-7,a cat", header="image,title,description"),
        {1: ["a dog"], 2: ["a cat"]},
    ),
    "a title of words": Form(
        csv("1.jpg,long words,a dog", header="image,description,title"), {1: ["a dog"]}
    ),
    "two columns of captions": Form(
        csv("1.jpg,a dog,", header="image,caption,caption"), "2 column caption"
    ),
    "two columns of images": Form(
        csv(",1.jpg,a dog", header="image,image,caption"), "2 column image"
    ),
    "several rows of one image": Form(
        csv("1.jpg,a dog", "2.jpg,a bus", "./1.jpg,a cat", "1.jpg,"),
        {1: ["a dog", "a cat"], 2: ["a bus"]},
        {"rows": 4, "images": 2, "captions": 3},
    ),
    # Files
    "ids": Form(
        files("images/", 1) | csv("1,Men,a dog", header="id,gender,productDisplayName"),
        {1: ["a dog"]},
        images=0,
    ),
    "ids of files in capitals": Form(
        files("a/", 1, suffix=".JPG") | {"t.jsonl": '{"id": 1, "text": "a dog"}\n'},
        {1: ["a dog"]},
        images=0,
    ),
    "thumbnails that come first": Form(
        {"a/1.jpg": image(7, 5), "a/2.jpg": image(7, 5), "b/1.jpg": image(1, 90)} | csv(DOGS[0]),
        {1: ["a dog"]},
        images=0,
    ),
    "composed and decomposed letters": Form(
        {f"{NFD}.jpg": 1, f"{NFC}2.jpg": 2}
        | csv(f"{NFC}.jpg,a dog", f"{NFD}.jpg,a cat", f"{NFD}2.jpg,a bus"),
        {1: ["a dog", "a cat"], 2: ["a bus"]},
        images=0,
    ),
    "some that are missing": Form(
        csv("1.jpg,a dog", "7.jpg,a cat", ",a bus"),
        {1: ["a dog"]},
        {"rows": 3, "images": 2, "broken": 1},
        {"no such file": 1, "a row without an image": 1},
    ),
    "eleven that are missing": Form(
        csv("1.jpg,a dog", *(f"{n}.jpg,a dog" for n in range(5, 16))),
        r"11 no such file.*/5\.jpg.*max-broken",
    ),
    "all missing": Form(csv(*DOGS), r"image begins with '1\.jpg'.*no such file in /", images=0),
    "TIFF": Form({"1.tif": b"II*\0"} | csv("1.tif,a dog"), rf"/1\.tif is {NOT_READ}"),
    "a few TIFF": Form(
        {"2.tif": b"II*\0"} | csv("1.jpg,a dog", "2.tif,a cat"),
        {1: ["a dog"]},
        {"rows": 2, "images": 2},
        {NOT_READ: 1},
    ),
    "addresses": Form(csv("https://a.b/c.jpg,a dog", header="url,caption"), "addr.*img2dataset"),
    "that have EXIF": Form(
        {"1.jpg": photograph_on_its_side()} | csv(DOGS[0]), {1: ["a dog"]}, images=0
    ),
    "a linked folder": Form(
        files("../elsewhere/", 1) | {"images": Path("../elsewhere")} | csv(DOGS[0]),
        {1: ["a dog"]},
        images=0,
    ),
    # Splits
    "a column that says the split": Form(
        csv(*map("{},{}".format, DOGS, SPLITS), header="image,caption,split"),
        {1: ["a dog"], 2: ["a dog"]},
        {"rows": 5, "held_out": 3, "images": 2},
        images=5,
    ),
    "a column of one split": Form(
        csv("1.jpg,a dog,test", header="image,caption,split"), {1: ["a dog"]}
    ),
    "tables of splits": Form(
        {"train.csv": csv(DOGS[0])["t.csv"], "test.csv": csv(DOGS[1])["t.csv"]}, {1: ["a dog"]}
    ),
    "folders of splits": Form(
        files("d/training_set/cats/", 1)
        | files("d/training_set/dogs/", 2)
        | files("d/test_set/cats/", 3)
        | files("d/test_set/dogs/", 4),
        {1: ["cats"], 2: ["dogs"]},
        images=0,
    ),
    "a class that is called train": Form(
        files("bus/", 1) | files("train/", 2), {1: ["bus"], 2: ["train"]}, images=0
    ),
    # Folders and other files
    "class folders": Form(
        files("flower_pot/", 1, 2) | files("grand-piano/", 3, suffix=".png") | {"README.txt": "Hi"},
        {1: ["flower pot"], 2: ["flower pot"], 3: ["grand piano"]},
        {"images": 3, "captions": 3},
        images=0,
    ),
    "a text beside each": Form(
        {"1.txt": "a dog\n\n a cat \n", "2.txt": "caf\xe9".encode("latin-1")},
        {1: ["a dog", "a cat"], 2: ["caf\xe9"], 3: []},
        {"images": 3, "captions": 3, "captionless": 1},
    ),
    "names that would share a key": Form(
        {"a-2.jpg": 1, "a.jpg": 2, "a.png": 3, "b.c.jpg": 4, "b_c.jpg": 5}
        | {f"{name}.txt": "a dog" for name in ("a-2", "a", "b.c", "b_c")},
        {n: ["a dog"] for n in range(1, 6)},
        images=0,
    ),
    "a name with a line break": Form(
        {"a\nb.jpg": 1, "a\nb.txt": "a dog"}, {1: ["a dog"]}, images=0
    ),
    "what is no data": Form(
        files("a/", 1)
        | files("b/", 2)
        | files(".ipynb_checkpoints/", 3)
        | files("__MACOSX/a/", 4)
        | files("a/.git/", 5)
        | {"._t.csv": "\0", "a/._1.jpg": b"\0"},
        {1: ["a"], 2: ["b"]},
        images=0,
    ),
    "a text that leads elsewhere": Form(
        {"../key.txt": "secret", "1.txt": Path("../key.txt")}, r"1\.txt.*outside of"
    ),
    "an image that leads elsewhere": Form(
        files("../private/", 7) | {"7.jpg": Path("../private/7.jpg"), "1.txt": "a dog"},
        r"7\.jpg.*outside of",
    ),
    "a folder that leads elsewhere": Form(
        files("../private/", 7) | {"x": Path("../private"), "1.txt": "a dog"}, "/x is a link"
    ),
    **{
        f"a table that leads elsewhere, {name}": Form(
            files("../private/", 7)
            | {"link.jpg": Path("../private/7.jpg"), "folder": Path("../private")}
            | csv("1.jpg,a dog", f"{name},a cat"),
            r"t\.csv leads to .*outside of",
        )
        for name in ("../private/7.jpg", "link.jpg", "folder/7.jpg", "/etc/passwd")
    },
    "a link that stays inside": Form(
        {"near.jpg": Path("3.jpg")} | csv("1.jpg,a dog", "near.jpg,a cat"),
        {1: ["a dog"], 3: ["a cat"]},
    ),
    "other formats": Form(files("", 1, 2, 3, suffix=".tga"), r"3 \.tga", images=0),
    "without captions": Form({}, "3 images without captions"),
    "one folder without captions": Form(files("a/", 1, 2), "2 images without captions", images=0),
    "nothing": Form({"a/b.txt": ""}, "neither shards nor tables", images=0),
    # Other kinds of tables
    "Parquet with images": Form(
        parquet(image=CELLS, caption=["a dog", None]),
        {1: ["a dog"], 2: []},
        {"rows": 2, "images": 2, "captions": 1, "captionless": 1},
        images=0,
    ),
    "Parquet with lists of captions": Form(
        parquet(
            image=[*CELLS, {"bytes": b"no image"}], text=[["a dog", "a cat"], ["", "a bus"], []]
        ),
        {1: ["a dog", "a cat"], 2: ["a bus"]},
        {"rows": 3, "captions": 3},
        {NOT_READ: 1},
        images=0,
    ),
    "Parquet with numbered captions": Form(
        parquet(image=CELLS, caption_1=["two\nlines", "a bus"], caption_0=["a 'cat'", ""]),
        {1: ["a 'cat'", "two\nlines"], 2: ["a bus"]},
        images=0,
    ),
    "Parquet with bytes": Form(
        parquet(image=CELLS, caption=[b"a caf\xe9", "\u00fcber".encode()]),
        {1: ["a caf\ufffd"], 2: ["\u00fcber"]},
        images=0,
    ),
    "Parquet with lists of bytes": Form(
        parquet(image=CELLS, caption=[[b"a caf\xe9"], ["\u00fcber".encode()]]),
        {1: ["a caf\ufffd"], 2: ["\u00fcber"]},
        images=0,
    ),
    **{
        f"Parquet with text that is not UTF-8, as {kind}": Form(
            parquet(image=CELLS, caption=pa.array(cells).cast(kind, safe=False)),
            r"t\.parquet cannot be read .*utf-8",
            images=0,
        )
        for kind, cells in (
            (pa.string(), [b"a caf\xe9", b""]),
            (pa.list_(pa.string()), [[b"a caf\xe9"], []]),
        )
    },
    **{
        f"Parquet with times that Python does not have, as {times.type}": Form(
            parquet(file=["1.jpg", "2.jpg"], time=times, text=["a dog", "a bus"]),
            {1: ["a dog"], 2: ["a bus"]},
        )
        for times in (
            LATEST,
            pa.array([2**31 - 1] * 2, pa.date32()),
            pa.StructArray.from_arrays([LATEST], ["at"]),
        )
    },
    "JSON lines": Form(
        {"t.jsonl": "\n".join([*map(json.dumps, OBJECTS), "not JSON"])},
        PLAIN,
        {"rows": 4, "broken": 1},
        {"not JSON": 1},
    ),
    "a list of objects": Form({"t.json": json.dumps(OBJECTS)}, PLAIN),
    "COCO": Form(
        files("train2017/", 1, 2, 3)
        | files("val2017/", 7)
        | {
            f"annotations/{name}2017.json": json.dumps(COCO)
            for name in ("captions_train", "captions_val", "instances_train")
        },
        PLAIN | {3: []},
        {"rows": 3, "images": 3, "captions": 2, "captionless": 1},
        images=0,
    ),
    "imagefolder": Form(
        files("train/", 1, 2, 3)
        | files("test/", 4)
        | {"train/metadata.jsonl": "\n".join(map(json.dumps, OBJECTS))},
        PLAIN,
        images=0,
    ),
}


def write(folder: Path, given: Given) -> Path:
    folder.mkdir(exist_ok=True)
    for name, content in given.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, Path):
            path.symlink_to(content)
        elif isinstance(content, str):
            path.write_text(content, encoding="utf-8", newline="")
        else:
            path.write_bytes(image(content) if isinstance(content, int) else content)
    return folder


def samples(out: Path) -> list[tuple[str, int, list[str]]]:
    """Key, number of the image, and captions, of all shards."""
    found = []
    for shard in map(open_shard, sorted(out.glob("*.tar"))):
        for n, key in enumerate(shard.keys):
            picture = Image.open(io.BytesIO(shard.image_bytes(n))).convert("RGB")
            assert picture.size[0] <= picture.size[1]
            captions = [text for text in shard.captions(n) if text and text.strip()]
            found.append((key, round(picture.getpixel((0, 0))[0] / SHADE), captions))
    return found


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_each_form_is_understood_or_refused_in_one_line(form: Form, tmp_path: Path) -> None:
    source = write(tmp_path / "in", files("", *range(1, 1 + form.images)) | form.given)
    config = Fetch((str(source),), tmp_path / "out", text_column=form.text_column, quiet=True)
    config = replace(config, workers=1)
    if isinstance(form.expected, str):
        for dry_run in (True, False):
            with pytest.raises(InputError, match=form.expected) as refused:
                main(replace(config, dry_run=dry_run))
            assert "\n" not in str(refused.value)
        assert not [*tmp_path.glob("out/*.tar")]
        return
    main(config)
    found = samples(tmp_path / "out")
    assert {number: captions for _, number, captions in found} == form.expected
    assert len({key for key, *_ in found}) == len(found) == len(form.expected)
    (note,) = map(json.loads, (file.read_bytes() for file in (tmp_path / "out/.fetch").iterdir()))
    assert form.counts.items() <= note["understood"].items()
    assert {cause: count for cause, (count, _) in note["broken"].items()} == form.left_out


@pytest.mark.parametrize("content", ["[1]", "{}", '{"images": [], "annotations": [1]}', "{", "3"])
def test_json_that_is_none_of_captions_is_one_line(content: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"t\.json is neither"):
        open_user_images(write(tmp_path, {"t.json": content}) / "t.json")


def test_given_columns_win_or_are_refused(tmp_path: Path) -> None:
    given = files("", 10, 13) | csv("10.jpg,no,13.jpg,a bus", header="image,caption,other,words")
    table = write(tmp_path, given) / "t.csv"
    ((key, sample),) = open_user_images(table, "other", "words").samples(0.0)
    assert (key, json.loads(sample["json"])) == ("13", {"caption": "a bus"})
    for columns in (("absent", None), (None, "absent")):
        with pytest.raises(InputError, match=r"no column absent.*image, caption, other, words"):
            open_user_images(table, *columns)


def test_what_is_mended_is_read_again(tmp_path: Path) -> None:
    """A file that was missing, of a table or of a folder, another image, and another caption."""
    table = write(tmp_path / "in", files("", 1, 2) | csv(*DOGS[:3])) / "t.csv"
    texts = write(tmp_path / "texts", {"1.jpg": 1, "1.txt": "a dog"})
    for given, folder in ((table, table.parent), (texts, texts)):
        config = Fetch((str(given),), tmp_path / f"of_{given.name}", quiet=True, workers=1)

        def fetch(config: Fetch = config) -> list[tuple[int, list[str]]]:
            main(config)
            return [(number, captions) for _, number, captions in samples(config.out)]

        before = fetch()
        kept = [path.stat().st_ino for path in config.out.glob("*.tar")]
        assert fetch() == before
        assert [path.stat().st_ino for path in config.out.glob("*.tar")] == kept
        write(folder, {"3.jpg": 3, "3.txt": "a dog"})
        assert fetch() == [*before, (3, ["a dog"])]
        write(folder, {"1.jpg": 7})
        assert fetch()[0] == (7, before[0][1])
    write(texts, {"1.txt": "a cat"})
    assert fetch()[0] == (7, ["a cat"])


def test_longer_table_has_more_shards(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("catlip.data.fetch.SHARD_ROWS", 2)
    source = write(tmp_path / "in", files("", *range(1, 6)))
    for rows in (5, 2, 3):
        write(source, csv(*DOGS[:rows]))
        main(Fetch((str(source),), tmp_path / "out", quiet=True, workers=1))
        assert [number for _, number, _ in samples(tmp_path / "out")] == [*range(1, rows + 1)]
        assert len([*(tmp_path / "out").glob("*.tar")]) == (rows + 1) // 2


def test_tables_of_a_folder_come_before_its_classes(tmp_path: Path) -> None:
    write(tmp_path, files("a/", 1) | csv(DOGS[0]) | parquet(file=["1.jpg"], text=["a dog"]))
    assert find_user_images(tmp_path) == [tmp_path / "t.parquet"]
