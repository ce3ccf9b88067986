"""Write the expected report of the golden records again, after an intended change of the page.

python tests/reports/write_golden.py
"""

import shutil
import subprocess
import sys

from report_support import GOLDEN, structures

EXPECTED = GOLDEN / "expected"

if __name__ == "__main__":
    shutil.rmtree(EXPECTED / "tables")
    command = ["-m", "reports", "--records", "records", "--out", "expected"]
    subprocess.run([sys.executable, *command], cwd=GOLDEN, check=True)
    (EXPECTED / "figures.txt").write_text(structures(EXPECTED / "figures"))
    shutil.rmtree(EXPECTED / "figures")
    shutil.rmtree(EXPECTED / "records")
    (EXPECTED / "index.html").unlink()
    print(f"wrote {EXPECTED}")
