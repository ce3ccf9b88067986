"""Fashion-MNIST: made-up files of its form, what is wrong with others, and the installed ones."""

import gzip
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from small_data import ON_A_CPU

from bench.downstream import finetune, linear_probe, readouts
from bench.downstream.classify.datasets import Task, load_tasks
from bench.downstream.classify.fashion_mnist import MOST_IMAGES
from bench.downstream.encoders.preprocess import central_square
from bench.downstream.probe.tables import worth_table
from catlip.cli import InputError
from catlip.data import layout
from catlip.recipes.transfer import STARTER_PROBE
from reports.read.records import read_records

CLOTHES = ("jersey.n.03", "dress.n.01", "coat.n.01", "sandal.n.01", "boot.n.01")
COUNTS = {"train": 40, "t10k": 20}
IMAGES = "train-images-idx3-ubyte.gz"
LABELS = "train-labels-idx1-ubyte.gz"


def idx(values: NDArray[np.uint8], *, count: int | None = None, magic: int | None = None) -> bytes:
    """An idx file, compressed; its header may say another count or another kind of values."""
    kind = 0x0800 + values.ndim if magic is None else magic
    sizes = [len(values) if count is None else count, *values.shape[1:]]
    return gzip.compress(np.array([kind, *sizes], ">u4").tobytes() + values.tobytes())


def images(count: int) -> NDArray[np.uint8]:
    """Noise about a level that is each class's own."""
    noise = np.random.default_rng(count).integers(0, 20, size=(count, 28, 28))
    return (noise + 23 * labels(count)[:, None, None]).astype(np.uint8)


def labels(count: int) -> NDArray[np.uint8]:
    return (np.arange(count) % 10).astype(np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The four files, of few images."""
    folder = tmp_path / "photographs"
    folder.mkdir()
    for split, count in COUNTS.items():
        (folder / f"{split}-images-idx3-ubyte.gz").write_bytes(idx(images(count)))
        (folder / f"{split}-labels-idx1-ubyte.gz").write_bytes(idx(labels(count)))
    return folder


def task_of(spelling: str) -> Task:
    (task,) = load_tasks(spelling)
    return task


def pixels(encoded: bytes) -> NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(encoded)))


def test_the_images_are_those_of_the_files_in_their_order(folder: Path) -> None:
    task = task_of(f"fashion_mnist:{folder}")
    assert (task.name, task.num_classes) == ("fashion_mnist", 10)
    for split, count in ((task.train, COUNTS["train"]), (task.test, COUNTS["t10k"])):
        assert split.labels.tolist() == labels(count).tolist()
        assert split.labels.dtype == np.int64
        shown = [pixels(split.image_bytes(number)) for number in range(count)]
        np.testing.assert_array_equal(np.stack(shown), images(count))
        assert len(set(split.keys)) == count
    assert task.train.path != task.test.path  # or features of one would pass for the other's


def test_an_encoder_sees_them_in_three_equal_channels_of_its_own_size(folder: Path) -> None:
    seen = central_square(48)(task_of(f"fashion_mnist:{folder}").train.image_bytes(9))
    assert seen.shape == (3, 48, 48)
    assert (seen == seen[0]).all()
    assert abs(seen.float().mean() - images(COUNTS["train"])[9].mean()) < 1


WRONG = {
    "missing": None,
    "empty": b"",
    "not compressed": b"images",
    "cut off": idx(images(40))[:-2000],
    "without a header": gzip.compress(b"\0\0\x08"),
    "of labels": idx(labels(40)),
    "of signed bytes": idx(images(40), magic=0x0903),
    "of other sizes": idx(np.zeros((40, 32, 32), np.uint8)),
    "of no images": idx(images(40)[:0]),
    "of too many images": idx(images(40), count=MOST_IMAGES + 1),
    "of fewer images than it says": idx(images(40), count=41),
    "of more images than it says": idx(images(40), count=39),
    "of another checksum": idx(images(40))[:-8] + bytes(8),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_file_that_is_missing_or_damaged_is_named_in_one_line(folder: Path, what: str) -> None:
    (folder / IMAGES).unlink()
    content = WRONG[what]
    if content is not None:
        (folder / IMAGES).write_bytes(content)
    with pytest.raises(InputError, match=f"{IMAGES}.*apt-get install dataset-fashion") as caught:
        load_tasks(f"fashion_mnist:{folder}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("values", "says"), [(labels(39), "40 images.*39 labels"), (labels(40) + 1, "label 10")]
)
def test_labels_that_do_not_fit_the_images_are_refused(
    folder: Path, values: NDArray[np.uint8], says: str
) -> None:
    (folder / LABELS).write_bytes(idx(values))
    with pytest.raises(InputError, match=says):
        load_tasks(f"fashion_mnist:{folder}")


def test_a_spelling_without_its_colon_is_refused_with_the_right_one() -> None:
    with pytest.raises(InputError, match=r"'fashion_mnist'.*fashion_mnist:$"):
        load_tasks("fashion_mnist")


@pytest.mark.skipif(not layout.INSTALLED.is_dir(), reason="dataset-fashion-mnist is not installed")
def test_the_installed_files_are_60000_and_10000_photographs_of_ten_classes() -> None:
    task = task_of("fashion_mnist:")
    assert np.bincount(task.train.labels).tolist() == [6000] * 10
    assert np.bincount(task.test.labels).tolist() == [1000] * 10
    # Its first images are an ankle boot, a T-shirt and another one.
    first = [task.labels.names[label] for label in task.train.labels[:3]]
    assert first == ["ankle boot", "T-shirt", "T-shirt"]
    assert pixels(task.train.image_bytes(59_999)).shape == (28, 28)


@pytest.fixture
def options(folder: Path) -> dict[str, Any]:
    return ON_A_CPU | {"data": f"fashion_mnist:{folder}"}


def measured(path: Path) -> dict[str, Any]:
    record: dict[str, Any] = json.loads(path.read_text())
    return record


def test_a_probe_starts_from_the_rows_of_its_nouns_and_the_page_names_the_data(
    make_run, options, tmp_path: Path
) -> None:
    run, out = make_run(synsets=CLOTHES), tmp_path / "runs/starter/linear_probe/probe.json"
    options |= {"encoder": str(run), "out": out, "cached_features": True}
    both = ("random", "transfer")
    linear_probe.main(linear_probe.LinearProbe(STARTER_PROBE, init=both, **options))
    record = measured(out)
    assert record["metrics"]["fashion_mnist_num_test"] == COUNTS["t10k"]
    assert {row["init"] for row in record["samples"]["runs"]} == {"random", "transfer"}
    kinds = {row["label"]: row["kind"] for row in record["samples"]["origins_fashion_mnist"]}
    exact = {label for label, kind in kinds.items() if kind == "exact"}
    assert exact == {"T-shirt", "dress", "coat", "sandal", "ankle boot"}
    records = read_records([tmp_path / "runs"])
    assert records.problems == ()
    (table,) = worth_table([record for record in records.every if record.kind == "linear_probe"])
    assert table.columns[1] == "Fashion-MNIST, LP (%)"


def test_an_encoder_is_fine_tuned_on_it(make_run, options, tiny_recipe, tmp_path: Path) -> None:
    out = tmp_path / "finetune.json"
    options |= {"encoder": str(make_run(synsets=CLOTHES)), "out": out}
    finetune.main(finetune.Finetune(tiny_recipe, init=("transfer",), **options))
    (row,) = measured(out)["samples"]["runs"]
    assert (row["task"], row["init"], row["num_train"]) == ("fashion_mnist", "transfer", 40)


def test_the_rows_of_its_nouns_classify_it_without_training(
    make_run, options, tmp_path: Path
) -> None:
    out = tmp_path / "readout.json"
    readouts.main(readouts.Readouts(str(make_run(synsets=CLOTHES)), out=out, **options))
    metrics = measured(out)["metrics"]
    assert metrics["zero_shot"] == "classifier rows"
    assert metrics["fashion_mnist_knn_top1"] > 0.5  # each class has a level of grey
    assert 0 <= metrics["fashion_mnist_zero_shot_top1"] <= 1
