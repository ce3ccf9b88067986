"""`python -m catlip.transfer_init`, as a user runs it."""

import json

import pytest
import torch
from safetensors import safe_open
from small_data import write_run

WORDS = ("dog", "cat", "sandwich", "furniture", "kitchen", "restaurant")
NAMES = tuple(f"{word}.n.01" for word in WORDS)
MODULE = "catlip.transfer_init"


STANDING = {
    "coco": {"dog": "dog.n.01", "hot dog": "sandwich.n.01", "dining table": "furniture.n.01"},
    "mine.txt": {"kitchen": "kitchen.n.01", "dog.n.01": "dog.n.01"},
}


@pytest.mark.parametrize(("labels", "standing"), STANDING.items())
def test_head_with_its_table_loads_into_a_linear_layer(labels, standing, program, tmp_path):
    run, vocabulary = write_run(tmp_path, synsets=NAMES), tmp_path / "run-vocabulary.json"
    out, own = tmp_path / "heads/coco.safetensors", tmp_path / "mine.txt"
    own.write_text("kitchen\nquokka\ndog.n.01\n")
    is_own = labels == own.name
    options = ("--vocabulary", vocabulary, "--labels", own if is_own else labels, "--out", out)
    done = program(MODULE, run, *options)
    assert done.returncode == 0, done.stderr
    with safe_open(out, "pt") as file:
        tensors = {name: file.get_tensor(name) for name in ("weight", "bias")}
        table, config = (json.loads(file.metadata()[name]) for name in ("table", "config"))
    torch.nn.Linear(128, 3 if is_own else 80).load_state_dict(tensors)
    assert config["alpha"] == 0.3
    record = json.loads(out.with_suffix(".json").read_text())
    assert record["samples"][f"origins_{labels}"] == table
    assert record["metrics"]["num_labels"] == len(table)
    names = [row["label"] for row in table]
    with safe_open(run / "weights.safetensors", "pt") as file:
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
