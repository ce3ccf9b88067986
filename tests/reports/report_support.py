"""What tests of the report share: records on disk, toys and traps, and what a page says of them."""

import dataclasses
import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st
from markupsafe import Markup

from bench.downstream.dense.result import Detection
from bench.downstream.probe.result import packed
from catlip.records.run import Records
from catlip.records.table import as_csv, as_markdown
from reports.figures import render
from reports.page import Page, render_html
from reports.pairs import Comparisons
from reports.reading import read_records

REPOSITORY = Path(__file__).parents[2]
COMMITTED = REPOSITORY / "reports/records"
GOLDEN = Path(__file__).parent / "golden"
NO_RECORDS = ("cut-short.json", "foreign.json")
GOLDEN_RECORDS = [
    path for path in sorted((GOLDEN / "records").glob("*/*/*.json")) if path.name not in NO_RECORDS
]

# Pixels of a side that the paper transfers at, and images that a training at its scale has seen.
SIDES = {"linear_probe": 224, "finetune": 224, "multilabel": 512, "segmentation": 512}
SIDES["detection"] = 1024
WHOLE = {"cc3m": 72.5e6, "datacomp": 13.1e9}
# Classes of the published data sets, and of the dense ones with their test images.
CLASSES = {"imagenet": 1000, "places365": 365}
PUBLISHED = {
    "multilabel": {"num_classes": 80, "num_val": 5000},
    "segmentation": {"num_classes": 150, "num_val": 2000},
    "detection": {"num_classes": 80, "num_val": 5000},
}
CPU = {"device": "Device A", "cpu": "Device A", "device_count": 1}
GPU = {"device": "Some GPU", "cpu": "Device A", "device_count": 1}
MADE = {"device": "Device A", "device_count": 1, "revision": "abc", "dirty": False}
HEAD: dict[str, Any] = {"schema": 1, "command": "python -m something", "config": {}, "notes": []}
HEAD |= {"environment": MADE, "metrics": {}, "samples": {}}

NONE = {"pretrain_seed": None}
DENSE = NONE | {"num_parameters": 1_300_000, "num_classes": 21}
DENSE |= {"train_images": 1200, "num_train": 1200, "val_images": 400, "num_val": 400}
DENSE |= {"seconds": 10.0, "final_loss": 1.0}
TRAINED = {"iterations": 100, "images_seen": 1000, "epochs_seen": 10.0, "final_loss": math.nan}
TRAINED |= {"train_seconds": math.nan, "images_per_s": 100.0, "data_wait_share": 0.1}
TRAINED |= {"peak_gib": 0.5, "parameters_total": 1_400_000, "parameters_image": 1_200_000}
STUDIED = {"encoder": "tiny", "fraction": 1.0, "flops": 1.0, "train_seconds": 1.0}
PRECISION = {field.name: None for field in dataclasses.fields(Detection) if "_ap" in field.name}
TRIAL = {"trial": 0, "drawn": {"max_lr": 0.1}}
METRICS: dict[str, dict[str, Any]] = {
    "pretrain": TRAINED,
    **dict.fromkeys(("linear_probe", "finetune", "readout"), NONE),
    "multilabel": DENSE | {"map_macro": 0.3, "map_micro": 0.3},
    "segmentation": DENSE | {"miou_fixed": 0.3, "accuracy_fixed": 0.5, "class_accuracy_fixed": 0.4},
    "detection": DENSE | PRECISION | {"box_ap": 0.3, "mask_ap": 0.3},
    "scaling": STUDIED | {"final_loss": 1.0},
    **dict.fromkeys(("tuning", "finalist"), TRIAL),
    "step_time": {"methods": {}, "ratios": {}},
    "waterfall": {"published_ratio": 2.7, "release": {"orders": {}, "total": {}}},
}
ROW = {"top5": 1.0, "num_train": 10, "seconds": 1.0, "fraction": 1.0, "init": "random", "seed": 0}
NUM_CLASSES = 10


def completed(kind: str, name: str, parts: dict[str, Any]) -> dict[str, Any]:
    """The parts of a record of this kind, with what its metrics and its rows lack."""
    metrics = parts.get("metrics", {})
    if kind in METRICS and isinstance(metrics, dict):
        known = dict(METRICS[kind])
        if kind not in ("step_time", "waterfall"):
            known["method"] = re.sub(r"-seed\d+$", "", name)
        if kind == "scaling":
            known["images_seen"] = float(metrics.get("images", 0))
        if kind == "pretrain":
            named = re.search(r"-seed(\d+)$", name)
            known["seed"] = int(named[1]) if named else 0
        for task in (key.rpartition("_")[0] for key in metrics if key.endswith("top1")):
            known[f"{re.sub('_(knn|zero_shot)$', '', task)}_num_classes"] = NUM_CLASSES
        parts = parts | {"metrics": known | metrics}
    samples = parts.get("samples", {})
    if isinstance(samples, dict) and isinstance(samples.get("runs"), list):
        rows = [ROW | row if isinstance(row, dict) else row for row in samples["runs"]]
        parts = parts | {"samples": samples | {"runs": rows}}
    return parts


@dataclasses.dataclass(frozen=True)
class Writer:
    """Writes records as programs would; what is not said, it adds."""

    folder: Path

    def record(
        self, kind: str, name: str, root: str = "runs", scale: str = "starter", **parts: Any
    ) -> Path:
        """`ROOT/<scale>/<kind>/<name>.json`; keywords replace parts."""
        path = self.folder / root / scale / kind / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        content = HEAD | {"kind": kind, "name": name} | completed(kind, name, parts)
        path.write_text(json.dumps(content))
        return path

    def training(self, method: str, seed: int = 0, seconds: float = math.nan, **parts: Any) -> None:
        """Further keywords are the name, the encoder, images and other metrics, or parts."""
        metrics = {"method": method, "seed": seed, "train_seconds": seconds}
        metrics |= {"images_seen": parts.pop("images", 1000)} | parts.pop("more", {})
        config = {"recipe": {"encoder": parts.pop("encoder", "tiny"), "seed": seed}}
        name = parts.pop("name", f"{method}-seed{seed}")
        self.record("pretrain", name, metrics=metrics, config=config, **parts)

    def probe(self, method: str, seed: int, tasks: Mapping[str, Any], **parts: Any) -> None:
        """Task -> its accuracy, or a bit for each test image; further keywords are the name, other
        metrics, rows of classifiers, and parts.
        """
        metrics: dict[str, Any] = {"method": method, "pretrain_seed": seed}
        rows = parts.pop("rows", [])
        for task, right in tasks.items():
            metrics[f"{task}_top1"] = top1 = float(np.mean(right))
            if np.size(right) > 1:
                metrics[f"{task}_num_test"] = np.size(right)
                bits = packed(np.array(right, bool))
                rows = [*rows, {"task": task, "top1": top1, "correct": bits}]
        metrics |= parts.pop("metrics", {})
        path = f"runs/{parts.get('scale', 'starter')}/pretrain/{method}-seed{seed}"
        config = {"encoder": "random:tiny@48" if method == "random" else path, "recipe": {}}
        config |= parts.pop("config", {})
        samples = {"runs": rows} | parts.pop("samples", {})
        name = parts.pop("name", f"{method}-seed{seed}")
        how = {"metrics": metrics, "config": config, "samples": samples} | parts
        self.record("linear_probe", name, **how)

    def probes(
        self, method: str, tasks: Mapping[str, Sequence[float]], images: int = 0, **parts: Any
    ) -> None:
        """Probes of a method, one a seed: task -> accuracies, drawn as bits of so many images."""
        for seed, values in enumerate(zip(*tasks.values(), strict=True)):
            of_seed: dict[str, Any] = dict(zip(tasks, values, strict=True))
            if images:
                order = np.random.default_rng(seed).permutation(images)
                of_seed = {task: order < images * top1 for task, top1 in of_seed.items()}
            self.probe(
                method, seed, of_seed, name=f"{method}-seed{seed}-{'-'.join(tasks)}", **parts
            )

    def study(
        self, kind: str, method: str, accuracies: Mapping[str, float], **metrics: Any
    ) -> None:
        """A training of a study: task -> accuracy. Keywords but name, scale, parts are metrics."""
        scale, parts = metrics.pop("scale", "starter"), metrics.pop("parts", {})
        name = metrics.pop("name", "-".join(map(str, (method, *metrics.values()))))
        metrics |= {"method": method, "accuracies": accuracies}
        self.record(kind, name, scale=scale, metrics=metrics, **parts)

    def steps(self, name: str = "steps", ratios: Mapping[str, Any] | None = None, **parts: Any):
        """Step times: pair -> its ratio, or with both ends; of methods with so many parameters."""
        ratios = {"clip/catlip": 1.3} if ratios is None else ratios
        methods = {each: steps() for pair in ratios for each in pair.split("/")}
        for method, count in parts.pop("parameters", {}).items():
            methods[method]["parameters"] = count
        intervals = {}
        for pair, ratio in ratios.items():
            ends = ratio if isinstance(ratio, tuple) else (ratio, ratio - 0.01, ratio + 0.01)
            intervals[pair] = dict(zip(("value", "low", "high"), ends, strict=True))
        metrics = {"methods": methods, "ratios": intervals} | parts.pop("more", {})
        config = {"model": "tiny"} | parts.pop("config", {})
        self.record("step_time", name, metrics=metrics, config=config, **parts)

    def transfer(
        self,
        kind: str,
        method: str,
        scale: str,
        metrics: Mapping[str, Any],
        seed: int = 0,
        encoder: str = "vit_b16",
        **parts: Any,
    ) -> None:
        """A transfer, and the pre-training of so many images that it names."""
        name, side = f"{method}-{encoder}-seed{seed}", parts.pop("side", SIDES[kind])
        images = parts.pop("images", WHOLE.get(scale, 84_000))
        self.training(method, seed, name=name, scale=scale, images=images, encoder=encoder)
        config = {"encoder": f"out/{scale}/pretrain/{name}", "recipe": {"resolution": side}}
        config |= parts.pop("config", {})
        sizes = {f"{task}_num_classes": classes for task, classes in CLASSES.items()}
        sizes |= PUBLISHED.get(kind, {}) | {"method": method, "pretrain_seed": seed}
        how = {"metrics": sizes | {**metrics}, "config": config} | parts
        self.record(kind, f"{name}-{side}", scale=how.pop("folder", scale), **how)


def steps(**parts: Any) -> dict[str, Any]:
    """The steps of one method, as bench.step_time records them."""
    names = ("total", "forward", "backward", "optimizer")
    timed = {f"{part}_ms": {"median": 1.0} for part in names}
    return timed | {"parameters": 1_400_000, "images_per_s": 100.0} | parts


def golden_record(kind: str) -> dict[str, Any]:
    """What the first golden record of this kind holds."""
    contents = (json.loads(path.read_text()) for path in GOLDEN_RECORDS)
    return next(content for content in contents if content["kind"] == kind)


# --- What is read of them -------------------------------------------------------------------------


def records_in(folder: Path) -> Records:
    """What a test has written."""
    return read_records([folder / "runs"])


def page_in(folder: Path) -> Page:
    return Page(records_in(folder))


def compared_in(folder: Path) -> Comparisons:
    return Comparisons(records_in(folder))


def html_of(page: Page) -> str:
    """The page without its drawings."""
    return render_html(page, dict.fromkeys(page.figures, ""))


def cards(page: Page) -> str:
    """The words of the cards of the first screen, a line each."""
    found = re.findall("<article>(.*?)</article>", html_of(page), re.DOTALL)
    lines = (Markup(part).striptags() for card in found for part in re.split("</p>|</h3>", card))
    return "\n".join(filter(None, lines))


def can_be_shown(page: Page, are_drawn: bool = True) -> None:
    """Text and tables are written, and figures drawn where they are asked for."""
    assert html_of(page)
    assert all(as_csv(table) and as_markdown(table) for table in page.tables.values())
    for figure in page.figures.values() if are_drawn else ():
        render(figure)


# --- Records that mean harm -----------------------------------------------------------------------

ATTACK = "$\\frac{1$ \x1b]0;x\x07\x9b31m <script>alert(1)</script> \u202e\x00 | [a](b)\r=cmd"
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda one: st.lists(one, max_size=3) | st.dictionaries(st.text(max_size=8), one, max_size=3),
    max_leaves=8,
)


def poisoned(tree: object) -> object:
    """Every string, and every key of free choice, with an attack behind it."""
    if isinstance(tree, dict):
        free = ("no noun", "tagged", "its ", "a label")
        return {
            f"{key} {ATTACK}" if key.startswith(free) else key: poisoned(value)
            for key, value in tree.items()
        }
    if isinstance(tree, list):
        return [poisoned(value) for value in tree]
    is_free = isinstance(tree, str) and not re.fullmatch(r"paper|corenet|\w+\.n\.\d+", tree)
    return f"{tree} {ATTACK}" if is_free else tree
