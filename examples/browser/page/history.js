/** The last rows and what was forecast after them: all that the chart shows, and no more. */

export class History {
  /** @param {object} manifest of the export */
  constructor({ config, preprocessing }) {
    this.horizon = config.horizon;
    this.targets = config.targets;
    this.levels = config.quantiles;
    this.past = Math.min(Math.max(4 * this.horizon, 120), 480);
    const micro = preprocessing.interval_microseconds;
    this.interval = micro === null ? null : BigInt(micro);
    this.clear(0);
  }

  /** Forget all rows; `count` of them came before. */
  clear(count) {
    this.rows = [];
    this.count = count;
  }

  /** Add a row, as `Runner.update` says it, and empty places for the rows that were missing before it. */
  add({ missing, ...row }) {
    for (let before = Math.min(missing, this.past); before > 0; before -= 1) {
      const time = row.time === null ? null : row.time - BigInt(before) * this.interval;
      this.rows.push({ time, number: this.count + missing + 1 - before, values: null });
    }
    this.count += missing + 1;
    this.rows.push({ ...row, number: this.count });
    this.rows.splice(0, this.rows.length - this.past);
  }

  /** The last row; undefined before the first. */
  get last() {
    return this.rows.at(-1);
  }

  /**
   * What was forecast after the row `back` rows ago, for the horizon after it: mean and bands, the widest first.
   * @returns {{mean: number[], bands: {low: number[], high: number[]}[]} | null} null if nothing was forecast then
   */
  forecast(target, back = 0) {
    const row = this.rows.at(-1 - back);
    if (!row?.mean) return null;
    const ahead = Array.from({ length: this.horizon }, (_, step) => step * this.targets + target);
    const level = (place) => ahead.map((at) => row.quantiles[at * this.levels.length + place]);
    const bands = [];
    for (let low = 0, high = this.levels.length - 1; low < high; low += 1, high -= 1) {
      bands.push({ low: level(low), high: level(high) });
    }
    return { mean: ahead.map((at) => row.mean[at]), bands };
  }
}
