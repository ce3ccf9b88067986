"""CatLIP: pre-training an image encoder by classifying the nouns of captions.

The names below are for other people's code; docs/library.md shows each. Importing the package loads
none of them, and changes nothing of the process.
"""

import os
import sys

# Before further imports, in which Ctrl-C may come.
if sys.argv[:1] == ["-m"]:  # a program of this project is being imported, which takes seconds
    sys.excepthook = lambda kind, *error: (  # no traceback of Ctrl-C
        sys.stderr.write("stopped\n")
        if kind is KeyboardInterrupt
        else sys.__excepthook__(kind, *error)
    )
    # How often an OpenMP thread checks for the other threads before it sleeps. With libgomp's
    # default of 300,000 (3 ms), a waiting thread takes a core from the thread that it waits for as
    # soon as another process is at work. libgomp reads this when torch is loaded.
    # Measured on two cores beside one busy process: a small training takes 3.5 times as long as
    # alone, with fewer checks 3.1 times, and with OMP_NUM_THREADS=1 1.6 times.
    if not {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & os.environ.keys():
        os.environ["GOMP_SPINCOUNT"] = "10000"

import importlib
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from catlip.captions import Labeller as Labeller
    from catlip.captions import Word as Word
    from catlip.data.loader import RaggedLabels as RaggedLabels
    from catlip.library import CatLIPLoss as CatLIPLoss
    from catlip.library import batches as batches
    from catlip.library import load as load
    from catlip.library import transfer_head as transfer_head
    from catlip.vocabulary import Vocabulary as Vocabulary

LIBRARY = {  # name -> where it is
    **dict.fromkeys(("Labeller", "Word"), "catlip.captions"),
    **dict.fromkeys(("CatLIPLoss", "transfer_head", "load", "batches"), "catlip.library"),
    "RaggedLabels": "catlip.data.loader",
    "Vocabulary": "catlip.vocabulary",
}
__all__ = [*LIBRARY]

try:
    __version__ = version("catlip-bench")
except PackageNotFoundError:  # a checkout that is not installed
    __version__ = "unknown"


def __getattr__(name: str) -> Any:
    if name not in LIBRARY:
        raise AttributeError(f"module 'catlip' has no attribute {name!r}")
    return getattr(importlib.import_module(LIBRARY[name]), name)


def __dir__() -> list[str]:
    return sorted(LIBRARY)
