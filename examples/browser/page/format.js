/** Numbers and times for people. */

import { dateOf, timeText } from "./times.js";

const SECOND = 1_000_000n;
const [MINUTE, HOUR, DAY] = [60n * SECOND, 3600n * SECOND, 86400n * SECOND];
const STEPS = [
  ...[1n, 5n, 15n, 30n].map((count) => count * SECOND),
  ...[1n, 5n, 15n, 30n].map((count) => count * MINUTE),
  ...[1n, 3n, 6n, 12n].map((count) => count * HOUR),
  ...[1n, 2n, 4n, 7n, 14n, 28n, 91n, 182n, 365n, 1826n, 3652n].map((count) => count * DAY),
];

/** Bytes with the unit that suits them, in powers of 1,000. */
export function bytes(count) {
  if (count < 100_000) return `${count.toLocaleString("en")} bytes`;
  const units = ["kB", "MB", "GB", "TB"];
  const power = Math.min(Math.floor(Math.log10(count) / 3), units.length);
  return `${(count / 1000 ** power).toPrecision(3)} ${units[power - 1]}`;
}

/** Microseconds, or milliseconds where they are many. */
export function duration(micro) {
  return micro < 10_000 ? `${Math.round(micro).toLocaleString("en")} µs` : `${(micro / 1000).toPrecision(3)} ms`;
}

/** Four significant digits, never in powers of ten where it can be helped. */
export function figure(value) {
  if (!Number.isFinite(value)) return "missing";
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-4 || size >= 1e9)) return value.toExponential(3);
  return value.toLocaleString("en", { maximumSignificantDigits: 4 });
}

/** A time without the zeros at its end. */
export function clock(time) {
  return timeText(time).replace("T", " ").replace(/:00$/, "");
}

/** The least of 1, 2, 5, 10, 20, ... (or tenths of them) that is not less. */
export function niceStep(least) {
  const power = 10 ** Math.floor(Math.log10(least));
  return power * [1, 2, 5, 10].find((factor) => factor * power >= least * 0.999);
}

/** The least step between labels, in microseconds, that leaves room for them; `pixels` is the width of an interval. */
export function timeStep(interval, pixels) {
  const room = (step) => (Number(step) / Number(interval)) * pixels;
  return STEPS.find((step) => room(step) >= (step >= DAY ? 60 : 105)) ?? STEPS.at(-1);
}

/** The label of a time on an axis whose labels are `step` apart. */
export function dateLabel(time, step) {
  const date = dateOf(time);
  const show = (options) => date.toLocaleString("en-GB", { timeZone: "UTC", ...options });
  if (step >= 182n * DAY) return show({ month: "short", year: "numeric" });
  if (step >= DAY) return show({ day: "numeric", month: "short" });
  const hours = { hour: "2-digit", minute: "2-digit" };
  if (step < MINUTE) return show({ ...hours, second: "2-digit" });
  return show(step >= HOUR ? { day: "numeric", month: "short", ...hours } : hours).replace(",", "");
}
