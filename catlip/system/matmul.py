"""Measures how fast a device multiplies large matrices; training steps are compared with this."""

import time

import torch

from catlip.training.parallel import AUTOCAST

# A GPU is warmed up, because its clock rises and then falls as it gets hot.
WARM_UP_S = {"cuda": 1.0, "cpu": 0.0}
SIDES = {"cuda": 8192, "cpu": 1024}  # on a CPU some precisions are very slow
PRODUCTS = {"cuda": 10, "cpu": 1}  # per measurement: on a GPU the host waits once for all of them
MEASURED_S = {"cuda": 2.0, "cpu": 0.5}


def matmul_flops_per_s(device: torch.device, precision: str) -> list[float]:
    """FLOP/s of square matrix products in that precision, one number per measurement."""
    side, products = SIDES[device.type], PRODUCTS[device.type]
    matrix = torch.randn(side, side, device=device).to(AUTOCAST.get(precision, torch.float32))
    taken: list[float] = []
    begin = time.perf_counter()
    _multiply(matrix, products)  # the first loads kernels
    while time.perf_counter() - begin < WARM_UP_S[device.type]:
        _multiply(matrix, products)
    begin = time.perf_counter()
    while not taken or time.perf_counter() - begin < MEASURED_S[device.type]:
        started = time.perf_counter()
        _multiply(matrix, products)
        taken.append(products * 2 * side**3 / (time.perf_counter() - started))
    return taken


def _multiply(matrix: torch.Tensor, products: int) -> None:
    for _ in range(products):
        matrix @ matrix
    if matrix.is_cuda:
        torch.cuda.synchronize(matrix.device)
