"""`python -m bench.downstream.gallery`."""

from bench.downstream.gallery.config import Gallery
from catlip.cli import run

if __name__ == "__main__":
    run(Gallery, "bench.downstream.gallery.measure:main")
