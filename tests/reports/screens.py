"""The first screens of the records that users have, made of the golden records."""

import os
import shutil
from pathlib import Path

from report_support import GOLDEN

from reports.read.records import read_records
from reports.render.page import markdown
from reports.sections import build_page

OURS = "reports/records"
TWO_SEEDS = ("pretrain/*-seed[01].json", "linear_probe/*-seed[01].json")
# Name -> folder -> the golden records in it; in OURS, all of them.
SCREENS: dict[str, dict[str, tuple[str, ...]]] = {
    "step_times_alone": {"runs/bench": ("starter/step_time/vit_b16-b4-*.json",)},
    "a_bench_alone": {"runs/bench": ("bench/memory/*.json",)},
    "own_photographs": {"runs/photos": tuple(f"starter/{each}" for each in TWO_SEEDS)},
    "own_photographs_beside_ours": {
        "runs/photos": tuple(f"starter/{each}" for each in TWO_SEEDS),
        OURS: (),
    },
    "one_gpu": {"runs/bench": ("bench/*/*.json",)},
    "one_gpu_beside_ours": {"runs/bench": ("bench/*/*.json",), OURS: ()},
    "a_cluster": {"shared/runs/datacomp": tuple(f"starter/{each}" for each in TWO_SEEDS)},
    "a_flat_folder": {"shared/runs": tuple(f"starter/{each}" for each in TWO_SEEDS)},
}


def screen_of(name: str, place: Path) -> str:
    """The report of these records down to its first appendix; they are laid out in `place`."""
    for folder, patterns in SCREENS[name].items():
        if folder == OURS:
            shutil.copytree(GOLDEN / "records", place / OURS, dirs_exist_ok=True)
        for pattern in patterns:
            for path in (GOLDEN / "records").glob(pattern):
                target = place / folder / path.parent.name / path.name
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, target)
    roots = [OURS if folder == OURS else os.path.dirname(folder) for folder in SCREENS[name]]
    before = Path.cwd()
    os.chdir(place)  # a record's name is its path from here
    try:
        page = build_page(read_records([*map(Path, roots)]))
    finally:
        os.chdir(before)
    return markdown(page).partition('<a id="claims')[0].rstrip() + "\n"
