// Updates the part of a page that is marked data-live: the server renders it, this replaces it.
import { part } from "./core.js";

const refreshMs = Number(document.body.dataset.refreshSeconds) * 1000;
const FOLLOW_MS = 1500; // between refreshes of a question in flight; events refresh it immediately

// Replaces a live part by a newer one; returns the part that is in the page then. The reader's selection is kept.
export async function swap(shown, address) {
  const fresh = await part(address, shown.dataset.live);
  if (!fresh) return shown;
  const chosen = new Set([...shown.querySelectorAll("input:checked")].map((each) => each.value));
  const focused = shown.contains(document.activeElement);
  const before = shown.cloneNode(true);
  for (const each of before.querySelectorAll("button")) each.disabled = false;
  const after = fresh.cloneNode(true);
  for (const each of after.querySelectorAll("button")) each.disabled = false;
  if (before.isEqualNode(after) || focused) return shown;
  for (const each of fresh.querySelectorAll("input[name=question]")) each.checked = chosen.has(each.value);
  shown.replaceWith(fresh);
  fresh.dispatchEvent(new Event("swapped", { bubbles: true }));
  return fresh;
}

// Follows a question until it is final: by events and by polling, because attempts send no events.
export function follow(shown, address, done = () => {}) {
  const id = shown.dataset.questionId;
  const source = new EventSource(`/api/questions/${id}/events`);
  let timer;
  let busy = false;
  let again = false;
  async function refresh() {
    if (busy) {
      again = true;
      return;
    }
    busy = true;
    clearTimeout(timer);
    try {
      shown = await swap(shown, address);
    } catch {
      // temporarily unavailable: the next refresh retries
    }
    busy = false;
    if (shown.dataset.status !== "pending") {
      source.close();
      done(shown);
    } else if (again) {
      again = false;
      refresh();
    } else {
      timer = setTimeout(refresh, FOLLOW_MS);
    }
  }
  for (const kind of ["pending", "completed", "failed"]) source.addEventListener(kind, refresh);
  source.addEventListener("error", () => {
    if (source.readyState === EventSource.CLOSED) refresh();
  });
  refresh();
}

function start() {
  let shown = document.querySelector("[data-live]");
  if (!shown) return;
  if (shown.dataset.live === "question") {
    if (shown.dataset.status === "pending") follow(shown, location.href);
    return;
  }
  async function loop() {
    // A hidden page sends no requests; it updates when it is visible again.
    if (!document.hidden) {
      try {
        shown = await swap(shown, location.href);
      } catch {
        // the list stays unchanged; the next update retries
      }
    }
    setTimeout(loop, refreshMs);
  }
  setTimeout(loop, refreshMs);
}

start();
