/** How long the last rows took: a fixed number of them, so that its memory is constant too. */

const KEPT = 1000;

export class Meter {
  #times = new Float64Array(KEPT);
  #count = 0;

  /** @param {number} micro microseconds */
  add(micro) {
    this.#times[this.#count % KEPT] = micro;
    this.#count += 1;
  }

  /** The time that so many of the last rows stayed within; NaN before the first. */
  quantile(level) {
    const times = this.#times.slice(0, Math.min(this.#count, KEPT)).sort();
    return times.length ? times[Math.ceil(level * times.length) - 1] : NaN;
  }
}
