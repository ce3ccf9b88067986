"""Imports point one way: bench -> baselines -> catlip; reports read records only."""

import ast
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent
PRETRAINING = ("catlip.categorical", "catlip.pretrain", "catlip.pretraining", "catlip.recipes")
FORBIDDEN = {
    "catlip": ("baselines", "bench", "reports"),
    "catlip/data": ("catlip.training", "catlip.objective", *PRETRAINING),
    "catlip/training": ("catlip.data", "catlip.encoder", *PRETRAINING),
    "baselines": ("bench", "reports"),
    "bench": ("reports",),
    "pipeline": ("baselines.methods", "bench", "reports", "torch", "numpy", "tyro"),
    "reports": ("baselines", "torch", "catlip.training", "catlip.records.record"),
}


@pytest.mark.parametrize("folder", FORBIDDEN)
def test_imports_point_one_way(folder: str) -> None:
    for path in (REPOSITORY / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            for name in names:
                for forbidden in FORBIDDEN[folder]:
                    assert not f"{name}.".startswith(f"{forbidden}."), f"{path} imports {name}"
