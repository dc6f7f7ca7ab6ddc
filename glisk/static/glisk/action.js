// A confirmation is sent once: a second click would only be told so by the server.
"use strict";
for (const form of document.querySelectorAll("form.glisk-action")) {
  form.addEventListener("submit", () => {
    for (const button of form.querySelectorAll("button[type=submit]")) button.disabled = true;
  });
}
