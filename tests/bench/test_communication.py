"""Ranks send what arithmetic says, the bare collectives are those of the step, and a run that
cannot go on says why.
"""

import json
import os
import socket
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import communication_ranks
import pytest
import torch
from communication_ranks import BATCH, CASES, factors
from filelock import FileLock
from one_line import one_line_error

from bench.arithmetic.exchanges import sent
from bench.communication.collectives import NCCL_KERNEL, TRACED_AS, Collective, bus_factor

TINY = (
    *("--model", "hybrid_mini", "--resolution", 32, "--batch-size", BATCH),
    *("--num-classes", 50, "--num-steps", 3, "--quiet"),
)


@pytest.fixture
def heard(succeed, of_all_processes) -> Callable[[int], dict[str, Any]]:
    """Ranks -> what a step of each case was heard to send; once for all the processes of a test
    run.
    """

    def heard(ranks: int) -> dict[str, Any]:
        kept = of_all_processes / f"heard-by-{ranks}.json"
        with FileLock(f"{kept}.lock"):
            if not kept.exists():
                done = succeed(communication_ranks.__file__, ranks=ranks)
                kept.write_text(done.stdout)
        found: dict[str, Any] = json.loads(kept.read_text())
        return found

    return heard


@pytest.mark.parametrize(("ranks", "method", "parallel"), CASES)
def test_a_step_sends_what_arithmetic_says(heard, ranks, method, parallel) -> None:
    found: dict[tuple[str, str], list[float]] = defaultdict(lambda: [0, 0])
    for what, kind, sent_bytes in heard(ranks)[f"{method} {parallel}"]["sent"]:
        if what == "loss":  # its mean over ranks, which the arithmetic leaves out
            continue
        scattered = kind == "scatter"  # gloo's all_to_all is a scatter from each rank
        found[what, "all_to_all" if scattered else kind][0] += 1 / ranks if scattered else 1
        found[what, "all_to_all" if scattered else kind][1] += sent_bytes
    exchanges = sent(factors(method, parallel), ranks, "cpu")
    expected = {(e.what, e.kind): [e.count, e.sent_bytes] for e in exchanges}
    assert found.keys() == expected.keys()
    for name, (count, sent_bytes) in expected.items():
        assert found[name] == [pytest.approx(count), pytest.approx(sent_bytes)], name


@pytest.mark.parametrize(("ranks", "method", "parallel"), CASES)
def test_the_bare_collectives_are_those_of_the_step(heard, ranks, method, parallel) -> None:
    step = heard(ranks)[f"{method} {parallel}"]
    assert step["bare"] == step["calls"]


def test_without_exchange_a_step_sends_embeddings_only_and_goes_first_in_every_other_round(
    heard,
) -> None:
    without, whole = ["features", "loss"], ["buffers", "features", "gradients", "loss"]
    assert heard(2)["timed"] == [without, whole, whole, without]


@pytest.mark.parametrize(
    ("kind", "size_bytes", "sent_bytes", "factor"),
    [
        ("all_reduce", 400, 600, 1.5),
        ("all_gather", 1_600, 1_200, 0.75),
        ("reduce_scatter", 400, 300, 0.75),
        ("broadcast", 400, 300, 1.0),
        ("scatter", 1_600, 300, 0.75),
        ("neighbour_exchange", 400, 400, 1.0),
    ],
)
def test_a_hundred_floats_on_four_ranks_count_as_in_nccl_tests(
    kind, size_bytes, sent_bytes, factor
) -> None:
    collective = Collective("features", kind, 100, torch.float32)
    assert collective.size_bytes(4) == size_bytes
    assert collective.sent_bytes(4) == sent_bytes
    assert bus_factor(kind, 4) == factor


STORAGE, OLDER = "(ncclDevKernelArgsStorage<4096ul>)", "(ncclDevComm*, unsigned long, ncclWork*)"


@pytest.mark.parametrize(
    ("kernel", "kind"),
    [
        (f"ncclDevKernel_AllReduce_Sum_f32_RING_LL{STORAGE}", "all_reduce"),
        (f"ncclDevKernel_ReduceScatter_Sum_f32_RING_LL{STORAGE}", "reduce_scatter"),
        (f"ncclDevKernel_AllGather_RING_LL{STORAGE}", "all_gather"),
        (f"ncclDevKernel_SendRecv{STORAGE}", "neighbour_exchange"),
        (f"ncclKernel_Broadcast_RING_LL_Sum_int8_t{OLDER}", "broadcast"),
    ],
)
def test_a_gpus_kernels_are_known_by_name(kernel, kind) -> None:
    found = NCCL_KERNEL.match(kernel)
    assert found is not None
    assert found[1] == TRACED_AS["nccl"][kind]


def test_a_run_writes_one_record_with_every_time_and_its_spread(succeed, tmp_path) -> None:
    methods = ("catlip", "clip")
    options = ("--methods", *methods, "--device", "cpu", "--out", tmp_path)
    done = succeed("bench.communication", *TINY, *options, ranks=2)
    assert done.stdout.count("wrote ") == 1
    assert "Warning" not in done.stderr
    assert "profiler" not in done.stderr
    (path,) = tmp_path.iterdir()
    record = json.loads(path.read_text())
    found = record["metrics"]
    assert (record["kind"], found["world_size"], found["backend"]) == ("communication", 2, "gloo")
    assert found["link"]["gb_s"] > 0
    for method in methods:
        costs = found["methods"][method]
        assert costs["sent_mb"] == pytest.approx(costs["predicted_sent_mb"])
        assert costs["sent_kb_per_image"] == pytest.approx(costs["sent_mb"] * 1e3 / BATCH)
        rows = [(row["what"], row["kind"], row["dtype"]) for row in costs["collectives"]]
        assert len(rows) == len(set(rows))
        for row in costs["collectives"]:
            assert row["bare_ms"]["n"] == 3
            assert row["in_step_ms"]["n"] == 5
            assert row["algorithm_gb_s"] == pytest.approx(row["mb"] / row["bare_ms"]["median"])
        exposed = costs["exposed_ms"]
        assert exposed["low"] <= exposed["value"] <= exposed["high"]
        assert len(record["samples"][f"{method}_step_without_exchange_ms"]) == 3


def test_one_process_is_told_how_to_start_several(program) -> None:
    done = program("bench.communication", *TINY)
    one_line_error(done, "torchrun --nproc-per-node 2 -m bench.communication")


def test_when_a_rank_dies_the_others_say_so_and_end(tmp_path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    options = [*map(str, TINY), "--num-steps", "1000", "--out", str(tmp_path), "--device", "cpu"]
    command, processes = [sys.executable, "-m", "bench.communication", *options], []
    for rank in ("0", "1"):
        environment = os.environ | shared | {"RANK": rank}
        process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
        processes.append(process)
    try:
        while not list(tmp_path.glob("*.partial")):
            assert processes[0].poll() is None
            time.sleep(0.1)
        time.sleep(2)
        processes[1].kill()
        message = processes[0].communicate(timeout=60)[1]
    finally:
        for process in processes:
            process.kill()
    assert processes[0].returncode == 2
    assert message.count("\n") == 1
    assert "rank 0" in message
