"""Reads what a pre-training left in its folder and its record."""

import importlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from catlip.cli import InputError
from catlip.pretraining.config import PretrainRun
from catlip.pretraining.method import Method
from catlip.program.broken import read_lines
from catlip.record import environment, read_record
from catlip.training.distributed import Place
from catlip.training.folder import changes
from catlip.training.loop import PROGRESS
from catlip.training.saving import checkpoint
from catlip.training.threads import threads_of
from catlip.weights.files import read_file

# Packages whose version may change the rounding, or the pixels.
OF_NUMBERS = ("torch", "timm", "numpy", "pillow", "simplejpeg")
NEEDED = {"config", "environment", "samples"}  # keys of a record


@dataclass(frozen=True)
class RecordedRun:
    """What a run left.

    Attributes:
        record: the content of its record; for a run that did not finish, of the partial record.
        lines, checkpoints, weights: step -> the line of its log, or its file, at that step.
    """

    folder: Path
    record: dict[str, Any]
    lines: dict[int, dict[str, float]]
    checkpoints: dict[int, Path]
    weights: dict[int, Path]

    def refuse_other_data(self, identity: dict[str, Any]) -> None:
        """Raises: InputError when data, vocabulary or recipe are not those of the run."""
        if self.checkpoints:
            held = checkpoint.config_of(next(iter(self.checkpoints.values())))
        elif self.weights:
            _, held = read_file(next(iter(self.weights.values())))
        else:
            raise InputError(
                f"{self.folder} has neither a checkpoint nor weights, so nothing says on which "
                "data it was trained"
            )
        held.pop(PROGRESS, None)
        if changed := changes(held, json.loads(json.dumps(identity))):
            raise InputError(
                f"{self.folder} was trained on other data or by another recipe: {changed}"
            )

    def unlike_record(self) -> list[str]:
        """Where the log differs from the curves in the record of a finished run, in words."""
        samples = self.record["samples"]
        curves = {name: samples[name] for name in ("loss", "grad_norm") if name in samples}
        words = []
        for name, values in curves.items():
            logged = [line.get(name) for line in self.lines.values()]
            if len(values) != len(logged):
                words.append(
                    f"{name}: {len(logged)} lines in log.jsonl, {len(values)} in its record"
                )
                continue
            for step, here, there in zip(self.lines, logged, values, strict=True):
                if here != there:
                    words.append(f"step {step}: {name} {here} in log.jsonl, {there} in its record")
        return words


def read_run(path: Path) -> RecordedRun:
    """Read a run.

    Args:
        path: the run's folder, or its record.
    Raises: InputError when there is no such run, or when it is not a pre-training.
    """
    folder = path.with_name(path.name.removesuffix(".json"))
    log, record = folder / "log.jsonl", folder.with_name(f"{folder.name}.json")
    partial = record.with_name(f"{record.name}.partial")  # if there are both, it is the newer one
    newest = partial if partial.exists() else record
    for needed in (log, newest):
        if not needed.is_file():
            raise InputError(
                f"{path} is not a pre-training run: there is no {needed}; give the folder of a run "
                "that has its record beside it"
            )
    content = read_record(newest)
    if content["kind"] != "pretrain" or not content.keys() >= NEEDED:
        raise InputError(f"{record} is not the record of a pre-training")
    lines = _lines(log)
    paths = checkpoint.complete(folder / "checkpoints")
    weights = {
        int(file.stem.removeprefix("weights-step-")): file
        for file in folder.glob("weights-step-*.safetensors")
    }
    if (last := folder / "weights.safetensors").exists():
        weights[max(lines)] = last
    return RecordedRun(
        folder,
        content,
        lines,
        checkpoints={checkpoint.step_of(path): path for path in paths},
        weights=weights,
    )


def _lines(log: Path) -> dict[int, dict[str, float]]:
    try:
        lines = {int(line["step"]): line for line in read_lines(log)}
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{log} is not the log of a training") from None
    if not lines:
        raise InputError(f"{log} has no line yet, so there is nothing to compare with")
    return lines


def config_of(settings: dict[str, Any]) -> tuple[PretrainRun, Method]:
    """The config and method of a run, from the config of its record.

    Raises: InputError when the program that trains its method has no such config.
    """
    name = "catlip.pretrain" if settings.get("method") == "catlip" else "baselines.pretrain"
    # Imported by its name: no module of catlip imports the baselines, because they need packages
    # that CatLIP does not need.
    program: Any = importlib.import_module(name)
    config, method = program.recorded(settings)
    return config, method


def unlike_then(run: RecordedRun, config: PretrainRun, place: Place) -> str:
    """Why rounding may differ between this program and the run, in words; "" if it does not.

    Call it after the number of threads is set.
    """
    then, now = run.record["environment"], environment()
    was_on_cpu = str(run.record["config"].get("device")).startswith("cpu") or "cuda" not in then
    before = _numbers_of(then, was_on_cpu)
    here = _numbers_of(now, place.device.type == "cpu")
    before["ranks"] = then.get("ranks", 1 if config.recipe.num_devices == 1 else None)
    here["ranks"] = place.world_size
    if was_on_cpu:
        before["threads"], here["threads"] = threads_of(run.folder), torch.get_num_threads()
        if instructions := then.get("cpu_instructions"):  # earlier records lack it
            before["cpu_instructions"] = instructions
            here["cpu_instructions"] = now["cpu_instructions"]
    words = [changes(before, here)]
    if place.device.type == "cuda" and not config.deterministic:
        words.append("without --deterministic a GPU does not give the same result each time")
    return "; ".join(filter(None, words))


def _numbers_of(environment: dict[str, Any], on_cpu: bool) -> dict[str, Any]:
    """The entries of an environment on which rounding depends."""
    packages = environment.get("packages", {})
    numbers = {"device": environment.get("cpu" if on_cpu else "device")}
    numbers |= {name: packages.get(name) for name in OF_NUMBERS}
    if not on_cpu:
        numbers |= {name: environment.get(name) for name in ("cuda", "cudnn")}
    return numbers
