// On every page: the switch of the theme, and times in the reader's zone.
import { localise, t } from "./core.js";

const YEAR_SECONDS = 31_536_000;
const themes = ["auto", "light", "dark"];
const button = document.getElementById("theme");

function show(theme) {
  document.documentElement.dataset.theme = theme;
  button.dataset.theme = theme;
  button.title = `${t("theme.switch")}: ${t(`theme.${theme}`)}`;
}

button.addEventListener("click", () => {
  const next = themes[(themes.indexOf(document.documentElement.dataset.theme) + 1) % themes.length];
  document.cookie = `theme=${next}; path=/; max-age=${YEAR_SECONDS}; samesite=lax`;
  show(next);
  document.dispatchEvent(new Event("theme"));
});

show(document.documentElement.dataset.theme);
localise(document);
