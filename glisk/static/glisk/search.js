// "/" and Ctrl+K lead to the search in the header, Escape out of it. On a list "/" is the list's own.
"use strict";
document.addEventListener("keydown", (event) => {
  const field = document.getElementById("glisk-search");
  if (!field) return;
  const at = document.activeElement;
  const types = at.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(at.tagName);
  const wanted = event.key === "k" && (event.ctrlKey || event.metaKey);
  if (wanted || (event.key === "/" && !types && !document.getElementById("searchbar"))) {
    event.preventDefault();
    field.focus();
    field.select();
  } else if (event.key === "Escape" && at === field) {
    field.blur();
  }
});
