// Annotation in a browser: the list of projects, one item after the other, and the review of differing ones.
// Everything that comes from the server is written as text, never as HTML. Addresses: #/  #/PROJECT  #/PROJECT/review
"use strict";

const BASE = "/api/v1/annotations";
const $ = (id) => document.getElementById(id);
const state = { who: null, project: null, queue: [], shown: null, editor: null, began: 0, busy: false, round: 0 };

// -- small parts -----------------------------------------------------------------------------------------------------
function make(tag, className = "", ...children) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  for (const child of children) node.append(child);  // strings become text nodes
  return node;
}

function button(text, act, key = "", className = "") {
  const node = make("button", className, text);
  node.type = "button";
  if (key) {
    node.append(make("kbd", "", key));
    node.dataset.key = key.toLowerCase();
    node.setAttribute("aria-keyshortcuts", key);
  }
  node.addEventListener("click", act);
  return node;
}

function tell(text, bad = false) {
  $("told").textContent = text;
  $("told").className = bad ? "bad" : "";
}

const link = (text, href) => Object.assign(make("a", "", text), { href });
const path = (...parts) => parts.map(encodeURIComponent).join("/");
const show = (...nodes) => $("main").replaceChildren(...nodes);

// -- the server ------------------------------------------------------------------------------------------------------
class Refusal extends Error {}

async function ask(method, where, body) {
  const headers = body === undefined ? {} : { "content-type": "application/json" };
  const key = sessionStorage.getItem("llmos-key");
  if (key) headers.authorization = `Bearer ${key}`;
  const answer = await fetch(BASE + where, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) });
  const said = await answer.json();
  if (answer.ok) return said;
  if (answer.status === 401) askKey(said.error.message);
  const problem = new Refusal(said.error.message);
  problem.status = answer.status;
  throw problem;
}

function askKey(why) {
  const field = Object.assign(make("input"), { type: "password", autocomplete: "current-password", id: "key", required: true });
  const form = make("form", "card", make("h2", "", "A key is needed"), make("p", "soft", why), make("label", "", "Key ", field));
  form.append(make("div", "row", Object.assign(make("button", "main", "Go on"), { type: "submit" })));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    sessionStorage.setItem("llmos-key", field.value.trim());
    tell("");
    route();
  });
  show(form);
  field.focus();
}

function guarded(work) {
  return async (...given) => {
    if (state.busy) return;
    state.busy = true;
    try {
      await work(...given);
    } catch (problem) {
      if (problem.status !== 401) tell(problem instanceof Refusal ? problem.message : `The server did not answer: ${problem.message}`, true);
    } finally {
      state.busy = false;
    }
  };
}

const named = () => (state.who.names_others && $("annotator").value.trim() ? { annotator: $("annotator").value.trim() } : {});

// -- the list --------------------------------------------------------------------------------------------------------
function listView(found) {
  const rows = found.annotations.map((one) => make(
    "tr", "",
    make("td", "", link(one.name, `#/${path(one.id)}`)), make("td", "", one.task), make("td", "wide", String(one.num_items)),
    make("td", "", found.manages ? link("review", `#/${path(one.id)}/review`) : ""),
  ));
  if (!rows.length) return show(make("div", "card", make("p", "", "There is no annotation project yet."),
    make("p", "soft", "Make one: llmos annotate create NAME --label good --label bad")));
  const head = make("tr", "", make("th", "", "Project"), make("th", "", "Task"), make("th", "wide", "Items"), make("th", "", ""));
  return show(make("h2", "", "Projects"), make("table", "", make("thead", "", head), make("tbody", "", ...rows)));
}

// -- items and editors -----------------------------------------------------------------------------------------------
const SHOWN = { // fields of the data that an editor shows itself
  classification: ["text"], multilabel: ["text"], spans: ["text"], rating: ["text"], text: ["text"],
  translation: ["source", "target"], preference: ["prompt", "messages", "a", "b"], conversation: ["messages"],
};

function field(name, text) {
  const node = make("div", "field");
  if (name) node.append(make("span", "name", name));
  node.append(make("p", "text", text));
  return node;
}

const turnNode = (turn) => make("div", `turn ${turn.role === "assistant" ? "assistant" : ""}`,
  make("span", "name", String(turn.role)), make("p", "text", String(turn.content ?? "")));

// What else an item has, below its editor.
function beside(task, data) {
  const known = SHOWN[task] || [];
  return Object.entries(data).filter(([name]) => !known.includes(name) && name !== "tokens")
    .map(([name, value]) => make("p", "beside", make("span", "name", name), typeof value === "string" ? value : JSON.stringify(value)));
}

// The little Markdown that guidelines need: headings, lists, paragraphs. All of it as text.
function guidelines(text) {
  return text.split(/\n{2,}/).flatMap((block) => block.split(/\n(?=#|[-*] )|(?<=^#[^\n]*)\n/m)).map((part) => {
    if (/^#+ /.test(part)) return make("h3", "", part.replace(/^#+ /, ""));
    if (/^[-*] /.test(part)) return make("p", "text point", part.replace(/^[-*] /, ""));
    return make("p", "text", part);
  });
}

const shortly = (value) => String(value.label ?? value.labels?.join(", ") ?? value.choice ?? value.rating ?? value.text ?? value.target ?? JSON.stringify(value));

// An editor: { node, read() -> value or null, done: whether choosing is enough }. `changed(final)` is called when something was chosen.
function chooser(project, value, changed, field_name) {
  let chosen = value ? value[field_name] : null;
  const buttons = project.config.labels.map((label) => {
    const one = button(label.name, () => { chosen = label.name; paint(); changed(true); }, label.key);
    if (label.description) one.title = label.description;
    return one;
  });
  const paint = () => buttons.forEach((one, place) => {
    const on = project.config.labels[place].name === chosen;
    one.classList.toggle("chosen", on);
    one.setAttribute("aria-pressed", String(on));
  });
  paint();
  return { node: make("div", "row", ...buttons), read: () => (chosen === null ? null : { [field_name]: chosen }) };
}

const EDITORS = {
  classification(project, data, value, changed) {
    const labels = chooser(project, value, changed, "label");
    return { node: make("div", "", field("", data.text), labels.node), read: labels.read, quick: true };
  },

  multilabel(project, data, value, changed) {
    const chosen = new Set(value ? value.labels : []);
    const buttons = project.config.labels.map((label) => {
      const one = button(label.name, () => {
        if (!chosen.delete(label.name)) chosen.add(label.name);
        one.classList.toggle("chosen", chosen.has(label.name));
        one.setAttribute("aria-pressed", String(chosen.has(label.name)));
        changed(false);
      }, label.key, chosen.has(label.name) ? "chosen" : "");
      return one;
    });
    return { node: make("div", "", field("", data.text), make("div", "row", ...buttons)), read: () => ({ labels: [...chosen] }) };
  },

  spans(project, data, value, changed) {
    const letters = Array.from(data.text);  // places count characters, not the halves of which JavaScript makes some
    let spans = value ? value.spans.map((one) => ({ ...one })) : [];
    const text = make("p", "text");
    const under = make("div", "row");
    const words = (span) => letters.slice(span.start, span.end).join("");
    const remove = (span) => { spans = spans.filter((one) => one !== span); paint(); changed(false); };
    const paint = () => {
      const parts = [];
      const hidden = [];
      let place = 0;
      spans.sort((a, b) => a.start - b.start || a.end - b.end);
      for (const span of spans) {
        if (span.start < place) { hidden.push(span); continue; }  // under another one: listed below
        parts.push(letters.slice(place, span.start).join(""));
        const marked = make("mark", "", words(span));
        marked.dataset.label = span.label;
        marked.title = "Click to remove";
        marked.addEventListener("click", () => remove(span));
        parts.push(marked);
        place = span.end;
      }
      text.replaceChildren(...parts, letters.slice(place).join(""));
      under.replaceChildren(...hidden.map((span) => button(`${span.label}: ${words(span)} ✕`, () => remove(span))));
    };
    const mark = (label) => {
      const selection = window.getSelection();
      if (!selection.rangeCount || selection.isCollapsed || !text.contains(selection.anchorNode) || !text.contains(selection.focusNode)) {
        return tell("Select a part of the text first.");
      }
      const range = selection.getRangeAt(0);
      const before = document.createRange();
      before.selectNodeContents(text);
      before.setEnd(range.startContainer, range.startOffset);
      const start = Array.from(before.toString()).length;
      const end = start + Array.from(range.toString()).length;
      if (!project.config.options.overlapping) spans = spans.filter((one) => one.end <= start || one.start >= end);
      spans.push({ start, end, label });
      selection.removeAllRanges();
      paint();
      return changed(false);
    };
    const buttons = project.config.labels.map((label) => button(label.name, () => mark(label.name), label.key));
    buttons.forEach((one) => one.addEventListener("mousedown", (event) => event.preventDefault()));  // keeps the selection
    paint();
    return { node: make("div", "", text, under, make("div", "row", ...buttons)), read: () => ({ spans }) };
  },

  preference(project, data, value, changed) {
    let choice = value ? value.choice : null;
    const asked = data.messages?.length ? data.messages.map(turnNode) : [field("prompt", data.prompt)];
    const names = { a: "A is better", b: "B is better", ...(project.config.options.ties ? { tie: "Tie" } : {}) };
    const buttons = Object.entries(names).map(([name, text], place) => {
      const one = button(text, () => { choice = name; changed(true); }, String(place + 1), choice === name ? "chosen" : "");
      return one;
    });
    const pair = make("div", "pair", make("div", "card", field("A", data.a)), make("div", "card", field("B", data.b)));
    return { node: make("div", "", ...asked, pair, make("div", "row", ...buttons)), read: () => choice && { choice }, quick: true };
  },

  rating(project, data, value, changed) {
    const { lowest, highest } = project.config.options;
    let rating = value ? value.rating : null;
    const buttons = [];
    for (let number = lowest; number <= highest; number += 1) {
      const key = number >= 0 && number <= 9 ? String(number) : "";
      buttons.push(button(String(number), () => { rating = number; changed(true); }, key, rating === number ? "chosen" : ""));
    }
    return { node: make("div", "", field("", data.text), make("div", "row", ...buttons)), read: () => (rating === null ? null : { rating }), quick: true };
  },

  text(project, data, value) {
    const area = Object.assign(make("textarea"), { value: value ? value.text : project.config.options.correction ? data.text : "" });
    area.setAttribute("aria-label", "Answer");
    return { node: make("div", "", field("", data.text), area), read: () => (area.value.trim() ? { text: area.value } : null) };
  },

  translation(project, data, value) {
    const area = Object.assign(make("textarea"), { value: value ? value.target : data.target || "" });
    area.setAttribute("aria-label", "Translation");
    return { node: make("div", "", field("source", data.source), area), read: () => (area.value.trim() ? { target: area.value } : null) };
  },

  conversation(project, data, value) {
    const said = new Map((value ? value.turns : []).map((one) => [one.turn, one]));
    const turns = data.messages.map((turn, place) => {
      const node = turnNode(turn);
      if (turn.role !== "assistant") return { node, read: () => null };
      const label = make("select");
      label.setAttribute("aria-label", `Label of turn ${place}`);
      label.append(Object.assign(make("option", "", "–"), { value: "" }), ...project.config.labels.map((one) => make("option", "", one.name)));
      label.value = said.get(place)?.label ?? "";
      const better = Object.assign(make("textarea"), { value: said.get(place)?.text ?? "", placeholder: "A better answer, when there is one" });
      better.setAttribute("aria-label", `Better answer for turn ${place}`);
      node.append(make("div", "row", label), better);
      const read = () => (label.value || better.value.trim()
        ? { turn: place, ...(label.value ? { label: label.value } : {}), ...(better.value.trim() ? { text: better.value } : {}) } : null);
      return { node, read };
    });
    const verdict = chooser(project, value, () => {}, "verdict");
    const read = () => verdict.read() && { ...verdict.read(), turns: turns.map((one) => one.read()).filter(Boolean) };
    return { node: make("div", "", ...turns.map((one) => one.node), make("p", "soft", "The whole conversation:"), verdict.node), read };
  },
};

// -- one item after the other ----------------------------------------------------------------------------------------
function merge(items, first = false) {
  const have = new Set(state.queue.map((one) => one.item));
  const fresh = items.filter((one) => !have.has(one.item));
  state.queue = first ? [...fresh, ...state.queue] : [...state.queue, ...fresh];
}

async function fill() {
  const round = state.round;
  const found = await ask("POST", `/${path(state.project.id)}/next`, { count: 2, ...named() });
  if (round === state.round) merge(found.items);
}

const spent = () => Math.min(3600, Math.round((performance.now() - state.began) / 100) / 10);

async function done(method, end, body) {
  const item = state.queue[0];
  const version = item.own ? item.own.version : 0;
  const sent = { ...body, version, seconds: spent(), next: 2, ...named() };
  const place = `/${path(state.project.id)}/items/${item.item}`;
  let answer;
  try {
    answer = await ask(method, `${place}/${end}`, sent);
  } catch (problem) {
    if (problem.status !== 409) throw problem;
    const who = named().annotator;  // saved in another window: shown as it is now, to be saved over or left
    state.queue[0] = await ask("GET", place + (who ? `?annotator=${encodeURIComponent(who)}` : ""));
    workView();
    tell(problem.message, true);
    return;
  }
  state.queue.shift();
  merge(answer.next.filter((one) => one.item !== item.item));
  tell(end === "skip" ? `Item ${item.item} is left to others.` : `Item ${item.item} is saved.`);
  workView();
  count();
}

const save = guarded(async () => {
  const value = state.editor && state.editor.read();
  if (!value) return tell("Nothing is chosen yet.");
  return done("PUT", "annotation", { value });
});

const accept = guarded(async () => {
  const item = state.queue[0];
  if (item && item.prelabel) await done("PUT", "annotation", { value: item.prelabel.value });
});

const undo = guarded(async () => {
  const found = await ask("POST", `/${path(state.project.id)}/undo`, named());
  if (!found.items.length) return tell("There is nothing to take back.");
  state.queue = state.queue.filter((one) => !found.items.some((back) => back.item === one.item));
  merge(found.items, true);
  tell(`Item ${found.items[0].item} is as it was before.`);
  workView();
  count();
  return undefined;
});

// Nobody waits for it: the next item is there already.
async function count() {
  const { project } = state;
  const told = await ask("GET", `/${path(project.id)}/progress`).catch(() => null);
  if (!told || project !== state.project) return;
  const over = told.num_done + told.num_adjudicated;
  const bar = $("bar");
  if (!bar) return;
  Object.assign(bar, { max: Math.max(1, told.num_items), value: over });
  $("counts").textContent = `${over} of ${told.num_items} items done, ${told.num_open} open`;
}

function suggestion(project, item) {
  if (!item.prelabel) return "";
  const chance = item.prelabel.probabilities && item.prelabel.value.label ? item.prelabel.probabilities[item.prelabel.value.label] : null;
  const sure = chance === null || chance === undefined ? "" : ` (${Math.round(chance * 100)} %)`;
  return make("div", "suggested row", make("span", "", `Suggested by ${item.prelabel.model}: ${shortly(item.prelabel.value)}${sure}`),
    button("Take it", accept, "Enter"));
}

function skipper() {
  const why = Object.assign(make("input"), { placeholder: "Why skip?", maxLength: 1000 });
  why.setAttribute("aria-label", "Why skip?");
  const skip = guarded(() => (why.value.trim() ? done("POST", "skip", { reason: why.value }) : (why.focus(), tell("Say why."))));
  why.addEventListener("keydown", (event) => { if (event.key === "Enter") { event.preventDefault(); skip(); } });
  return [why, button("Skip", skip)];
}

function workView() {
  const { project } = state;
  const item = state.queue[0];
  const guide = make("details", "card guide", make("summary", "", "Guidelines"), ...guidelines(project.config.guidelines));
  guide.open = !sessionStorage.getItem(`llmos-read-${project.id}`);
  guide.addEventListener("toggle", () => { if (!guide.open) sessionStorage.setItem(`llmos-read-${project.id}`, "1"); });
  const head = [make("h2", "", project.name), Object.assign(make("progress"), { id: "bar", max: 1, value: 0 }),
    Object.assign(make("p", "soft"), { id: "counts" }), ...(project.config.guidelines ? [guide] : [])];
  head[1].setAttribute("aria-label", "Progress");
  if (!item) {
    state.editor = null;
    return show(...head, make("div", "card", make("p", "", "Nothing is left to do here."), make("div", "row", button("Undo", undo, "u"))));
  }
  const editor = EDITORS[project.task]
    ? EDITORS[project.task](project, item.data, item.own ? item.own.value : null, (final) => { if (final) save(); })
    : { node: make("p", "", `This page cannot show the task ${project.task}.`), read: () => null };
  state.editor = editor;
  state.began = performance.now();
  const card = make("section", "card", editor.node, ...beside(project.task, item.data));
  card.setAttribute("aria-label", `Item ${item.item}`);
  card.id = "item";
  card.dataset.item = String(item.item);
  const end = make("div", "row end", ...(editor.quick ? [] : [button("Save", save, "Ctrl+Enter", "main")]), button("Undo", undo, "u"), ...skipper());
  show(...head, suggestion(project, item), card, end);
  const area = editor.node.querySelector("textarea");
  if (area && project.task !== "conversation") area.focus();
  return undefined;
}

document.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); save(); return; }
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  if (["INPUT", "TEXTAREA", "SELECT"].includes(event.target.tagName)) return;
  if (event.key === "Enter" && ["BUTTON", "A", "SUMMARY"].includes(event.target.tagName)) return;
  const hit = [...$("main").querySelectorAll("button[data-key]")].find((one) => one.dataset.key === event.key.toLowerCase());
  if (hit) { event.preventDefault(); hit.click(); }
});

// -- review ----------------------------------------------------------------------------------------------------------
function reviewCard(project, item) {
  const card = make("section", "card");
  card.dataset.item = String(item.item);
  const decide = guarded(async (value) => {
    if (!value) return tell("Nothing is chosen yet.");
    await ask("PUT", `/${path(project.id)}/items/${item.item}/adjudication`, { value, note: note.value, ...named() });
    tell(`Item ${item.item} is decided.`);
    return card.remove();
  });
  const said = item.annotations.map((one) => make("div", "row",
    make("span", "", `${one.annotator}: ${one.value ? shortly(one.value) : `skipped, ${one.skipped}`}`),
    ...(one.value ? [button("Take this", () => decide(one.value))] : [])));
  const first = item.annotations.find((one) => one.value);
  const editor = EDITORS[project.task]
    ? EDITORS[project.task](project, item.data, first ? first.value : null, () => {})
    : { node: make("p", "", `This page cannot show the task ${project.task}.`), read: () => null };
  editor.node.querySelectorAll("[data-key]").forEach((one) => { delete one.dataset.key; one.querySelector("kbd")?.remove(); });
  const note = Object.assign(make("input"), { placeholder: "Why? (kept with the decision)", maxLength: 2000 });
  note.setAttribute("aria-label", "Note");
  card.append(make("span", "name", `item ${item.item}`), editor.node, ...beside(project.task, item.data), ...said,
    make("div", "row end", note, button("Decide as set above", () => decide(editor.read()), "", "main")));
  return card;
}

async function reviewView(project) {
  const found = await ask("GET", `/${path(project.id)}/items?state=done&differs=true&limit=20`);
  const agreed = await ask("GET", `/${path(project.id)}/agreement`);
  const figures = [["identical", agreed.identical], ["Fleiss' kappa", agreed.fleiss_kappa], ["F1 of spans", agreed.span_f1],
    ...Object.entries(agreed.alpha).map(([level, alpha]) => [`Krippendorff's alpha (${level})`, alpha])];
  const told = figures.filter(([, figure]) => figure !== null && figure !== undefined).map(([name, figure]) => `${name} ${figure.toFixed(3)}`);
  show(make("h2", "", `${project.name}: review`), make("p", "soft", told.join(", ") || "Nobody has annotated the same item yet."),
    ...found.items.map((item) => reviewCard(project, item)),
    ...(found.items.length ? [] : [make("div", "card", make("p", "", "Annotators differ nowhere that is not decided."))]));
}

// -- where we are ----------------------------------------------------------------------------------------------------
const route = async () => {
  state.round += 1;
  state.busy = false;
  state.queue = [];
  try {
    state.who = await ask("GET", "");
    $("who").hidden = !state.who.names_others;
    if (!$("annotator").value) $("annotator").value = localStorage.getItem("llmos-annotator") || state.who.annotator;
    const [ref, what] = location.hash.replace(/^#\/?/, "").split("/").map(decodeURIComponent);
    $("nav").replaceChildren();
    if (!ref) { listView(state.who); return; }
    state.project = await ask("GET", `/${path(ref)}`);
    const here = `#/${path(ref)}`;
    $("nav").replaceChildren(link("annotate", here), ...(state.who.manages ? [link("review", `${here}/review`)] : []));
    if (what === "review") { await reviewView(state.project); return; }
    await fill();
    workView();
    count();
  } catch (problem) {
    if (problem.status === 401) return;
    tell(problem.message, true);
    show(make("p", "", link("All projects", "#/")));
  }
};

$("annotator").addEventListener("change", () => { localStorage.setItem("llmos-annotator", $("annotator").value.trim()); route(); });
window.addEventListener("hashchange", () => { tell(""); route(); });
route();
