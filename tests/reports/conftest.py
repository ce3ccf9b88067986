"""Records as a run would write them, for the tests of the report."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from report_support import GOLDEN, HEAD, SIDES, completed

from reports.read.records import read_records
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
def page(monkeypatch: pytest.MonkeyPatch) -> Page:
    """The page of the fixed records."""
    monkeypatch.chdir(GOLDEN)
    return build_page(read_records([Path("records")]))


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
