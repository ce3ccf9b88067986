// Above the table of plans: one encoder, GPU and number of devices, with images and a price of your own.
function field(form, words, control) {
  const label = document.createElement("label");
  label.append(words, " ", control);
  form.append(label);
  return control;
}

function choice(names) {
  const select = document.createElement("select");
  for (const name of new Set(names)) select.add(new Option(name));
  return select;
}

function amount(value) {
  const input = document.createElement("input");
  Object.assign(input, { type: "number", min: 0, step: "any", value });
  return input;
}

function makeCalculator(figure) {
  const outer = figure.closest("details.folded") ?? figure;
  const [head] = figure.querySelectorAll("thead tr");
  const column = (words) => [...head.cells].findIndex((cell) => cell.textContent.trim() === words);
  const [devices, hours, ratio] = ["Devices", "Device-hours", "Relative device-hours"].map(column);
  const planned = Number(outer.querySelector("figcaption, summary").textContent.match(/[\d,]+/)[0].replaceAll(",", ""));
  const plans = [...figure.querySelectorAll("tbody")].map((body) => ({ name: body.rows[0].textContent, rows: rowsOf(body) }));
  const written = (number) => number.toLocaleString("en", { maximumSignificantDigits: 3 });
  const range = (cell) => [...(cell.querySelector("small")?.textContent ?? "").matchAll(/[\d,.]+/g)].map(([words]) => Number(words.replaceAll(",", "")));

  const form = document.createElement("form");
  form.className = "calculator";
  const where = field(form, "Encoder and GPU", choice(plans.map(({ name }) => name)));
  const many = field(form, "Devices", choice(plans[0].rows.map((row) => row.cells[devices].textContent)));
  const images = field(form, "Images (billions)", amount(planned / 1e9));
  const price = field(form, "Price of a device-hour", amount(2.5));
  const result = document.createElement("output");
  form.append(result);

  function calculate() {
    const { rows } = plans.find(({ name }) => name === where.value);
    const list = document.createElement("ul");
    const [below] = rows;
    for (const row of rows.filter((row) => row.cells[devices].textContent === many.value)) {
      const times = (images.value * 1e9) / planned;
      const all = keyOf(row.cells[hours]).number * times;
      const [low, high] = range(row.cells[hours]).map((number) => number * times);
      const days = all / Number(many.value.replaceAll(",", "")) / 24;
      const item = document.createElement("li");
      const between = (factor) => (low === undefined ? "" : ` (${written(low * factor)} to ${written(high * factor)})`);
      const name = document.createElement("b");
      name.textContent = row.cells[0].textContent;
      item.append(name, `: ${written(days)} days, ${written(all)} device-hours${between(1)}, price ${written(all * price.value)}${between(price.value)}, ${row.cells[ratio].firstChild.textContent} ${below.cells[0].textContent}’s`);
      list.append(item);
    }
    result.replaceChildren(list);
  }
  form.addEventListener("input", calculate);
  form.addEventListener("submit", (event) => event.preventDefault());
  outer.before(form);
  calculate();
}
for (const figure of document.querySelectorAll("#table-plan")) makeCalculator(figure);
