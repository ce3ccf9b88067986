"""Weights & Biases and trackio show the log of a run as it grows, if the user names a project.
Neither is needed to train.
"""

import importlib
import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from catlip.cli import InputError

NONE: Mapping[str, str] = MappingProxyType({})


def start_trackers(projects: Mapping[str, str], folder: Path, config: dict[str, Any]) -> list[Any]:
    """Start a run of each tracker, and return them: they have `log(line, step=...)` and `finish()`.

    Args:
        projects: tracker -> project; "" for none.
        folder: of the run; trackers write their files on this machine into it.
        config: what determines the run; trackers show it.
    Raises: InputError when the package of a tracker is not installed.
    """
    starts = {"wandb": _start_wandb, "trackio": _start_trackio}
    return [starts[name](project, folder, config) for name, project in projects.items() if project]


def _start_wandb(project: str, folder: Path, config: dict[str, Any]) -> Any:
    wandb = _package("wandb", project)
    return wandb.init(project=project, name=folder.name, dir=folder, config=config, resume="auto")


def _start_trackio(project: str, folder: Path, config: dict[str, Any]) -> Any:
    # trackio reads this when it is imported. It sends nothing unless its own environment variables
    # name a server.
    os.environ.setdefault("TRACKIO_DIR", str(folder.absolute() / "trackio"))
    trackio = _package("trackio", project)
    return trackio.init(
        project=project,
        name=folder.name,
        config=config,
        resume="allow",
        embed=False,
        auto_log_cpu=False,  # a thread that would take time from the training
        auto_log_gpu=False,
    )


def _package(name: str, project: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise InputError(
            f"--{name} {project} needs a package that is not installed: pip install {name}"
        ) from None
