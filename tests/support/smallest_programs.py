"""Every program at its smallest: its arguments, its record, and what has to be there before.

They run in one folder, so that one takes what another made. A new program needs an entry here.
"""

import json
import re
import shlex
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
PACKAGES = sorted(path.parent.name for path in REPOSITORY.glob("*/__init__.py"))
ENTRY = 'if __name__ == "__main__":'

SHARDS = "data/starter/pretrain"
VOCABULARY, LABELS = "runs/starter/vocabulary.json", "runs/starter/labels"
CATLIP, CLIP = "runs/starter/pretrain/catlip-seed0", "runs/starter/pretrain/clip-seed0"
QUIET = "--device cpu --quiet"
FEW = f"--epochs 0 --iterations 2 --micro-batch 8 {QUIET}"
PROBE = f"--data starter:data/starter {FEW}"
ENCODER = f"--encoder {CATLIP}"
SMALL_MODEL = f"--model hybrid_mini --resolution 48 --num-classes 50 {QUIET}"
DENSE = f"{ENCODER} --epochs 0.5 --micro-batch 4 --num-workers 0 {QUIET} --data"
COCO = f"{DENSE} coco:data/starter-scenes/coco"
STEP_TIME = "runs/bench/step_time"
LABELLED_SHARDS = f"--shards {SHARDS} --labels-dir {LABELS}"
STUDY = (
    f"{LABELLED_SHARDS} --vocabulary {VOCABULARY} --probe starter-validation:data/starter "
    f"--images 64 {QUIET}"
)
DATA, LABELLED = "catlip.data.starter", "catlip.vocabulary"
TRAINED, CLIP_TRAINED = "catlip.pretrain", "baselines.pretrain"
SCENES = "catlip.data.annotated_scenes"


@dataclass(frozen=True)
class Smallest:
    """How to run a program so that it takes seconds."""

    arguments: str  # a path may be a glob, of one file
    kind: str = ""  # of the record that it writes
    after: tuple[str, ...] = ()  # the programs whose results it takes
    ranks: int = 1
    extra: str = ""  # a module that it needs, and that not every installation has

    @property
    def is_installed(self) -> bool:
        """Whether it can run here."""
        return not self.extra or find_spec(self.extra) is not None

    def command(self, name: str, folder: Path) -> list[str]:
        """The module and its arguments, with globs replaced by what is in `folder`."""
        words = name.split()
        for word in shlex.split(self.arguments):
            if "*" in word:
                words += sorted(str(path.relative_to(folder)) for path in folder.glob(word))
            else:
                words.append(word)
        return words


SMALLEST = {
    "catlip": Smallest(""),
    "catlip.words": Smallest(""),
    DATA: Smallest("--limit 24 --scenes 40 --size 48 --quiet"),
    SCENES: Smallest("--size 48 --train 60 --val 20 --quiet"),
    "catlip.data.fetch": Smallest(f"{SHARDS} --out data/fetched --side 32 --quiet", after=(DATA,)),
    "catlip.label": Smallest(f"{SHARDS} --labels-dir {LABELS} --quiet", "labelling", (DATA,)),
    "catlip.label explain": Smallest("'Two bikes and a golden retriever on a couch'"),
    "catlip.label audit": Smallest(
        f"{SHARDS} --labels-dir {LABELS} --quiet", "label_audit", ("catlip.label",)
    ),
    "catlip.vocabulary": Smallest(
        f"{LABELS} --threshold 2 --out {VOCABULARY} --quiet", "vocabulary", ("catlip.label",)
    ),
    "catlip.vocabulary stats": Smallest(
        f"{VOCABULARY} --against coco", "vocabulary_statistics", (LABELLED,)
    ),
    "catlip.examples": Smallest(
        f"{SHARDS} --vocabulary {VOCABULARY} --count 2 --out runs/starter/examples/examples.json",
        "examples",
        (LABELLED,),
    ),
    "catlip.pretrain": Smallest(
        f"{LABELLED_SHARDS} --vocabulary {VOCABULARY} --out {CATLIP} {FEW}",
        "pretrain",
        (LABELLED,),
    ),
    CLIP_TRAINED: Smallest(
        f"--method clip --shards {SHARDS} --out {CLIP} {FEW}", "pretrain", (DATA,)
    ),
    "catlip.verify": Smallest(f"{CATLIP} --quiet", after=(TRAINED,)),
    "catlip.weights": Smallest(f"{CATLIP} --out runs/timm", after=(TRAINED,)),
    "catlip.weights convert": Smallest(f"{CATLIP} --out runs/huggingface", after=(TRAINED,)),
    "catlip.weights show": Smallest(CATLIP, after=(TRAINED,)),
    "bench.downstream.linear_probe": Smallest(f"{ENCODER} {PROBE}", "linear_probe", (TRAINED,)),
    "bench.downstream.finetune": Smallest(f"{ENCODER} {PROBE}", "finetune", (TRAINED,)),
    "bench.downstream.readouts": Smallest(
        f"--encoder {CLIP} --data starter:data/starter {QUIET}", "readout", (CLIP_TRAINED,)
    ),
    "bench.downstream.retrieval": Smallest(
        f"{ENCODER} --data data/starter/probe-test {QUIET}", "retrieval", (TRAINED,)
    ),
    "bench.downstream.multilabel": Smallest(COCO, "multilabel", (TRAINED, SCENES)),
    "bench.downstream.segmentation": Smallest(
        f"{DENSE} ade20k:data/starter-scenes/ade20k",
        "segmentation",
        (TRAINED, SCENES),
        extra="mmseg",
    ),
    "bench.downstream.detection": Smallest(
        COCO, "detection", (TRAINED, SCENES), extra="detectron2"
    ),
    "bench.step_time": Smallest(f"{SMALL_MODEL} --num-steps 2 --batch-size 2", "step_time"),
    "bench.self_check": Smallest(
        f"--methods clip --resolution 32 --batch-size 2 --num-classes 50 {QUIET}", "self_check"
    ),
    "bench.memory": Smallest(f"{SMALL_MODEL} --batch-size 2", "memory"),
    "bench.communication": Smallest(
        f"{SMALL_MODEL} --methods catlip clip --batch-size 2 --num-steps 2",
        "communication",
        ranks=2,
    ),
    "bench.waterfall": Smallest(
        "--model hybrid_mini --resolution 48 --batch-size 1 --num-rounds 1 "
        f"--num-classes 50 --orders forward {QUIET}",
        "waterfall",
    ),
    "bench.device": Smallest("--only memory --device cpu --quiet", "memory"),
    "bench.plan": Smallest(f"--step-time {STEP_TIME}/*.json", "plan", ("bench.step_time",)),
    "bench.study": Smallest(""),
    "bench.study tuning": Smallest(f"{STUDY} --methods catlip --trials 1", "tuning", (LABELLED,)),
    "bench.study lengths": Smallest(f"{STUDY} --methods catlip --seeds 0", "scaling", (LABELLED,)),
    "bench.study thresholds": Smallest(
        f"{LABELLED_SHARDS} --probe starter:data/starter --thresholds 2 --images 64 {QUIET}",
        "threshold",
        (LABELLED,),
    ),
    "reports check": Smallest(STEP_TIME, after=("bench.step_time",)),
    "reports": Smallest("--records runs --out report"),
    "pipeline": Smallest("--only report --out more-runs --quiet"),
}
EVERY_RECORD = tuple(
    name for name, smallest in SMALLEST.items() if smallest.kind and smallest.is_installed
)


def modules() -> set[str]:
    """Every module of this project that can be started."""
    found = set()
    for path in (path for package in PACKAGES for path in (REPOSITORY / package).rglob("*.py")):
        if ENTRY in path.read_text():
            parts = path.relative_to(REPOSITORY).with_suffix("").parts
            found.add(".".join(parts).removesuffix(".__main__"))
    return found


def documented_commands() -> list[str]:
    """The commands of README, docs and quickstart."""
    pages = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
    text = "".join(page.read_text() for page in pages).replace("\\\n", " ")
    found = "".join(re.findall(r"```(?:bash|sh)\n(.*?)```", text, re.DOTALL)).splitlines()
    cells = json.loads((REPOSITORY / "docs/quickstart.ipynb").read_text())["cells"]
    code = "\n".join("".join(cell["source"]) for cell in cells).replace("\\\n", " ")
    return found + [f"python{words}" for words in re.findall(r"!{python}(.*)", code)]
