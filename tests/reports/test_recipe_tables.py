"""Tables 6 and 7 from our recipes: equal to the paper's, or the difference is marked at its
cell.
"""

import json
from pathlib import Path

from catlip.recipes.__main__ import WriteRecipes
from catlip.recipes.__main__ import main as write_recipes
from catlip.table import Table
from reports.paper.recipe_tables import (
    differences,
    in_brackets,
    plain_number,
    recipe_tables,
    spelled,
)
from reports.read.records import read_records

PLACE = "runs/starter/recipes/recipes.json"


def marked(tables: list[Table]) -> set[tuple[str, str, str]]:
    """(table, row, column) of every cell that differs."""
    return {
        (table.name, row[0].text, column)
        for table in tables
        for row in table.rows
        if len(row) > 1
        for column, cell in zip(table.columns, row, strict=True)
        if cell.differs
    }


def test_our_recipes_are_the_papers_but_for_the_training_length_on_cc3m(tmp_path):
    write_recipes(WriteRecipes(tmp_path / PLACE))
    tables = recipe_tables(read_records([tmp_path / "runs"]))
    assert marked(tables) == {
        ("table_6a", "Max. Epochs", "CLIP: ours"),
        ("table_6a", "Max. Epochs", "CatLIP: ours"),
    }
    pretraining = {cell.text for table in tables[:2] for row in table.rows for cell in row}
    assert "not run" not in pretraining


def test_one_changed_learning_rate_is_one_marked_cell(golden, tmp_path):
    record = json.loads((golden / "records/starter/recipes/recipes.json").read_text())
    record["config"]["recipes"]["catlip/datacomp_l16"]["max_lr"] = 7e-4
    record["config"]["recipes"]["catlip/cc3m_b16"]["epochs"] = [25, 50, 75, 100]
    record["config"]["recipes"]["clip/cc3m_b16"]["epochs"] = [25, 50, 75, 100]
    (tmp_path / PLACE).parent.mkdir(parents=True)
    (tmp_path / PLACE).write_text(json.dumps(record))
    tables = recipe_tables(read_records([tmp_path / "runs"]))
    assert marked(tables) == {("table_6b", "Max. LR", "CatLIP ViT L/16: ours")}
    assert differences(tables) == 1


def test_a_recipe_that_is_not_there_is_not_run():
    tables = recipe_tables(read_records([Path("nowhere")]))
    assert [table.name for table in tables] == ["table_6a", "table_6b", "table_7"]
    headings = [row[0].text for row in tables[-1].rows if len(row) == 1]
    assert [words[:10] for words in headings] == [f"Table 7({letter})" for letter in "abcde"]
    assert differences(tables) == 0
    cells = {row[-1].text for table in tables for row in table.rows if len(row) > 1}
    assert cells == {"not run", ""}


def test_values_are_printed_as_the_paper_prints_them():
    assert [plain_number(value) for value in (1e-6, 200_000, 0, 0.05, "x", float("nan"))] == [
        "0.000001",
        "200000",
        "0",
        "0.05",
        "",
        "nan",
    ]
    assert [spelled(name) for name in ("vit_h16", "cosine", "hybrid_mini")] == [
        "ViT H/16",
        "Cosine",
        "hybrid_mini",
    ]
    assert in_brackets([[22, 24], [17, 19]]) == "(22, 24) / (17, 19)"
