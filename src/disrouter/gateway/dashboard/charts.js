// Charts as plain SVG: what was spent and saved, how long it took, and whether confidence meant anything.

import { money, number, s, seconds, share } from "./words.js";

// As wide as its place, so that words keep their size.
const wide = (place) => Math.max(280, place.clientWidth || 560);

const nothing = (place, words) => {
  const told = document.createElement("p");
  told.className = "nothing";
  told.textContent = words;
  place.replaceChildren(told);
};

export function sparkline(values) {
  const most = Math.max(1, ...values), n = Math.max(1, values.length - 1);
  const points = values.map((value, i) => `${((100 * i) / n).toFixed(1)} ${(38 - (34 * value) / most).toFixed(1)}`);
  return s("svg", { viewBox: "0 0 100 40", preserveAspectRatio: "none", "aria-hidden": "true" },
    s("path", { class: "spark-area", d: `M0 40L${points.join("L")}L100 40z` }), s("path", { class: "spark", d: `M${points.join("L")}` }));
}

// One bar per stretch of time: spent below, saved above; together what the dearest agent would have taken.
export function cost(place, summary, note) {
  const series = summary.series;
  const top = Math.max(...series.map((point) => point.cost + Math.max(0, point.saved)));
  note.textContent = "";
  if (!(top > 0)) return nothing(place, "Nothing was spent in this time.");
  const width = wide(place), height = 226, left = 44, right = 6, bottom = 22, room = width - left - right, tall = height - bottom - 8;
  const step = room / series.length, thick = Math.max(1, step - Math.min(2.5, step / 3));
  const y = (value) => 8 + tall - (tall * value) / top;
  const svg = s("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": "Cost and saving over time" });
  for (const part of [0, 0.5, 1]) {
    svg.append(s("line", { class: "grid", x1: left, x2: width - right, y1: y(part * top), y2: y(part * top) }),
      s("text", { x: left - 8, y: y(part * top) + 4, "text-anchor": "end" }, money(part * top)));
  }
  const day = summary.until - summary.since > 100000;
  const clock = (time) => new Date(time * 1000).toLocaleString([], day ? { month: "short", day: "numeric" } : { hour: "2-digit", minute: "2-digit", hour12: false });
  [0, 0.5, 1].forEach((part, i) => svg.append(s("text", { x: left + part * room, y: height - 4, "text-anchor": ["start", "middle", "end"][i] },
    clock(summary.since + part * (summary.until - summary.since)))));
  const rest = () => {
    const { cost: spent, saved } = summary.totals;
    note.textContent = `${money(spent)} spent, ${money(saved)} saved`;
  };
  series.forEach((point, i) => {
    const x = left + i * step, saved = Math.max(0, point.saved);
    if (saved > 0) svg.append(s("rect", { class: "bar-saved", x, y: y(point.cost + saved), width: thick, height: y(point.cost) - y(point.cost + saved), rx: 1 }));
    if (point.cost > 0) svg.append(s("rect", { class: "bar-cost", x, y: y(point.cost), width: thick, height: y(0) - y(point.cost), rx: 1 }));
    const over = s("rect", { class: "hover", x, y: 8, width: step, height: tall });
    over.addEventListener("pointerenter", () => {
      note.textContent = `${clock(point.time)}: ${number(point.requests)} requests, ${money(point.cost)} spent, ${money(point.saved)} saved`;
    });
    over.addEventListener("pointerleave", rest);
    svg.append(over);
  });
  rest();
  place.replaceChildren(svg);
}

// A line from the median to the slowest percent, on one logarithmic scale.
export function latency(place, found) {
  const rows = [["whole answer", found.seconds], ["first token", found.first_token_seconds], ["added by us", found.overhead_seconds]].filter(([, q]) => q);
  if (!rows.length) return nothing(place, "Nothing was answered in this time.");
  const all = rows.flatMap(([, q]) => [q.p50, q.p99]).filter((value) => value > 0);
  const low = Math.floor(Math.log10(Math.min(...all, 0.001))), high = Math.max(low + 1, Math.ceil(Math.log10(Math.max(...all))));
  const width = wide(place), left = 86, right = 10, row = 68, top = 10, height = top + rows.length * row + 22;
  const x = (value) => left + ((width - left - right) * (Math.log10(Math.max(value, 10 ** low)) - low)) / (high - low);
  const svg = s("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": "Latency" });
  for (let power = low; power <= high; power += 1) {
    const at = x(10 ** power);
    svg.append(s("line", { class: "grid", x1: at, x2: at, y1: top, y2: height - 22 }),
      s("text", { x: at, y: height - 6, "text-anchor": power === high ? "end" : "middle" }, seconds(10 ** power).replace(/\.0+ /, " ")));
  }
  rows.forEach(([name, q], i) => {
    const y = top + i * row + 30;
    svg.append(s("text", { class: "strong", x: 0, y: y + 4 }, name),
      s("line", { class: "range", x1: x(q.p50), x2: x(q.p99), y1: y, y2: y }),
      s("line", { class: "p99", x1: x(q.p99), x2: x(q.p99), y1: y - 7, y2: y + 7 }),
      s("circle", { class: "p90", cx: x(q.p90), cy: y, r: 4 }), s("circle", { class: "p50", cx: x(q.p50), cy: y, r: 5.5 }),
      s("text", { x: width - right, y: y - 14, "text-anchor": "end" }, `${seconds(q.p50)} · ${seconds(q.p90)} · ${seconds(q.p99)}`));
  });
  place.replaceChildren(svg);
}

// Where confidence means what it says, the circles lie on the diagonal.
export function sure(place, bins, note) {
  const count = bins.reduce((sum, bin) => sum + bin.count, 0);
  note.textContent = count ? `${number(count)} rated answers` : "";
  if (!count) return nothing(place, "No feedback yet. Rate an answer here, or send POST /v1/feedback.");
  const size = 250, left = 34, bottom = 34, room = size - left - 10, most = Math.max(...bins.map((bin) => bin.count));
  const x = (value) => left + room * value, y = (value) => 8 + room * (1 - value);
  const svg = s("svg", { viewBox: `0 0 ${size} ${size + bottom - 24}`, role: "img", "aria-label": "Confidence against feedback" });
  for (const part of [0, 0.5, 1]) {
    svg.append(s("line", { class: "grid", x1: x(0), x2: x(1), y1: y(part), y2: y(part) }), s("line", { class: "grid", x1: x(part), x2: x(part), y1: y(0), y2: y(1) }),
      s("text", { x: x(0) - 7, y: y(part) + 4, "text-anchor": "end" }, String(part)), s("text", { x: x(part), y: y(0) + 15, "text-anchor": "middle" }, String(part)));
  }
  svg.append(s("line", { class: "diagonal", x1: x(0), y1: y(0), x2: x(1), y2: y(1) }));
  for (const bin of bins) {
    svg.append(s("circle", { class: "bubble", cx: x(bin.confidence), cy: y(bin.score), r: 4 + 9 * Math.sqrt(bin.count / most) },
      s("title", {}, `confidence ${bin.confidence.toFixed(2)}, right ${share(bin.score)} % of ${bin.count}`)));
  }
  svg.append(s("text", { x: x(1), y: y(0) + 28, "text-anchor": "end" }, "confidence →"), s("text", { x: x(0) + 5, y: y(1) + 11 }, "↑ feedback"));
  place.replaceChildren(svg);
}
