"""What CatLIP is compared with: an objective each, on the same batches, loop and recipes."""

import os

import catlip  # noqa: F401  # sets how OpenMP waits, which must come before torch

# Folders of further methods; their files become modules of this package.
__path__ += filter(None, os.environ.get("CATLIP_METHODS", "").split(os.pathsep))
