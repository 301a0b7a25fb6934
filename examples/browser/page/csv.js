/** CSV text with a header, one row at a time, by the rules that hold for `aaren stream`. */

import { shown } from "./cells.js";
import { DataError } from "./errors.js";

const CARRIAGE_RETURN = "a carriage return inside the line; lines end with a line feed";

/** The text of a file: UTF-8, else latin-1; without the byte-order mark. */
export function decode(bytes) {
  if ((bytes[0] === 0xff && bytes[1] === 0xfe) || (bytes[0] === 0xfe && bytes[1] === 0xff)) {
    throw new DataError("expected text in UTF-8 or latin-1, received UTF-16; save it again as UTF-8");
  }
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    // the browser's "latin1" is windows-1252, which has other letters
    const parts = [];
    for (let at = 0; at < bytes.length; at += 8192) parts.push(String.fromCharCode(...bytes.subarray(at, at + 8192)));
    return parts.join("");
  }
}

/** Rows of a table, each on one line; after a DataError of one row it goes on with the next one. */
export class RowReader {
  #text;
  #at = 0;
  #line = 1;

  /**
   * @param {string} text the whole table
   * @param {string[]} columns that must be there; others are passed on too
   */
  constructor(text, columns) {
    this.#text = text.replace(/\r+(\n|$)/g, "$1");
    const header = this.#record(null);
    if (!header) throw new DataError("expected a header and rows, received an empty table");
    this.names = header.cells.map((name) => name.trim());
    checkHeader(this.names, header.line);
    for (const name of columns) {
      if (!this.names.includes(name)) throw new DataError(noColumn(name, this.names), { column: name });
    }
  }

  /** The line on which the next row starts, and its cells by column; null at the end. */
  next() {
    const record = this.#record(this.names.length);
    if (!record) return null;
    const { line, cells } = record;
    if (cells.length !== this.names.length) {
      const counts = `expected ${this.names.length} cells as in the header, received ${cells.length}`;
      throw new DataError(`${counts}; correct the row, and quote cells that contain a comma`, { line });
    }
    return { line, cells: new Map(cells.map((cell, index) => [this.names[index], cell])) };
  }

  /** How much of the text was read, from 0 to 1. */
  get progress() {
    return this.#text.length ? this.#at / this.#text.length : 1;
  }

  /** Read until a record that is not an empty line; `width` null means the header. */
  #record(width) {
    while (this.#at < this.#text.length) {
      const line = this.#line;
      const cells = this.#cells(line);
      // in a table of one column a cell of blanks is a missing value; elsewhere it is an empty line
      if (cells.length && (width === 1 || cells.length > 1 || cells[0].trim())) return { line, cells };
    }
    return null;
  }

  /** The cells of the record that starts here, on that line; none if the line is empty. */
  #cells(line) {
    const text = this.#text;
    const cells = [];
    if (text[this.#at] === "\n") {
      this.#newLine();
      return cells;
    }
    for (;;) {
      cells.push(text[this.#at] === '"' ? this.#quoted(line) : this.#plain());
      if (text[this.#at] === "\r") throw this.#malformed(CARRIAGE_RETURN, line);
      if (text[this.#at] !== ",") break;
      this.#at += 1;
    }
    this.#newLine();
    return cells;
  }

  #plain() {
    const start = this.#at;
    while (this.#at < this.#text.length && !",\n\r".includes(this.#text[this.#at])) this.#at += 1;
    return this.#text.slice(start, this.#at);
  }

  #quoted(line) {
    const text = this.#text;
    const lineEnd = this.#lineEnd();
    let cell = "";
    for (;;) {
      const start = this.#at + 1;
      const end = text.indexOf('"', start);
      if (end < 0 || end > lineEnd) throw this.#malformed("a quoted cell does not end on its line", line);
      cell += text.slice(start, end);
      this.#at = end + 1;
      if (text[this.#at] !== '"') break;
      cell += '"';
    }
    if (this.#at < lineEnd && !",\r".includes(text[this.#at])) {
      throw this.#malformed("',' expected after '\"'", line);
    }
    return cell;
  }

  /** The error of a line, behind which the next row is. */
  #malformed(what, line) {
    this.#at = this.#lineEnd();
    this.#newLine();
    return new DataError(`expected comma-separated cells, received a malformed record (${what}); correct it`, { line });
  }

  #lineEnd() {
    const at = this.#text.indexOf("\n", this.#at);
    return at < 0 ? this.#text.length : at;
  }

  #newLine() {
    this.#at += 1;
    this.#line += 1;
  }
}

function checkHeader(names, line) {
  const twice = names.find((name, index) => names.indexOf(name) < index);
  if (twice !== undefined) {
    const message = `expected different names in the header, received ${shown(twice)} twice; rename one`;
    throw new DataError(message, { line, column: twice });
  }
  const separator = names.length === 1 ? [";", "\t", "|"].find((mark) => names[0].includes(mark)) : undefined;
  if (separator !== undefined) {
    const received = `received a header with ${shown(separator)}`;
    throw new DataError(`expected cells separated by commas, ${received}; save the table with commas`, { line });
  }
}

function noColumn(name, names) {
  const listed = names.slice(0, 30).map(shown).join(", ");
  const more = names.length > 30 ? `, ... (${names.length} in all)` : "";
  const folded = names.find((other) => other.toLowerCase() === name.toLowerCase());
  const hint = folded === undefined ? "name one of them so" : `did you mean ${shown(folded)}?`;
  return `no such column; the columns are ${listed}${more}; ${hint}`;
}
