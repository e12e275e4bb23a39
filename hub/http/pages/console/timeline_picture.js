// Draws the timeline of an answer as an SVG, and lists its times beside it for all readers.

import { buildTimeline } from "./timeline.js";
import { $, create } from "./dom.js";
import { formatSpan, formatTime } from "./format.js";

const NAMESPACE = "http://www.w3.org/2000/svg";
const WIDTH = 800;
const LANE = 26;
const BAR = 14;
const MAX_LANES = 12;
const TITLES = { queued: "queued", started: "before the first delta", streaming: "streaming" };

/** Shows the timeline of a snapshot. age: seconds since the request. */
export function drawTimeline(snapshot, age) {
  const { marks, bars, seconds } = buildTimeline(snapshot, age);
  const lanes = [...new Set(bars.map(({ lane }) => lane))].slice(-MAX_LANES);
  const height = lanes.length * LANE + 4;
  const picture = element("svg", { viewBox: `0 0 ${WIDTH} ${height}`, class: "timeline", role: "img", "aria-labelledby": "timeline-title" });
  const title = element("title", { id: "timeline-title" });
  title.textContent = marks.map(({ label, offset }) => `${label} after ${formatSpan(offset)}`).join(", ");
  picture.append(title);
  for (const { kind, lane, from, to } of bars) {
    const row = lanes.indexOf(lane);
    if (row < 0) continue;
    const x = (from / seconds) * WIDTH;
    const bar = element("rect", { class: kind, x, y: row * LANE + 6, width: Math.max(2, ((to - from) / seconds) * WIDTH), height: BAR, rx: 3 });
    const hint = element("title", {});
    hint.textContent = `${lane ? `Attempt ${lane}, ` : ""}${TITLES[kind]}: ${formatSpan(to - from)}`;
    bar.append(hint);
    picture.append(bar);
  }
  for (const { offset } of marks) {
    const x = Math.min(WIDTH - 1, Math.max(1, (offset / seconds) * WIDTH));
    picture.append(element("line", { x1: x, x2: x, y1: 0, y2: height }));
  }
  const legend = create("p", "legend");
  legend.append(...Object.entries(TITLES).map(([kind, text]) => create("span", kind, text)));
  const list = create("ol", "marks");
  list.append(...marks.map(({ label, offset }) => {
    const item = create("li");
    item.append(create("span", "", label), create("b", "", `+${formatSpan(offset)}`), create("time", "", formatTime(snapshot.requested_at + offset)));
    return item;
  }));
  $("timeline").replaceChildren(picture, legend, list);
}

function element(name, attributes) {
  const created = document.createElementNS(NAMESPACE, name);
  for (const [attribute, value] of Object.entries(attributes)) created.setAttribute(attribute, value);
  return created;
}
