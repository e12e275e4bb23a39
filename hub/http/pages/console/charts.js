// The charts, drawn with uPlot (MIT, uplot.LICENSE).

import uPlot from "./uplot.js";

/** Returns a colour of the page for a canvas: light-dark() is resolved. */
function resolveColour(name) {
  const probe = document.createElement("span");
  probe.style.color = `var(${name})`;
  document.body.append(probe);
  const { color } = getComputedStyle(probe);
  probe.remove();
  return color;
}

/** Creates a chart in each element with data-series="a,b". Returns a function that redraws all. */
export function createCharts(history) {
  const redraws = [...document.querySelectorAll("[data-series]")].map((container) => {
    const names = container.dataset.series.split(",");
    const labels = container.dataset.labels.split(",");
    const axis = { stroke: resolveColour("--quiet"), grid: { stroke: resolveColour("--line"), width: 1 }, font: "11px system-ui" };
    const strokes = ["--accent", "--good"];
    const plot = new uPlot(
      {
        width: container.clientWidth,
        height: 150,
        legend: { show: names.length > 1, live: false },
        cursor: { points: { show: false } },
        scales: { y: { range: (_, low, high) => [0, Math.max(1, high * 1.1)] } },
        axes: [axis, { ...axis, size: 56 }],
        series: [
          {},
          ...names.map((_, i) => ({ label: labels[i], stroke: resolveColour(strokes[i]), width: 2, points: { show: false } })),
        ],
      },
      [history.seconds, ...names.map((name) => history.series[name])],
      container,
    );
    new ResizeObserver(() => plot.setSize({ width: container.clientWidth, height: 150 })).observe(container);
    return () => plot.setData([history.seconds, ...names.map((name) => history.series[name])]);
  });
  return () => redraws.forEach((redraw) => redraw());
}
