// The what-if: a slider over the stored attempts.
import { element, format, get, replace, t } from "./core.js";

const slider = document.getElementById("threshold");
const shown = document.getElementById("threshold-value");
const stack = document.getElementById("what-if-stack");
const outcomes = document.getElementById("what-if-outcomes");
const base = document.getElementById("what-if-base");
let running = null;

function outcome(tone, value, name, note = "") {
  const made = element("div");
  made.append(element("dt", "", name), element("dd", "", value));
  if (tone) made.firstChild.prepend(element("span", `dot ${tone}`));
  if (note) made.append(element("dd", "note", note));
  return made;
}

// Fills a bar with shares; empty parts take no space.
export function fill(bar, parts) {
  replace(
    bar,
    parts
      .filter(([, share]) => share > 0)
      .map(([tone, share]) => {
        const made = element("span", tone);
        made.style.flexGrow = String(share);
        return made;
      }),
  );
}

function show(found) {
  const share = (count) => format("share", found.questions ? count / found.questions : null);
  const count = (value) => format("count", value);
  if (!found.questions) {
    fill(stack, []);
    replace(outcomes, []);
    base.textContent = t("whatif.none");
    return;
  }
  const tones = found.passed.map((_, index) => `accepted-${Math.min(index + 1, 3)}`);
  fill(stack, [
    ...found.passed.map((value, index) => [tones[index], value]),
    ["below", found.exhausted],
    ["unknown", found.unknown],
  ]);
  const passed = found.passed.map((value, index) =>
    outcome(
      tones[index],
      share(value),
      index ? t("whatif.passed", { attempt: index + 1 }) : t("whatif.passed.1"),
      count(value),
    ),
  );
  const exact = found.calls_min === found.calls_max;
  const calls = exact
    ? count(found.calls_min)
    : t("whatif.calls.range", { low: count(found.calls_min), high: count(found.calls_max) });
  const mean = format("score", found.mean_score);
  replace(outcomes, [
    ...passed,
    outcome("below", share(found.exhausted), t("whatif.exhausted"), count(found.exhausted)),
    outcome("unknown", share(found.unknown), t("whatif.unknown"), count(found.unknown)),
    outcome("", calls, t("whatif.calls")),
    outcome("", found.unknown ? t("whatif.mean.least", { score: mean }) : mean, t("whatif.mean")),
  ]);
  base.textContent = t(found.unknown ? "whatif.base.unknown" : "whatif.base", {
    count: count(found.questions),
    unknown: count(found.unknown),
  });
}

// Requests the result for the slider's threshold; an older request that is still open is ignored.
export async function showWhatIf() {
  shown.textContent = format("threshold", Number(slider.value));
  running?.abort();
  const mine = (running = new AbortController());
  try {
    show(await get(`/api/what-if?threshold=${slider.value}`, mine.signal));
  } catch (error) {
    if (mine === running && !mine.signal.aborted) base.textContent = error.message;
  }
}

slider.addEventListener("input", showWhatIf);
document.getElementById("threshold-reset").addEventListener("click", () => {
  slider.value = document.body.dataset.threshold;
  showWhatIf();
});
