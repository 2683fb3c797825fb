// The charts: the server returns complete figures, Plotly draws them.
import { get, Problem, t, theme } from "./core.js";

const language = document.documentElement.lang;
const TICK_PX = 100;
// Plotly runs after the modules of the page, which by then have shown the numbers and requested the figures.
const library = new Promise((resolve, reject) => {
  const script = document.getElementById("plotly");
  script.addEventListener("load", resolve);
  script.addEventListener("error", () => reject(new Problem(t("problem.charts"))));
});
library.catch(() => {}); // each update shows this error

// Names of months and days in the reader's language; Plotly's own are English.
function locale() {
  const names = (count, options, moment) =>
    Array.from({ length: count }, (_, index) =>
      new Intl.DateTimeFormat(language, { timeZone: "UTC", ...options }).format(moment(index)),
    );
  const month = (index) => new Date(Date.UTC(2024, index, 1));
  const day = (index) => new Date(Date.UTC(2024, 8, 1 + index)); // the first of September 2024 was a Sunday
  const format = {
    months: names(12, { month: "long" }, month),
    shortMonths: names(12, { month: "short" }, month),
    days: names(7, { weekday: "long" }, day),
    shortDays: names(7, { weekday: "short" }, day),
  };
  return { locale: language, locales: { [language]: { dictionary: {}, format } } };
}

const config = { displayModeBar: false, responsive: true, ...locale() };

// Times arrive in UTC without an offset; the axis shows them in the reader's zone.
function inReadersZone(figure) {
  if (figure.layout.xaxis?.type !== "date") return;
  const two = (value) => String(value).padStart(2, "0");
  for (const trace of figure.data) {
    trace.x = trace.x.map((text) => {
      const moment = new Date(`${text}Z`);
      return `${moment.getFullYear()}-${two(moment.getMonth() + 1)}-${two(moment.getDate())}T${two(moment.getHours())}:${two(moment.getMinutes())}:${two(moment.getSeconds())}`;
    });
  }
}

// Limits the labels of a time axis to the available width.
function thinOut(axis, width) {
  if (axis?.type === "date") axis.nticks = Math.max(2, Math.min(axis.nticks, Math.floor(width / TICK_PX)));
}

async function show(card, figure) {
  const [plot, placeholder, caption] = [".plot", ".placeholder", "figcaption"].map((name) => card.querySelector(name));
  card.classList.toggle("empty-chart", figure.empty);
  plot.hidden = figure.empty;
  placeholder.hidden = !figure.empty;
  placeholder.textContent = figure.summary;
  caption.textContent = figure.empty ? "" : figure.summary;
  if (figure.empty) return;
  const drawn = JSON.stringify([figure.data, figure.layout]);
  if (card.drawn === drawn) return; // redrawing an unchanged chart would take half a second on a small machine
  card.drawn = drawn;
  inReadersZone(figure);
  thinOut(figure.layout.xaxis, plot.clientWidth);
  await globalThis.Plotly.react(plot, figure.data, figure.layout, config);
}

// Requests all charts of the last `hours` (empty: everything); returns a function that shows them.
export function charts(hours) {
  const cards = [...document.querySelectorAll("[data-figure]")];
  const query = new URLSearchParams({ theme: theme(), language });
  if (hours) query.set("hours", hours);
  const fetched = Promise.all([...cards.map((card) => get(`/api/figures/${card.dataset.figure}?${query}`)), library]);
  fetched.catch(() => {}); // the caller handles the error when it awaits; it may fail earlier for another reason
  return async () => {
    const figures = await fetched;
    for (const [index, card] of cards.entries()) {
      await show(card, figures[index]);
      await new Promise((resolve) => setTimeout(resolve)); // keeps the page responsive between two charts
    }
  };
}
