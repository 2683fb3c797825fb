// Formats numbers and texts for people. Pure functions: nothing here changes the page.

const NONE = "–";

// Fills the placeholders of a text: "{count} of {total}". A placeholder without a value stays.
export function fill(text, values = {}) {
  return text.replace(/\{([\w.-]+)\}/g, (gap, name) => values[name] ?? gap);
}

// The form of a plural: "one" or "other".
export function pluralForm(locale, count) {
  return new Intl.PluralRules(locale).select(count) === "one" ? "one" : "other";
}

// Returns a function that formats a value of a kind ("score", "duration", …) in a locale.
export function formatter(locale) {
  const number = (digits, more = {}) =>
    new Intl.NumberFormat(locale, { minimumFractionDigits: digits, maximumFractionDigits: digits, ...more });
  const [whole, one, two, three] = [0, 1, 2, 3].map((digits) => number(digits));
  const small = new Intl.NumberFormat(locale, { minimumSignificantDigits: 3, maximumSignificantDigits: 3 });
  const percent = number(1, { style: "percent" });
  const minus = (text) => text.replace("-", "\u2212");

  const cost = (value) => {
    if (Number(value) >= 1) return two.format(value);
    return (Number(value) ? small : whole).format(value);
  };
  const rate = (value) => {
    if (value === 0) return "0";
    return value < 10 ? one.format(Math.max(value, 0.1)) : whole.format(value);
  };
  const duration = (ms) => {
    if (ms < 1000) return `${whole.format(ms)}\u00a0ms`;
    return ms < 60_000 ? `${one.format(ms / 1000)}\u00a0s` : `${one.format(ms / 60_000)}\u00a0min`;
  };
  const formats = {
    count: (value) => whole.format(value),
    cost,
    ratio: (value) => two.format(value),
    score: (value) => minus(three.format(value)),
    threshold: (value) => minus(two.format(value)),
    share: (value) => percent.format(value),
    percent: (value) => percent.format(value / 100),
    rate,
    duration,
  };
  return (kind, value) => (value === null || value === undefined ? NONE : formats[kind](value));
}
