"""What training by each method costs, and how good its encoders are."""

import catlip  # noqa: F401  # sets how OpenMP waits, which must come before torch
