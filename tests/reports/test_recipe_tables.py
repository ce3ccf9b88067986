"""Tables 6 and 7 from our recipes: equal to the paper's, or marked at the cell."""

from catlip.records.table import Table
from reports.paper.recipe_tables import recipe_tables, without_equal_rows


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


def test_our_recipes_are_the_papers_but_for_the_training_length_on_cc3m():
    tables = recipe_tables()
    methods = ("CLIP", "CatLIP")
    assert marked(tables) == {("table_6a", "Max. Epochs", f"{name}: ours") for name in methods}
    brief = without_equal_rows(tables[0])
    assert [row[0].text for row in brief.rows] == ["Max. Epochs"]
    assert brief.caption == f"In {len(tables[0].rows) - 1} more rows ours are the paper's."
    assert [table.name for table in tables] == ["table_6a", "table_6b", "table_7"]
    headings = [row[0].text for row in tables[-1].rows if len(row) == 1]
    assert [words[:10] for words in headings] == [f"Table 7({letter})" for letter in "abcde"]
