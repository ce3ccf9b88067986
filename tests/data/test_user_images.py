"""Images with captions are read in the forms in which people have them."""

import json
import os
from pathlib import Path

import pandas as pd
import pytest
from pictures import plain

from catlip.cli import InputError
from catlip.data.fetch import Fetch, main
from catlip.data.shards import open_shard
from catlip.data.user_images import find_user_images, open_user_images

CAPTIONS = ["two bikes", "a golden retriever", "a tree, and a bus", "a bus"]
NAMES = ["10.jpg", "deep.er/11.jpg", "deep.er/a.b.jpg", "13.jpg"]


def write_images(folder: Path, names: list[str] = NAMES) -> Path:
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(plain((number, 0, 0)))
    return folder


def write_text(path: Path, *lines: str, encoding: str = "utf-8") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding=encoding)
    return path


def shop(folder: Path) -> Path:
    """As Kaggle has it: a table with ids, beside a folder of ID.jpg."""
    write_images(folder / "images")
    rows = [f'{name[:-4]},Men,"{text}"' for name, text in zip(NAMES, CAPTIONS, strict=True)]
    return write_text(folder / "styles.csv", "id,gender,productDisplayName", *rows).parent


def table(folder: Path) -> Path:
    write_images(folder)
    rows = [f"{text};x;{name}" for name, text in zip(NAMES, CAPTIONS, strict=True)]
    return write_text(folder / "t.csv", "Title;url;path", *rows, encoding="latin-1")


def flickr(folder: Path) -> Path:
    """Flickr30k's table has spaces and bars."""
    write_images(folder / "Images")
    rows = [f"{name}| 0| {text}" for name, text in zip(NAMES, CAPTIONS, strict=True)]
    return write_text(folder / "results.txt", "image_name| comment_number| comment", *rows).parent


def coco(folder: Path) -> Path:
    write_images(folder / "train2017")
    content = {
        "images": [{"id": 7 * n, "file_name": name} for n, name in enumerate(NAMES)],
        "annotations": [{"image_id": 7 * n, "caption": text} for n, text in enumerate(CAPTIONS)],
    }
    return write_text(folder / "annotations" / "captions_train2017.json", json.dumps(content))


def coco_folder(folder: Path) -> Path:
    """With the images and captions of validation, and with boxes."""
    annotations = coco(folder).parent
    write_images(folder / "val2017")
    for other in ("captions_val2017.json", "instances_train2017.json"):
        write_text(annotations / other, (annotations / "captions_train2017.json").read_text())
    return folder


def image_folder(folder: Path) -> Path:
    write_images(folder / "train")
    rows = [{"file_name": n, "text": text} for n, text in zip(NAMES, CAPTIONS, strict=True)]
    write_text(folder / "train" / "metadata.jsonl", *map(json.dumps, rows))
    return folder


def with_texts(folder: Path) -> Path:
    write_images(folder)
    for name, text in zip(NAMES, CAPTIONS, strict=True):
        write_text((folder / name).with_suffix(".txt"), text)
    return folder


FORMS = [shop, table, flickr, coco, coco_folder, image_folder, with_texts]


@pytest.mark.parametrize("form", FORMS)
def test_each_form_gives_the_same_samples(form, tmp_path, capsys) -> None:
    source = form(tmp_path / "in")
    main(Fetch((str(source),), tmp_path / "out", quiet=True))
    printed = capsys.readouterr().out
    assert "4 images in" in printed
    assert f"{NAMES[0]}: {CAPTIONS[0]}" in printed
    (path,) = (tmp_path / "out").glob("*.tar")
    shard = open_shard(path)
    found = {key: (shard.captions(n), shard.image_bytes(n)) for n, key in enumerate(shard.keys)}
    keys = ["10", "deep_er/11", "deep_er/a_b", "13"]
    assert found == {
        key: ([text], plain((n, 0, 0)))
        for n, (key, text) in enumerate(zip(keys, CAPTIONS, strict=True))
    }


def test_folders_of_classes_have_their_names_as_captions(tmp_path: Path) -> None:
    names = [f"{name}/{number}.png" for name in ("flower_pot", "grand-piano") for number in "012"]
    own = open_user_images(write_images(tmp_path / "in", names))
    captions = {key: json.loads(sample["json"]) for key, sample in own.samples(0.0)}
    assert sorted(captions) == [name.removesuffix(".png") for name in names]
    assert {key.partition("/")[0]: text["caption"] for key, text in captions.items()} == {
        "flower_pot": "flower pot",
        "grand-piano": "grand piano",
    }


def test_two_files_do_not_share_a_key(tmp_path: Path) -> None:
    write_images(tmp_path, names := ["a.b.jpg", "a_b.png", "a.b.png"])
    for name in names:
        write_text((tmp_path / name).with_suffix(".txt"), "a dog")
    assert len({key for key, _ in open_user_images(tmp_path).samples(0.0)}) == 3


@pytest.mark.parametrize(
    ("lines", "options", "message"),
    [
        (["url,caption", "https://a.b/c.jpg,a dog"], {}, "addresses.*img2dataset"),
        (["image,words", "10.jpg,a dog"], {}, "no column of captions .*image, words.*--text-col"),
        (["number,caption", "77,a dog"], {}, "no column of images.*number, caption.*--image-col"),
        (["image,caption", "10.jpg,a dog"], {"text_column": "x"}, "no column x.*--text-column"),
        (["image,caption", "10.jpg,a dog"], {"image_column": "y"}, "no column y.*--image-column"),
        (["image,caption"], {}, "no rows"),
    ],
)
def test_table_that_cannot_be_understood_is_refused(lines, options, message, tmp_path) -> None:
    write_images(tmp_path)
    with pytest.raises(InputError, match=message):
        open_user_images(write_text(tmp_path / "t.csv", *lines), **options)


def test_given_columns_win(tmp_path: Path) -> None:
    write_images(tmp_path)
    lines = ["image,caption,other,words", "10.jpg,no,13.jpg,a bus"]
    own = open_user_images(write_text(tmp_path / "t.csv", *lines), "other", "words")
    ((key, sample),) = own.samples(0.0)
    assert (key, json.loads(sample["json"])) == ("13", {"caption": "a bus"})


@pytest.mark.parametrize("content", ["[1]", "{}", '{"images": [], "annotations": [1]}', "{", "3"])
def test_json_that_is_none_of_captions_is_one_line(content: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"t\.json is neither"):
        open_user_images(write_text(tmp_path / "t.json", content))


def test_images_without_captions_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="4 images without captions"):
        open_user_images(write_images(tmp_path / "alone"))
    write_images(tmp_path / "one/images", ["1.jpg", "2.jpg"])  # a folder that names no class
    with pytest.raises(InputError, match="2 images without captions"):
        open_user_images(tmp_path / "one")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="neither shards nor tables"):
        open_user_images(tmp_path / "empty")


def test_new_image_in_a_folder_is_noticed(tmp_path: Path, capsys) -> None:
    source = with_texts(tmp_path / "in")
    config = Fetch((str(source),), tmp_path / "out", quiet=True)
    main(config)
    main(config)
    assert "1 of 1 files to fetch" not in capsys.readouterr().out.partition("shards:")[2]
    write_images(source, ["deep.er/14.jpg"])
    write_text(source / "deep.er" / "14.txt", "a train")
    os.utime(source / "deep.er" / "14.jpg")
    main(config)
    assert len(open_shard(tmp_path / "out" / "in-00000.tar")) == 5


def test_tables_of_a_folder_come_before_its_classes(tmp_path: Path) -> None:
    write_images(tmp_path / "images")
    frame = pd.DataFrame({"file": NAMES, "text": CAPTIONS})
    frame.to_csv(tmp_path / "b.csv", index=False)
    frame.to_parquet(tmp_path / "a.parquet")
    assert find_user_images(tmp_path) == [tmp_path / "a.parquet"]
