"""`python -m catlip.verify`."""

from catlip.cli import run
from catlip.verify.config import Verify

if __name__ == "__main__":
    run(Verify, "catlip.verify.replay:main")
