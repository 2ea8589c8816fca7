// Lists the routes of /openapi.json with their fields. Everything is written as text, never as HTML.
"use strict";

function make(tag, text = "", className = "") {
  const node = document.createElement(tag);
  node.textContent = text;
  if (className) node.className = className;
  return node;
}

const named = (schema) => (schema.$ref ? schema.$ref.split("/").pop() : "");

function typeOf(schema) {
  if (named(schema)) return named(schema);
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(" | ");
  const options = schema.anyOf || schema.oneOf;
  if (options) return [...new Set(options.map(typeOf))].join(" | ");
  if (schema.type === "array") return `list of ${typeOf(schema.items || {})}`;
  if (schema.type === "object" && schema.additionalProperties) return `object of ${typeOf(schema.additionalProperties)}`;
  return schema.type || "any";
}

const LIMITS = {
  minimum: "≥ ", exclusiveMinimum: "> ", maximum: "≤ ", exclusiveMaximum: "< ", minLength: "length ≥ ", maxLength: "length ≤ ",
  minItems: "items ≥ ", maxItems: "items ≤ ", maxProperties: "entries ≤ ", minProperties: "entries ≥ ", pattern: "matches ",
};

function notesOf(schema) {
  const whole = { ...schema };
  for (const option of schema.anyOf || []) Object.assign(whole, { ...option, ...whole });
  const notes = Object.entries(LIMITS).filter(([key]) => whole[key] !== undefined).map(([key, word]) => word + whole[key]);
  if (schema.default !== undefined && schema.default !== null) notes.unshift(`default ${JSON.stringify(schema.default)}`);
  if (schema.description) notes.push(schema.description);
  return notes.join(", ");
}

// The names of all component schemas that `schema` mentions, itself and deeper.
function mentioned(schema, found = []) {
  if (Array.isArray(schema)) schema.forEach((item) => mentioned(item, found));
  else if (schema && typeof schema === "object") {
    if (schema.$ref && !found.includes(named(schema))) found.push(named(schema));
    Object.values(schema).forEach((item) => mentioned(item, found));
  }
  return found;
}

function fields(schema) {
  const table = make("table");
  for (const [name, field] of Object.entries(schema.properties || {})) {
    const row = table.insertRow();
    row.append(make("td", name, (schema.required || []).includes(name) ? "path required" : "path"));
    row.append(make("td", typeOf(field), "path"), make("td", notesOf(field)));
  }
  return table;
}

// The fields of a named schema, and below it those of every schema it mentions.
function described(name, schemas) {
  const box = make("div");
  const queue = [name];
  for (const one of queue) {
    const schema = schemas[one];
    if (!schema) continue;
    mentioned(schema).forEach((other) => queue.includes(other) || queue.push(other));
    const place = one === name ? box : make("details");
    if (one !== name) place.append(make("summary", one, "path"));
    if (schema.description) place.append(make("p", schema.description));
    place.append(fields(schema));
    if (one !== name) box.append(place);
  }
  return box;
}

function parameters(list) {
  const table = make("table");
  for (const one of list) {
    const row = table.insertRow();
    row.append(make("td", one.name, one.required ? "path required" : "path"));
    row.append(make("td", `${typeOf(one.schema)} in ${one.in}`, "path"), make("td", notesOf(one.schema)));
  }
  return table;
}

function route(method, path, operation, schemas) {
  const box = make("details", "", "route");
  const head = make("summary");
  head.append(make("span", method.toUpperCase(), "method"), make("span", path, "path"), make("span", operation.summary || "", "what"));
  box.append(head);
  if (operation.parameters) box.append(make("h3", "Parameters"), parameters(operation.parameters));
  const body = operation.requestBody?.content["application/json"]?.schema;
  if (body) box.append(make("h3", "Body, JSON (* must be given)"), described(named(body), schemas));
  for (const [status, response] of Object.entries(operation.responses)) {
    const schema = response.content?.["application/json"]?.schema;
    if (!schema || !named(schema)) continue;
    box.append(make("h3", `${status === "default" ? "Error" : `Answer ${status}`}: ${named(schema)}`), described(named(schema), schemas));
    const stream = response.content["text/event-stream"];
    if (stream) box.append(make("p", stream.schema.description));
  }
  return box;
}

function show(api) {
  document.getElementById("version").textContent = api.info.version;
  document.getElementById("summary").textContent = api.info.summary || "";
  const main = document.getElementById("routes");
  main.replaceChildren();
  const groups = new Map();
  for (const [path, methods] of Object.entries(api.paths)) {
    for (const [method, operation] of Object.entries(methods)) {
      const tag = operation.tags?.[0] || "Other";
      if (!groups.has(tag)) {
        groups.set(tag, make("section"));
        groups.get(tag).append(make("h2", tag));
        main.append(groups.get(tag));
      }
      groups.get(tag).append(route(method, path, operation, api.components.schemas));
    }
  }
}

function filter(text) {
  const wanted = text.trim().toLowerCase();
  for (const section of document.querySelectorAll("section")) {
    const routes = [...section.querySelectorAll(".route")];
    routes.forEach((one) => { one.hidden = !one.textContent.toLowerCase().includes(wanted); });
    section.hidden = routes.every((one) => one.hidden);
  }
}

document.getElementById("filter").addEventListener("input", (event) => filter(event.target.value));
fetch("/openapi.json")
  .then((answer) => (answer.ok ? answer.json() : Promise.reject(new Error(`/openapi.json answered ${answer.status}`))))
  .then(show)
  .catch((problem) => document.getElementById("routes").replaceChildren(make("p", String(problem))));
