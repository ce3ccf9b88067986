"""Images with captions as they lie on a disk, before they are shards: a table that holds the images
or names their files, COCO's annotations, a folder whose images have a text beside each, or a folder
with one of images for each class.

All are read as rows of named cells. The contents of the cells, and the names that such columns
usually have, tell which column holds images and which captions.
"""

import functools
import itertools
import json
import os
import random
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from catlip.cli import InputError
from catlip.data.decode import FIRST_BYTES, PictureError
from catlip.data.layout import CAPTION_COLUMNS, IMAGE_COLUMNS, IMAGE_SUFFIXES, TABLES, TAR, TRAIN
from catlip.data.tar_index import NUMBERED
from catlip.label.sources import (
    JSON_LINES,
    PARQUET,
    object_rows,
    open_parquet,
    text_rows,
    usual_column,
)
from catlip.program.broken import MAX_BROKEN, BrokenImage, BrokenImages
from catlip.records.table import listed
from catlip.system.foreign import printable

JSON = ".json"
BATCH_ROWS = 100
CHECKED_FILES = 100  # files of a table, before a run
NO_FILE = "no such file"
FILE, CAPTION, CLASS = "file", "caption", "class"  # columns of a folder of images
ORIGINS = {CAPTION: ", of the .txt beside each", CLASS: ", the names of their folders"}
COCO = "annotations"  # the key of COCO's captions, and their folder, beside the folders of images
COCO_TRAIN = "captions_train*.json"  # beside those of validation and those of boxes
HUGGING_FACE = ("metadata.jsonl", "metadata.csv", "metadata.parquet")  # of its `imagefolder`
MAX_CAPTION = 60  # characters of a caption

# A key, and suffix -> content of each member, or why it has none.
Sample = tuple[str, dict[str, bytes | PictureError]]
Row = dict[str, Any]  # cells, by the names of their columns


@dataclass(frozen=True, eq=False)
class UserImages:
    """Images with captions, and how they were understood.

    Attributes:
        path: a table, or the folder of the images.
        rows: reads all rows, from the first on.
        image_column: its cells hold images or, if there is a `folder`, names of files in it.
        suffix: what those names lack: ".jpg", where they are ids.
        captions: names in a sample's `.json` -> columns of captions.
        root: no file outside of it is read.
    """

    path: Path
    rows: Callable[[], Iterator[Row]]
    image_column: str
    folder: Path | None
    suffix: str
    captions: dict[str, str]
    root: Path

    def samples(self, max_broken: float) -> Iterator[Sample]:
        """Rows of one file are one image with their captions, wherever they stand: Flickr8k has
        five, and COCO a row an annotation. The key is the file's name, or the number of the row.
        Raises: InputError if too many files are missing.
        """
        if not self.folder:
            for number, row in enumerate(self.rows()):
                yield self._sample(f"{number:09d}", [row], _image_in(row.get(self.image_column)))
            return
        self._check_files(self._rows_by_file, max_broken)
        keys: set[str] = set()
        for file, rows in self._rows_by_file.items():
            path = self.folder / file
            # In a shard a key ends at the first dot.
            key = os.path.splitext(os.path.relpath(path, self.folder))[0].replace(".", "_")
            key = f"{key}-{len(keys)}" if key in keys else key
            keys.add(key)
            image = path.read_bytes() if path.is_file() else PictureError(NO_FILE, str(path))
            yield self._sample(key, rows, image)

    def check(self) -> None:
        """Raises InputError unless nearly all of a hundred files, evenly spread, are there."""
        if self.folder:
            files = [*self._rows_by_file]
            self._check_files(files[:: -(-len(files) // CHECKED_FILES)], MAX_BROKEN)

    def __str__(self) -> str:
        """How the images were understood, with the first sample."""
        columns = listed([*self.captions.values()])
        files, texts = "", f" (column {columns})"
        if self.path.is_dir():
            texts = ORIGINS[columns]
        elif self.folder:
            files = f" (column {self.image_column}{self.suffix and f', and {self.suffix}'})"
        if self.folder:
            first, rows = next(iter(self._rows_by_file.items()))
            count = sum(map(len, map(self._texts, self._rows_by_file.values())))
            num_images = len(self._rows_by_file)
            images = f"{num_images:,} images in {self.folder}{files}, {count:,} captions"
        else:
            first, rows = "row 0", [next(self.rows())]
            images = f"images (column {self.image_column}), captions"
        text = next(iter(self._texts(rows)), "")
        text = f"{text[:MAX_CAPTION]}..." if len(text) > MAX_CAPTION else text
        return f"{self.path}: {images}{texts}\n  the first, {printable(f'{first}: {text}')}"

    @functools.cached_property
    def _rows_by_file(self) -> dict[str, list[Row]]:
        """File name -> its rows; a row without a name gets the name of no file."""
        rows_by_file: dict[str, list[Row]] = {}
        for number, row in enumerate(self.rows()):
            name = _file_name(row.get(self.image_column), self.suffix) or f"(row {number})"
            captions = {column: row.get(column) for column in self.captions.values()}
            rows_by_file.setdefault(name, []).append(captions)
        return rows_by_file

    def _texts(self, rows: Iterable[Row]) -> list[str]:
        cells = (row.get(column) for row in rows for column in self.captions.values())
        return [
            _text(text)
            for cell in cells
            for text in (cell if isinstance(cell, list) else [cell])
            if text
        ]

    def _sample(self, key: str, rows: Sequence[Row], image: bytes | PictureError) -> Sample:
        metadata: dict[str, Any] = {"captions": self._texts(rows)}
        if len(rows) == 1:
            metadata = {name: rows[0].get(column) for name, column in self.captions.items()}
        content = json.dumps(metadata, default=_text).encode()
        # The first bytes of the image tell its format when it is read, not the suffix.
        return key, {"jpg": image, "json": content}

    def _check_files(self, names: Collection[str], max_broken: float) -> None:
        """Raises InputError when too many files are missing, or one is outside of the root."""
        assert self.folder
        missing = BrokenImages()
        for name in names:
            file = self.folder / name
            if not file.is_file():
                missing.add([BrokenImage(str(file), NO_FILE)])
            elif not file.resolve().is_relative_to(self.root):
                # A stranger's table may name private files.
                raise InputError(
                    f"{self.path} names {file}, which is outside of {self.root}: copy it there"
                )
        missing.check(len(names), max_broken)


def open_user_images(
    path: Path, image_column: str | None = None, text_column: str | None = None
) -> UserImages:
    """The images of a table or folder. Raises: InputError if they or their captions are unclear."""
    if path.is_dir():
        return _open_folder(path)
    rows = functools.partial(ROWS.get(path.suffix.lower(), _named_fields), path)
    root = path.parent.resolve()
    root = root.parent if root.name == COCO else root
    head = [*itertools.islice(rows(), BATCH_ROWS)]
    names = [*dict.fromkeys(name for row in head for name in row)]
    if not names:
        raise InputError(f"{path} holds no rows")
    known = f"there are: {', '.join(map(printable, names))[:300]}"
    for option, name in (("--image-column", image_column), ("--text-column", text_column)):
        if name and name not in names:
            raise InputError(f"{path} has no column {name}; {known}; give another {option}")
    captions = _caption_columns(names, text_column)
    if not captions:
        usual = ", ".join(CAPTION_COLUMNS)
        raise InputError(f"{path} has no column of captions ({usual}); {known}; give --text-column")
    first = image_column or usual_column(names, IMAGE_COLUMNS)
    others = [] if image_column else [n for n in names if n not in (first, *captions.values())]
    columns = [*([first] if first else []), *others]
    location = _find_images(head, columns, path.parent, root)
    if not location:
        cells = (row.get(name) for row in head for name in columns)
        if any(str(cell).startswith(("http://", "https://")) for cell in cells):
            raise InputError(
                f"{path} has addresses in place of images: download them first, for example by "
                "img2dataset, which makes shards of them"
            )
        raise InputError(
            f"{path} has no column of images, or of files of images that are beside it or in a "
            f"folder there; {known}; give --image-column"
        )
    column, folder, suffix = location
    return UserImages(path, rows, column, folder, suffix, captions, root)


def find_user_images(folder: Path) -> list[Path]:
    """The tables of images in a folder, or the folder itself if there is none."""
    for name in HUGGING_FACE:
        if (folder / name).is_file():
            return [folder / name]
    for place in (folder, folder / COCO):
        if tables := sorted(place.glob(COCO_TRAIN)):
            return tables
    with os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries)
    if not any(name.lower().endswith(IMAGE_SUFFIXES) for name in names):
        for kind in TABLES:
            if tables := [folder / name for name in names if name.lower().endswith(kind)]:
                return tables
        if TRAIN in names and (folder / TRAIN).is_dir():
            return find_user_images(folder / TRAIN)
    return [folder]


def _open_folder(path: Path) -> UserImages:
    """A folder of images, each with a .txt beside it, or of a folder of images for each class."""
    files = sorted(file.relative_to(path) for file in path.rglob("*"))
    images = [file for file in files if file.suffix.lower() in IMAGE_SUFFIXES]
    if not images:
        kinds = ", ".join((TAR, *TABLES))
        raise InputError(f"{path} holds neither shards nor tables ({kinds}) nor images")
    texts = {file.with_suffix("") for file in files if file.suffix == ".txt"}
    classes = {image.parent.name for image in images}
    if any(image.with_suffix("") in texts for image in images):
        column, rows = CAPTION, functools.partial(_rows_with_texts, path, images)
    elif len(classes) > 1 and "" not in classes:
        random.Random(0).shuffle(images)  # no shard is of a few classes only
        column, rows = CLASS, functools.partial(_rows_of_classes, images)
    else:
        raise InputError(
            f"{path} holds {len(images):,} images without captions: give a table that names them "
            "(.csv, .tsv, .parquet, .jsonl), or a text beside each, KEY.txt of KEY.jpg"
        )
    return UserImages(path, rows, FILE, path, "", {CAPTION: column}, path.resolve())


def _rows_with_texts(path: Path, images: Iterable[Path]) -> Iterator[Row]:
    for image in images:
        text = (path / image).with_suffix(".txt")
        lines = text.read_bytes().decode("utf-8", "replace").splitlines() if text.is_file() else []
        for line in filter(str.strip, lines or [""]):
            yield {FILE: str(image), CAPTION: line.strip()}


def _rows_of_classes(images: Iterable[Path]) -> Iterator[Row]:
    for image in images:
        yield {FILE: str(image), CLASS: image.parent.name.replace("_", " ").replace("-", " ")}


def _rows_of_parquet(path: Path) -> Iterator[Row]:
    with open_parquet(path) as file:
        for batch in file.iter_batches(BATCH_ROWS):
            yield from batch.to_pylist()


def _named_fields(path: Path) -> Iterator[Row]:
    """The rows of a text table; a cell that a row lacks is None."""
    fields = text_rows(path)
    names = [name.strip() for name in next(fields, [])]
    for row in fields:
        yield dict(itertools.zip_longest(names, map(str.strip, row[: len(names)])))


def _rows_of_json(path: Path) -> Iterator[Row]:
    """COCO's annotations, each with the file of its image; or a list of objects."""
    try:
        content = json.loads(path.read_bytes())
        if isinstance(content, dict):
            files = {image["id"]: image["file_name"] for image in content["images"]}
            content = [
                {"file_name": files.get(each["image_id"]), CAPTION: each[CAPTION]}
                for each in content[COCO]
            ]
        if not all(isinstance(row, dict) for row in content):
            raise TypeError
    except (ValueError, KeyError, TypeError, RecursionError):
        raise InputError(
            f"{path} is neither a list of objects nor has images and annotations with captions, as "
            "COCO's captions_train2017.json"
        ) from None
    yield from content


ROWS: dict[str, Callable[[Path], Iterator[Row]]] = {
    PARQUET: _rows_of_parquet,
    JSON: _rows_of_json,
    JSON_LINES: object_rows,
}


def _caption_columns(names: Sequence[str], text_column: str | None) -> dict[str, str]:
    if column := text_column or usual_column(names, CAPTION_COLUMNS):
        return {CAPTION: column}
    return {name: name for name in names if NUMBERED.fullmatch(name)}


def _find_images(
    head: Sequence[Row], columns: Sequence[str], beside: Path, root: Path
) -> tuple[str, Path | None, str] | None:
    """The column of images, the folder of their files, and the suffix that the names lack."""
    paths = [path for parent in (beside, root) for path in (parent, *sorted(parent.iterdir()))]
    folders = [path for path in dict.fromkeys(paths) if path.is_dir()]
    for suffix in ("", *IMAGE_SUFFIXES):
        for row, column in itertools.product(head, columns):
            cell = row.get(column)
            if not suffix and _image_in(cell).startswith(FIRST_BYTES):
                return column, None, ""
            if not (name := _file_name(cell, suffix)):
                continue
            for folder in folders:
                file = os.path.join(folder, name)
                if os.path.isfile(file) and Path(file).read_bytes().startswith(FIRST_BYTES):
                    return column, folder, suffix
    return None


def _file_name(cell: Any, suffix: str) -> str:
    is_name = isinstance(cell, str) or (suffix and isinstance(cell, int))
    return os.path.normpath(f"{str(cell).strip()}{suffix}") if is_name and cell != "" else ""


def _image_in(cell: Any) -> bytes:
    """The image that a cell holds, as the hub has it ({"bytes": ...}) or as bytes, if any."""
    content = cell.get("bytes") if isinstance(cell, dict) else cell
    return content if isinstance(content, bytes) else b""


def _text(value: object) -> str:
    """A caption as text: bytes are read as UTF-8."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
