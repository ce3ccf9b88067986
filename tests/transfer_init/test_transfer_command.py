"""`python -m catlip.transfer_init`, as a user runs it."""

import json
from pathlib import Path

import pytest
import torch
from one_line import one_line_error
from safetensors import safe_open

from catlip.categorical import Categorical
from catlip.encoder import build_encoder
from catlip.training.checkpoint import save_weights
from catlip.vocabulary import vocabulary_identity

WORDS = ("dog", "cat", "sandwich", "furniture", "kitchen", "restaurant")
NAMES = tuple(f"{word}.n.01" for word in WORDS)
MODULE = "catlip.transfer_init"


@pytest.fixture
def vocabulary(small, tmp_path) -> Path:
    small(*NAMES).save(tmp_path / "vocabulary.json")
    return tmp_path / "vocabulary.json"


@pytest.fixture
def run_folder(vocabulary, tmp_path) -> Path:
    torch.manual_seed(0)
    config = {"encoder": "vit_tiny16", "resolution": 32, "method": "catlip"}
    config |= {"vocabulary": vocabulary_identity(vocabulary)}
    objective = Categorical(build_encoder("vit_tiny16", 32), torch.full((len(NAMES),), 0.1))
    (tmp_path / "run").mkdir()
    save_weights(tmp_path / "run/weights.safetensors", objective.state_dict(), config)
    return tmp_path / "run"


STANDING = {
    "coco": {"dog": "dog.n.01", "hot dog": "sandwich.n.01", "dining table": "furniture.n.01"},
    "mine.txt": {"kitchen": "kitchen.n.01", "dog.n.01": "dog.n.01"},
}


@pytest.mark.parametrize(("labels", "standing"), STANDING.items())
def test_head_with_its_table_loads_into_a_linear_layer(
    labels, standing, program, run_folder, vocabulary, tmp_path
):
    out, own = tmp_path / "heads/coco.safetensors", tmp_path / "mine.txt"
    own.write_text("kitchen\nquokka\ndog.n.01\n")
    is_own = labels == own.name
    options = ("--vocabulary", vocabulary, "--labels", own if is_own else labels, "--out", out)
    done = program(MODULE, run_folder, *options)
    assert done.returncode == 0, done.stderr
    with safe_open(out, "pt") as file:
        tensors = {name: file.get_tensor(name) for name in ("weight", "bias")}
        table, config = (json.loads(file.metadata()[name]) for name in ("table", "config"))
    torch.nn.Linear(192, 3 if is_own else 80).load_state_dict(tensors)
    assert config["alpha"] == 0.3
    record = json.loads(out.with_suffix(".json").read_text())
    assert record["samples"][f"origins_{labels}"] == table
    assert record["metrics"]["num_labels"] == len(table)
    names = [row["label"] for row in table]
    with safe_open(run_folder / "weights.safetensors", "pt") as file:
        classifier = file.get_tensor("classifier.weight")
    classes = [name for _, name, _ in json.loads(vocabulary.read_text())["synsets"]]
    for label, expected in standing.items():
        row = names.index(label)
        assert table[row]["classes"] == [[expected]]
        assert torch.equal(tensors["weight"][row], classifier[classes.index(expected)])
    if is_own:
        assert "mine.txt: of 3 names 2 " in done.stdout
        assert names == ["kitchen", "quokka", "dog.n.01"]
        assert not (tensors["weight"][1] == classifier).all(1).any()


def test_what_cannot_be_done_ends_as_one_line(program, run_folder, vocabulary, small, tmp_path):
    small(*NAMES[::-1], "stock.n.01").save(tmp_path / "other.json")
    cases = {
        "other.json": (run_folder, "--vocabulary", tmp_path / "other.json"),
        "--alpha 0.0": (run_folder, "--vocabulary", vocabulary, "--alpha", 0),
        ".safetensors": (run_folder, "--vocabulary", vocabulary, "--out", tmp_path / "head.pt"),
        "cifar": (run_folder, "--vocabulary", vocabulary, "--labels", "cifar"),
    }
    for message, arguments in cases.items():
        if "--out" not in arguments:
            arguments += ("--out", tmp_path / "no.safetensors")
        one_line_error(program(MODULE, *arguments), message)
    assert not list(tmp_path.glob("no.*"))
