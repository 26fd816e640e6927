"use strict";
// Brings a report within `root` to life. Scrolling is never captured; all of it works from the keyboard and by touch.
window.fhecReport = (root) => {
  const tip = root.querySelector("#tip");
  const stage = root.querySelector("#timeline");
  const readout = root.querySelector("#readout");
  if (!tip || !stage || !readout) return;

  // What a mark says, beside the pointer; by touch it stays until the next one.
  const hide = () => { tip.style.display = "none"; };
  root.addEventListener("pointermove", (event) => {
    const text = event.target.getAttribute && event.target.getAttribute("data-tip");
    if (!text) return hide();
    tip.textContent = text;
    tip.style.display = "block";
    const left = Math.min(event.clientX + 14, innerWidth - tip.offsetWidth - 8);
    const below = event.clientY + 18 + tip.offsetHeight < innerHeight;
    tip.style.left = Math.max(8, left) + "px";
    tip.style.top = (below ? event.clientY + 18 : event.clientY - tip.offsetHeight - 12) + "px";
  });
  root.addEventListener("pointerleave", hide);
  addEventListener("scroll", hide, { passive: true });
  addEventListener("keydown", (event) => { if (event.key === "Escape") hide(); });

  // A layer pointed at in the table or the chart is lit in both.
  const light = (layer) => {
    root.querySelectorAll(".lit").forEach((e) => e.classList.remove("lit"));
    if (layer !== null) {
      root.querySelectorAll('[data-layer="' + layer + '"]').forEach((e) => e.classList.add("lit"));
    }
  };
  root.addEventListener("pointerover", (event) => {
    const over = event.target.closest("[data-layer]");
    light(over && over.getAttribute("data-layer"));
    stage.classList.toggle("focus", Boolean(over && over.closest("tr")));
  });

  // The visible part of the time axis, of 0 to 10000.
  const FULL = 10000, LEAST = 5;
  let from = 0, length = FULL;
  const drawings = [...stage.querySelectorAll(".zooms svg")];
  const axis = stage.querySelector(".bytes .xs");
  const end = Number(stage.dataset.end), timed = stage.dataset.unit === "s";
  const label = (t, step) => {
    if (!timed) return String(Math.round(t));
    const [unit, name] = end >= 1 && step >= 1e-2 ? [1, " s"] : step >= 1e-5 ? [1e-3, " ms"] : [1e-6, " µs"];
    return String(Number((t / unit).toFixed(3))) + name;
  };
  const draw = () => {
    drawings.forEach((svg) => svg.setAttribute("viewBox", from + " 0 " + length + " 1000"));
    axis.textContent = "";
    const count = Math.max(2, Math.min(8, axis.clientWidth / 72));
    const span = (end * length) / FULL, rough = span / count, power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= rough * 0.999) || 10 * power;
    const start = (end * from) / FULL;
    for (let i = Math.ceil(start / step - 1e-9); i * step <= start + span * (1 + 1e-9); i++) {
      const mark = document.createElement("span");
      mark.style.left = ((i * step - start) / span) * 100 + "%";
      mark.textContent = label(i * step, step);
      axis.append(mark);
    }
    buttons.forEach((button) => {
      const all = length === FULL;
      const off = { in: length <= LEAST, out: all, all, back: from <= 0, on: from + length >= FULL };
      button.setAttribute("aria-disabled", String(off[button.dataset.do]));
    });
  };
  const view = (start, size) => {
    length = Math.min(FULL, Math.max(LEAST, size));
    from = Math.min(FULL - length, Math.max(0, start));
    draw();
  };
  const zoom = (factor, at) => {
    const size = Math.min(FULL, Math.max(LEAST, length * factor));
    view(at - ((at - from) * size) / length, size);
  };

  // The operation that was stepped to.
  const spans = [...stage.querySelectorAll("[data-span]")];
  let current = -1;
  const place = (span) => [Number(span.getAttribute("x")), Number(span.getAttribute("width"))];
  const choose = (index, follow) => {
    if (spans[current]) spans[current].classList.remove("current");
    current = Math.min(spans.length - 1, Math.max(0, index));
    const span = spans[current];
    if (!span) return;
    span.classList.add("current");
    light(span.getAttribute("data-layer"));
    readout.textContent = span.getAttribute("data-tip").replaceAll("\n", " · ");
    const [x, width] = place(span), middle = x + width / 2;
    if (follow && (middle < from || middle > from + length)) view(middle - length / 2, length);
  };
  const middle = () => {
    if (!spans[current]) return from + length / 2;
    const [x, width] = place(spans[current]);
    return Math.min(from + length, Math.max(from, x + width / 2));
  };
  const actions = {
    in: () => zoom(0.5, middle()),
    out: () => zoom(2, middle()),
    back: () => view(from - length / 2, length),
    on: () => view(from + length / 2, length),
    all: () => view(0, FULL),
  };
  const buttons = [...root.querySelectorAll("button[data-do]")];
  buttons.forEach((button) => button.addEventListener("click", () => actions[button.dataset.do]()));
  const keys = {
    ArrowRight: () => choose(current + 1, true),
    ArrowLeft: () => choose(current - 1, true),
    Home: () => choose(0, true),
    End: () => choose(spans.length - 1, true),
    "+": actions.in, "=": actions.in, "-": actions.out, 0: actions.all,
  };
  stage.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || !keys[event.key]) return;
    event.preventDefault();
    keys[event.key]();
  });

  // A mouse or a finger that moves sideways moves the stretched chart; one that does not picks an operation. What moves up or
  // down scrolls the page.
  let held = null;
  const unit = () => length / drawings[0].getBoundingClientRect().width;
  stage.addEventListener("pointerdown", (event) => {
    if (event.button === 0) held = { x: event.clientX, from, moved: false, id: event.pointerId };
  });
  stage.addEventListener("pointermove", (event) => {
    if (!held || held.id !== event.pointerId || Math.abs(event.clientX - held.x) < 4) return;
    if (!held.moved) stage.setPointerCapture(event.pointerId);
    held.moved = true;
    if (length < FULL) view(held.from + (held.x - event.clientX) * unit(), length);
  });
  stage.addEventListener("pointerup", (event) => {
    if (held && !held.moved) {
      const at = from + (event.clientX - drawings[0].getBoundingClientRect().left) * unit();
      const found = spans.findLastIndex((span) => place(span)[0] <= at);
      if (found >= 0) choose(found, false);
    }
    held = null;
  });
  stage.addEventListener("pointercancel", () => { held = null; });
  addEventListener("resize", draw);
  draw();
};
