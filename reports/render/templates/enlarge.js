// A figure, or the button below it, opens the figure as large as the window; Escape, Close or a click beside it closes it.
const large = document.createElement("dialog");
document.body.append(large);
large.addEventListener("close", () => large.replaceChildren());
large.addEventListener("click", ({ target }) => {
  if (target === large || target.closest(".close")) large.close();
});

function newButton(words, name) {
  const button = document.createElement("button");
  button.className = name;
  button.textContent = words;
  return button;
}

function enlarge(figure, button) {
  const copy = figure.cloneNode(true);
  copy.removeAttribute("id");
  copy.querySelector(".enlarge").remove();
  large.replaceChildren(newButton("Close", "close"), copy);
  large.ariaLabel = button.ariaLabel;
  button.focus(); // where the focus returns to when the dialog closes
  large.showModal();
}

for (const figure of document.querySelectorAll(".figures > figure")) {
  const drawing = figure.querySelector("[role=img]");
  const button = newButton("Enlarge", "enlarge");
  button.ariaLabel = `Enlarge: ${figure.querySelector(".words").textContent.split(/[.:;] /)[0]}`;
  figure.querySelector(".files").prepend(button, " ");
  for (const part of [button, drawing]) part.addEventListener("click", () => enlarge(figure, button));
}
