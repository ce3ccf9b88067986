"""A new method is one file: every program takes it, from the dry run to the page."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from one_line import one_line_error
from safetensors.torch import load_file
from short_training import command

from baselines.methods import METHODS
from catlip.program.methods import methods
from pipeline.options import read_options
from pipeline.stages import steps_of

REPOSITORY = Path(__file__).parent.parent
CONTRIBUTING = (REPOSITORY / "CONTRIBUTING.md").read_text()
(METHOD,) = [
    code
    for code in re.findall(r"```python\n(.*?)```", CONTRIBUTING, re.DOTALL)
    if "Squared" in code
]
# Runs programs one after another, each as `python -m MODULE ARGUMENTS`; the first is interrupted by
# its first checkpoint.
PROGRAMS = """
import json, runpy, sys
from catlip.training.trainer import Trainer

saving = Trainer.checkpoint_writer
def save_once(self, *arguments):
    saving(self, *arguments)()
    Trainer.checkpoint_writer = saving
    raise KeyboardInterrupt
Trainer.checkpoint_writer = save_once

for module, *arguments in json.loads(sys.argv[1]):
    sys.argv = [module, *arguments]
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        if end.code not in (0, 130):
            raise
"""
SMALL = ("--model", "hybrid_mini", "--resolution", "48", "--num-classes", "50")


@dataclass(frozen=True)
class Done:
    """What the programs printed, and the folder of what they wrote."""

    output: str
    folder: Path

    def record(self, kind: str) -> dict:
        (path,) = (self.folder / "runs/scale" / kind).glob("*.json")
        return json.loads(path.read_text())


@pytest.fixture(scope="module")
def done(succeed, starter, tmp_path_factory: pytest.TempPathFactory) -> Done:
    folder = tmp_path_factory.mktemp("method")
    (folder / "methods").mkdir()
    (folder / "methods" / "squared.py").write_text(METHOD)
    runs = folder / "runs/scale"
    few = ("--iterations", 3, "--micro-batch", 4)
    whole = command("squared", starter, folder / "whole/squared-seed0", *few)
    stopped = command("squared", starter, runs / "pretrain/squared-seed0", *few)
    stopped += ["--checkpoint-every", "1"]
    quick = [*SMALL, "--methods", "catlip", "squared", "--batch-size", "2", "--device", "cpu"]
    quick += ["--quiet", "--out"]
    programs = [
        stopped,
        stopped,
        whole,
        [*whole, "--dry-run"],
        ["bench.step_time", *quick, str(runs / "step_time"), "--num-steps", "2"],
        ["bench.memory", *quick, str(runs / "memory")],
        ["bench.plan", *SMALL, "--methods", "catlip", "squared", "--out", str(runs / "plan")],
    ]
    (folder / "programs.py").write_text(PROGRAMS)
    methods = {"CATLIP_METHODS": str(folder / "methods")}
    ended = succeed(folder / "programs.py", json.dumps(programs), **methods)
    return Done(ended.stdout, folder)


def test_new_method_is_resumed_to_the_same_weights(done: Done) -> None:
    weights = [
        load_file(done.folder / run / "squared-seed0/weights.safetensors")
        for run in ("runs/scale/pretrain", "whole")
    ]
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())
    record = done.record("pretrain")
    assert record["metrics"]["method"] == "squared"
    assert record["metrics"]["iterations"] == len(record["samples"]["bias"]) == 3
    assert len(set(record["samples"]["loss"])) == 3


def test_costs_of_a_new_method_are_timed_and_predicted(done: Done) -> None:
    total = done.record("pretrain")["metrics"]["parameters_total"]
    assert f"parameters: {total:,}" in done.output  # of the dry run
    metrics = done.record("step_time")["metrics"]
    assert metrics["methods"]["squared"]["total_ms"]["median"] > 0
    assert metrics["flops_ratios"] == {"squared/catlip": 1.0}
    (batch,) = done.record("memory")["metrics"]["batches"].values()
    memory = batch["methods"]["squared"]
    assert memory["predicted"]["peak_gib"] == pytest.approx(memory["measured"]["peak_gib"], rel=0.1)
    (path,) = (done.folder / "runs/scale/plan").glob("step-*.json")
    costs = json.loads(path.read_text())["metrics"]["methods"]
    assert costs["squared"] == costs["catlip"]


def test_page_shows_its_label_and_records_hold_its_colour(done, program) -> None:
    page = done.folder / "page"
    assert program("reports", "--records", done.folder / "runs", "--out", page).returncode == 0
    assert "Squared error" in (page / "report.md").read_text()
    assert "#123abc" in "".join(path.read_text() for path in done.folder.rglob("step_time/*.json"))


def test_folder_of_methods_that_is_not_there_is_named(program: Callable) -> None:
    done = program("baselines.pretrain", "--help", CATLIP_METHODS="nowhere")
    one_line_error(done, "'nowhere'")


@pytest.mark.parametrize(
    "mistake",
    ["import nothing_of_this_name", "def", "", "class Toy(Objective): pass", "raise SystemExit(0)"],
)
def test_mistake_in_a_method_is_one_line_with_its_file(program, tmp_path, mistake) -> None:
    (tmp_path / "toy.py").write_text(f'{mistake}\nclass Other:\n    name: str = "toy"\n')
    words = ("--method", "toy", "--dry-run", "--device", "cpu")
    done = program("baselines.pretrain", *words, CATLIP_METHODS=str(tmp_path))
    one_line_error(done, tmp_path / "toy.py")


def test_what_is_read_of_a_method_is_what_its_class_has() -> None:
    for name, facts in methods().items():
        own = METHODS[name]
        assert vars(facts) == {key: getattr(own, key, own.__module__) for key in vars(facts)}


@pytest.mark.parametrize(
    ("stated", "nouns", "searched"),
    [
        ('needs, scores_captions = frozenset({"labels"}), True', True, True),
        ('needs: frozenset[str] = frozenset({"tokens"})', False, False),
        ('classes = "subwords"', False, False),
        ("", True, False),  # a class above it may need labels
    ],
)
def test_steps_follow_from_what_a_method_states(tmp_path, monkeypatch, stated, nouns, searched):
    (tmp_path / "it.py").write_text(METHOD.replace('needs = frozenset({"labels"})', stated))
    monkeypatch.setenv("CATLIP_METHODS", str(tmp_path))
    options = read_options(["--dry-run", "--methods", "squared", "--seeds", "1"])
    (training,) = steps_of("pretrain", options)
    assert ("--vocabulary" in training.arguments) == nouns
    steps = [step.name for step in steps_of("transfer", options)]
    assert ("retrieval-squared-seed0" in steps) == searched
