"""What a program cannot do is one line that tells the cause, and nothing is written."""

import os
from pathlib import Path

import pytest
from one_line import refused
from short_training import SHORT
from small_data import vocabulary_of, write_run

from catlip.data.shards import write_shard

RECORDS = Path(__file__).parents[1] / "reports/records"
RECIPES = """
misspelt = {"max_rl": 1}
text = {"max_lr": "high"}
both = {"iterations": 3, "epochs": 2}
unknown = {"recipe": "mine"}
number = 3
def broken(): return 1 / 0
def ends(): raise SystemExit(0)
"""
OWN = "baselines.pretrain --method clip --shards x --recipe HERE"
LABEL = "catlip.label SHARDS --quiet"
REFUSED = [
    ("catlip.pretrain --iterations 5 --epochs 3", "--iterations or --epochs"),
    ("catlip.pretrain --recipe imagenet", "starter, photos, cc3m_b16"),
    ("catlip.pretrain --max-broken 2", "--max-broken 2.0"),
    ("catlip.pretrain --seed -1", "--seed -1"),
    ("catlip.pretrain --flip 7", "--flip 7.0"),
    ("catlip.pretrain --crop-scale 1 0.1", "--crop-scale"),
    ("catlip.pretrain --micro-batch 0", "--micro-batch 0"),
    ("catlip.pretrain --checkpoint-every 0", "--checkpoint-every 0"),
    ("catlip.pretrain --checkpoint-every 10hours", "10min"),
    ("catlip.pretrain --ema-decay 1", "--ema-decay 1.0"),
    ("catlip.pretrain --max-lr inf", "--max-lr inf"),
    ("catlip.pretrain --recipe cc3m_b16 --betas 0.9 nan", "--betas nan"),
    ("catlip.pretrain --per-epoch --iterations 9", "--per-epoch"),
    ("catlip.pretrain --shards x", "--vocabulary"),
    ("catlip.pretrain --vocabulary nowhere.json", "nowhere.json"),
    ("catlip.pretrain --out HERE/file/run", "file is not a folder"),
    ("catlip.pretrain --out HERE/file", "is a file; give the path of a folder"),
    ("catlip.pretrain --out ''", "on this machine"),
    ("catlip.pretrain --out /", "on this machine"),
    ("catlip.examples x --vocabulary y --out HERE", "is a folder; give the path of a file"),
    ("catlip.examples x --vocabulary y --out ..", "on this machine"),
    ("catlip.examples x --vocabulary y --out s3://bucket/record.json", "on this machine"),
    (
        f"catlip.pretrain {SHORT} --shards SHARDS --labels-dir LABELS --out run "
        "--vocabulary HERE/other.json",
        "--rule corenet",
    ),
    ("baselines.pretrain --method dino --shards nowhere", "clip"),
    ("baselines.pretrain --shards nowhere/*.tar", "nowhere/*.tar"),
    ("baselines.pretrain --shards x --device tpu", "tpu"),
    ("baselines.pretrain --shards x --device cuda:x", "cuda:x"),
    (f"{OWN}/recipes.py:misspelt", "max_rl"),
    (f"{OWN}/recipes.py:text", "max_lr"),
    (f"{OWN}/recipes.py:both", "iterations"),
    (f"{OWN}/recipes.py:unknown", "starter"),
    (f"{OWN}/recipes.py:number", "int"),
    (f"{OWN}/recipes.py:broken", "line 7: ZeroDivisionError"),
    # It would end the program as if it had succeeded.
    (f"{OWN}/recipes.py:ends", "line 8: SystemExit: 0"),
    (f"{OWN}/recipes.py:none", "none"),
    (f"{OWN}/cut.py:small", "line 2"),
    (f"{OWN}/none.py:small", "none.py"),
    ("catlip.label nowhere/{0..2}.tar", "nowhere/0.tar"),
    ("catlip.label ODD/0.tar --labels-dir ODD", "photos-", "not UTF-8"),
    (f"{LABEL} --out labels.csv", ".parquet"),
    (f"{LABEL} --vocabulary HERE/other.json", "--out"),
    (f"{LABEL} --out x.parquet --vocabulary none.json", "none.json"),
    (f"{LABEL} --out x.parquet --vocabulary HERE/other.json", "corenet"),
    ("catlip.weights HERE/run --vocabulary HERE/other.json --out x", "other.json"),
    ("catlip.vocabulary stats HERE/run-vocabulary.json --against cifar", "cifar"),
    ("catlip.verify HERE/nothing", "HERE/nothing"),
    ("catlip.verify HERE/alone", "alone.json"),
    ("reports --out HERE/file/report", "file/report"),
    ("reports --records nowhere", "nowhere"),
    ("reports frame RECORDS/starter/step_time -o x.xlsx", "x.xlsx"),
]


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the commands name."""
    root = tmp_path_factory.mktemp("here")
    (root / "file").touch()
    (root / "recipes.py").write_text(RECIPES)
    (root / "cut.py").write_text("x = 1\nsmall = {")
    vocabulary_of("cat.n.01", "dog.n.01").save(root / "other.json")
    for name in ("run", "alone"):
        write_run(root, name)
    (root / "alone.json").unlink()
    (root / "alone/log.jsonl").touch()
    write_shard(root / os.fsdecode(b"photos-\xff") / "0.tar", [("0", {"txt": b"a dog"})])
    return root


@pytest.mark.parametrize("row", REFUSED, ids=lambda row: row[0][:90])
def test_what_a_program_cannot_do_is_one_line(
    row, here, starter, tmp_path, monkeypatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    places = {"HERE": here, "ODD": here / os.fsdecode(b"photos-\xff"), "RECORDS": RECORDS}
    places |= {"SHARDS": starter.shards, "LABELS": starter.labels}
    command, *says = row
    for name, path in places.items():
        command, *says = (word.replace(name, str(path)) for word in (command, *says))
    refused(command, *says, monkeypatch=monkeypatch, capsys=capsys)
    assert not [*tmp_path.iterdir()]
