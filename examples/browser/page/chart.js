/** The last rows of a target, the forecast after them, and the one that was made a horizon before: on a canvas. */

import { dateLabel, niceStep, timeStep } from "./format.js";

const MARGIN = { left: 54, right: 14, top: 12, bottom: 26 };

export class Chart {
  #canvas;
  #range = null;

  /** @param {HTMLCanvasElement} canvas of which the size is that of its element */
  constructor(canvas) {
    this.#canvas = canvas;
  }

  /** Let the next drawing choose its own heights. */
  forget() {
    this.#range = null;
  }

  /** @param {import("./history.js").History} history and the number of the target to draw */
  draw(history, target) {
    const { context, width, height } = this.#cleared();
    const forecast = history.forecast(target);
    const earlier = history.forecast(target, history.horizon);
    const truth = history.rows.map((row) => (row.values ? row.values[target] : NaN));
    const [low, high] = this.#heights([truth, ...curves(forecast), ...curves(earlier)]);
    const slots = history.past - 1 + history.horizon;
    const x = (slot) => MARGIN.left + ((width - MARGIN.left - MARGIN.right) * slot) / slots;
    const y = (value) => {
      return height - MARGIN.bottom - ((height - MARGIN.top - MARGIN.bottom) * (value - low)) / (high - low);
    };
    const pen = new Pen(context, x, y, colours(this.#canvas));
    if (!truth.length) return;
    pen.grid(low, high, width);
    const now = truth.length - 1;
    pen.dates(history, height, width);
    if (earlier) {
      const start = now - history.horizon;
      earlier.bands.forEach((band) => pen.band(start + 1, band.low, band.high, 0.07));
      pen.line(start + 1, earlier.mean, pen.colours.accent, { width: 1.5, dots: true, alpha: 0.75 });
    }
    pen.upright(now, height);
    if (forecast) {
      const start = Number.isFinite(truth[now]) ? [truth[now]] : [];
      const first = now + 1 - start.length;
      forecast.bands.forEach((band) => pen.band(first, [...start, ...band.low], [...start, ...band.high], 0.18));
      pen.line(first, [...start, ...forecast.mean], pen.colours.accent, { width: 2 });
    }
    pen.line(0, truth, pen.colours.ink, { width: 1.75 });
    pen.dot(now, truth[now]);
  }

  /** The context, scaled to the pixels of the screen, with nothing on it. */
  #cleared() {
    const { clientWidth: width, clientHeight: height } = this.#canvas;
    const ratio = window.devicePixelRatio || 1;
    const [across, down] = [Math.round(width * ratio), Math.round(height * ratio)];
    if (this.#canvas.width !== across) this.#canvas.width = across;
    if (this.#canvas.height !== down) this.#canvas.height = down;
    const context = this.#canvas.getContext("2d");
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, height);
    return { context, width, height };
  }

  /** Least and largest value to show: wide enough at once, narrower only bit by bit, so that nothing jumps. */
  #heights(lines) {
    const values = lines.flat().filter(Number.isFinite);
    if (!values.length) return [0, 1];
    let [low, high] = [Math.min(...values), Math.max(...values)];
    const room = (high - low || Math.abs(high) || 1) * 0.06;
    [low, high] = [low - room, high + room];
    if (this.#range) {
      const [lowest, highest] = this.#range;
      low = Math.min(low, lowest + (low - lowest) * 0.03);
      high = Math.max(high, highest + (high - highest) * 0.03);
    }
    this.#range = [low, high];
    return this.#range;
  }
}

/** Draws in slots of rows and units of the data. */
class Pen {
  constructor(context, x, y, palette) {
    Object.assign(this, { context, x, y, colours: palette });
    context.font = '12px system-ui, "Segoe UI", Roboto, sans-serif';
    context.lineJoin = "round";
    context.lineCap = "round";
  }

  grid(low, high, width) {
    const step = niceStep((high - low) / 5);
    const digits = Math.max(0, -Math.floor(Math.log10(step)));
    this.#ink({ stroke: this.colours.line, fill: this.colours.quiet, align: "right", baseline: "middle" });
    for (let tick = Math.ceil(low / step); tick * step <= high; tick += 1) {
      const at = Math.round(this.y(tick * step)) + 0.5;
      this.#stroke([MARGIN.left, at], [width - MARGIN.right, at]);
      this.context.fillText((tick * step).toFixed(Math.min(digits, 9)), MARGIN.left - 10, at);
    }
  }

  /** Labels under the rows with which a day, an hour, a hundred rows begin; whatever leaves room between them. */
  dates({ rows, interval, horizon, past }, height, width) {
    const pixels = (width - MARGIN.left - MARGIN.right) / (past + horizon);
    const timed = interval !== null && rows.at(-1).time !== null;
    const step = timed ? timeStep(interval, pixels) : BigInt(Math.ceil(niceStep(80 / pixels)));
    const last = rows.at(-1);
    const ahead = Array.from({ length: horizon }, (_, index) => {
      const after = index + 1;
      return { time: timed ? last.time + interval * BigInt(after) : null, number: last.number + after };
    });
    this.#ink({ fill: this.colours.quiet, align: "center", baseline: "alphabetic" });
    const half = timed ? 28 : 35;
    let free = 0;
    [...rows, ...ahead].forEach((row, slot, all) => {
      const place = timed ? row.time : BigInt(row.number);
      const before = slot ? all[slot - 1] : row;
      const begins = place / step !== (timed ? before.time : BigInt(before.number)) / step;
      if (!begins || this.x(slot) - half < free || this.x(slot) + half > width) return;
      free = this.x(slot) + half;
      this.context.fillText(timed ? dateLabel(row.time, step) : String(row.number), this.x(slot), height - 6);
    });
  }

  upright(slot, height) {
    this.#ink({ stroke: this.colours.line });
    const at = Math.round(this.x(slot)) + 0.5;
    this.#stroke([at, MARGIN.top], [at, height - MARGIN.bottom]);
  }

  band(first, low, high, alpha) {
    this.#ink({ fill: this.colours.accent });
    this.context.globalAlpha = alpha;
    this.context.beginPath();
    low.forEach((value, index) => this.context.lineTo(this.x(first + index), this.y(value)));
    for (let index = high.length - 1; index >= 0; index -= 1) {
      this.context.lineTo(this.x(first + index), this.y(high[index]));
    }
    this.context.fill();
    this.context.globalAlpha = 1;
  }

  /** A line that is broken where a value is missing; one value alone is a point. */
  line(first, values, colour, { width, dots = false, alpha = 1 }) {
    this.#ink({ stroke: colour, width });
    this.context.globalAlpha = alpha;
    this.context.setLineDash(dots ? [0.1, 4.5] : []);
    this.context.beginPath();
    let drawing = false;
    values.forEach((value, index) => {
      const there = Number.isFinite(value);
      const place = [this.x(first + index), this.y(value)];
      if (there && !drawing) this.context.moveTo(...place);
      if (there) this.context.lineTo(...place);
      drawing = there;
    });
    this.context.stroke();
    this.context.setLineDash([]);
    this.context.globalAlpha = 1;
  }

  dot(slot, value) {
    if (!Number.isFinite(value)) return;
    this.#ink({ fill: this.colours.ink });
    this.context.beginPath();
    this.context.arc(this.x(slot), this.y(value), 3.5, 0, 2 * Math.PI);
    this.context.fill();
  }

  #ink({ stroke, fill, width = 1, align = "left", baseline = "middle" }) {
    const { context } = this;
    if (stroke) context.strokeStyle = stroke;
    if (fill) context.fillStyle = fill;
    context.lineWidth = width;
    context.textAlign = align;
    context.textBaseline = baseline;
  }

  #stroke(from, to) {
    this.context.beginPath();
    this.context.moveTo(...from);
    this.context.lineTo(...to);
    this.context.stroke();
  }
}

function curves(forecast) {
  return forecast ? [forecast.mean, ...forecast.bands.flatMap(({ low, high }) => [low, high])] : [];
}

/** The page's own colours, light or dark. */
function colours(element) {
  const style = getComputedStyle(element);
  const read = (name) => style.getPropertyValue(`--${name}`).trim();
  return Object.fromEntries(["ink", "quiet", "line", "accent"].map((name) => [name, read(name)]));
}
