"""Does this device compute each method's loss and gradient as the CPU does in float32? Takes ten
seconds, and more where blocks are compiled.
"""

from bench.self_check.config import SelfCheck
from catlip.cli import run

if __name__ == "__main__":
    run(SelfCheck, "bench.self_check.measure:main")
