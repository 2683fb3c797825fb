// Shared by all pages: texts, formats, requests. Texts are inserted by textContent only, never as markup.
import { fill, formatter, pluralForm } from "./format.js";

const language = document.documentElement.lang;
// The reader's variant of the page's language; it determines 12 or 24 hours, and the order of a date.
const locale = navigator.languages.find((each) => each.split("-")[0] === language) ?? language;
const TIMEOUT_MS = 10_000;

export const format = formatter(locale);

// Fills the placeholders of a text of the catalogue, as viz_service/texts.py does.
export function t(key, values = {}) {
  const text = globalThis.TEXTS[key];
  if (text === undefined) throw new Error(`no text ${key}`);
  return fill(text, values);
}

// Why a service gave no usable answer, in words.
export const reason = ({ kind, detail }) => t(`why.${kind}`, { detail });

export function plural(key, count, values = {}) {
  return t(`${key}.${pluralForm(locale, count)}`, { count: format("count", count), ...values });
}

const times = {
  datetime: new Intl.DateTimeFormat(locale, { dateStyle: "medium", timeStyle: "medium" }),
  short: new Intl.DateTimeFormat(locale, { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" }),
  time: new Intl.DateTimeFormat(locale, { hour: "2-digit", minute: "2-digit", second: "2-digit" }),
};

export function time(kind, moment) {
  return times[kind].format(new Date(moment));
}

// Converts the times below `root` to the reader's zone.
export function localise(root) {
  for (const each of root.querySelectorAll("time[data-when]")) {
    const moment = new Date(each.dateTime);
    if (Number.isNaN(moment.getTime())) continue;
    each.textContent = times[each.dataset.when].format(moment);
    each.title = moment.toISOString();
  }
}

export function element(name, classes = "", text = null) {
  const made = document.createElement(name);
  if (classes) made.className = classes;
  if (text !== null) made.textContent = text;
  return made;
}

// Replaces children only if they differ, so that focus and selection are kept otherwise.
export function replace(parent, children) {
  const made = parent.cloneNode(false);
  made.append(...children);
  if (!made.isEqualNode(parent)) parent.replaceChildren(...made.childNodes);
}

export class Problem extends Error {}

async function answer(address, options) {
  let reply;
  try {
    reply = await fetch(address, { signal: AbortSignal.timeout(TIMEOUT_MS), ...options });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(t("problem.unreachable"));
  }
  return reply;
}

export async function get(address, signal) {
  const options = { headers: { Accept: "application/json" } };
  if (signal) options.signal = AbortSignal.any([signal, AbortSignal.timeout(TIMEOUT_MS)]);
  const reply = await answer(address, options);
  const body = await reply.json().catch(() => ({}));
  if (!reply.ok) throw new Problem(body.detail || t("problem.status", { status: reply.status }));
  return body;
}

// Sends a request that changes something. Its header proves that it comes from this dashboard: see
// viz_service/security.py.
export async function post(address, body = {}) {
  const reply = await answer(address, {
    method: "POST",
    headers: { "Content-Type": "application/json", "X-Requested-With": "askfleet", Accept: "application/json" },
    body: JSON.stringify(body),
  });
  const said = await reply.json().catch(() => ({}));
  if (!reply.ok) throw new Problem(said.detail || t("problem.status", { status: reply.status }));
  return said;
}

// Fetches a page and returns its part of this name, with times in the reader's zone; null if it has none.
export async function part(address, name) {
  const reply = await answer(address, { headers: { Accept: "text/html" } });
  const page = new DOMParser().parseFromString(await reply.text(), "text/html");
  const found = page.querySelector(`[data-live="${name}"]`);
  if (!found && !reply.ok) throw new Problem(t("problem.status", { status: reply.status }));
  if (found) localise(found);
  return found;
}

const system = matchMedia("(prefers-color-scheme: dark)");

// The current theme: the reader's choice or the system's.
export function theme() {
  const chosen = document.documentElement.dataset.theme;
  return chosen === "light" || chosen === "dark" ? chosen : system.matches ? "dark" : "light";
}

export function onTheme(call) {
  system.addEventListener("change", call);
  document.addEventListener("theme", call);
}
