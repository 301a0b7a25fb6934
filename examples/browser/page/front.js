/** The front of a forecaster: cells, time, order, rows that are missing, calendar; what a stream of `aaren` does. */

import { calendarFeatures } from "./calendar.js";
import { isMissing, numberOf, shown, written } from "./cells.js";
import { DataError, FileError } from "./errors.js";
import { parseParts, parseTime, spanText, timeText } from "./times.js";

const LARGEST_SCALED = 1e15; // training deviations
const NO_TIME = -(2n ** 63n);

export class ForecasterFront {
  /**
   * @param {object} manifest of the export
   * @param {{onBadRow?: "error" | "impute", maxGap?: number}} options whether infinite cells count as missing, and how
   *   many rows may be missing in one place
   */
  constructor({ config, preprocessing }, { onBadRow = "error", maxGap = 10_000 } = {}) {
    const { schema, scaler, calendar, interval_microseconds: interval, irregular } = preprocessing;
    Object.assign(this, { config, schema, scaler, calendar, irregular, onBadRow, maxGap });
    this.inputs = [...schema.targets, ...schema.covariates];
    this.interval = interval === null ? null : BigInt(interval);
    this.reset();
  }

  /** The columns that a row must have. */
  get columns() {
    const { time, series_id: series } = this.schema;
    return [...time, ...this.inputs, ...(series === null ? [] : [series])];
  }

  /** Forget the rows so far. */
  reset() {
    this.time = null;
    this.series = null;
    this.taken = 0;
  }

  /**
   * The row, how many are missing before it, and the name of its series; DataError changes nothing.
   * @param {Map<string, string>} cells by column
   * @param {number} line of the table
   */
  check(cells, line) {
    const read = this.inputs.map((name) => this.#number(cells.get(name), { line, column: name }));
    const time = this.#time(cells, line);
    const values = read.map((value, index) => this.#finite(value, index, cells, line));
    const series = this.#series(cells, line); // before the order of times, which holds within a series
    return { time, values, series, missing: this.#missingBefore(time, line) };
  }

  /** One token for each missing row, with no values, and the row's own: inputs of a step by name. */
  *tokens({ time, values, missing }) {
    for (let before = missing; before >= 0; before -= 1) {
      const token = { values: Float64Array.from(before ? values.map(() => NaN) : values) };
      if (this.calendar.length && time !== null && this.interval !== null) {
        token.calendar = calendarFeatures(time - BigInt(before) * this.interval, this.calendar);
      }
      if (this.config.decay === "time") {
        token.elapsed = Float32Array.of(before === missing ? this.#elapsed(time) : 1);
      }
      yield token;
    }
  }

  /** The row was taken: remember of it what the next one is judged by. */
  take({ time, series }) {
    this.time = time;
    this.series = series;
    this.taken += 1;
  }

  /** Refuse a row after which nothing is a number. */
  requireFinite(mean, line) {
    if (mean.every(Number.isFinite)) return;
    const received = "received one after which nothing is a number";
    const remedy = "its numbers are far beyond those of the training data: leave such cells empty";
    throw new DataError(`expected a row that the model can take, ${received}; ${remedy}`, { line });
  }

  /** What it keeps between rows, as tensors. */
  state() {
    const name = this.series === null ? Uint8Array.of(0) : new TextEncoder().encode(this.series);
    return {
      time_microseconds: { dtype: "int64", shape: [], data: BigInt64Array.of(this.time ?? NO_TIME) },
      series: { dtype: "uint8", shape: [name.length], data: name },
      taken: { dtype: "int64", shape: [], data: BigInt64Array.of(BigInt(this.taken)) },
    };
  }

  /** Take back what `state` gave; FileError if it cannot be. */
  setState({ time_microseconds: time, series, taken }) {
    const one = [time, taken].every((tensor) => tensor.dtype === "int64" && tensor.shape.length === 0);
    if (!one || series.dtype !== "uint8" || taken.data[0] < 0n) {
      throw new FileError("state: damaged: expected numbers of the rows so far, received others");
    }
    const unnamed = series.data.length === 1 && series.data[0] === 0;
    this.series = unnamed ? null : new TextDecoder().decode(series.data);
    this.time = time.data[0] === NO_TIME ? null : time.data[0];
    this.taken = Number(taken.data[0]);
  }

  #number(cell, place) {
    try {
      return numberOf(cell);
    } catch (error) {
      throw new DataError(`${error.message}; give a number, or leave the cell empty if it is missing`, place);
    }
  }

  #time(cells, line) {
    const names = this.schema.time;
    if (!names.length) return null;
    const parts = names.map((name) => cells.get(name));
    try {
      return parts.length === 1 ? parseTime(parts[0]) : parseParts(parts, names);
    } catch (error) {
      throw new DataError(error.message, { line, column: names[0] });
    }
  }

  /** The value, NaN if it is missing; what is too far from the mean of the training is not finite. */
  #finite(value, index, cells, line) {
    const column = this.inputs[index];
    if (isMissing(cells.get(column))) return NaN;
    const scaled = (value - this.scaler.mean[index]) / this.scaler.deviation[index];
    if (Math.abs(scaled) <= LARGEST_SCALED) return value;
    if (this.onBadRow === "impute") return NaN;
    const bound = Number.isFinite(value) ? " within 1e+15 training deviations of the mean" : "";
    const received = `received ${written(value)}; leave the cell empty if it is missing`;
    throw new DataError(`expected a finite number${bound}, ${received}`, { line, column });
  }

  #series(cells, line) {
    const column = this.schema.series_id;
    if (column === null) return this.series;
    const name = cells.get(column).trim();
    if (!name) throw new DataError("expected the name of a series, received a missing cell", { line, column });
    if (this.series !== null && name !== this.series) {
      const message = `expected rows of series ${shown(this.series)}, received ${shown(name)}`;
      throw new DataError(`${message}; use one table for each series`, { line, column });
    }
    return name;
  }

  #missingBefore(time, line) {
    if (time === null || this.time === null || this.interval === null) return 0;
    const place = { line, column: this.schema.time[0] };
    const [before, now] = [this.time, time].map(timeText);
    if (time <= this.time) {
      throw new DataError(`expected a time after ${before}, received ${now}; rows come in order of time`, place);
    }
    if (this.irregular) return 0;
    const steps = (time - this.time) / this.interval;
    if ((time - this.time) % this.interval) {
      const multiple = `a multiple of ${spanText(this.interval)} after ${before}`;
      const remedy = "round the times to the interval of the training data";
      throw new DataError(`expected a time that is ${multiple}, received ${now}; ${remedy}`, place);
    }
    const missing = Number(steps) - 1;
    if (missing > this.maxGap) {
      const message = `expected at most ${this.maxGap} missing rows, received a gap of ${missing}`;
      throw new DataError(`${message}; start anew with the rows after it`, place);
    }
    return missing;
  }

  #elapsed(time) {
    if (!this.taken) return 0;
    const known = this.irregular && time !== null && this.time !== null && this.interval !== null;
    return known ? Number(time - this.time) / Number(this.interval) : 1;
  }
}
