// The button that chooses a theme, for pages that have one.

import { byId, say } from "./dom.js";

const THEMES = ["system", "light", "dark"];

function setTheme(theme) {
  const root = document.documentElement;
  if (theme === "system") delete root.dataset.theme;
  else root.dataset.theme = theme;
  say("theme", `Theme: ${theme}`);
}

byId("theme").addEventListener("click", () => {
  const theme = THEMES[(THEMES.indexOf(document.documentElement.dataset.theme || "system") + 1) % THEMES.length];
  setTheme(theme);
  try {
    localStorage.setItem("otlpfast-theme", theme);
  } catch {
    // then only until the page is loaded again
  }
});

setTheme(document.documentElement.dataset.theme || "system");
byId("theme").hidden = false;
