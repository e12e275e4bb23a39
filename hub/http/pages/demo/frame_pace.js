// Decides when the page draws: at most once per frame, and with pauses that follow the cost, so that
// most of the time is left for the user's input, also on a slow machine.

const FREE_MS = 4; // drawing that costs less needs no pause
const PAUSE_FACTOR = 3;
const MAX_PAUSE_MS = 500;

export class FramePace {
  #isWaiting = false;
  #nextAt = 0;

  // draw(): called in a frame.
  constructor(draw) {
    this.draw = draw;
  }

  // Asks for a frame. Several requests are one.
  request() {
    if (this.#isWaiting) return;
    this.#isWaiting = true;
    const wait = this.#nextAt - performance.now();
    if (wait > 0) setTimeout(() => requestAnimationFrame(() => this.#run()), wait);
    else requestAnimationFrame(() => this.#run());
  }

  #run() {
    this.#isWaiting = false;
    const start = performance.now();
    this.draw();
    // What follows a frame's functions, its layout and painting, is a part of the cost.
    setTimeout(() => {
      const cost = performance.now() - start;
      this.#nextAt = start + (cost > FREE_MS ? cost + Math.min(MAX_PAUSE_MS, PAUSE_FACTOR * cost) : 0);
    });
  }
}
