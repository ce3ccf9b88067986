"""Draws the two pictures of the docs: python docs/draw.py"""

from pathlib import Path

from matplotlib import rc_context
from matplotlib.figure import Figure

HERE = Path(__file__).parent
# Steps from left to right, row by row: what there is, and below it who makes it.
LIVES = {
    "life_of_a_caption": [
        [
            ("00001.tar\nKEY.jpg, KEY.txt", "your shards"),
            ("Two bikes and a\ngolden retriever", "catlip.data.shards"),
            ("bikes NNS\nretriever NN", "catlip.words.tagger"),
            ("motorcycle.n.01\nretriever.n.01", "catlip.words.wordnet"),
            ("00001.labels\nsynset offsets", "catlip.label"),
        ],
        [
            ("vocabulary.json\nclasses above a threshold", "catlip.vocabulary"),
            ("class ids\n17, 402", "catlip.vocabulary"),
            ("Batch\nimages, labels, tokens", "catlip.data.loader"),
            ("loss", "catlip.objective"),
            ("weights.safetensors\nand a record", "catlip.pretraining"),
        ],
    ],
    "life_of_a_number": [
        [
            ("step times (ms)\nin turns", "bench.step_time"),
            ("StepTime\none dataclass", "bench/step_time/result.py"),
            ("runs/.../NAME.json\none record", "catlip.records.record"),
            ("Run\nread and checked", "reports.reading"),
        ],
        [
            ("one row\nof the table of results", "reports.frame"),
            ("difference, interval,\nverdict", "reports.pairs"),
            ("rows of a table,\nlines of a figure", "reports.tables, .figures"),
            ("index.html\nwords by hand", "reports/templates"),
        ],
    ],
}
INK, MUTED, FILL = "#1b1f24", "#59616b", "#eef2f7"


def draw(name: str, rows: list[list[tuple[str, str]]]) -> None:
    """Write NAME.svg: boxes with arrows, the second row below the first."""
    columns = len(rows[0])
    figure = Figure(figsize=(2.1 * columns, 1.25 * len(rows)), layout="constrained")
    axes = figure.add_subplot()
    axes.set_axis_off()
    axes.set_xlim(-0.5, columns - 0.5)
    axes.set_ylim(len(rows) - 0.4, -0.5)
    box = {"boxstyle": "round,pad=0.5", "facecolor": FILL, "edgecolor": MUTED}
    arrow = {"arrowstyle": "->", "color": MUTED}
    for y, row in enumerate(rows):
        for x, (what, who) in enumerate(row):
            axes.text(x, y - 0.1, what, ha="center", va="center", fontsize=9, color=INK, bbox=box)
            axes.text(x, y + 0.36, who, ha="center", fontsize=8, color=MUTED, family="monospace")
            if x:
                axes.annotate("", (x - 0.42, y - 0.1), (x - 0.58, y - 0.1), arrowprops=arrow)
    turn = {**arrow, "connectionstyle": "arc3,rad=0"}
    axes.annotate("", (0, 0.62), (columns - 1, 0.46), arrowprops=turn)
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "catlip-bench"}):
        figure.savefig(HERE / f"{name}.svg", metadata={"Date": None})


if __name__ == "__main__":
    for name, rows in LIVES.items():
        draw(name, rows)
