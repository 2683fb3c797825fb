// Retries selected failed questions.
import { format, plural, post, t } from "./core.js";
import { swap } from "./live.js";

const result = document.getElementById("retried");
const list = () => document.querySelector('[data-live="failed"]');
const boxes = () => [...document.querySelectorAll("input[name=question]")];

function update() {
  const chosen = boxes().filter((each) => each.checked);
  const button = document.querySelector('[data-retry="selected"]');
  const all = document.querySelector("[data-all]");
  if (button) button.disabled = !chosen.length;
  if (all) {
    all.checked = chosen.length > 0 && chosen.length === boxes().length;
    all.indeterminate = chosen.length > 0 && !all.checked;
  }
}

async function retry(ids) {
  for (const each of document.querySelectorAll("[data-retry]")) each.disabled = true;
  let asked = 0;
  const problems = [];
  for (const id of ids) {
    try {
      await post(`/api/failed/${id}/retry`);
      asked += 1;
    } catch (error) {
      problems.push(error.message);
    }
  }
  const texts = [plural("failed.retried", asked)];
  if (problems.length)
    texts.push(t("failed.not_retried", { count: format("count", problems.length), reason: problems[0] }));
  result.textContent = texts.join(" ");
  result.classList.toggle("failed", problems.length > 0);
  result.hidden = false;
  for (const each of document.querySelectorAll("[data-retry]")) each.disabled = false;
  for (const each of boxes()) each.checked = false;
  document.activeElement?.blur(); // the focused element is about to be removed
  await swap(list(), location.href).catch(() => {});
  update();
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-retry]");
  if (!button) return;
  const wanted = button.dataset.retry;
  retry(
    wanted === "selected"
      ? boxes()
          .filter((each) => each.checked)
          .map((each) => each.value)
      : [wanted],
  );
});
document.addEventListener("change", (event) => {
  if (event.target.matches("[data-all]")) for (const each of boxes()) each.checked = event.target.checked;
  if (event.target.matches("[data-all], input[name=question]")) update();
});
document.addEventListener("swapped", update);
update();
