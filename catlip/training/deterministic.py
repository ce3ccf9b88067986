"""Deterministic kernels, with which a resumed run gives bit-identical results on a GPU too."""

import os

import torch


def choose_deterministic() -> None:
    """Make torch use deterministic kernels in this process; call it before CUDA starts.

    torch warns of an operation that has none. On a CPU all kernels of a training are deterministic.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
