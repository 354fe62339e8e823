// Makes flame graphs usable: zoom, search, keyboard, the width of the window. Nothing is ever parsed as HTML.
(() => {
  "use strict";
  const SVG = "http://www.w3.org/2000/svg";
  const XHTML = "http://www.w3.org/1999/xhtml";
  const MARGIN = 10;
  const NARROWEST = 0.5; // pixels of a frame that is drawn

  class Flame {
    constructor(svg) {
      this.svg = svg;
      this.frames = read(svg);
      this.zoomed = this.frames[0];
      this.current = this.frames[0]; // the one that Tab comes to
      this.detail = svg.querySelector(".detail");
      this.lines = [...svg.querySelectorAll(".line")].map((text) => ({ text, whole: text.textContent }));
      this.#controls();
      svg.removeAttribute("viewBox");
      svg.setAttribute("width", "100%");
      this.current.group.setAttribute("tabindex", "0");
      svg.addEventListener("click", (event) => this.#at(event, (frame) => this.zoom(frame)));
      svg.addEventListener("mouseover", (event) => this.#at(event, (frame) => this.#tell(frame)));
      svg.addEventListener("focusin", (event) => this.#at(event, (frame) => this.#tell(frame)));
      svg.addEventListener("mouseleave", () => this.#say(""));
      // In a page, the keys are this graph's only while it is what the keyboard is for.
      const alone = document.documentElement === svg;
      (alone ? document : svg).addEventListener("keydown", (event) => this.#key(event));
      new ResizeObserver(() => this.#resize()).observe(svg);
      this.#resize();
    }

    zoom(frame) {
      this.zoomed = frame;
      this.reset.disabled = frame === this.frames[0];
      this.#draw();
    }

    search(pattern) {
      const matches = matcher(pattern);
      const all = this.frames[0];
      let matched = 0;
      let covered = -1; // the right end of the last match: what is below it is counted with it
      for (const frame of this.frames) {
        const hit = matches !== null && !frame.merged && matches(frame.name);
        frame.rect.classList.toggle("hit", hit);
        if (!hit || covered - frame.x > 1e-6) continue;
        matched += frame.width;
        covered = frame.x + frame.width;
      }
      this.result.textContent = matches === null ? "" : `Matched: ${((100 * matched) / all.width).toFixed(2)} %`;
    }

    #controls() {
      const place = this.svg.querySelector(".controls");
      const holder = document.createElementNS(SVG, "foreignObject");
      for (const name of ["x", "y", "height"]) holder.setAttribute(name, place.getAttribute(name));
      this.holder = holder;
      this.reset = html("button", { type: "button", disabled: "" }, "Reset zoom");
      this.input = html("input", { type: "search", placeholder: "function", title: "A regular expression; / or Ctrl-F", spellcheck: "false" });
      this.result = html("output", { "aria-live": "polite" });
      holder.append(html("div", { class: "bar" }, this.reset, html("label", {}, "Search", this.input), this.result));
      place.replaceWith(holder);
      this.reset.addEventListener("click", () => this.zoom(this.frames[0]));
      this.input.addEventListener("input", () => this.search(this.input.value));
    }

    #at(event, act) {
      const group = event.target.closest?.("g.f");
      if (group) act(this.frames[Number(group.dataset.number)]);
    }

    #key(event) {
      const held = event.ctrlKey || event.metaKey;
      if (event.key === "Escape") this.#escape(event);
      else if (event.key === "f" ? held : event.key === "/" && !held && event.target !== this.input) {
        this.input.focus();
        this.input.select();
        event.preventDefault();
      }
      if (held || event.altKey) return;
      this.#at(event, (frame) => {
        if (event.key === "Enter" || event.key === " ") this.zoom(frame);
        else if (!this.#move(frame, event.key)) return;
        event.preventDefault();
      });
    }

    #escape(event) {
      if (event.target === this.input) {
        this.input.value = "";
        this.search("");
        this.#focus(this.current);
      } else this.zoom(this.frames[0]);
      event.preventDefault();
    }

    /** Down to what a function called, up to its caller, right and left to its neighbours. */
    #move(frame, key) {
      const seen = (other) => other && !other.group.hasAttribute("display");
      const row = () => this.frames.filter((other) => other.y === frame.y && seen(other));
      const wider = (best, other) => (other.width > (best?.width ?? 0) ? other : best);
      let target;
      if (key === "ArrowUp") target = frame.parent;
      else if (key === "ArrowDown") target = this.frames.filter((other) => other.parent === frame && seen(other)).reduce(wider, undefined);
      else if (key === "ArrowLeft") target = row().reverse().find((other) => other.x < frame.x);
      else if (key === "ArrowRight") target = row().find((other) => other.x > frame.x);
      else if (key === "Home") target = this.zoomed;
      else return false;
      if (target) this.#focus(target);
      return true;
    }

    #focus(frame) {
      this.current.group.removeAttribute("tabindex");
      this.current = frame;
      frame.group.setAttribute("tabindex", "0");
      frame.group.focus();
    }

    #tell(frame) {
      this.#say(frame.title.replaceAll("\n", "   "));
    }

    #say(text) {
      this.detail.textContent = fit(text, this.#room(this.width - 2 * MARGIN));
    }

    #room(pixels) {
      return Math.floor(pixels / this.character);
    }

    #resize() {
      const width = this.svg.getBoundingClientRect().width;
      if (!width || width === this.width) return;
      this.width = width;
      this.character = widthOfCharacter(this.svg);
      this.holder.setAttribute("width", Math.max(width - 2 * MARGIN, 1));
      for (const { text, whole } of this.lines) text.textContent = fit(whole, this.#room(width - text.getAttribute("x") - MARGIN));
      this.#draw();
    }

    #draw() {
      const zoomed = this.zoomed;
      const scale = (this.width - 2 * MARGIN) / zoomed.width;
      const above = new Set();
      for (let at = zoomed.parent; at; at = at.parent) above.add(at);
      for (const frame of this.frames) {
        frame.inside = frame === zoomed || Boolean(frame.parent?.inside);
        const isAbove = above.has(frame);
        const width = isAbove ? this.width - 2 * MARGIN : frame.width * scale;
        frame.group.classList.toggle("above", isAbove);
        if (!isAbove && !(frame.inside && width >= NARROWEST)) {
          frame.group.setAttribute("display", "none");
          continue;
        }
        frame.group.removeAttribute("display");
        const x = isAbove ? MARGIN : MARGIN + (frame.x - zoomed.x) * scale;
        frame.rect.setAttribute("x", x.toFixed(2));
        frame.rect.setAttribute("width", Math.max(width - 0.5, 0.3).toFixed(2));
        label(frame, x + 4, this.#room(width - 8));
      }
    }
  }

  /** The frames as they are in the file: a caller before what it called. */
  function read(svg) {
    const open = [];
    return [...svg.querySelectorAll("g.f")].map((group, number) => {
      const rect = group.querySelector("rect");
      const [x, y, width] = ["x", "y", "width"].map((name) => Number(rect.getAttribute(name)));
      while (open.length && open.at(-1).y >= y) open.pop();
      const title = group.querySelector("title").textContent;
      const frame = {
        group, rect, x, y, width, title,
        name: title.split("\n")[0],
        own: Number(group.dataset.own), // where the module's name has ended
        text: group.querySelector("text"),
        parent: open.at(-1),
        merged: rect.classList.contains("merged"),
      };
      group.dataset.number = number;
      open.push(frame);
      return frame;
    });
  }

  function label(frame, x, room) {
    const name = fit(frame.name.length > room ? frame.name.slice(frame.own) : frame.name, room);
    if (!frame.text) {
      if (!name) return;
      frame.text = document.createElementNS(SVG, "text");
      frame.text.setAttribute("y", frame.y + 13);
      frame.group.append(frame.text);
    }
    if (frame.text.textContent !== name) frame.text.textContent = name;
    frame.text.setAttribute("x", x.toFixed(2));
  }

  /** As much of a text as there is room for, in characters; some take two. */
  function fit(text, room) {
    if (room < 3) return "";
    if (/^[\x20-\x7e]*$/.test(text)) return text.length > room ? `${text.slice(0, room - 1)}…` : text;
    let used = 0;
    let kept = "";
    for (const character of text) {
      used += character.codePointAt(0) < 0x1100 ? 1 : 2;
      if (used > room - 1) return `${kept}…`;
      kept += character;
    }
    return kept;
  }

  /** A regular expression, or what it says where it is none; null finds nothing. */
  function matcher(pattern) {
    if (!pattern.trim()) return null;
    try {
      const expression = new RegExp(pattern, "iu");
      return (name) => expression.test(name);
    } catch {
      const wanted = pattern.toLowerCase();
      return (name) => name.toLowerCase().includes(wanted);
    }
  }

  function widthOfCharacter(svg) {
    const probe = document.createElementNS(SVG, "text");
    probe.textContent = "m".repeat(100);
    svg.append(probe);
    const width = probe.getComputedTextLength() / 100;
    probe.remove();
    return width || 7.3;
  }

  function html(name, attributes, ...children) {
    const made = document.createElementNS(XHTML, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...children);
    return made;
  }

  for (const svg of document.querySelectorAll("svg.otlpfast-flame:not([data-ready])")) {
    svg.dataset.ready = "";
    new Flame(svg);
  }
})();
