// Counts a prompt's characters while it is typed, as the server counts them.
"use strict";
document.addEventListener("DOMContentLoaded", () => {
  for (const field of document.querySelectorAll("textarea[data-prompt-limit]")) {
    const limit = Number(field.dataset.promptLimit);
    const counter = document.createElement("p");
    counter.className = "glisk-counter";
    counter.setAttribute("role", "status");
    const count = () => {
      const length = [...field.value.trim()].length; // code points: an emoji is one character
      counter.textContent = `${length} / ${limit}`;
      counter.classList.toggle("is-over", length > limit);
      field.setCustomValidity(length > limit ? `${length - limit} characters too many.` : "");
    };
    field.addEventListener("input", count);
    field.after(counter);
    count();
  }
});
