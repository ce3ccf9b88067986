"""Where a transfer program writes: a record named after its encoder and data, unless `--out` is
given. A record or a score of the same run is kept, and one of another run is refused.
"""

import json
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import tyro

from catlip.cli import InputError
from catlip.data.layout import WDS
from catlip.records.record import plain, read_record
from catlip.system.files import write_atomically
from catlip.system.foreign import read_own
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
CHECKPOINTS = "checkpoints"  # in the folder of a run; deleted when the run is finished
# Fields of a config that do not change the result.
WITHOUT_EFFECT = (
    *("about", "source", "out", "device", "num_workers", "quiet", "compile", "checkpoint_every"),
    *("max_broken", "dry_run"),
    *("overfit", "crowds"),  # of older records
    "recipe",  # its fields are compared one by one
)


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


def is_written(path: Path, config: Any, digest: str, say: bool = True) -> bool:
    """Whether the record at `path` is there. Raises: InputError if its run had another config or
    other weights.
    """
    from catlip.training.folder import changes

    if not path.is_file():
        return False
    record = read_record(path)
    before = _identity(record.get("config"), record["metrics"].get("encoder_digest"))
    if changed := changes(before, _identity(json.loads(json.dumps(plain(config))), digest)):
        raise InputError(
            f"{path} is the record of another run ({changed}); give another --out, or remove it"
        )
    if say:
        print(f"{path} is already there, from the same run; remove it to make it again")
    return True


def _identity(config: Any, digest: Any) -> dict[str, Any]:
    """What determines a run: fields of its config, as JSON has them, and the encoder's weights."""
    fields = {**config, **config.get("recipe", {}), "encoder_digest": digest}
    return {name: value for name, value in fields.items() if name not in WITHOUT_EFFECT}


def load_or_measure(
    folder: Path, identity: dict[str, Any], rank: "Rank", measure: Callable[[], dict[str, Any]]
) -> dict[str, Any]:
    """The score of the run in `folder`: read if the run is finished, else measured and written with
    the identity, and the checkpoints are deleted. All ranks call this.
    """
    from catlip.training.distributed import barrier
    from catlip.training.folder import refuse_another

    path = folder / SCORE
    if path.is_file():
        finished = read_own(path, identity=dict, score=dict)
        refuse_another(folder, finished["identity"], identity)
        return dict(finished["score"])
    with only_writer(folder, rank.is_main):
        score = measure()
        if rank.is_main:
            write_atomically(path, json.dumps({"identity": identity, "score": score}).encode())
            shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)
        barrier()
    return score
