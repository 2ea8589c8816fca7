"use strict";
const facts = JSON.parse(document.getElementById("facts").textContent);
const SVG = "http://www.w3.org/2000/svg";
const count = new Intl.NumberFormat("en").format;
const share = (part, whole) => (whole ? ((100 * part) / whole).toFixed(part === whole || part === 0 ? 0 : 1) + " %" : "");
const bytes = (size) => {
  for (const unit of ["B", "kB", "MB", "GB"]) {
    if (Math.abs(size) < 1000) return (unit === "B" ? size : size.toFixed(1)) + " " + unit;
    size /= 1000;
  }
  return size.toFixed(1) + " TB";
};
const short = (value) => (value === null ? "" : Number(Number(value).toPrecision(4)).toLocaleString("en", { maximumSignificantDigits: 4 }));
const name = (label) => label.replace(/^\d+:/, "");

// Everything that comes from rows goes through here as text, never as markup.
function el(tag, options = {}, ...children) {
  const made = document.createElement(tag);
  if (options.class) made.className = options.class;
  for (const [key, value] of Object.entries(options.set || {})) made.setAttribute(key, value);
  made.append(...children.filter((one) => one !== null && one !== undefined));
  return made;
}
function svg(tag, set = {}, ...children) {
  const made = document.createElementNS(SVG, tag);
  for (const [key, value] of Object.entries(set)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}
const main = document.getElementById("main");
const section = (title, ...children) => main.append(el("h2", {}, title), ...children);
const card = (...children) => el("div", { class: "card" }, ...children);

function table(heads, rows) {
  const cell = (tag, value, numeric) => el(tag, numeric ? { class: "n" } : {}, value);
  const numeric = heads.map((head) => head.endsWith("#"));
  const head = el("tr", {}, ...heads.map((one, at) => cell("th", one.replace(/#$/, ""), numeric[at])));
  const body = rows.map((row) => el("tr", {}, ...row.map((value, at) => cell("td", value, numeric[at]))));
  return el("div", { class: "card wide" }, el("table", {}, el("thead", {}, head), el("tbody", {}, ...body)));
}

function begin() {
  document.title = facts.dataset + " · data report";
  main.replaceChildren(
    el("h1", {}, facts.dataset),
    el("p", { class: "soft" }, facts.created_at.slice(0, 19).replace("T", " ") + " UTC, by LLMOS " + facts.code.llmos),
  );
  const dropped = facts.steps.reduce((sum, step) => sum + step.dropped, 0);
  const tile = (value, what) => el("div", { class: "card tile" }, el("b", {}, value), el("span", {}, what));
  main.append(
    el("div", { class: "tiles" },
      tile(count(facts.read), "rows read"),
      tile(count(facts.rows), "rows kept" + (facts.read ? ", " + share(facts.rows, facts.read) : "")),
      tile(count(dropped), "rows dropped"),
      tile(count(facts.num_errors), "rows that could not be used"),
      tile(bytes(facts.bytes), "of Parquet"),
      tile(facts.seconds.toFixed(1) + " s", "of computing"),
    ),
  );
}

// Rows through the steps: one column a step, what goes on as a band, what is dropped falls out of it, what is made comes in.
function flow() {
  const steps = facts.steps.filter((step) => step.rows_in || step.rows_out);
  if (!steps.length) return;
  const gap = 96, left = 14, top = 26, tall = 150, fall = 60;
  const most = Math.max(facts.read, facts.rows, 1, ...steps.flatMap((step) => [step.rows_in, step.rows_out]));
  const high = (rows) => (rows ? Math.max(1, (tall * rows) / most) : 0);
  const width = left * 2 + gap * (steps.length + 1) + 40, height = top + tall + fall + 34;
  const drawn = svg("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": "Rows through the steps" });
  const node = (x, rows) => drawn.append(svg("rect", { class: "node", x, y: top, width: 7, height: Math.max(1, high(rows)), rx: 2 }));
  const text = (x, y, value, more = {}) => drawn.append(svg("text", { x, y, ...more }, value));
  node(left, facts.read - facts.num_errors);
  text(left, top - 9, count(facts.read - facts.num_errors));
  text(left, top + tall + fall + 14, "read", { class: "soft" });
  let x = left;
  for (const step of steps) {
    const from = x + 7, to = x + gap, kept = step.rows_in - step.dropped, bend = (from + to) / 2;
    const band = (a, b, c, d, kind, title) => {
      const path = svg("path", { class: kind, d: `M${from},${a} C${bend},${a} ${bend},${c} ${to},${c} L${to},${d} C${bend},${d} ${bend},${b} ${from},${b} Z` });
      path.append(svg("title", {}, title));
      drawn.append(path);
    };
    band(top, top + high(kept), top, top + high(kept), "flow", `${name(step.step)}: ${count(kept)} rows go on`);
    if (step.dropped) {
      const above = top + high(kept), under = top + high(step.rows_in), end = top + tall + fall - 16, left = bend - 6, right = bend + 6;
      const path = svg("path", { class: "gone", d: `M${from},${above} C${right},${above} ${right},${above} ${right},${end} L${left},${end} C${left},${under} ${left},${under} ${from},${under} Z` });
      path.append(svg("title", {}, `${name(step.step)}: ${count(step.dropped)} rows dropped`));
      drawn.append(path);
      text(bend + 10, end, "−" + count(step.dropped));
    }
    if (step.made > 0) band(top + tall, top + tall, top + high(kept), top + high(kept + step.made), "made", `${name(step.step)}: ${count(step.made)} rows made`);
    node(to, step.rows_out);
    text(to, top - 9, count(step.rows_out));
    const label = name(step.step);
    text(to - gap / 2, top + tall + fall + 14, label.length > 15 ? label.slice(0, 14) + "…" : label, { class: "soft" });
    x = to;
  }
  section("Rows through the steps", el("div", { class: "card wide" }, drawn));
}

function stepTable() {
  if (!facts.steps.length) return;
  const reasons = (step) => {
    const told = Object.entries(step.dropped_by).sort((a, b) => b[1] - a[1]).map(([signal, rows]) => `${signal} ${count(rows)}`);
    return told.concat(Object.entries(step.refused_by).map(([signal, rows]) => `refused: ${signal} ${count(rows)}`)).join(", ");
  };
  const rows = facts.steps.map((step) => [
    step.step, count(step.rows_in), step.dropped ? el("span", { class: "drop" }, count(step.dropped)) : "", step.changed ? count(step.changed) : "",
    step.made ? count(step.made) : "", count(step.rows_out), step.seconds.toFixed(2), reasons(step),
  ]);
  section("Steps", table(["step", "rows in#", "dropped#", "changed#", "made#", "rows out#", "seconds#", "dropped because of"], rows));
}

// How many of the rows lie below (or above) a value, by the histogram; within a bin they are taken as evenly spread.
function beyond(bins, value, below) {
  let rows = 0;
  for (const [from, to, number] of bins) {
    const part = value <= from ? 0 : value >= to ? 1 : (value - from) / (to - from);
    rows += number * (below ? part : 1 - part);
  }
  return Math.round(rows);
}

function histogram(signal) {
  const wide = 300, tall = 90, bins = signal.bins;
  const scale = scaled(signal);
  const most = Math.max(...bins.map(([, , rows]) => rows));
  const drawn = svg("svg", { viewBox: `0 0 ${wide} ${tall + 18}`, width: wide * 1.4, role: "img", "aria-label": `Spread of ${signal.signal}` });
  const bars = bins.map(([from, to, rows]) => {
    const x = scale(from) * wide, height = Math.max(1, (Math.sqrt(rows / most) * (tall - 6)));
    const bar = svg("rect", { class: "bar", x, y: tall - height, width: Math.max(1, scale(to) * wide - x - 0.6), height });
    bar.append(svg("title", {}, `${short(from)} to ${short(to)}: ${count(rows)} rows`));
    drawn.append(bar);
    return [bar, from, to];
  });
  const lines = [0, 1].map(() => svg("line", { class: "limit", y1: 0, y2: tall, x1: -9, x2: -9 }));
  drawn.append(svg("line", { class: "axis", x1: 0, x2: wide, y1: tall, y2: tall }), ...lines);
  drawn.append(svg("text", { x: 0, y: tall + 13, class: "soft" }, short(scale.low)));
  drawn.append(svg("text", { x: wide, y: tall + 13, class: "soft", "text-anchor": "end" }, short(scale.top)));
  const paint = (limits) => {
    limits.forEach((limit, at) => {
      const x = limit === null ? -9 : Math.min(1, Math.max(0, scale(limit))) * wide;
      lines[at].setAttribute("x1", x);
      lines[at].setAttribute("x2", x);
    });
    for (const [bar, from, to] of bars) {
      const middle = (from + to) / 2, out = (limits[0] !== null && middle < limits[0]) || (limits[1] !== null && middle > limits[1]);
      bar.setAttribute("class", out ? "bar out" : "bar");
    }
  };
  return [drawn, paint];
}

// Values over many powers of ten are drawn by their place among the bins, others by their size.
function scaled({ bins, limits }) {
  const set = limits.filter((limit) => limit !== null);
  const low = Math.min(bins[0][0], ...set), top = Math.max(bins[bins.length - 1][1], ...set);
  const grows = (value) => Math.sign(value) * Math.log1p(Math.abs(value));
  const use = Math.max(Math.abs(low), Math.abs(top)) > 20 ? grows : (value) => value;
  const first = use(low), last = use(top);
  const scale = (value) => (last > first ? (use(value) - first) / (last - first) : 0.5);
  scale.low = low;
  scale.top = top;
  scale.at = (part) => {
    const place = first + part * (last - first);
    return use === grows ? Math.sign(place) * Math.expm1(Math.abs(place)) : place;
  };
  return scale;
}

function signalCard(step, signal) {
  const [drawn, paint] = histogram(signal);
  const limits = [...signal.limits], scale = scaled(signal);
  const made = card(
    el("h3", {}, name(step.step) + " · " + signal.signal),
    el("p", { class: "soft" }, `${count(signal.rows)} rows, mean ${short(signal.mean)}` + (signal.not_measured ? `, ${count(signal.not_measured)} without a value` : "")),
    drawn,
  );
  ["at least", "at most"].forEach((what, at) => {
    const stood = signal.limits[at];
    if (stood === null) return;
    const now = beyond(signal.bins, stood, at === 0);
    const range = el("input", { set: { type: "range", min: 0, max: 1000, value: Math.round(1000 * Math.min(1, Math.max(0, scale(stood)))), "aria-label": `${signal.signal} ${what}` } });
    const value = el("code", {}, short(stood)), told = el("output", {});
    const say = () => {
      const would = beyond(signal.bins, limits[at], at === 0), more = would - now;
      told.textContent = `about ${count(would)} rows of ${count(signal.rows)} would go (${share(would, signal.rows)})` + (more ? `, ${more > 0 ? "+" : "−"}${count(Math.abs(more))} against ${short(stood)}` : ", as now");
      value.textContent = short(limits[at]);
      paint(limits);
    };
    range.addEventListener("input", () => {
      limits[at] = scale.at(range.valueAsNumber / 1000);
      say();
    });
    made.append(el("div", { class: "threshold" }, el("span", { class: "soft" }, what), range, value, told));
    say();
  });
  paint(limits);
  return made;
}

function signals() {
  const cards = facts.steps.flatMap((step) => step.signals.filter((one) => one.bins.length).map((one) => signalCard(step, one)));
  if (!cards.length) return;
  section("What was measured", el("p", { class: "soft" }, "Of the rows that reached each step. Move a threshold to see how many rows another one would drop; heights are square roots."), el("div", { class: "grid" }, ...cards));
}

function shownRow(line) {
  const measured = line.value === null ? "" : ` = ${short(line.value)}` + (line.threshold === null ? "" : `, limit ${short(line.threshold)}`);
  const told = [line.other ? `kept instead: ${line.other}` : "", line.detail].filter(Boolean).join("; ");
  const row = line.row === null ? null : typeof line.row === "string" ? line.row : Object.entries(line.row).filter(([key]) => !key.startsWith("_")).map(([key, value]) => `${key}: ${typeof value === "string" ? value : JSON.stringify(value)}`).join("\n");
  return el("div", { class: "row" }, el("p", { class: "soft" }, el("code", {}, line._id), measured, told ? ` · ${told}` : ""), row === null ? el("p", { class: "soft" }, "The row itself was not kept.") : el("pre", {}, row));
}

function samples() {
  const parts = facts.samples.filter((one) => one.lines.length).map((reason) => {
    const title = el("summary", {}, el("b", {}, count(reason.rows)), ` ${reason.action} by ${name(reason.step)}` + (reason.signal ? `: ${reason.signal}` : ""));
    return el("details", {}, title, ...reason.lines.map(shownRow));
  });
  if (parts.length) section("Rows that went, by reason", card(...parts));
}

function errors() {
  if (!facts.num_errors) return;
  const shown = facts.errors.map((line) => [el("code", {}, line._id), line.signal, line.detail, el("pre", {}, line.row === null ? "" : typeof line.row === "string" ? line.row : JSON.stringify(line.row))]);
  const more = facts.num_errors > shown.length ? [el("p", { class: "soft" }, `The first ${count(shown.length)} of ${count(facts.num_errors)}. All: llmos data errors ${facts.dataset}`)] : [];
  section("Rows that could not be used", table(["row", "kind", "why", "as it was"], shown), ...more);
}

function about() {
  section("Columns", table(["column", "type"], Object.entries(facts.columns).map(([column, kind]) => [el("code", {}, column), kind])));
  const SHOWN = 200;
  const sources = facts.sources.slice(0, SHOWN).map((one) => [one.kind, el("code", {}, one.ref), one.format, bytes(one.size_bytes), el("code", {}, one.sha256.slice(0, 12))]);
  section("Sources", table(["kind", "name", "format", "size#", "SHA-256"], sources), facts.sources.length > SHOWN ? el("p", { class: "soft" }, `${count(facts.sources.length - SHOWN)} more are in the manifest.`) : "");
  section("Recipe", card(el("pre", {}, JSON.stringify(facts.recipe, null, 2))));
}

begin();
flow();
stepTable();
signals();
samples();
errors();
about();
