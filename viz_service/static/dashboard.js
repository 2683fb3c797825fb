// Fetches everything, then shows everything: what is on the page belongs together. Texts go in by textContent only.
"use strict";

const TIMEOUT_MS = 10_000;
const refreshMs = Number(document.body.dataset.refreshSeconds) * 1000;
const dark = matchMedia("(prefers-color-scheme: dark)");
const element = (id) => document.getElementById(id);

const number = (digits) => new Intl.NumberFormat("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
const compact = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 3 });
const formats = {
  count: (value) => number(0).format(value),
  large: (value) => (value < 10_000 ? number(0) : compact).format(value),
  score: (value) => number(3).format(value),
  range: ({ min, max }) => (min === null ? "–" : `${number(2).format(min)}–${number(2).format(max)}`),
  threshold: (value) => number(2).format(value),
  percent: (value) => `${number(1).format(value)}%`,
  duration: (ms) => (ms < 1000 ? `${number(0).format(ms)} ms` : ms < 60_000 ? `${number(1).format(ms / 1000)} s` : `${number(1).format(ms / 60_000)} min`),
};
const format = (kind, value) => (value === null || value === undefined ? "–" : formats[kind](value));
const qualities = { accepted: "accepted", max_retries_reached: "best of all attempts", unscored: "unscored" };

async function get(address) {
  let response;
  try {
    response = await fetch(address, { signal: AbortSignal.timeout(TIMEOUT_MS), headers: { Accept: "application/json" } });
  } catch {
    throw new Error("The dashboard service does not answer.");
  }
  const body = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(body.detail || `The dashboard service answered with status ${response.status}.`);
  return body;
}

function showStatistics(statistics) {
  for (const target of document.querySelectorAll("[data-value]")) {
    const value = target.dataset.value.split(".").reduce((part, key) => part?.[key], statistics);
    target.textContent = format(target.dataset.format, value);
  }
}

async function showFigure(card, figure) {
  const [plot, placeholder, caption] = [".plot", ".placeholder", "figcaption"].map((name) => card.querySelector(name));
  plot.hidden = figure.empty;
  placeholder.hidden = !figure.empty;
  placeholder.textContent = figure.summary;
  caption.textContent = figure.empty ? "" : figure.summary;
  if (!figure.empty) await Plotly.react(plot, figure.data, figure.layout, { displayModeBar: false, responsive: true });
}

function showQuestions(questions, threshold) {
  const section = element("questions").parentElement;
  element("questions").hidden = !questions.length;
  section.querySelector(".placeholder").hidden = questions.length > 0;
  section.querySelector(".placeholder").textContent = "No questions yet.";
  element("questions").tBodies[0].replaceChildren(
    ...questions.map((question) => {
      const row = element("question-row").content.cloneNode(true).firstElementChild;
      const score = question.bert_score;
      const texts = [
        question.question_text,
        format("count", question.times_asked),
        qualities[question.quality] ?? question.status,
        format("score", score),
        format("count", question.processing_attempts),
      ];
      texts.forEach((text, index) => (row.cells[index].textContent = text));
      if (score !== null) row.cells[3].classList.add(score < threshold ? "below" : "above");
      return row;
    }),
  );
}

function setState(state, text, problem = "") {
  // Written only when it changes: screen readers announce these two, and not each update.
  document.body.dataset.state = state;
  if (element("state").textContent !== text) element("state").textContent = text;
  if (element("banner").textContent !== problem) element("banner").textContent = problem;
  element("banner").hidden = !problem;
}

async function update() {
  const theme = dark.matches ? "dark" : "light";
  const cards = [...document.querySelectorAll("[data-figure]")];
  try {
    if (!window.Plotly) throw new Error("The chart library could not be loaded. Reload the page.");
    const [statistics, top, ...figures] = await Promise.all([
      get("/api/statistics"),
      get("/api/questions/top?limit=10"),
      ...cards.map((card) => get(`/api/figures/${card.dataset.figure}?theme=${theme}`)),
    ]);
    showStatistics(statistics);
    showQuestions(top.most_asked, statistics.threshold);
    await Promise.all(figures.map((figure, index) => showFigure(cards[index], figure)));
    element("updated").dateTime = statistics.generated_at;
    element("updated").textContent = `${statistics.generated_at.slice(11, 19)} UTC`;
    setState("live", "Live");
  } catch (error) {
    const seen = element("updated").dateTime ? "The numbers below are from the last update." : "There is nothing to show yet.";
    if (!element("updated").dateTime) for (const each of document.querySelectorAll(".placeholder")) each.textContent = "Nothing to show yet.";
    setState("stale", "Not updating", `${error.message.replace(/\.?$/, ".")} ${seen} Next try in ${refreshMs / 1000} s.`);
  }
}

let timer;
let running = false;
async function loop() {
  clearTimeout(timer);
  if (running || document.hidden) return; // a hidden page asks for nothing; it updates when it is seen again
  running = true;
  await update();
  running = false;
  timer = setTimeout(loop, refreshMs);
}

document.addEventListener("visibilitychange", loop);
dark.addEventListener("change", loop);
loop();
