// One query through the real endpoint, streamed, and its way shown in the network.

import { h, hopRow, money, seconds, share } from "./words.js";

const $ = (id) => document.getElementById(id);

export class Playground {
  constructor({ ask, segments, graph }) {
    Object.assign(this, { ask, segments, graph, known: "", scenario: null, trace: null, running: null });
    $("ask").addEventListener("submit", (event) => {
      event.preventDefault();
      if (this.running) this.running.abort();
      else this.send();
    });
    $("query").addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.metaKey || event.ctrlKey)) $("ask").requestSubmit();
    });
    $("alpha").addEventListener("input", () => this.weigh(Number($("alpha").value)));
    for (const button of document.querySelectorAll("[data-thumb]")) button.addEventListener("click", () => this.rate(button));
  }

  // The scenarios that the gateway knows; beside them any alpha.
  ready(scenarios, network, texts) {
    this.scenarios = scenarios;
    const known = JSON.stringify(scenarios);
    if (known !== this.known) {
      this.known = known;
      this.weigh(network.alpha);
    }
    if (!this.running && !this.trace) $("play-note").textContent = texts ? "Queries and answers are kept with their traces here." : "";
  }

  weigh(alpha) {
    $("alpha").value = alpha;
    $("alpha-out").textContent = String(Number(alpha));
    this.alpha = Number(alpha);
    const names = Object.keys(this.scenarios ?? {});
    const named = names.find((name) => this.scenarios[name] === this.alpha) ?? null;
    if (named !== this.scenario || !$("scenarios").childElementCount) {
      this.scenario = named;
      this.segments($("scenarios"), names, named, (name) => { this.scenario = name; this.weigh(this.scenarios[name]); });
    }
  }

  async send() {
    const text = $("query").value.trim() || $("query").placeholder;
    this.running = new AbortController();
    this.trace = null;
    $("send").textContent = "Stop";
    $("thumbs").hidden = true;
    $("answer").textContent = "";
    $("way").replaceChildren();
    $("play-note").textContent = "asking …";
    try {
      await this.stream(text);
    } catch (error) {
      $("play-note").textContent = error.name === "AbortError" ? "Stopped." : `The gateway was not reached: ${error.message}`;
    }
    this.running = null;
    $("send").textContent = "Ask";
  }

  async stream(text) {
    const model = this.scenario ? `disrouter/${this.scenario}` : "disrouter";
    const body = { model, messages: [{ role: "user", content: text }], stream: true, disrouter: { trace: true } };
    if (!this.scenario) body.disrouter.alpha = this.alpha;
    const response = await this.ask("v1/chat/completions", {
      method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body), signal: this.running.signal,
    });
    if (!response.ok) {
      const said = await response.json().catch(() => null);
      $("play-note").textContent = said?.error?.message ?? `HTTP ${response.status}`;
      return;
    }
    const id = response.headers.get("x-disrouter-trace-id"), speaker = response.headers.get("x-disrouter-agent");
    if (speaker) { // the decision has fallen, the answer is on its way
      $("play-note").textContent = `${speaker} answers …`;
      this.graph.travel(this.graph.wayTo(speaker), true);
    }
    let route = null;
    for await (const event of events(response.body)) {
      if (event.error) { $("play-note").textContent = event.error.message; continue; }
      $("answer").textContent += event.choices?.[0]?.delta?.content ?? "";
      if (event.disrouter?.hops) route = event.disrouter;
    }
    route ??= id ? await this.kept(id) : null;
    if (route) this.show(route, id ?? route.trace_id);
  }

  // The trace from the store, which has it a moment after the answer.
  async kept(id) {
    for (const wait of [300, 700, 1500]) {
      await new Promise((done) => { setTimeout(done, wait); });
      const response = await this.ask(`dashboard/routes/${encodeURIComponent(id)}`);
      if (response.ok) return response.json();
    }
    return null;
  }

  show(route, id) {
    this.trace = id;
    $("way").replaceChildren(...route.hops.map((hop) => h("li", {}, hopRow(hop))));
    const dearest = route.cost + (route.saved ?? 0);
    const saved = route.saved > 0 ? `, ${share(route.saved / dearest)} % less than the dearest agent` : "";
    $("play-note").textContent = `cost ${money(route.cost ?? 0)}${saved}${route.seconds ? ` · ${seconds(route.seconds)}` : ""}`;
    for (const button of document.querySelectorAll("[data-thumb]")) button.setAttribute("aria-pressed", "false");
    $("thumbs").hidden = !id;
  }

  async rate(button) {
    const response = await this.ask("v1/feedback", {
      method: "POST", headers: { "content-type": "application/json" },
      body: JSON.stringify({ trace_id: this.trace, thumb: button.dataset.thumb }),
    });
    for (const one of document.querySelectorAll("[data-thumb]")) one.setAttribute("aria-pressed", String(response.ok && one === button));
  }
}

// The events of a stream, one JSON object each.
async function* events(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    rest += value;
    const parts = rest.split(/\r?\n\r?\n/);
    rest = parts.pop();
    for (const part of parts) {
      const data = part.split(/\r?\n/).filter((line) => line.startsWith("data:")).map((line) => line.slice(5).trimStart()).join("\n");
      if (data && data !== "[DONE]") yield JSON.parse(data);
    }
  }
}
