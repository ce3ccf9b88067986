"""The methods that CatLIP is compared with, on the same batches, loop and recipes."""

import catlip  # noqa: F401  # sets how OpenMP waits, which must come before torch
from catlip.program.methods import user_folders

# The files of folders of further methods become modules of this package.
__path__ += map(str, user_folders())
