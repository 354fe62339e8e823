// The page of profiles: figures that live, profiles that are taken here, and what is shown of them.

import { byId, bytes, clock, count, element, percent, say } from "./dom.js";
import { flame } from "./graph.js";
import "./themes.js";

const TICK = 2000; // milliseconds between two looks at the figures
const MAX_KEPT = 20;

const most = Number(byId("main").dataset.maxSeconds);
const taken = []; // the newest first
let shown = null;
let running = null;
let by = "flat";

// --- figures

async function look() {
  if (document.hidden) return;
  try {
    const answer = await fetch("status", { cache: "no-store" });
    if (!answer.ok) throw new Error(await answer.text());
    figures(await answer.json());
    state("live", "Live");
  } catch {
    state("lost", "No connection, trying again");
  }
}

function state(name, text) {
  byId("connection").dataset.state = name;
  say("connection", text);
}

function figures(status) {
  const { counts, gc_collections: collections } = status;
  say("program", `process ${status.pid}`);
  for (const row of byId("profiles").rows) {
    const number = counts[row.dataset.name];
    say(row.querySelector(".count"), number === null ? "–" : count(number));
    row.querySelector(".seconds").placeholder = number === null ? "10" : "now"; // what is off runs for so long
  }
  terms("figures", [
    ["threads", count(counts.threads)],
    ["tasks", count(counts.tasks)],
    ["CPU", `${status.cpu_seconds.toFixed(1)} s`],
    ["memory (RSS)", status.rss_bytes === null ? "–" : bytes(status.rss_bytes)],
    ["heap in use", status.heap_bytes === null ? "not sampled" : bytes(status.heap_bytes)],
    ["GC runs", collections.map(count).join(" / ")],
  ]);
  terms("facts", [["Process", status.pid], ["Python", status.python], ["Program", status.program]]);
}

function terms(id, entries) {
  const list = byId(id);
  if (list.children.length !== entries.length) {
    list.replaceChildren(...entries.map(([name]) => element("div", {}, element("dt", {}, name), element("dd"))));
  }
  entries.forEach(([, value], index) => say(list.children[index].lastChild, String(value)));
}

// --- taking one

async function take(name, input) {
  const seconds = Number(input.value.trim() || input.placeholder) || 0;
  if (!input.validity.valid || !(seconds >= 0 && seconds <= most)) return complain(`${name}: more than 0 and at most ${most} seconds are allowed`);
  complain("");
  running = { name, seconds, begun: performance.now(), stop: new AbortController() };
  busy(true);
  const query = new URLSearchParams({ format: "page", ...(seconds ? { seconds: String(seconds) } : {}) });
  try {
    const answer = await fetch(`${name}?${query}`, { signal: running.stop.signal, cache: "no-store" });
    if (answer.ok) keep({ ...(await answer.json()), name });
    else complain(`${name}: ${(await answer.text()).trim()}`);
  } catch (error) {
    complain(error.name === "AbortError" ? "" : `${name}: the connection was lost`);
  }
  busy(false);
  look();
}

function complain(text) {
  byId("trouble").hidden = text === "";
  say("trouble", text);
}

function busy(yes) {
  for (const button of document.querySelectorAll(".begin")) button.disabled = yes;
  byId("progress").hidden = !yes;
  if (!yes) {
    running = null;
    return;
  }
  say("progress-title", `Taking ${running.name}`);
  progress();
}

function progress() {
  if (!running) return;
  const passed = (performance.now() - running.begun) / 1000;
  const share = running.seconds ? Math.min(passed / running.seconds, 1) : 1;
  byId("bar").value = share;
  const left = Math.max(running.seconds - passed, 0);
  say("progress-note", share < 1 ? `${Math.ceil(left)} s to go` : "being put together");
  setTimeout(progress, 200);
}

// --- what was taken here

function keep(profile) {
  profile.at = Date.now();
  taken.unshift(profile);
  for (const old of taken.splice(MAX_KEPT)) for (const url of old.urls ?? []) URL.revokeObjectURL(url);
  byId("taken").replaceChildren(...taken.map((one, index) => element("option", { value: index }, title(one))));
  show(profile);
  byId("viewer").scrollIntoView({ block: "nearest" });
  byId("viewer-title").focus({ preventScroll: true });
}

function title(profile) {
  const length = profile.duration_nanos ? `, ${quantity(profile.duration_nanos, "nanoseconds")}` : "";
  return `${profile.name}${length}, ${clock(profile.at)}`;
}

function show(profile) {
  shown = profile;
  byId("viewer").hidden = false;
  byId("taken").value = String(taken.indexOf(profile));
  say("viewer-title", title(profile));
  profile.graph ??= flame(profile.svg);
  byId("view-flame").replaceChildren(profile.graph.svg);
  profile.graph.wake();
  files(profile);
  table();
  about(profile);
}

function files(profile) {
  const stem = `${profile.name}-${new Date(profile.at).toISOString().replace(/[-:]|\..*/g, "")}`;
  profile.urls ??= [
    new Blob([Uint8Array.from(atob(profile.pprof), (character) => character.charCodeAt(0))], { type: "application/octet-stream" }),
    new Blob([profile.speedscope], { type: "application/json" }),
    new Blob([profile.svg], { type: "image/svg+xml" }),
  ].map((blob) => URL.createObjectURL(blob));
  ["pprof", "speedscope", "svg"].forEach((name, index) => {
    const link = byId(`file-${name}`);
    link.href = profile.urls[index];
    link.download = `${stem}.${{ pprof: "pb.gz", speedscope: "speedscope.json", svg: "svg" }[name]}`;
  });
}

function about(profile) {
  terms("about", [
    ["Values", `${profile.type} in ${profile.unit}`],
    ["Total", quantity(profile.total, profile.unit)],
    ["Stacks", count(profile.samples)],
    ["How it was taken", profile.comments.join("; ") || "–"],
  ]);
}

function table() {
  const wanted = byId("search").value.trim().toLowerCase();
  const rows = shown.top
    .filter((row) => `${row.function} ${row.filename}`.toLowerCase().includes(wanted))
    .sort((one, other) => Math.abs(other[by]) - Math.abs(one[by]));
  const cells = (row, name) => [
    element("td", { class: "number" }, quantity(row[name], shown.unit)),
    element("td", { class: "number muted" }, percent(row[`${name}_percent`] / 100)),
  ];
  byId("top").replaceChildren(...rows.map((row) => element("tr", {},
    element("th", { scope: "row" }, row.function, element("span", { class: "note place" }, `${row.filename}:${row.line}`)),
    ...cells(row, "flat"), ...cells(row, "cum"))));
  byId("no-top").hidden = rows.length > 0;
  say("no-top", shown.top.length ? "No function is called like that." : "Nothing was counted.");
}

function quantity(number, unit) {
  const sign = number < 0 ? "−" : "";
  const size = Math.abs(number);
  if (unit === "bytes") return sign + bytes(size);
  if (unit !== "nanoseconds") return sign + count(size);
  if (size >= 1e9) return `${sign}${(size / 1e9).toFixed(2)} s`;
  if (size >= 1e6) return `${sign}${(size / 1e6).toFixed(1)} ms`;
  return `${sign}${(size / 1e3).toFixed(1)} µs`;
}

// --- controls

for (const row of byId("profiles").rows) {
  const input = row.querySelector(".seconds");
  input.max = most;
  const begin = () => running || take(row.dataset.name, input);
  row.querySelector(".begin").addEventListener("click", begin);
  input.addEventListener("keydown", (event) => event.key === "Enter" && begin());
}
for (const hidden of document.querySelectorAll(".take")) hidden.hidden = false;

byId("cancel").addEventListener("click", () => running?.stop.abort());
byId("taken").addEventListener("change", (event) => show(taken[Number(event.target.value)]));
byId("search").addEventListener("input", table);

for (const button of document.querySelectorAll("[data-view]")) {
  button.addEventListener("click", () => {
    for (const other of document.querySelectorAll("[data-view]")) {
      other.setAttribute("aria-pressed", String(other === button));
      byId(`view-${other.dataset.view}`).hidden = other !== button;
    }
    byId("search-choice").hidden = button.dataset.view !== "top"; // a flame graph has its own
  });
}

for (const button of document.querySelectorAll(".sort")) {
  button.addEventListener("click", () => {
    by = button.dataset.by;
    for (const other of document.querySelectorAll(".sort")) {
      const heading = other.closest("th");
      if (other === button) heading.setAttribute("aria-sort", "descending");
      else heading.removeAttribute("aria-sort");
    }
    table();
  });
}

document.addEventListener("visibilitychange", look);
setInterval(look, TICK);
look();
