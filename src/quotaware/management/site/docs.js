// Shows the API's own openapi.json, and sends requests to it. Everything is set as text, never as markup.
"use strict";

const root = new URL(".", document.baseURI);
const METHODS = ["get", "post", "put", "patch", "delete"];
const DEEPEST = 6;
let api;

function make(tag, props = {}, ...inside) {
  const found = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (name in found) found[name] = value;
    else found.setAttribute(name, value);
  }
  found.append(...inside.filter((each) => each !== null && each !== undefined));
  return found;
}

function resolved(value) {
  let found = value ?? {};
  while (found.$ref) {
    found = found.$ref.slice(2).split("/").reduce((from, part) => from[part], api);
  }
  return found;
}

function nameOf(schema) {
  return schema?.$ref ? schema.$ref.split("/").pop() : "";
}

function options(schema) {
  return schema.anyOf ?? schema.oneOf ?? [schema];
}

function typeOf(value) {
  const schema = value ?? {};
  if (schema.$ref) return nameOf(schema);
  if (schema.anyOf || schema.oneOf) return options(schema).map(typeOf).join(" or ");
  if (schema.enum) return schema.enum.map((each) => JSON.stringify(each)).join(", ");
  if ("const" in schema) return JSON.stringify(schema.const);
  if (schema.type === "array") return `list of ${typeOf(schema.items)}`;
  if (schema.type === "object" && schema.additionalProperties) return `map to ${typeOf(schema.additionalProperties)}`;
  return schema.format ?? schema.type ?? "anything";
}

function coded(text) {
  return text.split("`").map((piece, index) => (index % 2 ? make("code", {}, piece) : piece.replaceAll("**", "")));
}

function bounds(value) {
  const schema = { ...options(value).find((each) => each.type !== "null"), ...value };
  const words = {
    minimum: "at least", maximum: "at most", exclusiveMinimum: "over", exclusiveMaximum: "under",
    minLength: "characters, at least", maxLength: "characters, at most",
    minItems: "entries, at least", maxItems: "entries, at most", pattern: "pattern",
  };
  const found = Object.entries(words).filter(([name]) => name in schema).map(([name, word]) => `${word} ${schema[name]}`);
  if (schema.default !== undefined && schema.default !== null) found.push(`default ${JSON.stringify(schema.default)}`);
  return found.join("; ");
}

// What a body or an answer looks like; of a body only what it has to say, where nobody gave an example.
function example(value, depth = 0) {
  const schema = resolved(value);
  if (schema.examples?.length) return schema.examples[0];
  for (const name of ["example", "const", "default"]) if (name in schema && schema[name] !== null) return schema[name];
  if (schema.enum) return schema.enum[0];
  if (depth > DEEPEST) return null;
  if (schema.anyOf || schema.oneOf) return example(options(schema)[0], depth);
  if (schema.type === "array") return schema.minItems ? [example(schema.items, depth + 1)] : [];
  if (schema.type === "object" || schema.properties) {
    const fields = Object.entries(schema.properties ?? {});
    return Object.fromEntries(fields.map(([name, field]) => [name, example(field, depth + 1)]));
  }
  if (schema.format === "date-time") return "2026-12-23T09:15:00Z";
  return { integer: schema.minimum ?? 1, number: schema.minimum ?? 1.0, boolean: true, string: "text" }[schema.type] ?? null;
}

function table(heads, rows) {
  const head = make("tr", {}, ...heads.map((each) => make("th", { scope: "col" }, each)));
  const body = rows.map((cells) => make("tr", {}, ...cells.map((cell) => make("td", {}, cell))));
  return make("table", {}, make("thead", {}, head), make("tbody", {}, ...body));
}

function fieldRows(value, indent = "", seen = []) {
  const schema = resolved(value);
  const name = nameOf(value);
  if (seen.includes(name) || seen.length > DEEPEST) return [];
  const rows = [];
  for (const [field, of] of Object.entries(schema.properties ?? {})) {
    const needed = (schema.required ?? []).includes(field);
    const said = [of.description ?? "", bounds(of)].filter(Boolean).join(" — ");
    rows.push([`${indent}${field}`, typeOf(of) + (needed ? " *" : ""), said]);
    for (const option of options(of)) {
      const inner = option.items ?? (option.additionalProperties || option);
      if (inner.$ref) rows.push(...fieldRows(inner, `${indent}  `, [...seen, name || "."]));
    }
  }
  return rows;
}

function schemaPart(content) {
  const schema = content?.["application/json"]?.schema;
  if (!schema) return [make("p", { className: "nothing" }, "No body.")];
  const sample = JSON.stringify(example(schema), null, 2);
  return [table(["Field", "Type", ""], fieldRows(schema)), make("pre", { "aria-label": "Example" }, sample)];
}

function parametersPart(parameters) {
  if (!parameters.length) return [];
  const rows = parameters.map((each) => [
    each.name, `${typeOf(each.schema)}, in ${each.in}${each.required ? " *" : ""}`,
    [each.description ?? "", bounds(each.schema)].filter(Boolean).join(" — "),
  ]);
  return [make("h4", {}, "Parameters"), table(["Name", "Type", ""], rows)];
}

function answersPart(operation) {
  const rows = Object.entries(operation.responses).map(([status, of]) => {
    const response = resolved(of);
    const examples = response.content?.["application/json"]?.examples ?? {};
    const told = Object.values(examples).map((each) => JSON.stringify(each.value, null, 1)).join("\n");
    const shown = told ? make("details", {}, make("summary", {}, response.description), make("pre", {}, told)) : response.description;
    return [status, shown, Object.keys(response.headers ?? {}).join(", ")];
  });
  return [make("h4", {}, "Statuses"), table(["Status", "", "Headers"], rows)];
}

async function send(path, method, parameters, fields, body, output) {
  let url = path;
  const query = new URLSearchParams();
  const headers = {};
  const key = document.getElementById("key").value.trim();
  if (key) headers.authorization = `Bearer ${key}`;
  for (const parameter of parameters) {
    const value = fields.get(parameter.name).value;
    if (parameter.in === "path") url = url.replace(`{${parameter.name}}`, encodeURIComponent(value));
    else if (value === "") continue;
    else if (parameter.in === "header") headers[parameter.name] = value;
    else if (parameter.schema.type === "array") for (const each of value.split(",")) query.append(parameter.name, each.trim());
    else query.append(parameter.name, value);
  }
  if (body?.value.trim()) headers["content-type"] = "application/json";
  const target = new URL(`.${url}${query.size ? `?${query}` : ""}`, root);
  const response = await fetch(target, { method, headers, body: body?.value.trim() || undefined, credentials: "omit" });
  const shown = ["etag", "retry-after", "x-request-id", "idempotent-replayed"]
    .filter((name) => response.headers.has(name)).map((name) => `${name}: ${response.headers.get(name)}`);
  const text = await response.text();
  let pretty = text;
  try { pretty = JSON.stringify(JSON.parse(text), null, 2); } catch { /* shown as it came */ }
  output.textContent = [`${response.status} ${response.statusText}`, ...shown, "", pretty].join("\n");
}

function tryPart(path, method, operation, parameters) {
  const fields = new Map();
  const inputs = parameters.map((each) => {
    const input = make("input", { type: "text", spellcheck: false, required: Boolean(each.required) });
    fields.set(each.name, input);
    return make("label", {}, each.name, input);
  });
  const schema = operation.requestBody?.content["application/json"].schema;
  const body = schema ? make("textarea", { spellcheck: false, "aria-label": "Body" }, JSON.stringify(example(schema), null, 2)) : null;
  const button = make("button", { type: "submit" }, "Send");
  const output = make("pre", { role: "status", hidden: true });
  const form = make("form", { className: "try" }, ...inputs, body, button, output);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    button.disabled = true;
    output.hidden = false;
    output.textContent = "…";
    try { await send(path, method.toUpperCase(), parameters, fields, body, output); }
    catch (error) { output.textContent = String(error); }
    button.disabled = false;
  });
  return [make("h4", {}, "Try it"), form];
}

function inside(path, method, operation) {
  const parameters = (operation.parameters ?? []).map(resolved);
  const body = operation.requestBody ? [make("h4", {}, "Body"), ...schemaPart(operation.requestBody.content)] : [];
  const good = Object.keys(operation.responses)[0];
  return make("div", { className: "inside" },
    make("p", { className: "said" }, ...coded(operation.description ?? "")),
    ...parametersPart(parameters), ...body,
    make("h4", {}, `Answer (${good})`), ...schemaPart(resolved(operation.responses[good]).content),
    ...answersPart(operation), ...tryPart(path, method, operation, parameters));
}

function shown(path, method, operation) {
  const permission = operation["x-permission"] || "every caller";
  const found = make("details", { className: "operation", id: operation.operationId },
    make("summary", {},
      make("span", { className: `method ${method.toUpperCase()}` }, method.toUpperCase()),
      make("span", { className: "path" }, path),
      make("span", { className: "summary" }, operation.summary ?? ""),
      make("span", { className: "permission" }, permission)));
  found.dataset.words = [path, method, operation.summary, permission, operation.operationId].join(" ").toLowerCase();
  found.addEventListener("toggle", () => {
    if (found.open && found.children.length === 1) found.append(inside(path, method, operation));
  });
  return found;
}

function filter(words) {
  for (const section of document.querySelectorAll("section")) {
    let left = 0;
    for (const operation of section.querySelectorAll("details.operation")) {
      operation.hidden = !words.every((word) => operation.dataset.words.includes(word));
      left += operation.hidden ? 0 : 1;
    }
    section.hidden = left === 0;
  }
}

function open(id) {
  const found = document.getElementById(id);
  if (found?.classList.contains("operation")) found.open = true;
  found?.scrollIntoView();
}

async function start() {
  const answer = await fetch(new URL("openapi.json", root), { credentials: "omit" });
  api = await answer.json();
  document.getElementById("version").textContent = api.info.version;
  const operations = Object.entries(api.paths).flatMap(([path, item]) =>
    METHODS.filter((method) => method in item).map((method) => [path, method, item[method]]));
  const sections = api.tags.map(({ name }) => make("section", { id: `tag-${name}` }, make("h2", {}, name),
    ...operations.filter(([, , operation]) => operation.tags.includes(name)).map((each) => shown(...each))));
  document.getElementById("operations").replaceChildren(make("p", { className: "about" }, ...coded(api.info.description)), ...sections);
  document.getElementById("tags").replaceChildren(...api.tags.map(({ name }) => make("a", { href: `#tag-${name}` }, name)));
  document.getElementById("find").addEventListener("input", (event) => filter(event.target.value.toLowerCase().split(/\s+/)));
  window.addEventListener("hashchange", () => open(location.hash.slice(1)));
  if (location.hash) open(location.hash.slice(1));
}

start().catch((error) => {
  document.getElementById("operations").textContent = `openapi.json could not be read: ${error}`;
});
