"""Kernels that give the same result each time, for resuming to the bit on a GPU too."""

import os

import torch


def choose_deterministic() -> None:
    """From now on in this process, torch takes such kernels, and names an operation that has none;
    call it before CUDA starts. On a CPU all kernels of a training are.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
