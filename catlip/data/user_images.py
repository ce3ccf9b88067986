"""Images with captions as they lie on a disk, before they are shards: a table that holds the images
or names their files, COCO's annotations, a folder whose images have a text beside each, or a folder
with one of images for each class.

All are read as rows of named cells. The contents of the cells, and the names that such columns
usually have, tell which column holds images and which captions. Every row is counted: as one of an
image, as held out, or as broken.
"""

import functools
import itertools
import json
import os
import random
import re
import stat
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any
from unicodedata import normalize

from catlip.cli import InputError
from catlip.data import layout, tables
from catlip.data.decode import FIRST_BYTES, NO_PICTURE, upright
from catlip.data.layout import IMAGE_SUFFIXES, TABLES, TAR, TRAIN, split_of, visible
from catlip.data.remote import identities_of
from catlip.data.tables import Cells, Row, TextTable, Unusable
from catlip.data.tar_index import NUMBERED
from catlip.program.broken import BrokenImage, BrokenImages
from catlip.records.table import listed
from catlip.system.foreign import printable

JSON, TEXT = ".json", ".txt"
BATCH_ROWS = 100
FILE, CAPTION, CLASS = "file", "caption", "class"  # columns of a folder of images
ORIGINS = {CAPTION: ", of the .txt beside each", CLASS: ", the names of their folders"}
COCO = "annotations"  # the key of COCO's captions, and their folder, beside the folders of images
COCO_TRAIN = "captions_train*.json"  # beside those of validation and those of boxes
MAX_CAPTION, MAX_NAMED = 60, 5  # characters of a cell, and folders, in one line
SPLIT = "split"  # what a column is called whose cells say train, val or test
ASIDE = {"captionless": "images without a caption", "held_out": "rows of another split"}
NO_KEY = re.compile("[\x00-\x1f\x7f\ud800-\udfff.]")  # in a shard a key ends at the first dot

Sample = tuple[str, dict[str, bytes]]  # a key, and suffix -> content of each member
ReadRows = Callable[[Sequence[str]], Iterator[Row]]  # of these columns, or of all


@dataclass(eq=False)
class UserImages:
    """Images with captions, how they were understood, and what all rows are.

    Attributes:
        path: a table, or the folder of the images.
        read_rows: reads all rows, from the first on.
        image_column: its cells hold images or, if there is a `folder`, names of files in it.
        suffix: what those names lack: ".jpg", where they are ids.
        captions: names in a sample's `.json` -> columns of captions.
        root: no file outside of it, or of the folder, is read.
        split: the column that tells which rows are held out, if there is one.
        held_out: whether only the rows of its test, or else validation split are read.
        counts: `rows`, and `lines` of a text table; rows `held_out`, and `broken` ones; `images`,
            which are different files, `captionless` ones, and `captions`.
        broken: rows without an image, and files that are missing or of another format.
        files: name of a file that is there -> its path, size and time.
    """

    path: Path
    read_rows: ReadRows
    image_column: str
    folder: Path | None
    suffix: str
    captions: dict[str, str]
    root: Path
    split: str = ""
    held_out: bool = False
    counts: Counter[str] = field(default_factory=Counter)
    broken: BrokenImages = field(default_factory=BrokenImages)
    files: dict[str, tuple[str, int, int]] = field(default_factory=dict)
    _rows: dict[str, list[Cells]] = field(default_factory=dict)  # by names of files

    def __post_init__(self) -> None:
        """Read all rows, and look at the files. Raises: InputError."""
        spelled: dict[str, str] = {}
        captions, row = [*self.captions.values()], Row({})
        used = [*captions, self.split, self.image_column if self.folder else ""]
        for number, row in enumerate(self.read_rows([*filter(None, used)])):
            where = f"{self.path}, {f'line {row.line}' if row.line else f'row {number}'}"
            self.counts["rows"] += not self.is_folder
            if isinstance(row.cells, Unusable):
                self.broken.add([BrokenImage(where, row.cells.cause)])
            elif not self._is_wanted(row.cells):
                self.counts["held_out"] += 1
            elif not self.folder:
                self._count([row.cells])
            elif name := _file_name(row.cells.get(self.image_column), self.suffix):
                if not self.is_folder:  # composed and decomposed letters are one name
                    name = spelled.setdefault(normalize("NFC", name), name)
                cells = {column: row.cells.get(column) for column in captions}
                self._rows.setdefault(name, []).append(cells)
            else:
                self.broken.add([BrokenImage(where, "a row without an image")])
        self.counts |= {"lines": row.line, "broken": len(self.broken)}
        real = functools.cache(os.path.realpath)  # takes ten times as long as a look at a file
        for name, rows in self._rows.items():
            self._count(rows)
            if not (file := self._find(name, real)):
                missing = os.path.join(self.folder or "", name)
                self.broken.add([BrokenImage(missing, "no such file")])
            elif name.lower().endswith(layout.UNREAD_SUFFIXES):
                self.broken.add([BrokenImage(file[0], NO_PICTURE)])
            else:
                self.files[name] = file

    def samples(self, max_broken: float) -> Iterator[Sample]:
        """Rows of one file are one image with their captions, wherever they stand: Flickr8k has
        five, and COCO a row an annotation. The key is the file's name, or the number of the row.
        Raises: InputError if too much is broken.
        """
        self.check(max_broken)
        if not self.folder:
            for number, row in enumerate(self.read_rows([])):
                if isinstance(row.cells, dict) and self._is_wanted(row.cells):
                    image = _image_in(row.cells.get(self.image_column))
                    yield self._sample(f"{number:09d}", [row.cells], image)
            return
        keys: set[str] = set()
        for file, (path, *_) in self.files.items():
            name = os.path.relpath(self.folder / file, self.folder)
            key = first = NO_KEY.sub("_", os.path.splitext(name)[0])
            number = len(keys)
            while key in keys:
                key, number = f"{first}-{number}", number + 1
            keys.add(key)
            yield self._sample(key, self._rows[file], Path(path).read_bytes())

    def check(self, max_broken: float) -> None:
        """Raises InputError when too many rows or files are broken."""
        self.broken.check(self.counts["images"] + self.counts["broken"], max_broken)

    def identity(self) -> str:
        """The size of what is read, and a digest that changes when a row or a file does."""
        if not self.folder:
            return identities_of([self.path])[self.path]
        size = sum(size for _, size, _ in self.files.values())
        content = repr((self.files, self._rows)).encode(errors="surrogateescape")
        return f"{size} {sha256(content).hexdigest()[:32]}"

    @functools.cached_property
    def held_cells(self) -> dict[str, str]:
        """The cells of the split column whose rows are held out -> their split; none if all are."""
        rows = self.read_rows([self.split]) if self.split else ()
        cells = {str(row.cells.get(self.split)) for row in rows if isinstance(row.cells, dict)}
        splits = {cell: split_of(cell) for cell in cells if split_of(cell) not in ("", TRAIN)}
        return splits if len(splits) < len(cells) else {}

    @property
    def is_folder(self) -> bool:
        return self.folder == self.path

    def __str__(self) -> str:
        """How the images were understood, with the first sample."""
        captions = [*self.captions.values()]
        texts = ORIGINS[captions[0]] if self.is_folder else f" (column {listed(captions)})"
        suffix = self.suffix and f", and {self.suffix}"
        where = "" if self.is_folder else f" (column {self.image_column}{suffix})"
        if self.folder:
            link = f" (a link to {self.folder.resolve()})" if self.folder.is_symlink() else ""
            where = f" in {self.folder}{link}{where}"
            first, rows = next(iter(self._rows.items()), ("none", []))
        else:
            head = itertools.islice(self.read_rows(captions), 1)
            first, rows = "row 0", [row.cells for row in head if isinstance(row.cells, dict)]
        text = next(iter(self._texts(rows)), "")
        text = f"{text[:MAX_CAPTION]}..." if len(text) > MAX_CAPTION else text
        lines = [f"{self.path}: {counted(self.counts, where, texts)}"]
        lines += [f"left out: {self.broken.summary()}"] if self.broken else []
        return "\n  ".join([*lines, f"the first, {printable(f'{first}: {text}')}"])

    def _is_wanted(self, row: Cells) -> bool:
        split = self.held_cells.get(str(row.get(self.split)), TRAIN)
        if self.held_out and self.held_cells:
            return split == min(self.held_cells.values())  # test is before val
        return split == TRAIN

    def _count(self, rows: Sequence[Cells]) -> None:
        captions = len(self._texts(rows))
        self.counts["images"] += 1
        self.counts["captions"] += captions
        self.counts["captionless"] += not captions

    def _texts(self, rows: Iterable[Cells]) -> list[str]:
        cells = (row.get(column) for row in rows for column in self.captions.values())
        lists = (cell if isinstance(cell, list) else [cell] for cell in map(_captions, cells))
        return [text for texts in lists for text in texts if text and text.strip()]

    def _sample(self, key: str, rows: Sequence[Cells], image: bytes) -> Sample:
        metadata: dict[str, Any] = {"captions": self._texts(rows)}
        if len(rows) == 1:
            metadata = {name: _captions(rows[0].get(of)) for name, of in self.captions.items()}
        # The first bytes of the image tell its format when it is read, not the suffix.
        return key, {"jpg": upright(image), "json": json.dumps(metadata).encode()}

    def _find(self, name: str, real: Callable[[str], str]) -> tuple[str, int, int] | None:
        """The path, size and time of a file, if it is there. Raises: InputError if it is outside.

        Args:
            real: as os.path.realpath, of folders and links.
        """
        for form in dict.fromkeys((name, normalize("NFC", name), normalize("NFD", name))):
            path = os.path.join(self.folder or "", form)
            try:
                status = os.stat(path)
            except (OSError, ValueError):  # also of a name that no file can have
                continue
            if stat.S_ISREG(status.st_mode):
                inside = real(path if os.path.islink(path) else os.path.dirname(path))
                refuse_outside(self.path, path, inside, self._roots)
                return path, status.st_size, status.st_mtime_ns
        return None

    @functools.cached_property
    def _roots(self) -> set[str]:
        return {str(self.root), os.path.realpath(self.folder or self.root)}


def refuse_outside(source: Path, file: str, real: str, roots: Collection[str]) -> None:
    """Raises InputError for a file whose real path is below none of these folders: a stranger's
    table or folder may lead to private files.
    """
    if not any(f"{real}/".startswith(f"{root}/") for root in roots):
        raise InputError(f"{source} leads to {file}, outside of {min(roots)}: copy it there")


def counted(counts: Mapping[str, int], where: str = "", texts: str = "") -> str:
    """How many rows, images and captions there are."""
    lines = f" in {counts['lines']:,} lines" if counts.get("lines") else ""
    rows = f"{counts['rows']:,} rows{lines}: " if counts.get("rows") else ""
    words = [f"{counts['images']:,} images{where}", f"{counts['captions']:,} captions{texts}"]
    words += [f"{counts[name]:,} {what}" for name, what in ASIDE.items() if counts.get(name)]
    return rows + ", ".join(words)


def open_user_images(
    path: Path,
    image_column: str | None = None,
    text_column: str | None = None,
    held_out: bool = False,
) -> UserImages:
    """The images of a table or folder. Raises: InputError if they or their captions are unclear."""
    if path.is_dir():
        return _open_folder(path)
    names: Sequence[str] = []
    table, read_rows = None, functools.partial(_rows_of_json, path)
    if path.suffix.lower() == tables.PARQUET:
        read_rows = functools.partial(_rows_of_parquet, path)
        with tables.open_parquet(path) as file:
            names = file.schema_arrow.names
    elif path.suffix.lower() != JSON:
        table = tables.open_text(path, text_column)
        names, read_rows = table.names, functools.partial(_rows_of_text, table, None)
    first = (row.cells for row in itertools.islice(read_rows([]), tables.HEAD_ROWS))
    head = [cells for cells in first if isinstance(cells, dict)]
    if not head:
        raise InputError(f"{path} holds no rows")
    names = names or [*dict.fromkeys(name for row in head for name in row)]
    captions = {name: name for name in names if NUMBERED.fullmatch(name)}
    if text_column or tables.usual_columns(names, layout.CAPTION_COLUMNS) or not captions:
        captions = {CAPTION: tables.caption_column(path, names, head, text_column)}
    if table:
        read_rows = functools.partial(_rows_of_text, table, captions.get(CAPTION, ""))
    root = path.parent.resolve()
    root = root.parent if root.name == COCO else root
    usual = [image_column] if image_column else tables.usual_columns(names, layout.IMAGE_COLUMNS)
    if usual:
        tables.check_column(path, names, usual[0], "--image-column")
    others = [] if image_column else [name for name in names if name not in usual]
    columns = [name for name in (*usual, *others) if name not in captions.values()]
    column, folder, suffix = _find_images(path, head, columns, root)
    split = next((name for name in names if name.lower() == SPLIT), "")
    split = "" if split in captions.values() else split
    return UserImages(path, read_rows, column, folder, suffix, captions, root, split, held_out)


def find_user_images(folder: Path) -> list[Path]:
    """The tables of images in a folder, or the folder itself if there is none; of several splits
    that to train on.
    """
    for name in layout.HUGGING_FACE:
        if (folder / name).is_file():
            return [folder / name]
    paths = visible(folder)
    for found in (paths, visible(folder / COCO)):
        if of_train := [path for path in found if path.match(COCO_TRAIN)]:
            return of_train
    images = {path.stem for path in paths if path.suffix.lower() in IMAGE_SUFFIXES}
    if not images.isdisjoint(path.stem for path in paths if path.suffix.lower() == TEXT):
        return [folder]
    for kind in TABLES:
        found = [path for path in paths if path.suffix.lower() == kind and path.is_file()]
        if kind in (JSON, TEXT):  # which may be notes
            found = [path for path in found if _is_understood(path)]
        if found:
            splits = {path: split_of(path.stem, is_part=True) for path in found}
            return [path for path in found if splits[path] in ("", TRAIN)] or found
    folders = [path for path in paths if path.is_dir()]
    by_split = {split_of(path.name): path for path in folders}
    if TRAIN in by_split and (len(folders) == 1 or by_split.keys() - {"", TRAIN}):
        return find_user_images(by_split[TRAIN])
    return find_user_images(folders[0]) if len(paths) == len(folders) == 1 else [folder]


def _is_understood(path: Path) -> bool:
    with suppress(InputError):
        return bool(open_user_images(path))
    return False


def _open_folder(path: Path) -> UserImages:
    """A folder of images, each with a .txt beside it, or of a folder of images for each class."""
    files = sorted(file.relative_to(path) for file in path.rglob("*"))
    files = [file for file in files if not layout.is_hidden(str(file))]
    images = [file for file in files if file.suffix.lower() in layout.PICTURES]
    others = [file for file in files if file.suffix.lower() not in layout.PICTURES]
    for link in (path / file for file in others if (path / file).is_symlink()):
        if link.is_dir():
            raise InputError(f"{link} is a link to a folder, which is not followed: copy it there")
    if not images:
        kinds, suffixes = ", ".join((TAR, *TABLES)), Counter(file.suffix for file in files)
        there = ", ".join(f"{count:,} {suffix}" for suffix, count in suffixes.most_common(3))
        raise InputError(
            f"{path} holds neither shards nor tables ({kinds}) nor images; its files: {there}"
        )
    texts = {_stem(file): path / file for file in others if file.suffix.lower() == TEXT}
    beside = {image: texts.get(_stem(image)) for image in images}
    classes = {image.parent.name for image in images}
    if any(beside.values()):
        column, rows = CAPTION, functools.partial(_rows_with_texts, path, beside)
    elif len(classes) > 1 and "" not in classes:
        random.Random(0).shuffle(images)  # no shard is of a few classes only
        column, rows = CLASS, functools.partial(_rows_of_classes, images)
    else:
        raise InputError(
            f"{path} holds {len(images):,} images without captions: give a table that names them "
            "(.csv, .tsv, .parquet, .jsonl), or a text beside each, KEY.txt of KEY.jpg"
        )
    return UserImages(path, rows, FILE, path, "", {CAPTION: column}, path.resolve())


def _stem(file: Path) -> str:
    return normalize("NFC", str(file.with_suffix("")))


def _rows_with_texts(
    path: Path, beside: Mapping[Path, Path | None], _: Sequence[str]
) -> Iterator[Row]:
    for image, text in beside.items():
        if text and text.is_symlink():
            refuse_outside(path, str(text), os.path.realpath(text), {str(path.resolve())})
        content = text.read_bytes() if text and text.is_file() else b""
        lines = (line.strip() for line in tables.decode_text(content).splitlines())
        for line in [*filter(None, lines)] or [""]:
            yield Row({FILE: str(image), CAPTION: line})


def _rows_of_classes(images: Iterable[Path], _: Sequence[str]) -> Iterator[Row]:
    for image in images:
        name = image.parent.name.replace("_", " ").replace("-", " ")
        yield Row({FILE: str(image), CLASS: name})


def _rows_of_parquet(path: Path, columns: Sequence[str]) -> Iterator[Row]:
    """Without times, which are neither images nor captions, and may be later than Python's last."""
    import pyarrow as pa

    def has_time(kind: Any) -> bool:
        inner = (kind.field(number).type for number in range(kind.num_fields))
        return pa.types.is_temporal(kind) or any(map(has_time, inner))

    with tables.open_parquet(path) as file:
        timeless = [column.name for column in file.schema_arrow if not has_time(column.type)]
        for batch in file.iter_batches(BATCH_ROWS, columns=columns or timeless):
            yield from map(Row, batch.to_pylist())


def _rows_of_text(table: TextTable, text_column: str | None, _: Sequence[str]) -> Iterator[Row]:
    for row in table.rows(text_column):
        cells = row.cells
        if table.delimiter and isinstance(cells, dict):
            cells = {name: cell.strip() for name, cell in cells.items()}
        yield row._replace(cells=cells)


def _rows_of_json(path: Path, _: Sequence[str]) -> Iterator[Row]:
    """COCO's annotations, each with the file of its image, and its images without any; or a list of
    objects.
    """
    try:
        content = json.loads(path.read_bytes())
        if isinstance(content, dict):
            files = {image["id"]: image["file_name"] for image in content["images"]}
            rows = [(each["image_id"], each[CAPTION]) for each in content[COCO]]
            captioned = {number for number, _ in rows}
            rows += [(number, None) for number in files if number not in captioned]
            content = [{"file_name": files.get(number), CAPTION: text} for number, text in rows]
        if not all(isinstance(row, dict) for row in content):
            raise TypeError
    except (ValueError, KeyError, TypeError, RecursionError):
        raise InputError(
            f"{path} is neither a list of objects nor has images and annotations with captions, as "
            "COCO's captions_train2017.json"
        ) from None
    yield from map(Row, content)


def _find_images(
    path: Path, head: Sequence[Cells], columns: Sequence[str], root: Path
) -> tuple[str, Path | None, str]:
    """The column of images, the folder of their files, and the suffix that the names lack. Raises:
    InputError, with the first cell.
    """
    parents = dict.fromkeys((path.parent, root))
    near = [place for parent in parents for place in (parent, *visible(parent))]
    folders = [place for place in dict.fromkeys(near) if place.is_dir()]
    others: list[str] = []  # files that are no images

    def size(folder: Path, name: str) -> int:
        """Of an image; 0 if there is none."""
        with suppress(OSError, ValueError):
            file = os.path.join(folder, name)
            if name and os.path.isfile(file):
                with open(file, "rb") as content:
                    if content.read(4).startswith(FIRST_BYTES):
                        return os.path.getsize(file)
                others.append(file)
        return 0

    cells = [(row.get(name), name) for name in columns for row in head]
    for suffix in ("", *IMAGE_SUFFIXES, *map(str.upper, IMAGE_SUFFIXES)):
        for cell, column in cells:
            if not suffix and _image_in(cell).startswith(FIRST_BYTES):
                return column, None, ""
            if any(size(folder, _file_name(cell, suffix)) for folder in folders):
                # Where several folders have these names, the smaller images are copies for a page.
                names = {_file_name(row.get(column), suffix) for row in head}
                return column, max(folders, key=lambda f: sum(size(f, n) for n in names)), suffix
    if any(str(cell).startswith(("http://", "https://")) for cell, _ in cells):
        raise InputError(
            f"{path} has addresses in place of images: download them first, for example by "
            "img2dataset, which makes shards of them"
        )
    cell, column = next((each for each in cells if each[0] not in (None, "")), ("", "no other"))
    where = ", ".join(map(str, folders[:MAX_NAMED])) + (" ..." if folders[MAX_NAMED:] else "")
    reason = f"{others[0]} is {NO_PICTURE}" if others else f"there is no such file in {where}"
    raise InputError(
        f"{path} has no column of images: {column} begins with {str(cell)[:MAX_CAPTION]!r}, and "
        f"{reason}; there are: {', '.join(map(printable, columns))[:300]}; give --image-column"
    )


def _file_name(cell: Any, suffix: str) -> str:
    is_name = isinstance(cell, str) or (suffix and isinstance(cell, int))
    return os.path.normpath(f"{str(cell).strip()}{suffix}") if is_name and cell != "" else ""


def _image_in(cell: Any) -> bytes:
    """The image that a cell holds, as the hub has it ({"bytes": ...}) or as bytes, if any."""
    content = cell.get("bytes") if isinstance(cell, dict) else cell
    return content if isinstance(content, bytes) else b""


def _captions(cell: Any) -> Any:
    """The text of a cell, or texts of a list, as captions."""
    if isinstance(cell, list):
        return [text for each in cell if (text := tables.caption_in(each))]
    return tables.caption_in(cell)
