// Keeps the end of a growing content in view, until the user scrolls up.
//
// It acts after the browser's layout of a frame (ResizeObserver), so that nothing makes the browser
// compute the layout twice, and it also sees what grows later, such as a picture or a formula.

import { setHidden } from "./dom.js";

const BOTTOM_TOLERANCE_PX = 60;

export class ScrollFollower {
  #isFollowing = false;
  #top = 0;
  #height = 0; // of the content

  // box: scrolls. content: grows in it. button: shown while there is something new below.
  constructor(box, content, button) {
    Object.assign(this, { box, content, button });
    const observer = new ResizeObserver(() => this.#onResize());
    [box, content].forEach((element) => observer.observe(element));
    box.addEventListener("scroll", () => this.#onScroll(), { passive: true });
    button.addEventListener("click", () => this.follow());
    this.#setFollowing(true);
  }

  follow() {
    this.#setFollowing(true);
    this.box.scrollTop = this.box.scrollHeight;
  }

  get isFollowing() {
    return this.#isFollowing;
  }

  #setFollowing(isFollowing) {
    if (isFollowing) setHidden(this.button, true);
    if (this.#isFollowing === isFollowing) return;
    this.#isFollowing = isFollowing;
    // The browser would keep what is in view in its place, as it should when the user reads above.
    this.box.style.overflowAnchor = isFollowing ? "none" : "";
  }

  #onResize() {
    const height = this.content.offsetHeight;
    if (this.#isFollowing) this.box.scrollTop = this.box.scrollHeight;
    else if (height > this.#height) setHidden(this.button, false);
    this.#height = height;
  }

  #onScroll() {
    const { scrollTop, scrollHeight, clientHeight } = this.box;
    if (scrollHeight - scrollTop - clientHeight < BOTTOM_TOLERANCE_PX) this.#setFollowing(true);
    else if (scrollTop < this.#top) this.#setFollowing(false);
    this.#top = scrollTop;
  }
}
