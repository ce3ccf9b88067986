"""What CatLIP is compared with: an objective each, on the same batches, loop and recipes."""

import catlip  # noqa: F401  # sets how OpenMP waits, which must come before torch
