"""Records as a run would write them, for the tests of the report."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from report_support import GOLDEN, HEAD, SIDES, completed, records_in

from bench.downstream.probe.result import packed
from reports.read.records import read_records
from reports.read.setting import Setting, settings
from reports.sections import Page, build_page

# Images that a training at the paper's scale has seen, at least.
WHOLE = {"cc3m": 72.5e6, "datacomp": 13.1e9}
# Classes of the published data sets, and of the dense ones with their test images.
CLASSES = {"imagenet": 1000, "places365": 365}
PUBLISHED = {
    "multilabel": {"num_classes": 80, "num_val": 5000},
    "segmentation": {"num_classes": 150, "num_val": 2000},
    "detection": {"num_classes": 80, "num_val": 5000},
}
WriteRecord = Callable[..., Path]


@pytest.fixture
def write_record(tmp_path: Path) -> WriteRecord:
    """Write `ROOT/<scale>/<kind>/<name>.json`; keywords replace parts, what is lacking is added."""

    def write(
        kind: str, name: str, root: str = "runs", scale: str = "starter", **parts: Any
    ) -> Path:
        path = tmp_path / root / scale / kind / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        content = HEAD | {"kind": kind, "name": name} | completed(kind, name, parts)
        path.write_text(json.dumps(content))
        return path

    return write


@pytest.fixture
def write_training(write_record: WriteRecord) -> Callable[..., None]:
    """Write a training that took so long; further keywords are fields of its recipe."""

    def write(
        method: str,
        seed: int = 0,
        seconds: float = 10.0,
        *,
        name: str = "",
        images: float = 1000,
        scale: str = "starter",
        environment: dict[str, Any] = HEAD["environment"],
        more: dict[str, Any] | None = None,
        **recipe: Any,
    ) -> None:
        metrics = {"method": method, "seed": seed, "train_seconds": seconds, "images_seen": images}
        write_record(
            "pretrain",
            name or f"{method}-seed{seed}",
            scale=scale,
            metrics=metrics | (more or {}),
            config={"recipe": {"encoder": "tiny"} | recipe},
            environment=environment,
        )

    return write


@pytest.fixture
def write_probe(write_record: WriteRecord) -> Callable[..., None]:
    """Write a linear probe: task -> its accuracy, or a bit for each test image."""

    def write(
        method: str,
        seed: int,
        tasks: dict[str, Any],
        *,
        name: str = "",
        scale: str = "starter",
        recipe: dict[str, Any] | None = None,
        metrics: dict[str, Any] | None = None,
        samples: dict[str, Any] | None = None,
        **parts: Any,
    ) -> None:
        known: dict[str, Any] = {"method": method, "pretrain_seed": seed}
        rows = []
        for task, right in tasks.items():
            known[f"{task}_top1"] = top1 = float(np.mean(right))
            if task in CLASSES:
                known[f"{task}_num_classes"] = CLASSES[task]
            if np.size(right) > 1:
                known[f"{task}_num_test"] = np.size(right)
                row = {"task": task, "fraction": 1.0, "init": "random", "seed": 0, "top1": top1}
                rows.append(row | {"correct": packed(np.array(right, bool))})
        write_record(
            "linear_probe",
            name or f"{method}-seed{seed}",
            scale=scale,
            metrics=known | (metrics or {}),
            config={
                "encoder": f"runs/{scale}/pretrain/{method}-seed{seed}",
                "recipe": recipe or {},
            },
            samples=({"runs": rows} if rows else {}) | (samples or {}),
            **parts,
        )

    return write


@pytest.fixture
def write_probes(write_probe: Callable[..., None]) -> Callable[..., None]:
    """Write linear probes of a method, one a seed: task -> accuracies, drawn as bits of images."""

    def write(
        method: str, accuracies: dict[str, Sequence[float]], *, images: int = 0, **parts: Any
    ) -> None:
        for seed, values in enumerate(zip(*accuracies.values(), strict=True)):
            tasks: dict[str, Any] = dict(zip(accuracies, values, strict=True))
            if images:
                order = np.random.default_rng(seed).permutation(images)
                tasks = {task: order < images * top1 for task, top1 in tasks.items()}
            name = f"{method}-seed{seed}-{'-'.join(tasks)}"
            write_probe(method, seed, tasks, name=name, **parts)

    return write


@pytest.fixture
def write_study(write_record: WriteRecord) -> Callable[..., None]:
    """Write a training of a study: task -> accuracy; further keywords are other metrics."""

    def write(
        kind: str,
        method: str,
        accuracies: dict[str, float],
        *,
        name: str = "",
        scale: str = "starter",
        parts: dict[str, Any] | None = None,
        **metrics: Any,
    ) -> None:
        name = name or "-".join(map(str, (method, *metrics.values())))
        metrics |= {"method": method, "accuracies": accuracies}
        write_record(kind, name, scale=scale, metrics=metrics, **(parts or {}))

    return write


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> Page:
    """The page of the fixed records."""
    monkeypatch.chdir(GOLDEN)
    return build_page(read_records([Path("records")]))


@pytest.fixture
def read_setting(tmp_path: Path) -> Callable[[], Setting]:
    """The first setting of what was written."""
    return lambda: settings(records_in(tmp_path))[0]


@pytest.fixture
def transfer(write_record: WriteRecord) -> Callable[..., None]:
    """Write a record of transfer and, if there is none, of the pre-training that it names."""

    def write(
        kind: str,
        method: str,
        scale: str,
        metrics: dict[str, Any],
        seed: int = 0,
        encoder: str = "vit_b16",
        folder: str = "",
        side: int = 0,
        images: float | None = None,
        config: dict[str, Any] | None = None,
        root: str = "runs",
        **parts: Any,
    ) -> None:
        name = f"{method}-{encoder}-seed{seed}"
        seen = {"method": method, "seed": seed, "images_seen": images or WHOLE.get(scale, 84_000)}
        recipe = {"encoder": encoder, "seed": seed}
        write_record("pretrain", name, root, scale, metrics=seen, config={"recipe": recipe})
        parts["config"] = {
            "encoder": f"out/{scale}/pretrain/{name}",
            "recipe": {"resolution": side or SIDES[kind]},
        } | (config or {})
        sizes = {f"{task}_num_classes": classes for task, classes in CLASSES.items()}
        sizes |= PUBLISHED.get(kind, {})
        parts["metrics"] = {"method": method, "pretrain_seed": seed} | sizes | metrics
        write_record(kind, f"{name}-{side}", root, folder or scale, **parts)

    return write
