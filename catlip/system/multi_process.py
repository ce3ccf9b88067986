"""NVIDIA's multi-process service: the kernels of several processes run on a GPU at the same time,
where without it the processes take turns.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryDirectory

CONTROL = "nvidia-cuda-mps-control"
PIPES = "CUDA_MPS_PIPE_DIRECTORY"  # where a process finds the service; unset, in /tmp/nvidia-mps
USE_GPU = "import torch; torch.zeros(1, device='cuda').item()"


@contextmanager
def shared_gpu() -> Iterator[None]:
    """What is started in the block uses the service, if it is installed and works here. One that
    the user has started, and named in the environment, stays as it is.
    """
    if PIPES in os.environ or not shutil.which(CONTROL):
        yield
        return
    with TemporaryDirectory(prefix="mps-") as folder:
        places = {PIPES: folder, "CUDA_MPS_LOG_DIRECTORY": folder}
        environment = os.environ | places

        def succeeds(*command: str) -> bool:
            return not subprocess.run(command, env=environment, capture_output=True).returncode

        try:
            # A container may let the service start, but no process of its own reach it.
            if succeeds(CONTROL, "-d") and succeeds(sys.executable, "-c", USE_GPU):
                os.environ.update(places)
            yield
        finally:
            for name in places:
                os.environ.pop(name, None)
            subprocess.run([CONTROL], env=environment, input=b"quit\n", capture_output=True)
