"""`python -m catlip.transfer_init`, as a user runs it."""

import json
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from one_line import one_line_error
from safetensors import safe_open

from catlip.categorical import Categorical
from catlip.encoder import build_encoder
from catlip.training.saving.weights import save_weights
from catlip.vocabulary import vocabulary_identity

NAMES = (
    "dog.n.01",
    "cat.n.01",
    "sandwich.n.01",
    "furniture.n.01",
    "kitchen.n.01",
    "restaurant.n.01",
)
MODULE = "catlip.transfer_init"


@pytest.fixture
def vocabulary(small, tmp_path) -> Path:
    small(*NAMES).save(tmp_path / "vocabulary.json")
    return tmp_path / "vocabulary.json"


@pytest.fixture
def run_folder(vocabulary, tmp_path) -> Path:
    torch.manual_seed(0)
    config = {
        "encoder": "vit_tiny16",
        "resolution": 32,
        "method": "catlip",
        "vocabulary": vocabulary_identity(vocabulary),
    }
    weights = Categorical(
        build_encoder("vit_tiny16", 32), torch.full((len(NAMES),), 0.1)
    ).state_dict()
    (tmp_path / "run").mkdir()
    save_weights(tmp_path / "run/weights.safetensors", weights, config)
    return tmp_path / "run"


def test_coverage_of_several_label_sets_is_printed_and_recorded_without_torch(vocabulary, tmp_path):
    places = tmp_path / "categories_places365.txt"
    places.write_text(
        "/a/airfield 0\n/a/archaeological_excavation 1\n/k/kitchen 2\n/r/restaurant_kitchen 3\n"
    )
    program = (
        "import runpy, sys; runpy.run_module('catlip.transfer_init', run_name='__main__'); assert "
        "'torch' not in sys.modules"
    )
    arguments = (
        "--vocabulary",
        vocabulary,
        "--labels",
        "coco",
        f"places365:{places}",
        "--out",
        tmp_path / "x.safetensors",
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"wrote {tmp_path / 'x.json'}"
    record = json.loads((tmp_path / "x.json").read_text())
    assert record["kind"] == "transfer_init"
    places = record["metrics"]["labels"]["places365"]
    assert [places[kind] for kind in ("exact", "near", "mean", "random", "total")] == [
        1,
        0,
        1,
        2,
        4,
    ]
    assert (
        record["metrics"]["labels"]["coco"]["total"] == len(record["samples"]["origins_coco"]) == 80
    )
    assert not (tmp_path / "x.safetensors").exists()


def test_a_head_is_written_with_its_table_and_loads_into_a_linear_layer(
    program, run_folder, vocabulary, tmp_path
):
    out = tmp_path / "heads/coco.safetensors"
    done = program(
        MODULE, run_folder, "--vocabulary", vocabulary, "--labels", "coco", "--table", "--out", out
    )
    assert done.returncode == 0, done.stderr
    assert "hot dog         near: sandwich.n.01 (0.50)" in done.stdout
    with safe_open(out, "pt") as file:
        tensors = {name: file.get_tensor(name) for name in ("weight", "bias")}
        table, config = (json.loads(file.metadata()[name]) for name in ("table", "config"))
    torch.nn.Linear(192, 80).load_state_dict(tensors)
    assert (config["alpha"], config["ties"]) == (0.3, "frequent")
    names = [row["label"] for row in table]
    with safe_open(run_folder / "weights.safetensors", "pt") as file:
        classifier = file.get_tensor("classifier.weight")
    classes = [name for _, name, _ in json.loads(vocabulary.read_text())["synsets"]]
    for label, expected in (
        ("dog", "dog.n.01"),
        ("hot dog", "sandwich.n.01"),
        ("dining table", "furniture.n.01"),
    ):
        assert table[names.index(label)]["classes"] == [[expected]]
        assert torch.equal(
            tensors["weight"][names.index(label)], classifier[classes.index(expected)]
        )


def test_a_released_vocabulary_gives_the_same_coverage(program, vocabulary, tmp_path):
    synsets = json.loads(vocabulary.read_text())["synsets"]
    (tmp_path / "vocabulary.pkl").write_bytes(
        pickle.dumps({f"n{offset}": count for offset, _, count in synsets})
    )
    for file, more in (("vocabulary.json", ()), ("vocabulary.pkl", ("--top-k", len(synsets)))):
        out = tmp_path / f"{file}.safetensors"
        done = program(MODULE, "--vocabulary", tmp_path / file, "--out", out, *more)
        assert done.returncode == 0, done.stderr
    one, other = (
        json.loads((tmp_path / f"vocabulary.{kind}.json").read_text()) for kind in ("json", "pkl")
    )
    assert one["metrics"] == other["metrics"]
    assert one["samples"] == other["samples"]


def test_what_cannot_be_done_ends_as_one_line(program, run_folder, vocabulary, small, tmp_path):
    small(*NAMES[::-1], "stock.n.01").save(tmp_path / "other.json")
    cases = {
        "other.json": (
            run_folder,
            "--vocabulary",
            tmp_path / "other.json",
        ),
        "--labels": (
            run_folder,
            "--vocabulary",
            vocabulary,
            "--labels",
            "coco",
            "imagenet",
        ),
        "--alpha 0.0": ("--vocabulary", vocabulary, "--alpha", 0),
        ".safetensors": ("--vocabulary", vocabulary, "--out", tmp_path / "head.pt"),
        "cifar": ("--vocabulary", vocabulary, "--labels", "cifar"),
    }
    for message, arguments in cases.items():
        done = program(
            MODULE,
            *arguments,
            *(() if "--out" in arguments else ("--out", tmp_path / "no.safetensors")),
        )
        one_line_error(done, message)
    assert not list(tmp_path.glob("no.*"))
