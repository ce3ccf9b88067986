"""Where the published 2.7x comes from: from the released CLIP configuration to the released CatLIP
one, changing one factor at a time.
"""

from bench.waterfall.config import Waterfall
from catlip.cli import run

if __name__ == "__main__":
    run(Waterfall, "bench.waterfall.measure:main")
