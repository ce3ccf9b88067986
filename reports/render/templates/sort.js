// A column's head sorts its table: rising, then falling, then as it was. Rows under a heading stay under it.
const FACTORS = { k: 1e3, M: 1e6, B: 1e9 };
const NUMBER = /^([−-]?[\d,]*\.?\d+(?:e[−+-]?\d+)?)(?:\s([kMB])\b)?/;
const MISSING = /^(|–|NaN|infinite|not run.*)$/;
const NEXT = new Map([[null, "ascending"], ["ascending", "descending"], ["descending", null]]);
const { compare } = new Intl.Collator("en", { numeric: true });

// A cell's text, without its footnotes and small print: its words, and the number they begin with; null if it is missing.
function keyOf(cell) {
  const first = cell?.firstChild;
  const words = first && /^(#text|A)$/.test(first.nodeName) ? first.textContent.trim() : "";
  if (MISSING.test(words)) return null;
  const [, digits, factor] = NUMBER.exec(words) ?? [];
  return { words, number: digits && digits.replaceAll("−", "-").replaceAll(",", "") * (FACTORS[factor] ?? 1) };
}

const rowsOf = (body) => [...body.rows].filter((row) => !row.classList.contains("group"));

// How a column sorts: "number", "words", or nothing where numbers and words mix or no two rows of a body differ.
function kindOf(table, column) {
  const parts = [...table.tBodies].map((body) => rowsOf(body).map((row) => keyOf(row.cells[column])).filter(Boolean));
  if (parts.every((keys) => new Set(keys.map((key) => key.words)).size < 2)) return "";
  const keys = parts.flat();
  if (keys.every((key) => key.number !== undefined)) return "number";
  return column === 0 || keys.every((key) => key.number === undefined) ? "words" : "";
}

// Sort a body's rows; `way` is 1 or -1, and what is missing comes last in both.
function sortBody(body, rows, column, kind, way) {
  const keys = new Map(rows.map((row) => [row, keyOf(row.cells[column])]));
  body.append(...[...rows].sort((one, other) => {
    const [a, b] = [keys.get(one), keys.get(other)];
    if (!a || !b) return !a - !b;
    return way * ((kind === "number" && a.number - b.number) || compare(a.words, b.words));
  }));
}

function makeSortable(table) {
  const bodies = [...table.tBodies].map((body) => [body, rowsOf(body)]);
  const heads = [...table.tHead.rows[0].cells];
  for (const [column, head] of heads.entries()) {
    const kind = kindOf(table, column);
    if (!kind) continue;
    const button = document.createElement("button");
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const next = NEXT.get(head.ariaSort);
      for (const other of heads) other.ariaSort = null;
      head.ariaSort = next;
      for (const [body, rows] of bodies)
        if (next) sortBody(body, rows, column, kind, next === "ascending" ? 1 : -1);
        else body.append(...rows);
    });
  }
}
for (const table of document.querySelectorAll("table")) makeSortable(table);
