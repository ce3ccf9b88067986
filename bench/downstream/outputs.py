"""Where a transfer program writes: a record named after its encoder and data, unless `--out` is
given. The score of a finished run is kept.
"""

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import tyro

from catlip.data.layout import WDS
from catlip.program.identity import refuse_another
from catlip.system.files import remove_written, write_atomically
from catlip.system.foreign import read_json
from catlip.system.lock import only_writer

if TYPE_CHECKING:
    from catlip.training.distributed import Rank

C = TypeVar("C")
DataSpelling = Annotated[
    str,
    tyro.conf.arg(
        help="starter:DIR, fashion_mnist:, imagenet:DIR, places365:DIR, any DIR with train/ and "
        "val/ or test/, or wds:URL of such tars, as hf://datasets/clip-benchmark/wds_cifar10."
    ),
]
RECORD_NAME = "{encoder}-{data}.json"
SCORE = "score.json"  # in the folder of a run: its score and its identity
CHECKPOINTS = "checkpoints"  # in the folder of a run
# What is written there, for detectron2 too; deleted when the run is finished.
WRITTEN = r"step-\d{8,}\.pt|annotations/(train|val)\.json"


def recipe_configs(config: Callable[..., C], recipes: Mapping[str, Any]) -> dict[str, C]:
    """Name of a recipe -> the config with it; the user gives the encoder and the data."""
    return {
        name: config(encoder=tyro.MISSING, data=tyro.MISSING, recipe=recipe)
        for name, recipe in recipes.items()
    }


def fill_names(out: Path, data: str, encoder: str) -> Path:
    """`out` with the names of the encoder and of the data set."""
    if tyro.MISSING in (data, encoder):  # a recipe's default
        return out
    name = str(out).replace("{encoder}", encoder_name(encoder))
    return Path(name.replace("{data}", data_name(data)))


def encoder_name(spelling: str) -> str:
    """`starter-catlip-seed0` for runs/starter/pretrain/catlip-seed0."""
    parts = [part for part in Path(spelling).parts if part not in ("runs", "pretrain", "/", "..")]
    return _slug("-".join(parts).removesuffix(".safetensors"))


def data_name(spelling: str) -> str:
    """The kind of a data set, and its folder's name if that differs."""
    kind, colon, folder = spelling.partition(":")
    if not colon:
        kind, folder = "folder", spelling
    name = Path(folder).resolve().name if folder else ""
    if kind == WDS:
        name = name.removeprefix(f"{WDS}_")
    return _slug(kind if name in ("", kind) else f"{kind}-{name}")


def _slug(words: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.@+]+", "-", words).strip("-.") or "unnamed"


def load_or_measure(
    folder: Path, identity: dict[str, Any], rank: "Rank", measure: Callable[[], dict[str, Any]]
) -> dict[str, Any]:
    """The score of the run in `folder`, if it is finished; else of `measure`, which is written with
    its identity, and the checkpoints are deleted. All ranks call this.
    """
    from catlip.training.distributed import barrier

    path = folder / SCORE
    if path.is_file():
        finished = read_json(path, identity=dict, score=dict)
        refuse_another(folder, finished["identity"], identity)
        return dict(finished["score"])
    with only_writer(folder, rank.is_main):
        score = measure()
        if rank.is_main:
            write_atomically(path, json.dumps({"identity": identity, "score": score}).encode())
            remove_written(folder / CHECKPOINTS, WRITTEN)
        barrier()
    return score
