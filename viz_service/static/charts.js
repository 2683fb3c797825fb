// The charts: figures come ready from the server, Plotly draws them.
import { get, Problem, t, theme } from "./core.js";

const language = document.documentElement.lang;
const TICK_PX = 100;
// Plotly runs after the modules of the page, which have shown the numbers and asked for the figures by then.
const library = new Promise((resolve, reject) => {
  const script = document.getElementById("plotly");
  script.addEventListener("load", resolve);
  script.addEventListener("error", () => reject(new Problem(t("problem.charts"))));
});
library.catch(() => {}); // each update says so

// Names of months and days as the reader's language has them; Plotly's own are English.
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

// Times come in UTC without an offset; the axis shows them in the reader's zone.
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

// Only as many labels of times side by side as there is room for.
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
  if (card.drawn === drawn) return; // drawing again what is there would cost half a second on a small machine
  card.drawn = drawn;
  inReadersZone(figure);
  thinOut(figure.layout.xaxis, plot.clientWidth);
  await globalThis.Plotly.react(plot, figure.data, figure.layout, config);
}

// Asks for all charts of the last `hours` (empty: everything); returns what shows them.
export function charts(hours) {
  const cards = [...document.querySelectorAll("[data-figure]")];
  const query = new URLSearchParams({ theme: theme(), language });
  if (hours) query.set("hours", hours);
  const fetched = Promise.all([...cards.map((card) => get(`/api/figures/${card.dataset.figure}?${query}`)), library]);
  fetched.catch(() => {}); // it is for the caller to hear of, who may have another problem before
  return async () => {
    const figures = await fetched;
    for (const [index, card] of cards.entries()) {
      await show(card, figures[index]);
      await new Promise((resolve) => setTimeout(resolve)); // the page stays at hand between two charts
    }
  };
}
