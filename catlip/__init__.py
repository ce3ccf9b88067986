"""CatLIP: pre-training an image encoder by classifying the nouns of captions."""

import os
from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("catlip-bench")
except PackageNotFoundError:  # a checkout that is not installed
    __version__ = "unknown"

# How long an OpenMP thread spins for the others before it sleeps; libgomp's own 300,000 (3 ms)
# takes a core away from the thread that it waits for as soon as another process is at work. libgomp
# reads this when torch is loaded. `python -m bench.busy_machine` measures what it is worth.
SPIN_COUNT = "10000"
if not {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & os.environ.keys():
    os.environ["GOMP_SPINCOUNT"] = SPIN_COUNT
