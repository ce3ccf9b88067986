"""Reads what a pre-training left in its folder and its record."""

import importlib
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from catlip.cli import InputError
from catlip.pretraining.config import PretrainRun
from catlip.pretraining.method import Method
from catlip.pretraining.run import Training, broken_images, samples_of, summary
from catlip.program.broken import read_lines
from catlip.record import environment, plain, read_record
from catlip.training import checkpoint
from catlip.training.distributed import Place, threads_of
from catlip.training.folder import changes
from catlip.training.loop import PROGRESS
from catlip.training.schedule import learning_rate
from catlip.weights.files import read_file

# Packages whose version may change the rounding, or the pixels.
OF_NUMBERS = ("torch", "timm", "numpy", "pillow", "simplejpeg")
SAME = 1e-9  # relative difference of numbers that differ in rounding only


@dataclass(frozen=True)
class RecordedRun:
    """What a run left: the content of its record, or of the partial record if it did not finish,
    and step -> the line of its log, its checkpoint, and its weights at that step.
    """

    folder: Path
    record: dict[str, Any]
    lines: dict[int, dict[str, float]]
    checkpoints: dict[int, Path]
    weights: dict[int, Path]

    def refuse_other_data(
        self, identity: dict[str, Any], heads: dict[int, checkpoint.Head]
    ) -> None:
        """Raises InputError when data, vocabulary or recipe are not those of the run."""
        if heads:
            stored = dict(next(iter(heads.values())).config)
        elif self.weights:
            _, stored = read_file(next(iter(self.weights.values())))
        else:
            raise InputError(
                f"{self.folder} has neither a checkpoint nor weights, so nothing says on which "
                "data it was trained"
            )
        stored.pop(PROGRESS, None)
        if changed := changes(stored, json.loads(json.dumps(identity))):
            raise InputError(
                f"{self.folder} was trained on other data or by another recipe: {changed}"
            )

    def contradictions(self, training: Training, heads: dict[int, checkpoint.Head]) -> list[str]:
        """Where log, checkpoints, record, recipe and data contradict each other, in words."""
        words = []
        for step, head in heads.items():
            lines = [line for at, line in self.lines.items() if at <= step]
            if json.dumps(head.history.lines) != json.dumps(lines):
                words.append(f"{self.checkpoints[step].name} holds another log than log.jsonl")
        try:
            words += self._log_unlike_recipe(training)
            if self.record["metrics"]:  # a partial record has none
                words += self._record_unlike_log(training)
        except (LookupError, TypeError, ZeroDivisionError) as error:
            words.append(f"log.jsonl lacks a value: {error!r}")
        return words

    def _log_unlike_recipe(self, training: Training) -> list[str]:
        """Where a line's images, learning rate or speed do not follow from the recipe, or from its
        other numbers.
        """
        trainer, words = training.trainer, []
        before = {"images_seen": 0.0, "seconds": 0.0}
        for step, line in self.lines.items():
            images = line["images_seen"] - before["images_seen"]
            expected = {
                "images_seen": int(training.data.plan.starts[step]),
                "learning_rate": learning_rate(step - 1, trainer.num_steps, trainer.optimization),
                "images_per_s": images / (line["seconds"] - before["seconds"]),
            }
            words += [
                f"step {step}: {name} {line[name]} in log.jsonl, which should be {value}"
                for name, value in expected.items()
                # Seconds of one line are a small difference of large sums.
                if not math.isclose(line[name], value, rel_tol=1e-6)
            ]
            before = line
        return words

    def _record_unlike_log(self, training: Training) -> list[str]:
        """Where samples and metrics of the record are not those that the log gives."""
        lines = list(self.lines.values())
        broken, keys = broken_images(self.folder, training.data.shards)
        samples, recorded = samples_of(lines, keys), self.record["samples"]
        words = []
        for name in {**samples, **recorded}:
            here, there = samples.get(name, []), recorded.get(name, [])
            same = len(here) == len(there)
            if name != "broken_keys":  # their paths are others where the shards have moved
                same = same and all(map(_same, here, there))
            if not same:
                words.append(f"{name}: other samples in its record than in log.jsonl")
        summed_up = summary(
            training.trainer,
            lines,
            training.identity["seed"],
            samples=training.data.order.total,
            broken=broken,
        )
        metrics, recorded = plain(summed_up.metrics()), self.record["metrics"]
        words += [
            f"{name}: {recorded.get(name)} in its record, not {metrics.get(name)}"
            for name in {**metrics, **recorded}
            if not _same(recorded.get(name), metrics.get(name))
        ]
        return words


def read_run(path: Path) -> RecordedRun:
    """Read a run from its folder, or from its record beside it."""
    folder = path.with_name(path.name.removesuffix(".json"))
    log, record = folder / "log.jsonl", folder.with_name(f"{folder.name}.json")
    partial = record.with_name(f"{record.name}.partial")  # if there are both, it is the newer one
    newest = partial if partial.exists() else record
    for needed in (log, newest):
        if not needed.is_file():
            raise InputError(f"{path} is not a pre-training run: there is no {needed}")
    content = read_record(newest)
    if content["kind"] != "pretrain":
        raise InputError(f"{record} is not the record of a pre-training")
    try:
        lines = {int(line["step"]): line for line in read_lines(log)}
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{log} is not the log of a training") from None
    if not lines:
        raise InputError(f"{log} has no line yet")
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


def _same(one: Any, other: Any) -> bool:
    """Whether two values of a record are equal, apart from rounding."""
    if isinstance(one, (int, float)) and isinstance(other, (int, float)):
        return math.isclose(one, other, rel_tol=SAME) or (math.isnan(one) and math.isnan(other))
    return bool(one == other)


def config_of(settings: dict[str, Any]) -> tuple[PretrainRun, Method]:
    """The config and method of a run, from the config of its record."""
    name = "catlip.pretrain" if settings.get("method") == "catlip" else "baselines.pretrain"
    # Imported by its name: no module of catlip imports the baselines, because they need packages
    # that CatLIP does not need.
    program: Any = importlib.import_module(name)
    config, method = program.recorded(settings)
    return config, method


def unlike_then(run: RecordedRun, config: PretrainRun, place: Place) -> str:
    """Why rounding may differ between this program, with the threads that are set now, and the run,
    in words; "" if it does not.
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
