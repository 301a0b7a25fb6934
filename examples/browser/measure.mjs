// Time of a row in WebAssembly, without a browser: `node measure.mjs EXPORT ROWS.csv`; prints one line of JSON.

import { readFileSync } from "node:fs";
import * as ort from "onnxruntime-web/wasm";
import { RowReader, decode } from "./page/csv.js";
import { Meter } from "./page/meter.js";
import { Runner } from "./page/runner.js";

const [directory, table] = process.argv.slice(2);
if (!table) {
  console.error("usage: node measure.mjs EXPORT ROWS.csv");
  process.exit(2);
}
try {
  await measure();
} catch (error) {
  console.error(`measure.mjs: ${error.describe?.(table) ?? error.message}`);
  process.exit(1);
}

/** Stream the table; the times are those of its last thousand rows. */
async function measure() {
  ort.env.wasm.numThreads = 1;
  const manifest = JSON.parse(readFileSync(`${directory}/manifest.json`));
  const runner = await Runner.open(ort, manifest, readFileSync(`${directory}/step.onnx`));
  const reader = new RowReader(decode(readFileSync(table)), runner.front.columns);
  const meter = new Meter();
  for (;;) {
    const start = performance.now();
    const row = reader.next();
    if (row === null) break;
    await runner.update(row.cells, row.line);
    meter.add(1000 * (performance.now() - start));
  }
  const [median, most] = [0.5, 0.99].map((level) => Math.round(meter.quantile(level)));
  const { rows, stateBytes } = runner;
  console.log(JSON.stringify({ rows, median_microseconds: median, p99_microseconds: most, state_bytes: stateBytes }));
}
