"""Where a transfer program writes, and what it does if its record or its score is already there.

Without `--out` the record is named after its encoder and data, so that two encoders do not share
one. A record of the same run is kept, and the score of a finished training is read. A record or a
score of another run is refused.
"""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from catlip.cli import InputError
from catlip.record import note_finished, plain, read_record, write_atomically
from catlip.system.lock import only_writer

if TYPE_CHECKING:
    from catlip.training.distributed import Place

DataSpelling = Annotated[
    str,
    tyro.conf.arg(
        help="starter:DIR, fashion_mnist:, imagenet:DIR, places365:DIR, or any DIR with train/ and "
        "val/ or test/."
    ),
]
BY_NAME = "{encoder}-{data}.json"
MAX_NAME = 120  # characters of an encoder's name in a file name
SCORE = "score.json"  # in the folder of a run: its score, and what determined the run
TEMPORARY = ("checkpoints", "annotations")  # folders that are deleted when a run is finished
# Fields of a config that do not change the result.
WITHOUT_EFFECT = frozenset(
    {
        "about",
        "source",
        "out",
        "device",
        "num_workers",
        "quiet",
        "compile",
        "checkpoint_every",
        "max_broken",
        "dry_run",
        *("overfit", "crowds"),  # of older records
    }
)


def filled_in(out: Path, data: str, encoder: str) -> Path:
    """`out` with the names of the encoder and of the data set."""
    if tyro.MISSING in (data, encoder):  # as in the default of a recipe
        return out
    name = encoder_name(encoder)[:MAX_NAME]
    return Path(str(out).replace("{encoder}", name).replace("{data}", data_name(data)))


def encoder_name(spelling: str) -> str:
    """`starter-catlip-seed0` for runs/starter/pretrain/catlip-seed0."""
    parts = [part for part in Path(spelling).parts if part not in ("runs", "pretrain", "/", "..")]
    return _slug("-".join(parts).removesuffix(".safetensors").removesuffix(".json"))


def data_name(spelling: str) -> str:
    """The kind of a data set, and its folder's name if that differs."""
    kind, colon, folder = spelling.partition(":")
    if not colon:
        kind, folder = "folder", spelling
    name = Path(folder).resolve().name if folder else ""
    return _slug(kind if name in ("", kind) else f"{kind}-{name}")


def is_written(path: Path, config: Any, digest: str, say: bool = True) -> bool:
    """Whether the record of this run is at `path` already: with this config and these weights.
    A record of another run is refused.
    """
    from catlip.training.folder import changes

    if not path.is_file():
        return False
    record = read_record(path)
    before = _identity(record.get("config"), record["metrics"].get("encoder_digest"))
    if changed := changes(before, _identity(config, digest)):
        raise InputError(
            f"{path} is the record of another run ({changed}); give another --out, or remove it"
        )
    if say:
        print(f"{path} is already there, from the same run; remove it to make it again")
    return True


def _identity(config: Any, digest: Any) -> dict[str, Any]:
    """The fields that determine a run, with values as in JSON."""
    fields = json.loads(json.dumps(_with_effect(plain(config))))
    recipe = fields.pop("recipe", None) or {}
    return {**fields, **recipe, "encoder_digest": digest}


def _with_effect(fields: Any) -> Any:
    if not isinstance(fields, dict):
        return fields
    return {
        name: _with_effect(value) for name, value in fields.items() if name not in WITHOUT_EFFECT
    }


def scored(
    folder: Path, determined: dict[str, Any], place: "Place", measure: Callable[[], dict[str, Any]]
) -> dict[str, Any]:
    """The score of the run in `folder`, read if it is finished; all ranks call this.

    Otherwise `measure` trains and tests, its score is written with the fields that `determined` it
    (all with values as in JSON), and the checkpoints are deleted.
    """
    from catlip.training.distributed import barrier
    from catlip.training.folder import refuse_another

    path = folder / SCORE
    if path.is_file():
        finished = json.loads(path.read_text())
        refuse_another(folder, finished["identity"], determined)
        note_finished()
        score: dict[str, Any] = finished["score"]
        return score
    with only_writer(folder, place.is_main):
        score = measure()
        if place.is_main:
            content = {"identity": determined, "score": score}
            write_atomically(path, json.dumps(content).encode())
            for name in TEMPORARY:
                shutil.rmtree(folder / name, ignore_errors=True)
        barrier()
    return score


def _slug(words: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.@+]+", "-", words).strip("-.") or "unnamed"
