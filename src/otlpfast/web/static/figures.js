// The cards: rate, account, queue, exports, pools, and what runs.

import { byId, bytes, count, element, milliseconds, nice, percent, rate, say, short, svg } from "./dom.js";

const HISTORY = 120;
const WIDTH = 600;
const HEIGHT = 120;
const PARTS = [
  ["exported", "exported"],
  ["queued", "waiting"],
  ["spooled", "spooled"],
  ["rejected", "refused by the collector"],
];

/** Shows one processor of what /api/stats gave. */
export function showFigures(stats, processor) {
  say("service", stats.process.service);
  document.title = stats.process.service ? `${stats.process.service} · otlpfast` : "otlpfast";
  showPools(stats.pools);
  showFacts(stats, processor);
  if (!processor) return;
  showRate(processor);
  showAccount(processor.account);
  showQueue(processor);
  showExports(processor.exports);
}

function showRate({ history, spans_per_second: now }) {
  say("rate", rate(now));
  const peak = Math.max(...history, 0);
  const mean = history.length ? history.reduce((sum, value) => sum + value, 0) / history.length : 0;
  say("rate-note", `mean ${rate(mean)}, highest ${rate(peak)}`);
  const top = nice(Math.max(peak, 1));
  say("chart-top", rate(top));
  const step = WIDTH / (HISTORY - 1);
  const points = history.map((value, index) => {
    const x = WIDTH - (history.length - 1 - index) * step;
    return [x.toFixed(1), (HEIGHT - 1 - (value / top) * (HEIGHT - 12)).toFixed(1)];
  });
  const chart = byId("chart");
  chart.setAttribute("aria-label", `Spans per second, now ${rate(now)}, highest of two minutes ${rate(peak)}`);
  if (!chart.firstChild) {
    for (const share of [0, 0.5, 1]) {
      const y = HEIGHT - 1 - share * (HEIGHT - 12);
      chart.append(svg("line", { class: "grid", x1: 0, x2: WIDTH, y1: y, y2: y }));
    }
    chart.append(svg("path", { class: "area" }), svg("path", { class: "line" }));
  }
  const line = points.map(([x, y], index) => `${index ? "L" : "M"}${x} ${y}`).join("");
  chart.querySelector(".line").setAttribute("d", line);
  const area = points.length ? `${line}L${WIDTH} ${HEIGHT}L${points[0][0]} ${HEIGHT}Z` : "";
  chart.querySelector(".area").setAttribute("d", area);
}

function showAccount(account) {
  const rows = PARTS.map(([part, name]) => [part, name, account[part]]);
  const drops = Object.entries(account.dropped).filter(([reason]) => reason !== "sampled_out");
  for (const [reason, number] of drops) rows.push(["dropped", `dropped: ${reason.replaceAll("_", " ")}`, number]);
  if (!drops.length) rows.push(["dropped", "dropped", 0]);
  if (account.dropped.sampled_out) rows.push(["sampled-out", "sampled out", account.dropped.sampled_out]);
  const sum = rows.reduce((total, [, , number]) => total + number, 0);
  say("ended", count(account.ended));
  const badge = byId("balance");
  badge.dataset.state = sum === account.ended ? "good" : "moving";
  say(badge, sum === account.ended ? "balances" : "in motion");
  const whole = Math.max(account.ended, 1);
  byId("account").replaceChildren(
    ...rows.map(([part, name, number]) =>
      element("tr", { "data-part": part, "data-none": number === 0 },
        element("th", { scope: "row" }, element("span", { class: "swatch", "aria-hidden": "true" }), name),
        element("td", { class: "number" }, count(number)),
        element("td", { class: "number share" }, account.ended ? percent(number / whole) : "–"))));
  const bar = byId("account-bar");
  bar.replaceChildren(...rows.filter(([, , number]) => number).map(([part, , number]) => {
    const piece = element("span", { "data-part": part });
    piece.style.flexGrow = String(Math.max(number / whole, 0.004));
    return piece;
  }));
}

function showQueue({ queue, spool }) {
  const shown = [];
  if (queue) {
    shown.push(meter("Spans", queue.spans, queue.max_spans, count));
    shown.push(meter("Bytes", queue.bytes, queue.max_bytes, bytes));
    if (queue.undecided) shown.push(meter("Undecided traces", queue.undecided.bytes, queue.undecided.max_bytes, bytes));
    if (queue.closed) shown.push(element("p", { class: "note" }, "It was shut down: spans that end are dropped."));
  } else {
    shown.push(element("p", { class: "note" }, "A simple processor: each span is exported as it ends."));
  }
  if (spool) {
    const text = `${count(spool.spans)} spans, ${bytes(spool.bytes)} on disk; ${count(spool.acknowledged)} batches came back`;
    shown.push(element("div", { class: "meter" },
      element("div", { class: "meter-text" }, element("span", {}, "Spool"), element("span", {}, text))));
  }
  if (queue && !spool && !queue.closed) {
    shown.push(element("p", { class: "note" }, "No spool: what the collector does not take in time is dropped."));
  }
  byId("queue").replaceChildren(...shown);
}

function meter(name, value, most, format) {
  const share = Math.min(value / most, 1);
  const fill = element("div", { class: "fill", "data-level": share > 0.8 ? "high" : "normal" });
  fill.style.width = `${100 * share}%`;
  return element("div", { class: "meter" },
    element("div", { class: "meter-text" },
      element("span", {}, name), element("span", {}, element("b", {}, format(value)), ` of ${format(most)}`)),
    element("div", { class: "track", role: "meter", "aria-label": `${name} that wait`, "aria-valuemin": 0,
      "aria-valuemax": most, "aria-valuenow": Math.min(value, most), "aria-valuetext": `${format(value)} of ${format(most)}` }, fill));
}

function showExports(exports) {
  const known = exports.last > 0;
  say("p50", known ? milliseconds(exports.p50_ms) : "–");
  say("p99", known ? milliseconds(exports.p99_ms) : "–");
  say("exports", short(exports.count));
  say("failures", short(exports.failed));
  byId("failures").dataset.bad = exports.failed > 0;
  const most = Math.max(...exports.histogram.map((bucket) => bucket.count), 1);
  const width = 260 / exports.histogram.length;
  const chart = byId("histogram");
  chart.setAttribute("aria-label", `Latency of the last ${exports.last} exports: ` + (exports.histogram
    .filter((bucket) => bucket.count)
    .map(({ le_ms, count: number }) => `${number} ${le_ms === null ? "longer than 5 s" : `up to ${milliseconds(le_ms)}`}`)
    .join(", ") || "none"));
  chart.replaceChildren(...exports.histogram.map((bucket, index) => {
    const height = bucket.count ? Math.max((bucket.count / most) * 54, 3) : 1.5;
    return svg("rect", { class: bucket.count ? "full" : "none", x: index * width + 1, width: width - 2,
      y: 56 - height, height, rx: 1.5 });
  }));
}

function showPools(pools) {
  byId("pools").replaceChildren(...pools.map((pool) => element("tr", {},
    element("th", { scope: "row" }, pool.name),
    element("td", { class: "number" }, short(pool.hits)),
    element("td", { class: "number" }, short(pool.misses)),
    element("td", { class: "number strong" }, pool.efficiency === null ? "–" : percent(pool.efficiency)))));
}

function showFacts({ process }, processor) {
  const facts = [
    ["otlpfast", `${process.otlpfast} (${process.implementation})`],
    ["Python", process.python],
    ["process", String(process.pid)],
    ["exports to", processor ? processor.destination : "–"],
    ["sampler", process.sampler.replace(/,remoteParentSampled:.*\}$/, ", …}") || "–"],
  ];
  const shown = byId("facts");
  const text = JSON.stringify(facts);
  if (shown.dataset.shown === text) return;
  shown.dataset.shown = text;
  shown.replaceChildren(...facts.map(([name, value]) =>
    element("div", {}, element("dt", {}, name), element("dd", {}, value))));
}
