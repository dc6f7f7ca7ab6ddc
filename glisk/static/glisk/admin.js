// Copies addresses, hashes and CIDs; shows whole what is cut, also where no mouse points at it; leads
// to the search; sends a confirmation once.
"use strict";
(() => {
  const said = document.createElement("p");
  said.className = "glisk-said";
  said.setAttribute("role", "status");
  document.addEventListener("DOMContentLoaded", () => document.body.append(said));

  // It stays until the next click or Escape: a long hash wants time to be read.
  const say = (text) => { said.textContent = text; };

  // Over plain HTTP browsers have no clipboard but the one of a selected text.
  const copyBySelection = (text) => {
    const area = document.createElement("textarea");
    area.value = text;
    area.style.position = "fixed";
    document.body.append(area);
    area.select();
    const isDone = document.execCommand("copy");
    area.remove();
    return isDone;
  };

  const copy = async (button) => {
    let isDone = true;
    try {
      await navigator.clipboard.writeText(button.value);
    } catch {
      isDone = copyBySelection(button.value);
      button.focus();
    }
    say(isDone ? `Copied: ${button.value}` : button.value);
  };

  document.addEventListener("click", (event) => {
    const button = event.target.closest(".glisk-copy");
    const cut = event.target.closest("[title]");
    if (button) {
      copy(button);
    } else if (cut && !event.target.closest("a, button, input, label, select, summary")) {
      say(cut.title);
    } else if (!said.contains(event.target)) {
      say("");
    }
  });

  // "/" and Ctrl+K lead to the search in the header, Escape out of it. On a list "/" is the list's own.
  document.addEventListener("keydown", (event) => {
    const field = document.getElementById("glisk-search");
    const at = document.activeElement;
    const types = at.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(at.tagName);
    const wanted = event.key === "k" && (event.ctrlKey || event.metaKey);
    if (event.key === "Escape") {
      say("");
      if (at === field) at.blur();
    } else if (field && (wanted || (event.key === "/" && !types && !document.getElementById("searchbar")))) {
      event.preventDefault();
      field.focus();
      field.select();
    }
  });

  // The server would only say that a second click changes nothing.
  document.addEventListener("submit", (event) => {
    if (!event.target.matches("form.glisk-action")) return;
    for (const button of event.target.querySelectorAll("button[type=submit]")) button.disabled = true;
  });
})();
