"use strict";
(() => {
  const tip = document.getElementById("tip");
  const chart = document.getElementById("timeline");
  const data = document.getElementById("timeline-data");
  const axis = document.getElementById("timeline-axis");

  const show = (event) => {
    const text = event.target.getAttribute && event.target.getAttribute("data-tip");
    tip.style.display = text ? "block" : "none";
    if (!text) return;
    tip.textContent = text;
    const left = Math.min(event.clientX + 14, innerWidth - tip.offsetWidth - 8);
    const below = event.clientY + 18 + tip.offsetHeight < innerHeight;
    tip.style.left = Math.max(8, left) + "px";
    tip.style.top = (below ? event.clientY + 18 : event.clientY - tip.offsetHeight - 12) + "px";
  };
  document.addEventListener("pointermove", show);
  document.addEventListener("pointerdown", show);

  // A layer pointed at in the table or the chart is lit in both.
  const light = (layer) => {
    document.querySelectorAll(".lit").forEach((e) => e.classList.remove("lit"));
    if (layer !== null) {
      document.querySelectorAll('[data-layer="' + layer + '"]').forEach((e) => e.classList.add("lit"));
    }
  };
  document.addEventListener("pointerover", (event) => {
    const over = event.target.closest("[data-layer]");
    light(over && over.getAttribute("data-layer"));
    chart.classList.toggle("focus", Boolean(over && over.closest("tr")));
  });

  // The visible part of the time axis, of 0 to 10000.
  let from = 0, length = 10000;
  const end = Number(chart.dataset.end), time = chart.dataset.unit === "s";
  const label = (t, step) => {
    if (!time) return String(Math.round(t));
    const [unit, name] = end >= 1 && step >= 1e-2 ? [1, " s"] : step >= 1e-5 ? [1e-3, " ms"] : [1e-6, " µs"];
    return String(Number((t / unit).toFixed(3))) + name;
  };
  const draw = () => {
    data.setAttribute("viewBox", from + " 0 " + length + " " + data.getAttribute("height"));
    axis.textContent = "";
    const span = (end * length) / 10000, rough = span / 8, power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= rough);
    const start = (end * from) / 10000;
    for (let i = Math.ceil(start / step - 1e-9); i * step <= start + span * (1 + 1e-9); i++) {
      const text = document.createElementNS(chart.namespaceURI, "text");
      text.setAttribute("class", "tick");
      text.setAttribute("x", 40 + ((i * step - start) / span) * 948);
      text.setAttribute("y", 300);
      text.setAttribute("text-anchor", "middle");
      text.textContent = label(i * step, step);
      axis.append(text);
    }
  };
  const view = (start, size) => {
    length = Math.min(10000, Math.max(5, size));
    from = Math.min(10000 - length, Math.max(0, start));
    draw();
  };
  const at = (event) => {
    const box = data.getElementsByClassName("catch")[0].getBoundingClientRect();
    const unit = box.width / 10000;
    return (event.clientX - box.left) / unit;
  };
  chart.addEventListener("wheel", (event) => {
    event.preventDefault();
    const here = at(event), factor = Math.exp(event.deltaY * 0.0015);
    const size = Math.min(10000, Math.max(5, length * factor));
    view(here - ((here - from) * size) / length, size);
  }, { passive: false });
  let held = null;
  chart.addEventListener("pointerdown", (event) => {
    // A finger scrolls the page.
    if (event.pointerType !== "mouse") return;
    held = at(event);
    chart.setPointerCapture(event.pointerId);
  });
  chart.addEventListener("pointermove", (event) => { if (held !== null) view(from + held - at(event), length); });
  chart.addEventListener("pointerup", () => { held = null; });
  chart.addEventListener("pointercancel", () => { held = null; });
  chart.addEventListener("dblclick", () => view(0, 10000));
})();
