// A flame graph in the page: the elements of the picture and nothing else of it, and flame.js to use it.

import { svg as made } from "./dom.js";

const ELEMENTS = new Set(["svg", "g", "rect", "text", "title"]);
// What the picture has to stand alone. The page has it already, and its policy would complain.
const OWN = /<(style|script)><!\[CDATA\[[^]*?\]\]><\/\1>/g;
const ATTRIBUTES = new Set(["class", "x", "y", "width", "height", "viewBox", "role", "aria-label", "data-own"]);

// The text is a document of its own, in which no script runs; only what is listed above is taken from it.
const policy = globalThis.trustedTypes?.createPolicy("otlpfast-flame", { createHTML: (text) => text });
let woken = 0;

/** The graph of a picture: `svg` is to be put into the page, then `wake()` is to be called. */
export function flame(text) {
  const bare = text.replace(OWN, "");
  const picture = new DOMParser().parseFromString(policy ? policy.createHTML(bare) : bare, "image/svg+xml");
  const svg = copy(picture.documentElement);
  return {
    svg,
    wake() {
      // Each time it is loaded it takes charge of the graphs that are new.
      if (!("ready" in svg.dataset)) import(`./flame.js?${woken++}`);
    },
  };
}

function copy(element) {
  const attributes = [...element.attributes].filter(({ name }) => ATTRIBUTES.has(name));
  const node = made(element.localName, Object.fromEntries(attributes.map(({ name, value }) => [name, value])));
  for (const child of element.childNodes) {
    if (child.nodeType === Node.TEXT_NODE) node.append(child.data);
    else if (ELEMENTS.has(child.localName)) node.append(copy(child));
  }
  return node;
}
