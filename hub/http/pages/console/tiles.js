// The tiles of the first screen. Their elements are made once; only texts and paths change.

import { worstLevel } from "./alerts.js";
import { $, create, setText } from "./dom.js";
import { HEIGHT, WIDTH, drawSparkline } from "./sparkline.js";
import { TILES } from "./tile_list.js";

const LEVEL_TEXTS = { good: "OK", warn: "Watch", bad: "Alarm", unknown: "–" };
const elements = new Map(); // id of a tile → its elements

function createTile({ id, name, metric }) {
  const item = create("li", "tile");
  item.id = `tile-${id}`;
  item.title = metric;
  item.innerHTML = `<h3></h3><span class="level"></span><p class="value">–</p>
    <svg viewBox="0 0 ${WIDTH} ${HEIGHT}" preserveAspectRatio="none" aria-hidden="true"><path class="area"/><path class="line"/></svg>
    <p class="small"></p>`;
  item.querySelector("h3").textContent = name;
  const [level, value, area, line, note] = [".level", ".value", ".area", ".line", ".small"].map((each) => item.querySelector(each));
  elements.set(id, { item, level, value, area, line, note });
  return item;
}

export function createTiles() {
  $("tiles").append(...TILES.map(createTile));
}

/** Shows the newest values. history: seconds and series; facts: see tile_list.js; alerts: of Alerts.evaluate. */
export function drawTiles(history, facts, alerts, now) {
  const levels = new Map(alerts.map(({ name, level }) => [name, level]));
  for (const tile of TILES) {
    const { item, level, value, area, line, note } = elements.get(tile.id);
    item.hidden = !(tile.isShown?.(facts) ?? true);
    if (item.hidden) continue;
    const series = history.series[tile.measure];
    const newest = newestOf(series);
    const worst = tile.alerts.length ? worstLevel(tile.alerts.map((name) => levels.get(name))) : newest === null ? "unknown" : "good";
    item.dataset.level = worst;
    setText(level, LEVEL_TEXTS[worst]);
    setText(value, newest === null ? "–" : tile.format(newest));
    setText(note, newest === null ? "no reports yet" : tile.note(facts));
    const drawn = drawSparkline(history.seconds, series, now, tile.minTop);
    area.setAttribute("d", drawn.area);
    line.setAttribute("d", drawn.line);
  }
}

// A second without a measurement, such as one without a probe, keeps the value before it.
function newestOf(series) {
  for (let i = series.length - 1; i >= Math.max(0, series.length - 5); i -= 1) if (series[i] !== null) return series[i];
  return null;
}
