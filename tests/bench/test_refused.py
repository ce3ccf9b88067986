"""What a bench cannot do is one line that tells the cause, and leaves no record."""

import json
import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest
from one_line import refused
from safetensors.torch import load_file
from small_data import png, vocabulary_of, write_folders, write_run, write_untrained
from small_dense import change_file, write_ade20k, write_coco

from catlip.data.shards import write_shard
from catlip.training.checkpoint import save_weights
from catlip.weights.files import read_file

RECORDS = Path(__file__).parents[2] / "reports/records/starter"
ENCODERS = {
    "empty": "",
    "number": "build = 3",
    "returns": "def build():\n    return 3",
    "syntax": "def build(:",
    "divides": "def build():\n    1 / 0",
    "wide": "from torch import nn\ndef build():\n"
    "    return nn.Sequential(nn.Conv2d(3, 8, 99), nn.Flatten())",
    "flat": "from torch import nn\ndef build():\n    return nn.Flatten(2)",
}
QUIET = "--device cpu --quiet --out OUT"
SMALL = f"--model hybrid_mini --num-classes 50 --batch-size 2 {QUIET}"
MEMORY = f"bench.memory {QUIET} --model"
READOUTS = f"bench.downstream.readouts {QUIET} --num-workers 0 --data folder:HERE/pets --encoder"
RETRIEVAL = f"bench.downstream.retrieval {QUIET} --num-workers 0 --data HERE"
FINETUNE = (
    f"bench.downstream.finetune {QUIET} --num-workers 0 --data folder:HERE/pets --resolution 100"
)
FINETUNE += " --min-resolution 100 --max-resolution 100 --encoder"
PROBE = f"bench.downstream.linear_probe {QUIET} --num-workers 0"
SWEEP = f"{PROBE} --encoder random:hybrid_mini@32 --data folder:HERE/pets --protocol l2_sweep"
TRANSFER = f"{PROBE} --data folder:HERE/pets --init transfer --encoder"
DENSE = f"{QUIET} --num-workers 0 --micro-batch 4 --encoder random:hybrid_mini@48"
MULTILABEL = f"bench.downstream.multilabel {DENSE} --resolution 48 --max-resolution 48"
SEGMENTATION = f"bench.downstream.segmentation --data ade20k:HERE/ade20k {DENSE}"
DETECTION = f"bench.downstream.detection --data coco:HERE/coco {DENSE} --resolution 48"
STUDY = "--shards SHARDS --labels-dir LABELS --device cpu --quiet --out OUT {}"
LENGTHS = f"bench.study lengths {STUDY} --vocabulary VOCABULARY"
ONE = LENGTHS.format("--probe starter-validation:DATA --images 64")
THRESHOLDS = f"bench.study thresholds {STUDY.format('--probe starter-validation:DATA')} --images 64"

REFUSED = [
    (f"{MEMORY} hybrid_mini --batch-sizes 4096 --budget-gib 0.25", "--largest"),
    (f"{MEMORY} vit_b17", "vit_b17"),
    (f"{MEMORY} hybrid_mini --resolution 50", "50"),
    (f"{MEMORY} hybrid_mini --largest", "--budget-gib"),
    (f"{MEMORY} random:hybrid_mini@48 --checkpointing", "--checkpointing"),
    ("bench.plan --gpu Voodoo2", "Voodoo2"),
    ("bench.plan --mfu 0.5 0.3", "--mfu"),
    ("bench.plan --mfu 0 0.3", "--mfu"),
    ("bench.plan --gpu T4", "no bf16"),
    ("bench.plan --step-time RECORDS/memory/vit_tiny16-b4-*.json", "no", "step_time"),
    ("bench.plan --methods clip_catlip --step-time RECORDS/step_time/vit_b16-*.json", "clip_catl"),
    ("bench.plan --models vit_b17", "vit_b17"),
    ("bench.plan --methods klip", "klip"),
    ("bench.plan --precision fp8", "fp8"),
    ("bench.step_time --methods catlip moco", "moco"),
    ("bench.step_time --precision fp8 --device cpu", "fp8"),
    (f"bench.step_time --data /nowhere/*.tar {SMALL}", "/nowhere/*.tar"),
    (f"bench.step_time --caption-tokens 1 {SMALL}", "2 to 24"),
    (f"bench.step_time --caption-tokens 25 {SMALL}", "2 to 24"),
    (f"bench.step_time --tokens-in-use 3 {SMALL}", "--tokens-in-use"),
    (f"bench.step_time --tokens-in-use 0 {SMALL}", "--tokens-in-use"),
    (f"bench.step_time --model HERE/wide.py:build --resolution 32 {QUIET}", "--resolution"),
    (f"bench.step_time --model HERE/flat.py:build --resolution 32 {QUIET}", "[B, D]"),
    (f"bench.communication --model HERE/flat.py:build {QUIET}", "bench.step_time"),
    ("bench.communication --device cpu", "torchrun --nproc-per-node 2"),
    ("bench.waterfall --model timm:resnet18", "timm:resnet18", "vit_b16"),
    ("bench.device --device cuda", "sees no CUDA device"),
    (f"{ONE} --images", "--images"),
    (f"{ONE} --seeds 1 1", "--seeds"),
    (f"{ONE} --methods dino", "clip"),
    (f"{ONE} --encoders resnet", "hybrid_mini"),
    (f"{ONE} --recipe imagenet", "starter"),
    (f"{ONE} --probe-recipe table_7", "table_7a"),
    (LENGTHS.format("--probe starter --images 64"), "starter:DIR"),
    (LENGTHS.format("--probe starter:DATA starter-validation:DATA"), "of the same name"),
    (f"{ONE} --workers 1 --methods catlip --labels-dir HERE/none", "64-seed0: ", "usable"),
    (f"{THRESHOLDS} --thresholds 3 100000", "0 of 132 syn"),
    (f"{THRESHOLDS} --rule paper_multiword", "--rule paper_"),
    (f"{READOUTS} runs/none", "no weights at runs/none"),
    (f"{READOUTS} runs/none:raw", "no weights at runs/none"),
    (f"{READOUTS} random:hybrid_mini", "size in pixels"),
    (f"{FINETUNE} random:vit_tiny16@32", "100", "vit_tiny16"),
    (f"{READOUTS} random:timm/vit_teeny_patch16_224", "vit_teeny_patch16_224"),
    (f"{FINETUNE} random:timm/vit_tiny_patch16_224", "vit_tiny_patch16_224", "100"),
    (f"{READOUTS} random:openclip/ViT-B-61", "ViT-B-61"),
    (f"{READOUTS} timm:", "timm:"),
    (f"{READOUTS} openclip:ViT-B-16/none", "none"),
    (f"{READOUTS} released:vit_g14", "vit_b16, vit_l16, vit_h16"),
    (f"{READOUTS} README.md", "README.md"),
    *((f"{READOUTS} HERE/{name}.py:build", f"{name}.py") for name in [*ENCODERS][:5]),
    (f"{RETRIEVAL}/captions --encoder random:hybrid_mini@32", "neither a text tower"),
    (f"{RETRIEVAL}/caption --encoder HERE/clip", "1 images with a caption"),
    (f"{RETRIEVAL}/captions --encoder HERE/alone", "--vocabulary"),
    (f"{RETRIEVAL}/captions --encoder HERE/nan", "not finite"),
    (f"{SWEEP} --fraction 0.25", "too few images"),
    (f"{SWEEP} --init transfer", "--init"),
    (f"{SWEEP} --dry-run", "--dry-run"),
    (f"{TRANSFER} random:timm/test_vit", "random:timm/test_vit"),
    (f"{TRANSFER} HERE/clip", "clip has no"),
    (f"{TRANSFER} HERE/superclass", "superclass has no"),
    (f"{TRANSFER} HERE/run --vocabulary HERE/other.json", "other.json"),
    (f"{TRANSFER} HERE/renamed", "other.json"),
    (f"{TRANSFER} HERE/alone", "alone", "--vocabulary"),
    (f"{MULTILABEL} --data coco:HERE/coco --init transfer", "random:hybrid_mini@48"),
    (f"{MULTILABEL} --data ade20k:/data", "coco:DIR"),
    (f"{MULTILABEL} --data coco:HERE/coco --label-smoothing 0.1", "--label-smoothing"),
    (f"{MULTILABEL} --data coco:HERE/lake", "categories"),
    (f"{SEGMENTATION} --max-lr 1e30 --grad-clip 0 --warmup-iterations 0", "--max-lr"),
    (f"{SEGMENTATION} --resolution 40", "resolution 40"),
    (f"{SEGMENTATION} --output-stride 4", "output stride 4", "16"),
    (f"{DETECTION} --precision bf16", "precision bf16"),
    (f"{DETECTION} --encoder random:timm/resnet18", "resnet18"),
    (f"{DETECTION} --max-lr 1e30 --grad-clip 0 --epochs 8", "--max-lr"),
]
LIBRARIES = {SEGMENTATION: "mmseg", DETECTION: "detectron2"}


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the commands name."""
    root = tmp_path_factory.mktemp("here")
    for name, code in ENCODERS.items():
        (root / f"{name}.py").write_text(code)
    write_folders(root / "pets", ("cat", "dog"), count=2)
    samples = [(f"{i}", {"png": png(60 * i, i), "txt": b"a dog\na cat"}) for i in range(3)]
    for name, count in (("captions", 3), ("caption", 1)):
        write_shard(root / name / "0.tar", samples[:count])
    vocabulary_of("cat.n.01", "dog.n.01").save(root / "other.json")
    for name in ("run", "renamed", "alone"):
        write_run(root, name)
    record = {"kind": "pretrain", "metrics": {}, "config": {"vocabulary": f"{root}/other.json"}}
    (root / "renamed.json").write_text(json.dumps(record))
    (root / "alone.json").unlink()
    for method in ("clip", "superclass"):
        write_untrained(root, method)
    shutil.copytree(root / "clip", root / "nan")
    path = root / "nan/weights.safetensors"
    weights, (_, config) = load_file(path), read_file(path)
    weights["projection.weight"][:] = float("nan")
    save_weights(path, weights, config)
    write_ade20k(root / "ade20k")
    for name in ("coco", "lake"):
        write_coco(root / name)
    change_file(
        root / "lake", "val", lambda old: json.loads(json.dumps(old).replace("sea", "lake"))
    )
    return root


@pytest.mark.parametrize("row", REFUSED, ids=lambda row: row[0].replace(QUIET, "")[:90])
def test_what_a_bench_cannot_do_is_one_line(
    row, here, starter, tmp_path, monkeypatch, capsys
) -> None:
    command, *says = row
    for start, library in LIBRARIES.items():
        if command.startswith(start) and not find_spec(library):
            pytest.skip(f"{library} is not installed")
    places = {"HERE": here, "SHARDS": starter.shards, "LABELS": starter.labels}
    places |= {"DATA": starter.root, "VOCABULARY": starter.vocabulary, "RECORDS": RECORDS}
    for name, path in {**places, "OUT": tmp_path / "out.json"}.items():
        command = command.replace(name, str(path))
    refused(command, *says, monkeypatch=monkeypatch, capsys=capsys)
    left = [path for path in tmp_path.rglob("*.json") if path.is_file()]
    assert all("checkpoints" in path.parts for path in left)
