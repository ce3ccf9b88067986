"""CatLIP: pre-training an image encoder by classifying the nouns of captions."""

import os
import sys
from importlib.metadata import PackageNotFoundError, version

if sys.argv[:1] == ["-m"]:  # a program is being imported, which takes seconds: no traceback of it
    sys.excepthook = lambda kind, *error: (
        sys.stderr.write("stopped\n")
        if kind is KeyboardInterrupt
        else sys.__excepthook__(kind, *error)
    )

try:
    __version__ = version("catlip-bench")
except PackageNotFoundError:  # a checkout that is not installed
    __version__ = "unknown"

# How often an OpenMP thread checks for the other threads before it sleeps. With libgomp's default
# of 300,000 (3 ms), a waiting thread takes a core from the thread that it waits for as soon as
# another process is at work. libgomp reads this when torch is loaded.
# Measured on two cores beside one busy process: a small training takes 3.5 times as long as alone,
# with fewer checks 3.1 times, and with OMP_NUM_THREADS=1 1.6 times.
SPIN_COUNT = "10000"
if not {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & os.environ.keys():
    os.environ["GOMP_SPINCOUNT"] = SPIN_COUNT
