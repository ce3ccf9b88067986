"""Tables 6 and 7 from our recipes: equal to the paper's, or the difference is marked at its
cell.
"""

import json

from report_support import records_in

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
    tables = recipe_tables(records_in(tmp_path))
    methods = ("CLIP", "CatLIP")
    assert marked(tables) == {("table_6a", "Max. Epochs", f"{name}: ours") for name in methods}
    pretraining = {cell.text for table in tables[:2] for row in table.rows for cell in row}
    assert "not run" not in pretraining


def test_one_changed_learning_rate_is_one_marked_cell(golden, tmp_path):
    record = json.loads((golden / "records/starter/recipes/recipes.json").read_text())
    recipes = record["config"]["recipes"]
    recipes["catlip/datacomp_l16"]["max_lr"] = 7e-4
    for method in ("catlip", "clip"):
        recipes[f"{method}/cc3m_b16"]["epochs"] = [25, 50, 75, 100]
    (tmp_path / PLACE).parent.mkdir(parents=True)
    (tmp_path / PLACE).write_text(json.dumps(record))
    tables = recipe_tables(records_in(tmp_path))
    assert marked(tables) == {("table_6b", "Max. LR", "CatLIP ViT L/16: ours")}
    assert differences(tables) == 1


def test_a_recipe_that_is_not_there_is_not_run():
    tables = recipe_tables(read_records([]))
    assert [table.name for table in tables] == ["table_6a", "table_6b", "table_7"]
    headings = [row[0].text for row in tables[-1].rows if len(row) == 1]
    assert [words[:10] for words in headings] == [f"Table 7({letter})" for letter in "abcde"]
    assert differences(tables) == 0
    cells = {row[-1].text for table in tables for row in table.rows if len(row) > 1}
    assert cells == {"not run", ""}


def test_values_are_printed_as_the_paper_prints_them():
    printed = {1e-6: "0.000001", 200_000: "200000", 0: "0", 0.05: "0.05", "x": ""}
    assert {value: plain_number(value) for value in printed} == printed
    assert plain_number(float("nan")) == "nan"
    spellings = {"vit_h16": "ViT H/16", "cosine": "Cosine", "hybrid_mini": "hybrid_mini"}
    assert {name: spelled(name) for name in spellings} == spellings
    assert in_brackets([[22, 24], [17, 19]]) == "(22, 24) / (17, 19)"
