// Runs functions one after the other in the pauses between frames, so that many of them, such as the
// formulas of a long answer, do not hold up the page.

const MAX_SLICE_MS = 8;
const waiting = [];
let isRunning = false;

// job: a function; it may return a promise. What it throws is its own affair.
export function runLater(job) {
  waiting.push(job);
  if (!isRunning) run();
}

async function run() {
  isRunning = true;
  let end = performance.now() + MAX_SLICE_MS;
  while (waiting.length) {
    await waiting.shift()();
    if (performance.now() < end) continue;
    await new Promise((resolve) => setTimeout(resolve));
    end = performance.now() + MAX_SLICE_MS;
  }
  isRunning = false;
}
