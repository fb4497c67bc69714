// Small things that every part of the page needs: elements, numbers, one hop as a row.

export function h(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children.filter((child) => child !== null && child !== undefined)); // text stays text: nothing is parsed
  return made;
}

export function s(tag, attributes = {}, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

export function number(value) {
  if (Math.abs(value) >= 1e6) return `${(value / 1e6).toFixed(1)}M`;
  if (Math.abs(value) >= 1e4) return `${(value / 1e3).toFixed(1)}k`;
  return String(Math.round(value * 1000) / 1000);
}

export function share(value) {
  const shown = (100 * value).toFixed(Math.abs(value) < 0.1 && value !== 0 ? 1 : 0).replace("-", "−");
  return shown === "100" && value < 1 ? "99.9" : shown; // nearly all is not all
}

export const money = (value) => (Math.abs(value) >= 100 ? value.toFixed(0) : String(Number(value.toPrecision(3)))).replace("-", "−");

export function seconds(value) {
  if (value < 0.001) return `${(value * 1e6).toFixed(0)} µs`;
  if (value < 1) return `${(value * 1000).toPrecision(value < 0.1 ? 2 : 3)} ms`;
  return `${value.toPrecision(3)} s`;
}

export function ago(time) {
  const passed = Math.max(0, Date.now() / 1000 - time);
  if (passed < 60) return `${Math.floor(passed)} s`;
  if (passed < 3600) return `${Math.floor(passed / 60)} min`;
  return passed < 86400 ? `${Math.floor(passed / 3600)} h` : `${Math.floor(passed / 86400)} d`;
}

const DID = { answer: "answered", reject: "passed on", failure: "failed" };

export function hopRow(hop) {
  const bar = h("span", { class: "bar" });
  if (hop.confidence !== null && hop.confidence !== undefined) {
    const fill = h("i");
    fill.style.width = `${100 * hop.confidence}%`;
    bar.append(fill);
    bar.title = `confidence ${hop.confidence.toFixed(2)}`;
  }
  const sure = hop.confidence === null || hop.confidence === undefined ? "" : `${hop.confidence.toFixed(2)} · `;
  const why = [hop.error, hop.reason].filter(Boolean).join(": ");
  return h("div", { class: `hop ${hop.decision}` },
    h("span", { class: "mark", role: "img", "aria-label": DID[hop.decision] ?? "" }), h("b", {}, hop.agent), bar,
    h("span", { class: "quiet" }, `${sure}${money(hop.cost)} · ${seconds(hop.seconds ?? 0)}`),
    why ? h("span", { class: "quiet why" }, why) : null);
}
