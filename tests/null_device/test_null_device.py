"""The benches of cost and a training run on a GPU that computes nothing: `null_cuda.c`, in place of
CUDA under torch. `cases.py` has what runs there, in one process of its own.
"""

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

HERE = Path(__file__).parent
LIBRARY = "libcuda.so.1"  # under this name Triton finds it, too


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compiled device."""
    compiler, triton = shutil.which("cc") or shutil.which("gcc"), find_spec("triton")
    if not (torch.version.cuda and compiler and triton and triton.origin):
        pytest.skip("the null device needs a C compiler, and torch's CUDA wheel with Triton")
    headers = Path(triton.origin).parent / "backends/nvidia/include"
    path = tmp_path_factory.mktemp("null_device") / LIBRARY
    options = ["-shared", "-fPIC", "-O1", "-Wall", "-Werror", f"-Wl,-soname,{LIBRARY}"]
    source = HERE / "null_cuda.c"
    subprocess.run([compiler, *options, "-I", headers, source, "-o", path, "-pthread"], check=True)
    return path


def test_cases_pass_on_a_null_device(library: Path, starter, shared_folder: Path) -> None:
    folder = library.parent
    device = {
        "LD_PRELOAD": str(library),
        "TRITON_LIBCUDA_PATH": str(folder),
        "TRITON_CACHE_DIR": str(folder / "triton"),
        "TORCHINDUCTOR_COMPILE_THREADS": "1",  # in this process
        # The card's name holds the name of another one, and not every default fits on it.
        "NULL_GPU_NAME": "NVIDIA H100 NVL",
        "NULL_GPU_BYTES": str(24 * 2**30),
        "STARTER": str(shared_folder),
    }
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", HERE / "cases.py"]
    done = subprocess.run(
        [*map(str, command), "--durations", "8"],
        env=os.environ | device,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
