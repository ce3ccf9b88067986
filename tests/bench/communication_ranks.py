"""What a step of every method is heard to send, and what the bare collectives made of it are, as
JSON.

torchrun --nproc-per-node 2 tests/bench/communication_ranks.py
"""

import json
from collections.abc import Callable
from functools import partial
from itertools import repeat
from typing import Any

import torch

from baselines.methods import BASELINES
from bench.communication.collectives import Collective, bare, listen
from bench.communication.measure import time_steps
from bench.measuring.factors import Factors
from bench.measuring.training_step import batch_of, build
from catlip.training.distributed import Place, find_place
from catlip.training.parallel import Parallel

METHODS = ("catlip", *BASELINES)
SIDES: dict[Parallel, str] = {"ddp": "fp32", "fsdp": "bf16"}
CASES: list[tuple[int, str, Parallel]] = [
    (2, method, parallel) for method in METHODS for parallel in SIDES
]
# A ring of two ranks is no ring.
CASES += [(3, "clip", "ddp"), (3, "siglip", "ddp"), (3, "catlip", "fsdp")]
BATCH = 2


def factors(method: str, parallel: Parallel) -> Factors:
    return Factors(
        method, "hybrid_micro", 32, BATCH, SIDES[parallel], num_classes=50, parallel=parallel
    )


def listen_to_all(place: Place) -> dict[str, Any]:
    """On each of several ranks: what a step of every case sends, and what the bare collectives made
    of it are.
    """
    torch.set_num_threads(1)
    found: dict[str, Any] = {}
    for _, method, parallel in (case for case in CASES if case[0] == place.world_size):
        trainer = build(factors(method, parallel), place)
        step = partial(trainer.train_step, repeat(batch_of(factors(method, parallel), place)))
        for _ in range(2):
            step()
        with listen() as calls:
            step()
        with listen() as again:
            bare(calls, place)()
        of_bare = {"bare": _plain(again, place)["calls"]}
        found[f"{method} {parallel}"] = _plain(calls, place) | of_bare
        if (method, parallel) == ("clip", "ddp"):
            found["timed"] = []
            overheard = partial(_overhear, step, found["timed"])
            time_steps(overheard, trainer.replica, place, rounds=2)
    return found


def _overhear(step: Callable[[], object], heard: list[list[str]]) -> None:
    with listen() as calls:
        step()
    heard.append(sorted({call.what for call in calls}))


def _plain(calls: list[Collective], place: Place) -> dict[str, Any]:
    return {
        "sent": [(call.what, call.kind, call.sent_bytes(place.world_size)) for call in calls],
        "calls": [(call.kind, call.elements, str(call.dtype), call.peer) for call in calls],
    }


if __name__ == "__main__":
    here = find_place("cpu")
    everything = listen_to_all(here)
    if here.is_main:
        print(json.dumps(everything))
