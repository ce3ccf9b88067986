"""What the page says of nine partial sets of records: the cards, the first table, and the costs."""

import re
import shutil
from pathlib import Path
from random import Random

import pytest
from golden import expect
from report_support import COMMITTED, CPU, GOLDEN, GOLDEN_RECORDS, GPU, cards, html_of

from catlip.records.table import as_csv, as_markdown
from reports.contents import SCREENS
from reports.names import data_sets
from reports.page import Page
from reports.reading import read_records

SETS_OF_GOLDEN = GOLDEN / "sets"
METHODS = {"catlip": 0.5, "clip": 0.4, "clip_bag": 0.45, "random": 0.1}  # accuracy of each
LEADS = {"garden": 0.0, "pond": -0.1, "street": -0.2}  # of CatLIP's over that, by task


def train(write, seeds, levels) -> None:
    """Trainings of 20 epochs, and probes of three tasks."""
    data = CPU | {"data": {"pretrain": {"digest": "0", "samples": 50}}}
    for method, level in levels.items():
        for seed in range(seeds if method != "random" else 0):
            write.training(method, seed, seconds=10.0, scale="mine", environment=data)
        for task, lead in LEADS.items():
            top1, step = (level + lead, 0.011) if method == "catlip" else (level, 0.007)
            values = [top1 + step * seed for seed in range(seeds)]
            write.probes(method, {task: values}, scale="mine")


def six_seeds(write) -> None:
    train(write, 6, METHODS)
    for method, top1 in (("clip", 0.2), ("clip_bag", 0.1)):  # so that CLIP's is the transformer
        write.study("tuning", method, {"garden": top1}, scale="mine", trial=0)
    write.steps(ratios={"clip/catlip": 1.3, "clip_bag/catlip": 0.9}, scale="mine", environment=CPU)


def busy_cpu(write) -> None:
    ratios = {"clip/catlip": (1.3, 1.2, 1.4), "clip:packed/catlip": (1.1, 0.9, 1.2)}
    sizes = {"catlip": 1_000_000, "clip": 14_000_000}
    busy = CPU | {"wall_s": 100.0, "other_cpu_s": 90.0}
    write.steps(ratios=ratios, parameters=sizes, environment=busy, scale="bench")


def gpu(write) -> None:
    ratios = {"clip/catlip": 1.25, "clip:packed/catlip": 1.07, "clip_bag/catlip": 1.0}
    more = {"flops_ratios": {"clip/catlip": 1.17, "clip_bag/catlip": 0.999}}
    where = {"environment": GPU, "scale": "bench"}
    write.steps(ratios=ratios, more=more, config={"model": "vit_b16"}, **where)


def own_and_ours(write) -> None:
    six_seeds(write)
    place = write.folder / "reports/records/fashion/scaling"
    place.mkdir(parents=True)
    for path in (COMMITTED / "fashion/scaling").glob("c*-350000-seed*.json"):
        shutil.copy(path, place)


SETS = {
    "nothing": lambda write: (write.folder / "runs").mkdir(),
    "one_method": lambda write: train(write, 6, {"catlip": 0.5}),
    "two_seeds": lambda write: train(write, 2, METHODS),
    "six_seeds": six_seeds,
    "below_untrained": lambda write: train(write, 6, dict.fromkeys(METHODS, 0.4) | {"random": 0.6}),
    "busy_cpu": busy_cpu,
    "gpu": gpu,
    "own_and_ours": own_and_ours,
}


@pytest.fixture
def page_of(write, tmp_path, monkeypatch):
    """Name of a set -> its page; a folder reports/records is taken for that of this repository."""
    monkeypatch.setattr("reports.names.COMMITTED", tmp_path / "reports/records")

    def make(name: str) -> Page:
        SETS[name](write)
        folders = tmp_path / "runs", tmp_path / "reports/records"
        return Page(read_records([folder for folder in folders if folder.exists()]))

    return make


def told(page: Page) -> str:
    """The cards of a user's page, both first tables, and what is folded of ours."""
    parts = [] if page.is_ours else [cards(page)]
    ours = [one for group in page.groups if group.anchor == "ours" for one in group.tables]
    first = page.tables["main"], page.tables["costs"]
    shown = [one for one in (*first, *ours) if one.rows]
    return "\n\n".join([*parts, *map(as_markdown, shown)]) + "\n"


@pytest.mark.parametrize("name", SETS)
def test_page_of_a_partial_set_says_what_its_records_do(page_of, name) -> None:
    page = page_of(name)
    expect(SETS_OF_GOLDEN / f"{name}.md", told(page))
    assert not re.search(r"\byes\b", cards(page), re.IGNORECASE)


def test_tables_of_the_committed_records_are_the_expected_ones(committed) -> None:
    assert committed.is_ours
    expect(SETS_OF_GOLDEN / "committed.md", told(committed))


def test_ours_is_folded_below_a_users_own(page_of) -> None:
    page, ours = page_of("own_and_ours"), data_sets()["fashion"].name
    assert {one.on.scale for one in page.comparisons.headline} == {"mine"}
    assert ours not in html_of(page).partition('<section id="contents">')[0]
    assert {row["data"] for row in page.tables["ours_main"].rows} == {ours}
    shown = sum(len(group.tables) for group in page.groups)
    assert all(one.tables or one.figures or one.missing for one in page.groups)
    assert "hypotheses" not in page.tables  # what was expected is about our data
    assert len(page.tables) == shown + len(SCREENS), "two tables of one name"


def copied(folder: Path, to: Path, seed: int) -> Path:
    """The same records in files and folders of kinds with other names, in another order."""
    draw = Random(seed)
    for path in sorted(folder.rglob("*.json")):
        *place, kind, _ = path.relative_to(folder).parts
        new = to.joinpath(*place, f"{kind[seed]}{kind}", f"{draw.random()}.json")
        new.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, new)
    return to


@pytest.mark.parametrize("seed", range(3))
def test_names_and_order_of_files_change_nothing_but_links(page_of, tmp_path, monkeypatch, seed):
    page_of("six_seeds")
    for path in GOLDEN_RECORDS:
        if "mine" not in path.parts:  # which are of another probe
            target = tmp_path / "runs" / path.relative_to(GOLDEN / "records")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
    texts = []
    for folder in (tmp_path, copied(tmp_path, tmp_path / "again", seed)):
        monkeypatch.chdir(folder)
        page = Page(read_records([Path("runs")]))
        text = re.sub(r'href="records/[^"]*"', "", html_of(page))
        figures = [f"{one.alt} {one.caption}" for one in page.figures.values()]
        texts.append("\n".join([text, *figures, *map(as_csv, page.tables.values())]).splitlines())
    assert texts[0] == texts[1]
