// The charts, by uPlot (MIT, uplot.LICENSE).

import uPlot from "./uplot.js";

/** A colour of the page as a canvas can have it: light-dark() is resolved. */
function colour(name) {
  const probe = document.createElement("span");
  probe.style.color = `var(${name})`;
  document.body.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
}

/** A chart in each element with data-series="a,b"; `draw(history)` shows what there is. */
export function charts(history) {
  const made = [...document.querySelectorAll("[data-series]")].map((place) => {
    const names = place.dataset.series.split(",");
    const labels = place.dataset.labels.split(",");
    const axis = { stroke: colour("--quiet"), grid: { stroke: colour("--line"), width: 1 }, font: "11px system-ui" };
    const strokes = ["--accent", "--good"];
    const plot = new uPlot(
      {
        width: place.clientWidth,
        height: 150,
        legend: { show: names.length > 1, live: false },
        cursor: { points: { show: false } },
        scales: { y: { range: (_, low, high) => [0, Math.max(1, high * 1.1)] } },
        axes: [axis, { ...axis, size: 56 }],
        series: [
          {},
          ...names.map((_, i) => ({ label: labels[i], stroke: colour(strokes[i]), width: 2, points: { show: false } })),
        ],
      },
      [history.seconds, ...names.map((name) => history.series[name])],
      place,
    );
    new ResizeObserver(() => plot.setSize({ width: place.clientWidth, height: 150 })).observe(place);
    return () => plot.setData([history.seconds, ...names.map((name) => history.series[name])]);
  });
  return () => made.forEach((draw) => draw());
}
