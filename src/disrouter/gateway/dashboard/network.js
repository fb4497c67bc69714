// The network drawn, with queries travelling through it. Agents stand in the order of asking.

import { s, share } from "./words.js";

const MOST_TRAVELLERS = 24;
const STEP_MS = 420;

export class Graph {
  constructor(place) {
    this.place = place;
    this.shape = "";
    this.nodes = new Map();
    this.travelling = 0;
    this.still = matchMedia("(prefers-reduced-motion: reduce)");
    addEventListener("resize", () => { if (this.network) this.draw(this.network, this.summary, true); });
  }

  draw(network, summary, again = false) {
    this.network = network;
    this.summary = summary;
    const upright = this.place.clientWidth < 520;
    const shape = JSON.stringify([upright, network.agents.map((agent) => [agent.name, agent.passes_to])]);
    if (shape !== this.shape || again) {
      this.shape = shape;
      this.build(network.agents, upright);
    }
    const did = new Map((summary?.agents ?? []).map((agent) => [agent.agent, agent]));
    const answers = [...did.values()].reduce((sum, agent) => sum + agent.answers, 0);
    for (const agent of network.agents) {
      const node = this.nodes.get(agent.name);
      const part = answers ? (did.get(agent.name)?.answers ?? 0) / answers : 0;
      const around = 2 * Math.PI * node.r;
      node.ring.setAttribute("stroke-dasharray", `${part * around} ${around}`);
      node.ring.setAttribute("visibility", part > 0 ? "visible" : "hidden");
      node.share.textContent = answers ? `${share(part)}%` : "–";
      node.health.setAttribute("class", `node-health ${agent.breaker}`);
      node.group.setAttribute("class", agent.breaker === "open" ? "node down" : "node");
      const queue = agent.waiting ? ` · ${agent.waiting} wait` : "";
      node.sub.textContent = agent.in_flight ? `${agent.in_flight} at work${queue}` : agent.breaker === "closed" ? agent.kind : agent.breaker === "open" ? "left alone" : "on trial";
    }
  }

  build(agents, upright) {
    const count = agents.length, r = Math.max(20, Math.min(upright ? 34 : 42, 230 / count)), gap = upright ? 3.2 * r + 10 : Math.max(3.4 * r, 640 / Math.max(count, 2));
    const names = agents.map((agent) => agent.name);
    // How far an edge jumps decides how high it arches, and so how much room there must be.
    const jumps = agents.flatMap((agent, i) => agent.passes_to.map((to) => Math.abs(names.indexOf(to) - i)));
    const arch = Math.max(0, ...jumps.map((jump) => (jump > 1 ? 26 + 14 * jump : 0)));
    const at = (i) => (upright ? { x: 92 + arch / 2, y: 70 + i * gap } : { x: 90 + i * gap, y: r + 14 + arch });
    const last = at(count - 1);
    const width = upright ? Math.max(340, this.place.clientWidth) : last.x + r + 30, height = upright ? last.y + r + 20 : last.y + r + 52;
    const svg = s("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `Network of ${count} agents: ${names.join(", ")}` });
    const edges = s("g"), nodes = s("g");
    this.travellers = s("g");
    this.nodes = new Map();
    this.paths = new Map();
    const start = upright ? { x: at(0).x, y: 16 } : { x: 18, y: at(0).y };
    edges.append(this.edge("", names[0], upright ? `M${start.x} ${start.y + 8}L${start.x} ${at(0).y - r}` : `M${start.x + 10} ${start.y}L${at(0).x - r} ${start.y}`));
    edges.append(s("path", { class: "entry-mark", d: `M${start.x} ${start.y - 8}l8 8l-8 8l-8-8z` }));
    agents.forEach((agent, i) => {
      for (const to of agent.passes_to) {
        const j = names.indexOf(to);
        if (j >= 0) edges.append(this.edge(agent.name, to, between(at(i), at(j), r, Math.abs(j - i), upright)));
      }
    });
    agents.forEach((agent, i) => nodes.append(this.node(agent, at(i), r, upright)));
    svg.append(edges, this.travellers, nodes);
    this.place.replaceChildren(svg);
  }

  edge(from, to, d) {
    const path = s("path", { class: "edge", d });
    this.paths.set(`${from}\n${to}`, path);
    return path;
  }

  node(agent, { x, y }, r, upright) {
    const circle = (kind, radius = r) => s("circle", { class: kind, cx: x, cy: y, r: radius });
    const ring = circle("node-ring");
    ring.setAttribute("transform", `rotate(-90 ${x} ${y})`);
    const text = (kind, dx, dy, words = "") => s("text", { class: kind, x: x + dx, y: y + dy }, words);
    const beside = upright ? r + 22 : 0;
    const title = agent.name.length > 16 ? `${agent.name.slice(0, 15)}…` : agent.name;
    const name = text("node-name", beside, upright ? -2 : r + 25, title), sub = text("node-sub", beside, upright ? 16 : r + 43);
    if (upright) for (const one of [name, sub]) one.classList.add("left");
    const node = { x, y, r, ring, share: text("node-share", 0, 6), sub, health: s("circle", { class: "node-health", cx: x + 0.8 * r, cy: y - 0.8 * r, r: 6 }), flash: circle("flash", r + 6) };
    node.group = s("g", { class: "node" }, s("title", {}, agent.name), circle("node-back", r + 3.5), circle("node-track"), ring, node.flash, node.share, name, sub, node.health);
    this.nodes.set(agent.name, node);
    return node.group;
  }

  // The shortest way to an agent: what can be shown of a route while its answer is still being written.
  wayTo(name) {
    const agents = this.network?.agents ?? [], next = new Map(agents.map((agent) => [agent.name, agent.passes_to]));
    if (!next.has(name)) return [];
    let ways = [[agents[0].name]];
    for (const seen = new Set(); ways.length;) {
      const done = ways.find((way) => way.at(-1) === name);
      if (done) return done.map((agent) => ({ agent, decision: agent === name ? "answer" : "reject" }));
      ways.forEach((way) => seen.add(way.at(-1)));
      ways = ways.flatMap((way) => next.get(way.at(-1)).filter((to) => !seen.has(to)).map((to) => [...way, to]));
    }
    return [];
  }

  // Routes of the last second set out one after the other; of very many, some are seen.
  show(routes) {
    const seen = routes.slice(-MOST_TRAVELLERS);
    seen.forEach((route, i) => setTimeout(() => this.travel(route.hops), (1000 * i) / Math.max(1, seen.length)));
  }

  async travel(hops, mine = false) {
    if (this.still.matches || document.hidden || (!mine && this.travelling >= MOST_TRAVELLERS) || !hops.length) {
      for (const hop of hops) this.flash(hop);
      return;
    }
    this.travelling += 1;
    const dot = s("circle", { class: mine ? "traveller mine" : "traveller", r: mine ? 7 : 4.5 });
    this.travellers.append(dot);
    let from = "";
    for (const hop of hops) {
      const path = this.paths.get(`${from}\n${hop.agent}`);
      if (path) await along(path, dot, mine ? 1.6 * STEP_MS : STEP_MS);
      this.flash(hop);
      if (hop.decision !== "reject" && !mine) dot.setAttribute("class", `traveller ${hop.decision}`);
      from = hop.agent;
    }
    dot.remove();
    this.travelling -= 1;
  }

  flash(hop) {
    const node = this.nodes.get(hop.agent);
    if (!node) return;
    node.flash.setAttribute("class", `flash ${hop.decision}`);
    node.flash.animate([{ opacity: 0.9, r: `${node.r + 4}px` }, { opacity: 0, r: `${node.r + 15}px` }], { duration: 700, easing: "ease-out" });
  }
}

function between(a, b, r, jump, upright) {
  if (upright) {
    if (jump === 1) return `M${a.x} ${a.y + r}L${b.x} ${b.y - r}`;
    const out = a.x - r - 14 - 12 * jump;
    return `M${a.x - r} ${a.y}C${out} ${a.y} ${out} ${b.y} ${b.x - r} ${b.y}`;
  }
  if (jump === 1) return `M${a.x + r} ${a.y}L${b.x - r} ${b.y}`;
  const up = a.y - r - 18 - 16 * jump;
  return `M${a.x} ${a.y - r}C${a.x} ${up} ${b.x} ${up} ${b.x} ${b.y - r}`;
}

function along(path, dot, ms) {
  const length = path.getTotalLength();
  path.classList.add("hot");
  return new Promise((done) => {
    let begun = null;
    const step = (now) => {
      begun ??= now;
      const part = Math.min(1, (now - begun) / ms), eased = part * part * (3 - 2 * part), at = path.getPointAtLength(eased * length);
      dot.setAttribute("cx", at.x);
      dot.setAttribute("cy", at.y);
      if (part < 1) { requestAnimationFrame(step); return; }
      path.classList.remove("hot");
      done();
    };
    requestAnimationFrame(step);
    setTimeout(done, ms + 1500); // a hidden page draws no frames
  });
}
