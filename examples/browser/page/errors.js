/** What a user's file can be wrong in; the message says what was expected, what was received, and the remedy. */

/** A table, a row or a cell is not what was asked for. */
export class DataError extends Error {
  /**
   * @param {string} message expected, received, remedy, in one line
   * @param {{line?: number, column?: string}} place line of the file (the header is line 1) and name of the column
   */
  constructor(message, { line, column } = {}) {
    super(message);
    this.line = line;
    this.column = column;
  }

  /** Where and what, for a person; `source` is the name of the file. */
  describe(source) {
    const place = [source];
    if (this.line !== undefined) place.push(`line ${this.line}`);
    if (this.column !== undefined) place.push(`column ${this.column}`);
    return `${place.join(", ")}: ${this.message}`;
  }
}

/** An export or a file of a state is damaged, foreign or of another version; it was refused. */
export class FileError extends Error {}
