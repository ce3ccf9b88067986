"""Measures how fast a device multiplies large matrices, with which training steps are compared."""

import time

import torch

from catlip.training.parallel import AUTOCAST

# A GPU is warmed up, because its clock rises and then falls as it gets hot; a CPU's rises too.
WARM_UP_S = {"cuda": 1.0, "cpu": 0.3}
# Of 1,024, a CPU's product takes so short that a wait for a thread shows: on two busy cores it was
# a quarter slower than one of 2,048, which is slow enough in precisions that are emulated.
SIDES = {"cuda": 8192, "cpu": 2048}
REPEATS = {"cuda": 10, "cpu": 1}  # per measurement: on a GPU the host waits once for all of them
MEASURED_S = {"cuda": 2.0, "cpu": 0.5}


def matmul_flops_per_s(device: torch.device, precision: str) -> list[float]:
    """FLOP/s of square matrix products in that precision, one number per measurement."""
    side, repeats = SIDES[device.type], REPEATS[device.type]
    matrix = torch.randn(side, side, device=device).to(AUTOCAST.get(precision, torch.float32))

    def measure() -> float:
        started = time.perf_counter()
        for _ in range(repeats):
            matrix @ matrix
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return 2 * side**3 * repeats / (time.perf_counter() - started)

    begin = time.perf_counter()
    measure()  # the first loads kernels
    while time.perf_counter() - begin < WARM_UP_S[device.type]:
        measure()
    rates: list[float] = []
    begin = time.perf_counter()
    while not rates or time.perf_counter() - begin < MEASURED_S[device.type]:
        rates.append(measure())
    return rates
