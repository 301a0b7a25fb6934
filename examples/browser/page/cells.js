/** One cell: is it missing, and which number is it? The rules of `aaren.data`. */

const MISSING = new Set(["", "na", "n/a", "nan", "null", "none", "?"]);
const NUMBER = /^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$/;
const INFINITE = /^([+-]?)inf(inity)?$/i;

/** Without blanks at both ends. */
export function stripped(text) {
  return text.replace(/^[ \t\r\n]+|[ \t\r\n]+$/g, "");
}

/** Whether a cell says "not measured". */
export function isMissing(cell) {
  return MISSING.has(stripped(cell).toLowerCase());
}

/** The number of a cell: NaN if it is missing, infinity if it is infinite or too large; Error for other text. */
export function numberOf(cell) {
  const text = stripped(cell);
  if (MISSING.has(text.toLowerCase())) return NaN;
  if (NUMBER.test(text)) return Number(text);
  const infinite = INFINITE.exec(text);
  if (infinite) return infinite[1] === "-" ? -Infinity : Infinity;
  throw new Error(`expected a number, received ${shown(cell)}`);
}

/** A number as text in which the words for what is none are short. */
export function written(number) {
  return String(number).replace("Infinity", "inf").replace("NaN", "nan");
}

/** Text in quotes, on one line and of a length that can be read. */
export function shown(text) {
  const quote = text.includes("'") && !text.includes('"') ? '"' : "'";
  const escapes = { "\n": "\\n", "\r": "\\r", "\t": "\\t", "\\": "\\\\", "'": quote === "'" ? "\\'" : "'" };
  const escaped = [...text].map((char) => escapes[char] ?? (/[\p{C}\p{Z}]/u.test(char) ? visible(char) : char));
  const all = `${quote}${escaped.join("")}${quote}`;
  return all.length <= 60 ? all : `${all.slice(0, 57)}...`;
}

function visible(char) {
  const code = char.codePointAt(0);
  if (char === " ") return char;
  const [letter, digits] = code < 0x100 ? ["x", 2] : code < 0x10000 ? ["u", 4] : ["U", 8];
  return `\\${letter}${code.toString(16).padStart(digits, "0")}`;
}
