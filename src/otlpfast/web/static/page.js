// The page: its connection, its lists, its controls.

import { byId, clock, count, element, milliseconds, say } from "./dom.js";
import { showFigures } from "./figures.js";
import "./themes.js";
import { openTrace } from "./waterfall.js";

let stream = null;
let paused = false;
let stats = null;
let chosen = 0;
let traces = [];
let busy = false;
let again = false;
let lastDropped = null;

// --- the connection

function connect() {
  if (stream || paused || document.hidden) return;
  stream = new EventSource("/events");
  stream.addEventListener("open", () => state("live", "Live"));
  stream.addEventListener("error", () => {
    state("lost", "No connection, trying again");
    if (stream && stream.readyState === EventSource.CLOSED) {
      disconnect(); // it was refused, and would not try again by itself
      setTimeout(connect, 3000);
    }
  });
  stream.addEventListener("stats", (event) => {
    stats = JSON.parse(event.data);
    state("live", "Live");
    show();
  });
  stream.addEventListener("traces", () => refresh());
}

function disconnect() {
  if (stream) stream.close();
  stream = null;
}

function state(name, text) {
  const shown = byId("connection");
  shown.dataset.state = name;
  say(shown, text);
}

document.addEventListener("visibilitychange", () => (document.hidden ? disconnect() : connect()));

// --- figures

function show() {
  choices(stats.processors);
  const processor = stats.processors[chosen] || stats.processors[0];
  showFigures(stats, processor);
  if (!processor) return;
  const dropped = Object.entries(processor.account.dropped)
    .reduce((sum, [reason, number]) => sum + (reason === "sampled_out" ? 0 : number), 0);
  if (lastDropped !== null && dropped > lastDropped) state("live", `Live. ${count(dropped)} spans were dropped so far`);
  lastDropped = dropped;
}

function choices(processors) {
  const select = byId("processor");
  const names = processors.map((processor) => `${processor.name}: ${processor.destination}`);
  if (select.dataset.names === JSON.stringify(names)) return;
  select.dataset.names = JSON.stringify(names);
  select.replaceChildren(...names.map((name, index) => element("option", { value: index, selected: index === chosen }, name)));
  byId("processor-choice").hidden = processors.length < 2;
}

byId("processor").addEventListener("change", (event) => {
  chosen = Number(event.target.value);
  lastDropped = null;
  show();
});

// --- lists

async function refresh() {
  if (busy) {
    again = true;
    return;
  }
  busy = true;
  try {
    const [first, second] = await Promise.all([fetch("/api/traces"), fetch("/api/operations")]);
    if (first.ok && second.ok) {
      ({ traces } = await first.json());
      showTraces();
      showOperations(await second.json());
    }
  } catch {
    // the stream says that the connection is lost, and refreshes when it is back
  }
  busy = false;
  if (again) {
    again = false;
    refresh();
  }
}

function showTraces() {
  // What moves away under the pointer can't be clicked.
  const held = byId("traces").matches(":hover");
  say("traces-note", held && stream ? "held while the pointer is here" : "");
  if (held) return;
  const wanted = byId("filter").value.trim().toLowerCase();
  const onlyErrors = byId("only-errors").checked;
  const shown = traces.filter((trace) =>
    (!onlyErrors || trace.errors) && `${trace.name} ${trace.service} ${trace.trace_id}`.toLowerCase().includes(wanted));
  arrange(byId("traces"), shown.map((trace) => [trace.trace_id, trace, () => traceRow(trace)]));
  const none = byId("no-traces");
  none.hidden = shown.length > 0;
  if (traces.length) say(none, "None of the recent traces is like that.");
}

function traceRow(trace) {
  const open = element("button", { type: "button", class: "link", "aria-haspopup": "dialog" }, trace.name || "(no name)");
  const first = element("th", { scope: "row" }, open);
  if (trace.errors) first.append(element("span", { class: "error-tag" }, trace.errors === 1 ? "error" : `${trace.errors} errors`));
  const row = element("tr", { class: "row" }, first,
    element("td", { class: "muted service-column" }, trace.service),
    element("td", { class: "number" }, count(trace.spans)),
    element("td", { class: "number" }, milliseconds(trace.duration_ms)),
    element("td", { class: "number muted" }, clock(trace.start_unix_ms)));
  row.addEventListener("click", () => openTrace(trace.trace_id));
  return row;
}

function showOperations({ operations, spans, names }) {
  say("operations-note", spans ? `of ${count(spans)} recent spans` : "");
  arrange(byId("operations"), operations.map((operation) => [operation.name, operation, () => operationRow(operation)]));
  byId("no-operations").hidden = names > 0;
}

function operationRow(operation) {
  return element("tr", {},
    element("th", { scope: "row" }, operation.name || "(no name)"),
    element("td", { class: "number" }, count(operation.count)),
    element("td", { class: "number p50-column" }, milliseconds(operation.p50_ms)),
    element("td", { class: "number strong" }, milliseconds(operation.p99_ms)),
    element("td", { class: "number", "data-bad": operation.errors > 0 }, count(operation.errors)));
}

/** Makes the rows of a table these: [key, what it shows, how to make it]. Those that stay are not touched. */
function arrange(body, wanted) {
  const present = new Map([...body.children].map((row) => [row.dataset.key, row]));
  const rows = wanted.map(([key, shown, make]) => {
    const content = JSON.stringify(shown);
    const row = present.get(key);
    if (row && row.dataset.shown === content) return row;
    const made = make();
    made.dataset.key = key;
    made.dataset.shown = content;
    if (row?.contains(document.activeElement)) queueMicrotask(() => made.querySelector("button")?.focus({ preventScroll: true }));
    return made;
  });
  const kept = new Set(rows);
  for (const row of present.values()) if (!kept.has(row)) row.remove();
  rows.forEach((row, index) => {
    if (body.children[index] !== row) body.insertBefore(row, body.children[index] || null);
  });
}

byId("traces").addEventListener("pointerleave", () => setTimeout(showTraces));
byId("filter").addEventListener("input", showTraces);
byId("only-errors").addEventListener("change", showTraces);

// --- controls

byId("pause").addEventListener("click", (event) => {
  paused = !paused;
  event.target.setAttribute("aria-pressed", String(paused));
  if (paused) {
    disconnect();
    state("paused", "Paused");
  } else {
    state("waiting", "Connecting");
    connect();
  }
});

connect();
if (/^#[0-9a-f]{32}$/.test(location.hash)) openTrace(location.hash.slice(1));
