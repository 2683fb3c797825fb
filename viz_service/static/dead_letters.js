// Replays dead letters.
import { post, t } from "./core.js";
import { swap } from "./live.js";

const result = document.getElementById("replayed");
const list = () => document.querySelector('[data-live="dead-letters"]');
const buttons = () => document.querySelectorAll("[data-replay]");

async function replay(id) {
  for (const each of buttons()) each.disabled = true;
  let problem = null;
  try {
    await post(`/api/dead-letters/${id}/replay`);
  } catch (error) {
    problem = error.message;
  }
  result.textContent =
    problem === null ? t("dead_letters.replayed") : t("dead_letters.not_replayed", { reason: problem });
  result.classList.toggle("failed", problem !== null);
  result.hidden = false;
  for (const each of buttons()) each.disabled = false;
  document.activeElement?.blur(); // the focused element is about to be removed
  await swap(list(), location.href).catch(() => {});
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-replay]");
  if (button) replay(button.dataset.replay);
});
