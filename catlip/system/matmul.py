"""Measures how fast a device multiplies large matrices, with which training steps are compared, and
how fast it copies in its own memory.
"""

import time
from collections.abc import Callable

import torch

from catlip.training.parallel import AUTOCAST

# A GPU is warmed up, because its clock rises and then falls as it gets hot; a CPU's rises too.
WARM_UP_S = {"cuda": 1.0, "cpu": 0.3}
# Of 1,024, a CPU's product takes so short that a wait for a thread shows: on two busy cores it was
# a quarter slower than one of 2,048, which is slow enough in precisions that are emulated.
SIDES = {"cuda": 8192, "cpu": 2048}
REPEATS = {"cuda": 10, "cpu": 1}  # per measurement: on a GPU the host waits once for all of them
MEASURED_S = {"cuda": 2.0, "cpu": 0.5}
COPIED_S = 0.3
COPIED_BYTES = {"cuda": 4 * 10**9, "cpu": 256 * 10**6}  # many times what a cache holds


def matmul_flops_per_s(device: torch.device, precision: str) -> list[float]:
    """FLOP/s of square matrix products in that precision, one number per measurement."""
    side = SIDES[device.type]
    matrix = torch.randn(side, side, device=device).to(AUTOCAST.get(precision, torch.float32))
    seconds = _seconds(
        lambda: matrix @ matrix, device, WARM_UP_S[device.type], MEASURED_S[device.type]
    )
    return [2 * side**3 / each for each in seconds]


def copied_bytes_per_s(device: torch.device) -> list[float]:
    """Bytes/s read plus written while a tensor is copied, one number per measurement. Measure it
    after the products, when the device is warm.
    """
    count = COPIED_BYTES[device.type]
    if device.type == "cuda":
        count = min(count, torch.cuda.mem_get_info(device)[0] // 4)
    source = torch.ones(count, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    seconds = _seconds(lambda: target.copy_(source), device, 0.0, COPIED_S)
    return [2 * count / each for each in seconds]


def _seconds(
    work: Callable[[], object], device: torch.device, warm_up_s: float, measured_s: float
) -> list[float]:
    """Seconds that one `work` takes, one number per measurement."""
    repeats = REPEATS[device.type]

    def measure() -> float:
        started = time.perf_counter()
        for _ in range(repeats):
            work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return (time.perf_counter() - started) / repeats

    begin = time.perf_counter()
    measure()  # the first loads kernels
    while time.perf_counter() - begin < warm_up_s:
        measure()
    taken: list[float] = []
    begin = time.perf_counter()
    while not taken or time.perf_counter() - begin < measured_s:
        taken.append(measure())
    return taken
