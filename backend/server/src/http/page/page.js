"use strict";
(() => {
  const at = (id) => document.getElementById(id);
  const EVERY = 2000;
  let token = null, shown = false, timer = null;

  // What was refused, or what could not be reached, in words.
  const problem = (text) => { at("problem").textContent = text; };
  const get = async (path) => {
    const headers = token ? { Authorization: "Bearer " + token } : {};
    const response = await fetch(path, { headers, cache: "no-store", credentials: "omit", redirect: "error" });
    if (response.ok) return response;
    const body = await response.json().catch(() => ({}));
    const error = new Error([body.detail, body.help].filter(Boolean).join("; ") || "the service answered " + response.status);
    error.status = response.status;
    throw error;
  };

  // The report is text of this service; whatever is in it, no script of it runs.
  const showReport = async () => {
    const [plan, text] = await Promise.all([get("/v1/plan").then((r) => r.json()), get("/v1/plan/report").then((r) => r.text())]);
    at("model").textContent = plan.model;
    at("about").textContent = "Plan " + plan.plan.slice(0, 16) + "…, up to " + plan.runs_per_request + " runs in a request";
    document.title = plan.model + " · fhec service";
    const content = new DOMParser().parseFromString(text, "text/html").body;
    content.querySelectorAll("h1").forEach((h) => {
      const title = document.createElement("h2");
      title.textContent = "The plan";
      h.replaceWith(title);
    });
    content.querySelectorAll("header").forEach((h) => {
      const part = document.createElement("section");
      part.append(...h.childNodes);
      h.replaceWith(part);
    });
    content.querySelectorAll("footer").forEach((f) => f.remove());
    at("report").replaceChildren(...content.childNodes);
    fhecReport(at("report"));
  };

  const cell = (row, content, number) => {
    const td = row.insertCell();
    if (number) td.className = "n";
    td.append(...[content].flat());
  };
  const element = (name, className, text) => {
    const e = document.createElement(name);
    e.className = className;
    e.textContent = text;
    return e;
  };
  const seconds = (s) => s === undefined || s === null ? "–" : s < 120 ? s.toFixed(1) + " s" : Math.floor(s / 60) + " min " + Math.round(s % 60) + " s";
  const progress = (job) => {
    const { done, total } = job.progress || {};
    if (job.state !== "running" || !total) return "–";
    const bar = document.createElement("progress");
    bar.max = total;
    bar.value = done;
    bar.setAttribute("aria-label", "Progress of job " + job.id.slice(0, 8));
    return [bar, Math.floor((done / total) * 100) + " %"];
  };
  const showJobs = async () => {
    const jobs = await get("/v1/jobs").then((r) => r.json());
    const count = (state) => jobs.filter((job) => job.state === state).length;
    const words = ["running", "queued", "done", "failed", "cancelled"].filter((s) => count(s)).map((s) => count(s) + " " + s);
    const summary = words.join(", ") || "There are no jobs.";
    if (at("summary").textContent !== summary) at("summary").textContent = summary;
    const rows = document.createElement("tbody");
    rows.id = "rows";
    for (const job of jobs.slice().reverse()) {
      const row = rows.insertRow();
      cell(row, element("code", "", job.id.slice(0, 16)));
      const reason = job.error ? [element("span", "reason", job.error.detail)] : [];
      cell(row, [element("span", "state " + job.state, job.state), ...reason]);
      cell(row, progress(job), true);
      cell(row, String(job.images), true);
      cell(row, new Date(job.created).toLocaleString());
      cell(row, seconds(job.seconds), true);
    }
    at("rows").replaceWith(rows);
  };

  const refresh = async () => {
    clearTimeout(timer);
    try {
      if (!shown) {
        await showReport();
        shown = true;
        const asked = !at("enter").hidden;
        at("enter").hidden = true;
        at("jobs").hidden = false;
        if (asked) at("heading").focus();
      }
      await showJobs();
      problem("");
    } catch (error) {
      if (error.status === 401) {
        if (token) problem(error.message);
        token = null;
        shown = false;
        at("enter").hidden = false;
        at("jobs").hidden = true;
        at("report").replaceChildren();
        return;
      }
      problem(error.status ? error.message : "The service cannot be reached; trying again.");
      if (error.status === 403) return;
    }
    timer = setTimeout(refresh, EVERY);
  };
  at("enter").addEventListener("submit", (event) => {
    event.preventDefault();
    token = at("token").value.trim();
    at("token").value = "";
    refresh();
  });
  refresh();
})();
