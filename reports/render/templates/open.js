// A number leads to its record: whatever folds the target of a link opens, and the target's own folded parts with it.
function openTarget(hash) {
  const target = document.getElementById(hash.slice(1));
  if (!target) return;
  for (let at = target; at; at = at.parentElement) if (at.tagName === "DETAILS") at.open = true;
  for (const part of target.querySelectorAll("details")) part.open = true;
  target.scrollIntoView();
}
addEventListener("hashchange", () => openTarget(location.hash));
addEventListener("click", ({ target }) => {
  const link = target.closest("a[href^='#']");
  if (link && link.hash === location.hash) openTarget(link.hash); // the address stays, so no hashchange comes
});
if (location.hash) openTarget(location.hash);

// Paper cannot be unfolded: the appendices are open while it prints, but neither long tables nor records.
let folded = [];
addEventListener("beforeprint", () => {
  folded = [...document.querySelectorAll("details.appendix:not([open])")];
  for (const part of folded) part.open = true;
});
addEventListener("afterprint", () => {
  for (const part of folded) part.open = false;
});
