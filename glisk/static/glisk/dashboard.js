// Keeps the admin's dashboard fresh, and says so when it no longer can.
"use strict";
(() => {
  const board = document.getElementById("glisk-dashboard");
  const stale = document.getElementById("glisk-stale");
  const period = Number(board.dataset.seconds) * 1000;
  let fresh = Date.now();

  const say = (text) => {
    stale.textContent = text;
    stale.hidden = !text;
    board.classList.toggle("is-stale", Boolean(text));
  };

  const refresh = async () => {
    if (!document.hidden) {
      try {
        const answer = await fetch(board.dataset.url, {
          credentials: "same-origin",
          signal: AbortSignal.timeout(10000),
        });
        if (answer.redirected || answer.status === 403) {
          say("You are signed out. Reload the page to sign in again.");
          return;
        }
        if (!answer.ok) throw new Error(String(answer.status));
        board.innerHTML = await answer.text();
        fresh = Date.now();
        say("");
      } catch {
        const seconds = Math.round((Date.now() - fresh) / 1000);
        say(`The server does not answer; these figures are ${seconds} s old.`);
      }
    }
    setTimeout(refresh, period);
  };
  setTimeout(refresh, period);
})();
