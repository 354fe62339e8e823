// Elements and texts. Nothing is ever parsed as HTML.

const SVG = "http://www.w3.org/2000/svg";

export const byId = (id) => document.getElementById(id);

/** An element with attributes (and properties that begin with a dot) and children, which may be texts. */
export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith(".")) made[key.slice(1)] = value;
    else if (value !== null && value !== false) made.setAttribute(key, value === true && !key.includes("-") ? "" : value);
  }
  made.append(...children);
  return made;
}

export function svg(name, attributes = {}) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

/** Sets a text only where it is another one: what did not change is not touched. */
export function say(target, text) {
  const node = typeof target === "string" ? byId(target) : target;
  if (node.textContent !== text) node.textContent = text;
}

const whole = new Intl.NumberFormat("en");
const compact = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });

export const count = (number) => whole.format(number);
export const short = (number) => (Math.abs(number) < 100_000 ? whole.format(number) : compact.format(number));

export function rate(number) {
  if (number >= 100) return whole.format(Math.round(number));
  return number.toFixed(number >= 10 || Number.isInteger(number) ? 0 : 1);
}

export function milliseconds(ms) {
  if (ms === null || ms === undefined) return "–";
  if (ms >= 60_000) return `${(ms / 60_000).toFixed(1)} min`;
  if (ms >= 1000) return `${(ms / 1000).toFixed(2)} s`;
  if (ms >= 100) return `${ms.toFixed(0)} ms`;
  if (ms >= 1) return `${ms.toFixed(1)} ms`;
  return `${Math.round(ms * 1000)} µs`;
}

export function bytes(number) {
  if (number >= 1 << 20) return `${(number / (1 << 20)).toFixed(1)} MiB`;
  if (number >= 1 << 10) return `${(number / (1 << 10)).toFixed(0)} KiB`;
  return `${number} B`;
}

export function percent(share) {
  if (share > 0 && share < 0.001) return "<0.1 %";
  if (share > 0.999 && share < 1) return ">99.9 %";
  return `${(100 * share).toFixed(share === 0 || share === 1 ? 0 : 1)} %`;
}

export function clock(unixMs) {
  return new Date(unixMs).toLocaleTimeString("en-GB", { hour12: false });
}

/** The next round number: 1, 2 or 5 with zeros. */
export function nice(number) {
  const unit = 10 ** Math.floor(Math.log10(number));
  return [1, 2, 5, 10].map((factor) => factor * unit).find((bound) => bound >= number);
}
