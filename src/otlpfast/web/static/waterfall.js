// One trace: a bar for each span, and all that a span holds once it is opened.

import { byId, clock, element, milliseconds, say } from "./dom.js";

const dialog = byId("trace");
const KIND = { server: "server", consumer: "server", client: "client", producer: "client" };

byId("trace-close").addEventListener("click", () => dialog.close());
dialog.addEventListener("click", (event) => {
  if (event.target === dialog) dialog.close(); // beside it
});
dialog.addEventListener("close", () => history.replaceState(null, "", location.pathname));

/** Opens the trace of that id; false where there is no such. */
export async function openTrace(id) {
  const answer = await fetch(`/api/traces/${encodeURIComponent(id)}`);
  if (!answer.ok) {
    say("connection", "That trace is no longer kept.");
    return false;
  }
  show(await answer.json());
  if (!dialog.open) dialog.showModal();
  byId("trace-title").focus();
  history.replaceState(null, "", `#${id}`);
  return true;
}

function show(trace) {
  say("trace-title", trace.name || "(no name)");
  const facts = [
    trace.service, clock(trace.start_unix_ms), milliseconds(trace.duration_ms),
    `${trace.spans} ${trace.spans === 1 ? "span" : "spans"}`,
    trace.errors ? `${trace.errors} with errors` : "", trace.has_root ? "" : "the root is not here",
    trace.shown < trace.spans ? `the first ${trace.shown} are shown` : "", `trace ${trace.trace_id}`,
  ];
  say("trace-facts", facts.filter(Boolean).join(" · "));
  const length = Math.max(trace.duration_ms, 1e-6);
  byId("ticks").replaceChildren(
    ...[0, 0.25, 0.5, 0.75, 1].map((share) => element("span", {}, share ? milliseconds(share * length) : "0")));
  const body = byId("waterfall");
  body.replaceChildren(...trace.items.flatMap((span, index) => rows(span, index, length, trace.service)));
  body.onkeydown = move;
}

function rows(span, index, length, service) {
  const id = `span-${index}`;
  const button = element("button", { type: "button", class: "span", "aria-expanded": "false", "aria-controls": id },
    element("span", { class: "arrow", "aria-hidden": "true" }), element("span", { class: "name" }, span.name || "(no name)"));
  if (span.failed) button.append(element("span", { class: "error-tag" }, "error"));
  if (span.service && span.service !== service) button.append(element("span", { class: "tag" }, span.service));
  button.style.paddingInlineStart = `${0.25 + 1.1 * Math.min(span.depth, 16)}rem`;
  const bar = element("div", { class: "bar", "data-kind": span.failed ? "failed" : KIND[span.kind] || "internal" });
  bar.style.left = `${Math.min(100 * (span.offset_ms / length), 99.6)}%`;
  bar.style.width = `max(3px, ${Math.min(100 * (span.duration_ms / length), 100)}%)`;
  const label = `${span.kind}, begins after ${milliseconds(span.offset_ms)}`;
  const detail = element("tr", { id, class: "detail", hidden: true }, element("td", { colspan: 3 }));
  button.addEventListener("click", () => {
    const open = detail.hidden;
    if (open && !detail.firstChild.firstChild) detail.firstChild.append(...details(span));
    detail.hidden = !open;
    button.setAttribute("aria-expanded", String(open));
  });
  const row = element("tr", { class: "row", "data-failed": span.failed, "aria-level": span.depth + 1 },
    element("th", { scope: "row" }, button),
    element("td", { class: "number" }, milliseconds(span.duration_ms)),
    element("td", { class: "timeline" }, element("div", { class: "lane", role: "img", "aria-label": label }, bar)));
  row.addEventListener("click", (event) => {
    if (!event.target.closest("button")) button.click();
  });
  return [row, detail];
}

/** Up and down from span to span, right and left to open and close one. */
function move(event) {
  const button = event.target.closest("button.span");
  if (!button) return;
  const all = [...byId("waterfall").querySelectorAll("button.span")];
  const at = all.indexOf(button);
  const target = { ArrowDown: all[at + 1], ArrowUp: all[at - 1], Home: all[0], End: all.at(-1) }[event.key];
  const expanded = button.getAttribute("aria-expanded") === "true";
  if (target) target.focus();
  else if ((event.key === "ArrowRight" && !expanded) || (event.key === "ArrowLeft" && expanded)) button.click();
  else return;
  event.preventDefault();
}

function details(span) {
  const shown = [];
  if (span.status.code === "error") {
    shown.push(element("p", { class: "status" }, element("b", {}, "Error"), span.status.message ? `: ${span.status.message}` : ""));
  } else if (span.status.code !== "unset") {
    shown.push(element("p", { class: "note" }, `Status: ${span.status.code}`));
  }
  shown.push(table("Attributes", span.attributes));
  for (const event of span.events) {
    const isError = event.name === "exception";
    shown.push(table(`Event at ${milliseconds(event.offset_ms)}: ${event.name}`, event.attributes, isError));
  }
  for (const link of span.links) shown.push(table(`Link to trace ${link.trace_id}, span ${link.span_id}`, link.attributes));
  const dropped = Object.entries(span.dropped).filter(([, number]) => number);
  if (dropped.length) {
    shown.push(element("p", { class: "note" }, `Over the limits: ${dropped.map(([what, n]) => `${n} ${what}`).join(", ")}`));
  }
  const scope = [span.scope.name, span.scope.version].filter(Boolean).join(" ");
  shown.push(table(`Resource${scope ? `, scope ${scope}` : ""}`, span.resource));
  shown.push(element("p", { class: "note mono" }, `${span.kind} span ${span.span_id}` + (span.parent_id ? `, parent ${span.parent_id}` : "")));
  return shown;
}

function table(title, attributes, isError = false) {
  const made = element("table", { class: "attributes", "data-error": isError }, element("caption", {}, title));
  const body = element("tbody");
  for (const { key, value } of attributes) {
    const text = typeof value === "string" ? value : JSON.stringify(value);
    body.append(element("tr", {}, element("th", { scope: "row" }, key), element("td", {}, text)));
  }
  if (!attributes.length) made.caption.append(element("span", { class: "note" }, " none"));
  made.append(body);
  return made;
}
