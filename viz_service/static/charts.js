// The charts: figures come ready from the server, Plotly draws them. It is fetched after the numbers are on the page.
import { element, get, t, theme } from "./core.js";

const language = document.documentElement.lang;
const address = document.getElementById("overview-script").dataset.plotly;
let library;

function loaded() {
  library ??= new Promise((resolve, reject) => {
    const script = element("script");
    script.src = address;
    script.onload = resolve;
    script.onerror = () => reject(new Error(t("problem.charts")));
    document.head.append(script);
  });
  return library;
}

// Names of months and days as the reader's language has them; Plotly's own are English.
function locale() {
  const names = (count, options, moment) => Array.from({ length: count }, (_, index) => new Intl.DateTimeFormat(language, { timeZone: "UTC", ...options }).format(moment(index)));
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
  await globalThis.Plotly.react(plot, figure.data, figure.layout, config);
}

// Fetches and shows all charts for the last `hours` (empty: everything).
export async function showCharts(hours) {
  const cards = [...document.querySelectorAll("[data-figure]")];
  const query = new URLSearchParams({ theme: theme(), language });
  if (hours) query.set("hours", hours);
  const [figures] = await Promise.all([Promise.all(cards.map((card) => get(`/api/figures/${card.dataset.figure}?${query}`))), loaded()]);
  for (const [index, figure] of figures.entries()) {
    await show(cards[index], figure);
    await new Promise((resolve) => setTimeout(resolve)); // the page stays at hand between two charts
  }
}
