// Follows the pipeline: asks for the gallery's state and moves what has changed.
"use strict";
(() => {
  const PERIOD = 2500;
  const LONGEST_PERIOD = 30000;
  const cards = document.getElementById("cards");
  const boxes = document.getElementById("way-list");
  const signal = document.getElementById("signal");
  const older = document.getElementById("older");
  const LINKS = [["metadata_url", "Metadata"], ["transaction_url", "Reveal"], ["explorer_url", "Token"], ["provenance_url", "Verify"]];

  const clone = (id) => document.getElementById(id).content.firstElementChild.cloneNode(true);
  const byToken = (list) => new Map([...list.children].map((item) => [Number(item.dataset.token), item]));

  // A picture that the gateway does not show leaves its frame and a word of explanation.
  const watchImage = (frame) => {
    const image = frame.querySelector("img");
    if (!image) return;
    const settle = () => {
      frame.classList.toggle("is-missing", image.naturalWidth === 0);
      frame.classList.add("is-settled");
    };
    if (image.complete && image.getAttribute("src")) settle();
    image.addEventListener("load", settle);
    image.addEventListener("error", settle);
  };

  const fillBox = (box, token) => {
    box.dataset.token = token.token_id;
    box.dataset.status = token.status;
    box.className = `box is-${token.status}`;
    box.querySelector(".box-id").textContent = `#${token.token_id}`;
    box.querySelector(".box-state").textContent = token.status;
  };

  const makeCard = (token) => {
    const card = clone("card-template");
    card.dataset.token = token.token_id;
    const frame = card.querySelector(".frame");
    const image = frame.querySelector("img");
    if (token.image_url) {
      frame.href = token.image_url;
      image.alt = token.name;
      image.src = token.image_url;
    } else {
      frame.classList.add("is-unknown");
      image.remove();
    }
    card.querySelector("h3").textContent = `#${token.token_id}`;
    const by = card.querySelector(".by");
    by.textContent = token.author;
    by.title = token.author_address;
    for (const [key, text] of LINKS) {
      if (!token[key]) continue;
      const link = document.createElement("a");
      Object.assign(link, { href: token[key], textContent: text, target: "_blank", rel: "noopener noreferrer" });
      card.querySelector(".links").append(link);
    }
    watchImage(frame);
    return card;
  };

  // Puts `wanted` into the list in order, with as few moves as possible.
  const arrange = (list, wanted) => {
    const kept = new Set(wanted);
    for (const item of [...list.children]) if (!kept.has(item)) item.remove();
    wanted.forEach((item, index) => {
      if (list.children[index] !== item) list.insertBefore(item, list.children[index] ?? null);
    });
  };

  const show = (state) => {
    const oldBoxes = byToken(boxes);
    arrange(boxes, state.under_way.map((token) => {
      const box = oldBoxes.get(token.token_id) ?? clone("box-template");
      if (box.dataset.status !== token.status) fillBox(box, token);
      return box;
    }));
    document.getElementById("way").hidden = state.under_way.length === 0;

    const oldCards = byToken(cards);
    arrange(cards, state.revealed.map((token) => oldCards.get(token.token_id) ?? makeCard(token)));
    document.getElementById("empty").hidden = state.revealed.length > 0;
    document.getElementById("unknown")?.remove();
    // The cards have moved on: what left this page is on the next one.
    older.href = state.older_url;
    older.hidden = !state.older_url;
  };

  const say = (text, isFresh) => {
    signal.querySelector("[data-text]").textContent = text;
    signal.classList.toggle("is-lost", !isFresh);
  };

  let tag = "";
  let failures = 0;
  const ask = async () => {
    try {
      const answer = await fetch(document.body.dataset.updates, {
        headers: tag ? { "If-None-Match": tag } : {},
        cache: "no-store",
        signal: AbortSignal.timeout(10000),
      });
      if (answer.status === 200) {
        const state = await answer.json();
        tag = answer.headers.get("ETag") ?? "";
        show(state);
      } else if (answer.status !== 304) {
        throw new Error(String(answer.status));
      }
      failures = 0;
      say("Live", true);
    } catch {
      failures += 1;
      say("The server does not answer. Trying again…", false);
    }
  };

  const follow = async () => {
    if (!document.hidden) await ask();
    setTimeout(follow, Math.min(PERIOD * 2 ** failures, LONGEST_PERIOD));
  };

  document.querySelectorAll(".frame").forEach(watchImage);
  if (document.body.dataset.live === "yes") {
    setTimeout(follow, PERIOD);
    document.addEventListener("visibilitychange", () => { if (!document.hidden) ask(); });
  }
})();
