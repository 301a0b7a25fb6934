// Tables through the front of examples/browser: JSON in, JSON out; see test_browser.py.

import { RowReader } from "../../examples/browser/page/csv.js";
import { DataError } from "../../examples/browser/page/errors.js";
import { ForecasterFront } from "../../examples/browser/page/front.js";

const chunks = [];
for await (const chunk of process.stdin) chunks.push(chunk);
const cases = JSON.parse(Buffer.concat(chunks).toString());
process.stdout.write(JSON.stringify(cases.map(told)));

/** What became of each row of a table: its tokens, or what is wrong with it. */
function told({ manifest, options, text }) {
  const front = new ForecasterFront(manifest, options);
  const found = [];
  let reader = null;
  for (;;) {
    try {
      reader ??= new RowReader(text, front.columns);
      const row = reader.next();
      if (row === null) return found;
      const checked = front.check(row.cells, row.line);
      found.push([...front.tokens(checked)].map(plain));
      front.take(checked);
    } catch (error) {
      if (!(error instanceof DataError)) throw error;
      found.push({ line: error.line ?? null, column: error.column ?? null, message: error.message });
      if (reader === null) return found;
    }
  }
}

/** NaN as null. */
function plain(token) {
  return Object.fromEntries(Object.entries(token).map(([name, array]) => [name, Array.from(array)]));
}
