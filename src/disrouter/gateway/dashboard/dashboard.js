// The page as a whole: what it asks the gateway for, and which part shows it.

import { cost, latency, sparkline, sure } from "./charts.js";
import { Graph } from "./network.js";
import { Playground } from "./playground.js";
import { ago, h, hopRow, money, number, seconds, share } from "./words.js";

const $ = (id) => document.getElementById(id);
const WINDOWS = ["15m", "1h", "24h", "7d"];
const OUTCOMES = ["all", "answered", "failed", "cut", "refused", "cancelled"];
const state = { window: "1h", outcome: "all", after: 0, network: null, summary: null, known: false, open: new Set() };

// The key stays in this tab; it is only ever sent to the gateway that served this page.
const key = () => sessionStorage.getItem("disrouter-key");

export async function ask(path, options = {}) {
  const headers = new Headers(options.headers);
  if (key()) headers.set("authorization", `Bearer ${key()}`);
  const response = await fetch(path, { ...options, headers, redirect: "error", cache: "no-store" });
  if (response.status === 401) logIn(key() ? "This key is not known here." : "");
  return response;
}

async function read(path) {
  const response = await ask(path);
  if (!response.ok) throw new Error(`HTTP ${response.status}`);
  return response.json();
}

function logIn(problem) {
  $("key").hidden = false;
  $("login-error").textContent = problem;
  if (!$("login").open) $("login").showModal();
}

$("login-form").addEventListener("submit", () => {
  const given = $("login-key").value.trim();
  $("login-key").value = "";
  if (given) sessionStorage.setItem("disrouter-key", given);
  else sessionStorage.removeItem("disrouter-key");
  state.after = 0;
  refresh();
});
$("key").addEventListener("click", () => logIn(""));

function theme(chosen) {
  document.documentElement.dataset.theme = chosen;
}
const darkness = matchMedia("(prefers-color-scheme: dark)");
const natural = () => localStorage.getItem("disrouter-theme") ?? (darkness.matches ? "dark" : "light");
theme(natural());
darkness.addEventListener("change", () => theme(natural()));
$("theme").addEventListener("click", () => {
  const next = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
  localStorage.setItem("disrouter-theme", next);
  theme(next);
});

// A row of choices of which one holds; the arrow keys move it.
export function segments(place, names, chosen, choose) {
  const buttons = names.map((name) =>
    h("button", { type: "button", role: "radio", "aria-checked": String(name === chosen), tabindex: name === chosen ? "0" : "-1" }, name));
  const pick = (i) => {
    buttons.forEach((button, j) => {
      button.setAttribute("aria-checked", String(i === j));
      button.tabIndex = i === j ? 0 : -1;
    });
    choose(names[i]);
  };
  buttons.forEach((button, i) => {
    button.addEventListener("click", () => pick(i));
    button.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step) return;
      const next = (i + step + names.length) % names.length;
      buttons[next].focus();
      pick(next);
    });
  });
  place.replaceChildren(...buttons);
}

const graph = new Graph($("graph"));
const playground = new Playground({ ask, segments, graph });

function pulse(on, text) {
  $("pulse").className = `pulse ${on ? "on" : "off"}`;
  $("pulse-text").textContent = text;
}

async function look() {
  try {
    const live = await read(`dashboard/live?after=${state.after}`);
    const first = !state.known;
    if (live.number < state.after) state.after = 0; // the gateway started anew
    show(live);
    if (!first) graph.show(live.routes);
    state.after = live.number;
    state.known = true;
    return live.routes.length > 0;
  } catch {
    if (!$("login").open) pulse(false, "gateway not reached");
    return false;
  }
}

function show(live) {
  const network = live.network;
  state.network = network;
  $("network-name").textContent = network.name;
  $("network-rule").textContent = `${network.policy} · ${network.scenario} · α ${number(network.alpha)}`;
  const busy = network.in_flight ? `${network.in_flight} in flight` : "idle";
  pulse(network.ready, network.ready ? busy : "no agent can answer");
  $("network-note").textContent = live.me.all ? "" : "traffic of this key only";
  $("foot").textContent = live.dropped ? `${live.dropped} traces could not be kept.` : "";
  $("key").hidden = live.me.open;
  graph.draw(network, state.summary);
  playground.ready(live.scenarios, network, live.texts);
}

async function sum() {
  try {
    const found = await read(`dashboard/summary?window=${state.window}`);
    state.summary = found;
    charts(found);
    if (state.network) {
      agents(found.agents, state.network.agents);
      graph.draw(state.network, found);
    }
  } catch { /* the pulse tells */ }
}

function charts(found) {
  tiles(found);
  cost($("cost"), found, $("cost-note"));
  latency($("latency"), found.latency);
  sure($("sure"), found.confidence, $("sure-note"));
}
addEventListener("resize", () => { if (state.summary) charts(state.summary); });

function tiles(found) {
  const total = found.totals, dearest = total.cost + total.saved;
  const per = found.series.map((point) => point.requests);
  const tile = (name, value, unit, line) => h("div", { class: "card tile" }, line,
    h("p", { class: "quiet" }, name), h("p", {}, h("span", { class: "value" }, value), h("span", { class: "unit" }, unit)));
  $("tiles").replaceChildren(
    tile("requests", number(total.requests), "", sparkline(per)),
    tile("answered", total.requests ? share(total.answered / total.requests) : "–", "%"),
    tile("cost per answer", total.answered ? money(total.cost / total.answered) : "–", ""),
    tile("saved against the dearest", dearest > 0 ? share(total.saved / dearest) : "–", "%"),
  );
}

function agents(found, present) {
  const by = new Map(found.map((agent) => [agent.agent, agent]));
  const answers = found.reduce((sum, agent) => sum + agent.answers, 0);
  const names = [...present.map((agent) => agent.name), ...found.map((a) => a.agent).filter((n) => !present.some((p) => p.name === n))];
  $("agents").tBodies[0].replaceChildren(...names.map((name) => {
    const is = present.find((agent) => agent.name === name);
    const did = by.get(name) ?? { answers: 0, rejects: 0, failures: 0, cost: 0, seconds: null, confidence: null };
    const all = did.answers + did.rejects + did.failures;
    const part = (kind, count) => { const i = h("i", { class: kind }); i.style.width = `${(100 * count) / Math.max(1, all)}%`; return i; };
    const told = `${did.answers} answered, ${did.rejects} passed on, ${did.failures} failed`;
    const health = is ? `health ${is.breaker}` : "";
    return h("tr", {},
      h("td", { class: "name" }, h("span", { class: health, title: is ? { closed: "works", "half-open": "being tried again", open: "left alone after failures" }[is.breaker] : "no longer in the network" }), name),
      h("td", {}, h("div", { class: "split", role: "img", "aria-label": told, title: told }, part("a", did.answers), part("r", did.rejects), part("f", did.failures))),
      h("td", { class: "right" }, answers ? `${share(did.answers / answers)} %` : "–"),
      h("td", { class: "right" }, did.confidence === null ? "–" : did.confidence.toFixed(2)),
      h("td", { class: "right" }, did.seconds === null ? "–" : seconds(did.seconds)),
      h("td", { class: "right" }, money(did.cost)));
  }));
}

async function list() {
  const only = state.outcome === "all" ? "" : `&outcome=${state.outcome}`;
  try {
    const { routes } = await read(`dashboard/routes?limit=20${only}`);
    $("traces").replaceChildren(...routes.map(trace));
    if (!routes.length) $("traces").append(h("p", { class: "nothing" }, "No trace yet. Ask something, or point a client here."));
  } catch { /* the pulse tells */ }
}

function trace(route) {
  const path = h("span", { class: "path" });
  route.hops.forEach((hop, i) => path.append(...(i ? [h("span", { class: "arrow" }, "→")] : []), h("span", { class: `chip ${hop.decision}` }, hop.agent)));
  if (route.outcome !== "answered") path.append(h("span", { class: "quiet" }, `${route.outcome}${route.error ? ` · ${route.error}` : ""}`));
  const row = h("details", { class: "trace" },
    h("summary", {},
      h("span", { class: "quiet when", title: new Date(route.time * 1000).toISOString() }, ago(route.time)), path,
      h("span", { class: "quiet scenario" }, route.scenario),
      h("span", { class: "right" }, money(route.cost)),
      h("span", { class: "right quiet saved" }, route.saved === null ? "" : route.saved < 0 ? `dearer ${money(-route.saved)}` : `saved ${money(route.saved)}`),
      h("span", { class: "right quiet" }, seconds(route.seconds))));
  row.open = state.open.has(route.trace_id);
  const fill = () => {
    const parts = route.hops.map(hopRow);
    if (route.prompt !== null) parts.unshift(h("p", { class: "text" }, route.prompt));
    if (route.answer !== null) parts.push(h("p", { class: "text" }, route.answer));
    const score = route.score === null ? "" : ` · feedback ${number(route.score)}`;
    parts.push(h("code", {}, `${route.trace_id} · ${route.model} · HTTP ${route.code} · ${route.prompt_tokens} + ${route.completion_tokens} tokens${score}`));
    row.append(h("div", { class: "detail" }, ...parts));
  };
  if (row.open) fill();
  row.addEventListener("toggle", () => {
    if (row.open && row.childElementCount === 1) fill();
    if (row.open) state.open.add(route.trace_id); else state.open.delete(route.trace_id);
  });
  return row;
}

function refresh() {
  look(); sum(); list();
}

segments($("windows"), WINDOWS, state.window, (name) => { state.window = name; sum(); });
segments($("outcomes"), OUTCOMES, state.outcome, (name) => { state.outcome = name; list(); });

// A page that nobody sees asks for nothing.
let round = 0;
async function tick() {
  if (!document.hidden && !$("login").open) {
    const news = await look();
    if (round % 3 === 0) await sum();
    if ((news || round === 0) && !$("traces").matches(":hover")) await list();
    round += 1;
  }
  setTimeout(tick, 1000);
}
tick();
