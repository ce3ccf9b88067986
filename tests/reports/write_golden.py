"""Write the expected report of the golden records again, after an intended change of the page.

python tests/reports/write_golden.py
"""

import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from report_support import GOLDEN, structures
from screens import SCREENS, screen_of

EXPECTED = GOLDEN / "expected"

if __name__ == "__main__":
    shutil.rmtree(EXPECTED / "tables")
    command = ["-m", "reports", "--records", "records", "--out", "expected"]
    subprocess.run([sys.executable, *command], cwd=GOLDEN, check=True)
    (EXPECTED / "figures.txt").write_text(structures(EXPECTED / "figures"))
    shutil.rmtree(EXPECTED / "figures")
    shutil.rmtree(EXPECTED / "records")
    (EXPECTED / "index.html").unlink()
    (GOLDEN / "screens").mkdir(exist_ok=True)
    for name in SCREENS:
        with TemporaryDirectory() as place:
            (GOLDEN / "screens" / f"{name}.md").write_text(screen_of(name, Path(place)))
    print(f"wrote {GOLDEN}")
