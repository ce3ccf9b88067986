"""The methods that CatLIP is compared with: one objective each, on the same batches, loop and
recipes.
"""

import os
import sys

import catlip  # noqa: F401  # sets how OpenMP waits, which must come before torch

# Folders of further methods; their files become modules of this package.
for _folder in filter(None, os.environ.get("CATLIP_METHODS", "").split(os.pathsep)):
    if not os.path.isdir(_folder):
        print(f"error: CATLIP_METHODS names {_folder!r}, which is not a folder", file=sys.stderr)
        sys.exit(2)
    __path__.append(_folder)
