/**
 * Times, as BigInt of microseconds since 1970 in UTC: the grammar of `aaren.data`. Text starts with the year:
 * `2016-07-01 00:00:00`, `2016-07-01T00:00:00.250Z`, `2016-07-01`, `2016-07`, `1990/1/1 0:00`, with an optional offset
 * such as `+01:00`. Orders that differ by country and bare numbers are refused.
 */

import { isMissing, numberOf, shown, stripped, written } from "./cells.js";

const STAMP = new RegExp(
  "^([0-9]{4})[-/]([0-9]{1,2})(?:[-/]([0-9]{1,2})" +
    "(?:(?:[Tt]| +)([0-9]{1,2}):([0-9]{2})(?::([0-9]{2})(?:[.,]([0-9]{1,9}))?)?" +
    " ?([Zz]|[+-][0-9]{2}(?::?[0-9]{2})?)?)?)?$",
);
const REMEDY = "write ISO 8601, for example 2016-07-01 00:00:00";
const SECOND = 1_000_000n;

/** The time of a cell; Error if it is missing, a bare number, or no valid time. */
export function parseTime(cell) {
  if (isMissing(cell)) throw new Error(`expected a time stamp, received a missing cell (${shown(cell)}); ${REMEDY}`);
  const match = STAMP.exec(stripped(cell));
  if (!match) throw new Error(complaint(cell));
  const [, year, month, day = 1, hour = 0, minute = 0, second = 0, fraction = "", zone] = match;
  const parts = [year, month, day, hour, minute, second].map(Number);
  const micro = BigInt(fraction.padEnd(6, "0").slice(0, 6));
  try {
    return assemble(parts) + micro - zoneSeconds(zone) * SECOND;
  } catch (error) {
    throw new Error(`expected a time stamp, received ${shown(cell)} (${error.message}); ${REMEDY}`);
  }
}

/** The time of cells that hold year, month, day, ..., at most six of them; Error if they are no valid time. */
export function parseParts(cells, names) {
  const parts = cells.map(numberOf);
  const whole = parts.every((part) => Number.isInteger(part) && Math.abs(part) < 1e5);
  try {
    if (!whole) throw new Error("not whole");
    return assemble([...parts, ...[0, 1, 1, 0, 0, 0].slice(parts.length)]);
  } catch {
    const received = names.map((name, index) => `${name}=${written(parts[index])}`).join(", ");
    throw new Error(`expected whole numbers that make a date, received ${received}; correct the row`);
  }
}

/** ISO 8601 in UTC; microseconds only where they are not zero. */
export function timeText(time) {
  const date = dateOf(time).toISOString().replace(/^\+00/, "").slice(0, 19);
  const rest = ((time % SECOND) + SECOND) % SECOND;
  return rest ? `${date}.${String(rest).padStart(6, "0")}` : date;
}

/** A span in the largest unit that divides it. */
export function spanText(span) {
  for (const [unit, seconds] of [["day", 86400n], ["hour", 3600n], ["minute", 60n], ["second", 1n]]) {
    const count = span / (seconds * SECOND);
    if (span % (seconds * SECOND) === 0n) return `${count} ${unit}${count === 1n ? "" : "s"}`;
  }
  return `${Number((Number(span) / 1e6).toPrecision(6))} seconds`;
}

/** Whole seconds since 1970, rounded down. */
export function secondsOf(time) {
  return Number(time / SECOND) - (time % SECOND < 0n ? 1 : 0);
}

/** As a Date, without what is finer than a second. */
export function dateOf(time) {
  return new Date(secondsOf(time) * 1000);
}

function assemble([year, month, day, hour, minute, second]) {
  const date = new Date(0);
  date.setUTCFullYear(year, month - 1, day);
  check("year", year, 1, 9999);
  check("month", month, 1, 12);
  if (day < 1 || date.getUTCMonth() !== month - 1) throw new Error("day is out of range for month");
  check("hour", hour, 0, 23);
  check("minute", minute, 0, 59);
  check("second", second, 0, 59);
  return BigInt(date.getTime() / 1000 + hour * 3600 + minute * 60 + second) * SECOND;
}

function check(name, number, least, most) {
  if (number < least || number > most) throw new Error(`${name} must be in ${least}..${most}`);
}

function zoneSeconds(zone = "Z") {
  if (zone === "Z" || zone === "z") return 0n;
  const digits = zone.slice(1).replace(":", "").padEnd(4, "0");
  const [hours, minutes] = [Number(digits.slice(0, 2)), Number(digits.slice(2))];
  if (hours > 23 || minutes > 59) throw new Error(`no such offset: ${zone}`);
  return BigInt((hours * 60 + minutes) * 60 * (zone[0] === "-" ? -1 : 1));
}

function complaint(cell) {
  try {
    numberOf(cell);
  } catch {
    return `expected a time stamp that starts with the year, received ${shown(cell)}; ${REMEDY}`;
  }
  return `expected a time stamp, received the bare number ${shown(cell)} without unit and epoch; ${REMEDY}`;
}
