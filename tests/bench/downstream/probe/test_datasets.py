"""Data sets: fractions, folders and tars, Fashion-MNIST, and the synsets of class names."""

import gzip
import io
import itertools
import pickle
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from bench.downstream.probe import datasets
from bench.downstream.probe.datasets import (
    CLASS_NAMES,
    IMAGENET,
    Split,
    load_tasks,
    name_labels,
    name_on_page,
)
from catlip.cli import InputError
from catlip.data.shards import write_shard
from catlip.words.wordnet import nouns

FRACTIONS = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0)


def split_of(labels: list[int]) -> Split:
    keys = [f"{number}-of-{label}" for number, label in enumerate(labels)]
    return Split(Path("images"), keys, np.array(labels, dtype=np.int64), lambda i: keys[i].encode())


@given(labels=st.lists(st.integers(0, 6), min_size=1, max_size=80), seed=st.integers(0, 99))
def test_fraction_is_of_every_class_and_part_of_larger_ones(labels, seed) -> None:
    whole, sizes = split_of(labels), Counter(labels)
    parts = [whole.subset(fraction, seed) for fraction in FRACTIONS]
    for fraction, part in zip(FRACTIONS, parts, strict=True):
        assert Counter(part.labels.tolist()) == {
            label: max(1, round(fraction * size)) for label, size in sizes.items()
        }
        assert [part.image_bytes(number).decode() for number in range(len(part))] == list(part.keys)
        # A part keeps the order of the whole.
        assert part.keys == [key for key in whole.keys if key in set(part.keys)]
        for key, label in zip(part.keys, part.labels, strict=True):
            assert key.endswith(f"-of-{label}")
        assert list(whole.subset(fraction, seed).keys) == list(part.keys)
    for smaller, larger in itertools.pairwise(parts):
        assert set(smaller.keys) <= set(larger.keys)
    assert parts[-1] is whole


@pytest.mark.parametrize(
    "changed",
    [
        {"labels": np.array([0, 1, 0])},
        {"keys": ["a", "b", "d"]},
        {"image_bytes": lambda i: b"last" if i == 2 else b"image"},
    ],
)
def test_identity_of_images_is_of_names_labels_and_content(changed) -> None:
    images = Split(Path("/one"), ["/one/a", "b", "c"], np.array([0, 1, 1]), lambda _: b"image")
    moved = replace(images, path=Path("/other"), keys=["/other/a", "b", "c"])
    assert moved.identity() == images.identity()
    assert replace(images, **changed).identity()["digest"] != images.identity()["digest"]


@pytest.fixture
def images(tmp_path, monkeypatch) -> Path:
    """The same images twice: in folders, and in tars whose classes are in .cls."""
    monkeypatch.setenv("CATLIP_CACHE", str(tmp_path / "cache"))
    for split in ("train", "val"):
        samples = []
        for label, number in itertools.product(range(3), range(2)):
            key, content = f"{label}-{number}", f"{split} {label} {number}".encode()
            (tmp_path / "folders" / split / str(label)).mkdir(parents=True, exist_ok=True)
            (tmp_path / "folders" / split / str(label) / f"{key}.png").write_bytes(content)
            samples.append((key, {"png": content, "cls": b"%d\n" % label}))
        for shard in (0, 1):
            write_shard(tmp_path / "cls" / split / f"{shard:05}.tar", samples[3 * shard :][:3])
    return tmp_path


def test_tars_are_the_same_task_as_folders(images) -> None:
    (folders,) = load_tasks(f"folder:{images / 'folders'}")
    (tars,) = load_tasks(f"folder:{images / 'cls'}")
    assert tars.labels == folders.labels
    assert (tars.name, tars.num_classes) == ("cls", 3)
    for task in (tars, folders):
        for split, name in ((task.train, "train"), (task.test, "val")):
            sent = pickle.loads(pickle.dumps(split))  # to a worker that is started anew
            assert sent.labels.tolist() == [0, 0, 1, 1, 2, 2]
            expected = [f"{name} {c} {i}".encode() for c in range(3) for i in range(2)]
            assert [sent.image_bytes(i) for i in range(6)] == expected
            assert len(set(sent.keys)) == 6


def test_val_is_for_choosing_where_test_has_labels(images) -> None:
    root = images / "folders"
    (root / "test").mkdir()
    (root / "test/0.png").write_bytes(b"of no class")
    (task,) = load_tasks(str(root))
    assert (task.test.path, task.val, task.note) == (root / "val", None, "")
    shutil.copytree(root / "train", root / "test", dirs_exist_ok=True)
    (task,) = load_tasks(str(root))
    assert task.val is not None
    assert (task.test.path, task.val.path) == (root / "test", root / "val")
    assert task.note == "folders: tested on test/"
    shutil.rmtree(root / "val/1")
    with pytest.raises(InputError, match=": 1"):
        load_tasks(str(root))


@pytest.mark.parametrize(
    "names",
    [
        ("Training", "Validation"),
        ("TRAIN", "valid"),
        ("train", "dev"),
        ("training_set", "test_set"),
    ],
)
def test_usual_names_of_splits_are_known(images, names) -> None:
    """What a system or a program has left beside them, and in them, is no data."""
    root = images / "folders"
    for left in (".git/0", "__MACOSX/0", "train/.ipynb_checkpoints", "train/0/.ipynb_checkpoints"):
        (root / left).mkdir(parents=True)
        (root / left / "0-0.png").write_bytes(b"left")
    (root / "val/0/._0-0.png").write_bytes(b"left")
    for split, name in zip(("train", "val"), names, strict=True):
        (root / split).rename(root / f"{name}-")
        (root / f"{name}-").rename(root / name)
    (task,) = load_tasks(str(root))
    assert (task.train.path.name, task.test.path.name) == names
    assert (task.num_classes, len(task.train), len(task.test)) == (3, 6, 6)


def test_folder_of_images_per_class_is_split_by_class(images, monkeypatch) -> None:
    monkeypatch.setattr(datasets, "HELD_OUT", 0.5)  # one of two images a class
    root = images / "folders" / "train"
    tasks = load_tasks(str(root)), load_tasks(str(root)), load_tasks(f"folder:{root}")
    for (task,) in tasks:
        assert sorted(task.train.labels) == sorted(task.test.labels) == [0, 1, 2]
        assert not {*task.train.keys} & {*task.test.keys}
        assert [*task.test.keys] == [*tasks[0][0].test.keys]
        assert "a fifth of each class" in task.note


def test_validation_opens_no_test_image(images, monkeypatch) -> None:
    root = images / "folders" / "train"
    for label, number in itertools.product(range(3), range(2, 10)):
        (root / str(label) / f"{number}.png").write_bytes(b"%d %d" % (label, number))
    (task,), (validation,) = load_tasks(str(root)), load_tasks(f"folder-validation:{root}")
    chosen = [*validation.train.keys, *validation.test.keys]
    assert sorted(chosen) == sorted(task.train.keys)
    assert (len(task.test), len(validation.test)) == (6, 6)


def test_images_of_one_class_are_no_probe(images) -> None:
    for split, label in itertools.product(("train", "val"), (0, 2)):
        shutil.rmtree(images / "folders" / split / str(label))
    (images / "cls/train/00000.tar").unlink()
    write_shard(images / "cls/train/00001.tar", [("a", {"png": b"", "cls": b"1"})])
    for kind in ("folders", "cls"):
        with pytest.raises(InputError, match=f"{kind}/train has images of one class only"):
            load_tasks(str(images / kind))


@pytest.mark.parametrize("has_val", [False, True])
@pytest.mark.parametrize("kind", ["folders", "cls"])
def test_test_images_are_not_opened_for_validation(images, monkeypatch, kind, has_val) -> None:
    monkeypatch.setattr(datasets, "HELD_OUT", 0.5)  # one of two images a class
    root = images / kind
    if has_val:
        shutil.copytree(root / "train", root / "test")
    tested = root / ("test" if has_val else "val")
    (whole,) = load_tasks(f"folder:{root}")
    shutil.rmtree(tested)
    tested.mkdir()
    (tested / ("a.tar" if kind == "cls" else "a")).mkdir()  # neither a tar nor a class
    (task,) = load_tasks(f"folder-validation:{root}")
    chosen_on = [*task.test.keys]
    if has_val:
        assert chosen_on == [*whole.val.keys]
        assert [*task.train.keys] == [*whole.train.keys]
    else:
        assert sorted([*task.train.keys, *chosen_on]) == sorted(whole.train.keys)
        assert len(set(task.train.labels)) == len(set(task.test.labels)) == 3
    assert (task.name, task.labels) == (whole.name, whole.labels)


def test_folders_and_tars_of_places_have_the_same_names(images) -> None:
    names = ("airfield", "apartment_building-outdoor", "restaurant_kitchen")
    (images / "cls/categories_places365.txt").write_text(
        "/a/airfield 0\n/a/apartment_building/outdoor 1\n/r/restaurant_kitchen 2\n"
    )
    for split in ("train", "val"):
        for number, name in enumerate(names):
            (images / "folders" / split / str(number)).rename(images / "folders" / split / name)
    (folders,) = load_tasks(f"places365:{images / 'folders'}")
    (tars,) = load_tasks(f"places365:{images / 'cls'}")
    assert tars.labels == folders.labels
    assert tars.labels.names == names
    found = [[nouns().name(synset) for synset in synsets] for synsets in tars.labels.synsets]
    of_two = ["restaurant.n.01", "kitchen.n.01"]
    assert found == [["airfield.n.01"], ["apartment_building.n.01"], of_two]


def test_folder_of_one_tar_a_split_with_names_of_its_classes(images) -> None:
    """As clip-benchmark's data sets are laid out, and spelled without a kind."""
    pets = images / "a:b" / "pets"
    pets.mkdir(parents=True)
    for split, name in {"train": "train.tar", "val": "test.tar"}.items():
        samples = [(str(i), {"png": f"{split} {i}".encode(), "cls": b"%d" % i}) for i in range(3)]
        write_shard(pets / name, samples)
    (pets / "classnames.txt").write_text("cat\ndog\ngolden retriever\n")
    (task,) = load_tasks(str(pets))
    assert (task.name, task.labels.names) == ("pets", ("cat", "dog", "golden retriever"))
    assert all(task.labels.synsets)
    assert [split.image_bytes(1) for split in (task.train, task.test)] == [b"train 1", b"val 1"]


@pytest.mark.parametrize(
    ("kind", "folder", "classes", "name"),
    [
        ("imagenet", "in1k", IMAGENET, "imagenet"),
        ("imagenet", "imagenet", IMAGENET[:100], "imagenet-folder"),
        ("places365", "places365", [str(n) for n in range(365)], "places365"),
        ("folder", "concepts", ["cat"], "concepts-folder"),
        ("folder", "starter", ["cat"], "starter-folder"),
        ("folder", "my pets!", ["cat"], "my-pets-"),
        ("wds", "hf:/datasets/clip-benchmark/wds_vtab-caltech101", ["cat"], "vtab-caltech101"),
    ],
)
def test_only_the_classes_of_a_known_data_set_give_its_name(kind, folder, classes, name) -> None:
    assert name_on_page(kind, Path(folder), classes) == name


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("n02084071", "n99999999", "n0208407"), [["dog.n.01"], [], []]),
        (("musical-instrument",), [["musical_instrument.n.01"]]),
        (("animal-mammal",), [["animal.n.01", "mammal.n.01"]]),
        (("t-shirt", "yo-yo"), [["jersey.n.03"], ["yo-yo.n.01"]]),
    ],
)
def test_class_name_means_its_synsets_or_none(names, expected) -> None:
    found = name_labels("folder", names)
    assert found.names == names
    assert [[nouns().name(synset) for synset in synsets] for synsets in found.synsets] == expected


def write_tar(root: Path, **members: bytes) -> None:
    write_shard(root / "train/00000.tar", [("0-0", {"png": b"", **members})])


def a_class_of_one_split(root: Path) -> None:
    (root / "train/owl").mkdir()
    (root / "train/owl/0.png").write_bytes(b"")


@pytest.mark.parametrize(
    ("kind", "data", "spoil", "says"),
    [
        ("folder", "cls", lambda root: write_tar(root, cls=b"dog"), "'dog'"),
        ("imagenet", "cls", lambda root: write_tar(root, cls=b"1000"), "1000"),
        ("places365", "cls", lambda root: None, "names no category"),
        ("folder", "cls", lambda root: (root / CLASS_NAMES).write_text("a\nb\n"), CLASS_NAMES),
        ("folder", "folders", lambda root: (root / "val").rename(root / "more"), "folder val"),
        ("folder", "folders", lambda root: (root / "train/owl").mkdir(), "owl"),
        ("folder", "folders", a_class_of_one_split, "owl"),
        ("folder", "nowhere", lambda root: None, "nowhere"),
    ],
)
def test_data_that_make_no_task_are_refused_in_one_line(images, kind, data, spoil, says) -> None:
    spoil(images / data)
    with pytest.raises(InputError, match=says) as caught:
        load_tasks(f"{kind}:{images / data}")
    assert "\n" not in str(caught.value)


# Fashion-MNIST

COUNTS = {"train": 40, "t10k": 20}
IMAGES = "train-images-idx3-ubyte.gz"


def idx(values: NDArray[np.uint8]) -> bytes:
    """An idx file, compressed."""
    header = [0x0800 + values.ndim, len(values), *values.shape[1:]]
    return gzip.compress(np.array(header, ">u4").tobytes() + values.tobytes())


def clothes(count: int) -> NDArray[np.uint8]:
    """Noise about a level that is each class's own."""
    noise = np.random.default_rng(count).integers(0, 20, size=(count, 28, 28))
    return (noise + 23 * classes(count)[:, None, None]).astype(np.uint8)


def classes(count: int) -> NDArray[np.uint8]:
    return (np.arange(count) % 10).astype(np.uint8)


@pytest.fixture
def fashion(tmp_path: Path) -> Path:
    """The four files, of few images."""
    for split, count in COUNTS.items():
        (tmp_path / f"{split}-images-idx3-ubyte.gz").write_bytes(idx(clothes(count)))
        (tmp_path / f"{split}-labels-idx1-ubyte.gz").write_bytes(idx(classes(count)))
    return tmp_path


def test_images_of_fashion_mnist_are_those_of_the_files(fashion: Path) -> None:
    (task,) = load_tasks(f"fashion_mnist:{fashion}")
    assert (task.name, task.num_classes) == ("fashion_mnist", 10)
    assert [nouns().name(task.labels.synsets[number][0]) for number in (3, 4)] == [
        "dress.n.01",
        "coat.n.01",
    ]
    for split, count in ((task.train, COUNTS["train"]), (task.test, COUNTS["t10k"])):
        assert split.labels.tolist() == classes(count).tolist()
        pictures = [Image.open(io.BytesIO(split.image_bytes(i))) for i in range(count)]
        np.testing.assert_array_equal(np.stack(pictures), clothes(count))
        assert len(set(split.keys)) == count
    assert task.train.path != task.test.path  # or features of one would pass for the other's


WRONG = {
    "missing": None,
    "not compressed": b"images",
    "cut off": idx(clothes(40))[:-2000],
    "of other images": idx(clothes(39)),
}


@pytest.mark.parametrize("what", WRONG)
def test_file_that_is_missing_or_damaged_is_named_in_one_line(fashion: Path, what: str) -> None:
    (fashion / IMAGES).unlink()
    content = WRONG[what]
    if content is not None:
        (fashion / IMAGES).write_bytes(content)
    with pytest.raises(InputError, match=IMAGES) as caught:
        load_tasks(f"fashion_mnist:{fashion}")
    assert "\n" not in str(caught.value)
