"""What it costs, and what it is worth."""

import catlip  # noqa: F401  # sets how OpenMP waits, which must come before torch
