/** Where a time stands in its minute, hour, day, week and year, as sines and cosines: those of the training. */

import { dateOf, secondsOf } from "./times.js";

const DAY = 86400;
const PHASES = {
  second_of_minute: (seconds) => [modulo(seconds, 60), 60],
  minute_of_hour: (seconds) => [modulo(Math.floor(seconds / 60), 60), 60],
  hour_of_day: (seconds) => [modulo(Math.floor(seconds / 3600), 24), 24],
  // 1970-01-01 was a Thursday; Monday is 0
  day_of_week: (seconds) => [modulo(Math.floor(seconds / DAY) + 3, 7), 7],
  day_of_year: (seconds, year) => {
    const first = startOfYear(year);
    const days = (startOfYear(year + 1) - first) / DAY;
    return [Math.floor((seconds - first) / DAY), days];
  },
};

/** Names of the phases that there are. */
export const CALENDAR = Object.keys(PHASES);

/**
 * Sine and cosine of each phase.
 * @param {bigint} time microseconds since 1970
 * @param {string[]} names from `CALENDAR`
 * @returns {Float32Array} 2 * names.length numbers
 */
export function calendarFeatures(time, names) {
  const seconds = secondsOf(time);
  const year = dateOf(time).getUTCFullYear();
  return Float32Array.from(names.flatMap((name) => wave(...PHASES[name](seconds, year))));
}

function wave(phase, phases) {
  const angle = (2 * Math.PI * phase) / phases;
  return [Math.sin(angle), Math.cos(angle)].map((x) => (Math.abs(x) < 1e-12 ? 0 : x));
}

function modulo(a, n) {
  return ((a % n) + n) % n;
}

function startOfYear(year) {
  return new Date(0).setUTCFullYear(year, 0, 1) / 1000;
}
