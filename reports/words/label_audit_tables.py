"""What labelling rules drop most and may keep wrongly, each word with a caption to look at;
captions are untrusted text.
"""

from collections.abc import Mapping

from catlip.table import MISSING, Cell, Table, clipped, number_cell, share_cell
from reports.read.measured import anchor_of
from reports.read.records import Record, entries, number, text

TOP = 15
MOST_VERDICTS = 8
# Table -> its title after the rule's name, and the column between word and captions: heading, key
# in the rows.
TABLES = {
    "dropped": (
        "drops most, of what WordNet or the tagger calls nouns",
        (("Why it is no label", "reason"),),
    ),
    "not_nouns": (
        "takes for nouns, though the tagger does not",
        (("Label", "synset"), ("Tag", "tag")),
    ),
    "many_senses": (
        "may mistake: nouns of many senses, of which the first is taken",
        (("Label", "synset"), ("Senses", "senses")),
    ),
}


def verdict_table(audits: Mapping[str, Record], scale: str, suffix: str = "") -> list[Table]:
    """What became of the captions' words, a column a rule, in shares of all words."""
    verdicts: dict[str, float] = {}
    for record in audits.values():
        found = entries(record.metrics, "words_by_verdict")
        verdicts |= {
            verdict: verdicts.get(verdict, 0) + (number(found, verdict) or 0) for verdict in found
        }
    if not verdicts:
        return []
    ranked = sorted(
        verdicts, key=lambda verdict: (verdict != "a label", -verdicts[verdict], verdict)
    )[:MOST_VERDICTS]
    rows = [
        [Cell(clipped(verdict)), *(_verdict(record, verdict) for record in audits.values())]
        for verdict in ranked
    ]
    totals = [
        number_cell(number(record.metrics, "words"), 0, anchor_of(record))
        for record in audits.values()
    ]
    counted = [
        number_cell(number(record.metrics, "captions"), 0, anchor_of(record))
        for record in audits.values()
    ]
    rows = [
        [Cell("captions looked at"), *counted],
        [Cell("their words"), *totals],
        [Cell("Of these words")],
        *rows,
    ]
    columns = ["What", *(f"Rule {rule}" for rule in audits)]
    return [
        Table(
            f"words_by_verdict{suffix}",
            f"What became of the captions' words, {scale} scale",
            columns,
            rows,
        )
    ]


def _verdict(record: Record, verdict: str) -> Cell:
    count = number(record.metrics, "words_by_verdict", verdict)
    return share_cell(count, number(record.metrics, "words"), anchor_of(record))


def audit_tables(audits: Mapping[str, Record], suffix: str = "") -> list[Table]:
    """The first `TOP` rows of each table of each rule, folded."""
    found = [
        _table(record, rule, name, f"_{i + 1}{suffix}")
        for name in TABLES
        for i, (rule, record) in enumerate(audits.items())
    ]
    return [table for table in found if table.rows]


def _table(record: Record, rule: str, name: str, suffix: str) -> Table:
    title, between = TABLES[name]
    columns = ["Word", *(heading for heading, _ in between), "Captions", "One of them"]
    rows = [_row(record, row, [key for _, key in between]) for row in record.rows(name)[:TOP]]
    return Table(f"label_audit_{name}{suffix}", f"Rule {rule} {title}", columns, rows, folded=True)


def _row(record: Record, row: dict[str, object], keys: list[str]) -> list[Cell]:
    between = [
        Cell(clipped(text(row, key))) if text(row, key) else number_cell(number(row, key), 0)
        for key in keys
    ]
    captions = share_cell(
        number(row, "captions"), number(record.metrics, "captions"), anchor_of(record)
    )
    example = clipped(row.get("example"), 100)
    return [
        Cell(clipped(row.get("word"), 30)),
        *between,
        captions,
        Cell(example if example == MISSING else f"“{example}”"),
    ]
