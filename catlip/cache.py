"""Where fetched and derived files are kept between runs."""

import os
from pathlib import Path

import platformdirs


def cache_dir(name: str) -> Path:
    """The folder `name` of the user's cache (`$CATLIP_CACHE`, else the system's own place), made if missing."""
    root = os.environ.get("CATLIP_CACHE") or platformdirs.user_cache_dir("catlip-bench")
    path = Path(root) / name
    path.mkdir(parents=True, exist_ok=True)
    return path
