// Before anything is painted: the theme that was chosen here, or the system's.
"use strict";
{
  let theme = null;
  try {
    theme = localStorage.getItem("otlpfast-theme");
  } catch {
    // storage is switched off
  }
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
}
