// A small chart of one measure on a fixed axis of five minutes: the newest value is at the right
// end, and a page that has just opened begins there too. Pure: it returns the path of an SVG.

export const AXIS_SECONDS = 300;
export const WIDTH = 300;
export const HEIGHT = 40;
const PADDING = 2;

/** Returns {line, area, low, high} of a series. seconds: the times, ascending; values: null where
 *  nothing was measured. The vertical axis begins at zero and is at least `minTop` high. */
export function drawSparkline(seconds, values, now, minTop = 1) {
  const measured = values.filter((value) => value !== null);
  const high = measured.length ? Math.max(...measured) : null;
  const top = Math.max(minTop, high ?? 0) * 1.05;
  const x = (at) => round(WIDTH - ((now - at) / AXIS_SECONDS) * WIDTH);
  const y = (value) => round(HEIGHT - PADDING - (value / top) * (HEIGHT - 2 * PADDING));
  let line = "";
  let area = "";
  let start = null; // the first point of the piece that is drawn
  let end = null;
  const finish = () => {
    if (start !== null) area += `L${end} ${HEIGHT}L${start} ${HEIGHT}Z`;
    start = null;
  };
  values.forEach((value, i) => {
    if (value === null || now - seconds[i] > AXIS_SECONDS) return finish();
    const point = `${x(seconds[i])} ${y(value)}`;
    line += start === null ? `M${point}` : `L${point}`;
    area += start === null ? `M${point}` : `L${point}`;
    start ??= x(seconds[i]);
    end = x(seconds[i]);
  });
  finish();
  return { line, area, low: measured.length ? Math.min(...measured) : null, high };
}

const round = (number) => Math.round(number * 10) / 10;
