// Whatever folds the target of a link opens.
function openTarget(hash) {
  const target = document.getElementById(hash.slice(1));
  if (!target) return;
  for (let at = target; at; at = at.parentElement) if (at.tagName === "DETAILS") at.open = true;
  target.scrollIntoView();
}
addEventListener("hashchange", () => openTarget(location.hash));
addEventListener("click", ({ target }) => {
  const link = target.closest("a[href^='#']");
  if (link && link.hash === location.hash) openTarget(link.hash); // the address stays, so no hashchange comes
});
if (location.hash) openTarget(location.hash);

// Paper cannot be unfolded: the appendices are open while it prints, but not long tables.
let folded = [];
addEventListener("beforeprint", () => {
  folded = [...document.querySelectorAll("details.appendix:not([open])")];
  for (const part of folded) part.open = true;
});
addEventListener("afterprint", () => {
  for (const part of folded) part.open = false;
});
