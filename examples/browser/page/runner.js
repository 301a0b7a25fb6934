/** One live stream of an exported forecaster: rows in, forecasts out, a state of constant size between them. */

import { FileError } from "./errors.js";
import { ForecasterFront } from "./front.js";
import { firstOf, sha256 } from "./manifest.js";
import { bytesOf, concatenated, readTensors, writeTensors } from "./safetensors.js";

const KEY = "aaren_export_state"; // in the header of a file; Python's runners write and read the same files
const [FRONT, BEFORE, AFTER] = ["front.", "state.", "next."];

export class Runner {
  #session;
  #Tensor;
  #first;
  #state;

  /**
   * A new stream.
   * @param {object} ort onnxruntime-web
   * @param {object} manifest of the export
   * @param {Uint8Array} step the bytes of step.onnx
   * @param {object} options of the front
   */
  static async open(ort, manifest, step, options = {}) {
    // int8 weights become float32 here and not at every step
    const session = await ort.InferenceSession.create(step, { extra: { session: { disable_quant_qdq: "1" } } });
    return new Runner(ort, session, manifest, options);
  }

  /** See `open`. */
  constructor(ort, session, manifest, options) {
    this.manifest = manifest;
    this.front = new ForecasterFront(manifest, options);
    this.rows = 0;
    this.#session = session;
    this.#Tensor = ort.Tensor;
    this.#first = Object.fromEntries(manifest.state.map((spec) => [spec.name, firstOf(spec)]));
    this.#state = this.#first;
  }

  /** Bytes of all that the model keeps of the past. */
  get stateBytes() {
    return Object.values(this.#state).reduce((sum, { data }) => sum + data.byteLength, 0);
  }

  /**
   * Take one row. DataError: it was refused, and the state is what it was.
   * @param {Map<string, string>} cells by column
   * @param {number} line of the table
   * @returns the row's time and values, the rows that were missing before it, and `mean` (horizon, targets) and
   *   `quantiles` (horizon, targets, levels) in the units of the data, flat
   */
  async update(cells, line) {
    const checked = this.front.check(cells, line);
    let [state, outputs] = [this.#state, {}];
    for (const token of this.front.tokens(checked)) [outputs, state] = await this.#step(token, state);
    this.front.requireFinite(outputs.mean, line);
    this.front.take(checked);
    this.#state = state;
    this.rows += 1;
    return { ...checked, ...outputs };
  }

  /** Count a row that was left out. */
  skip() {
    this.rows += 1;
  }

  /** Begin a new series. */
  reset() {
    this.#state = this.#first;
    this.front.reset();
    this.rows = 0;
  }

  /** The bytes of a file with the state. */
  async save() {
    const rows = { dtype: "int64", shape: [], data: BigInt64Array.of(BigInt(this.rows)) };
    const front = { ...this.front.state(), rows };
    const named = Object.entries(front).map(([name, tensor]) => [FRONT + name, tensor]);
    const tensors = { ...this.#state, ...Object.fromEntries(named) };
    const header = { fingerprint: this.manifest.fingerprint, sha256: await digestOf(tensors) };
    return writeTensors(tensors, { [KEY]: JSON.stringify(header) });
  }

  /** Go on from what `save` gave; FileError: it is damaged or of another model, and the state is what it was. */
  async read(bytes) {
    const { tensors, metadata } = readTensors(bytes);
    const { fingerprint, sha256: digest } = headerOf(metadata[KEY]);
    if (fingerprint !== this.manifest.fingerprint) {
      const [its, mine] = [fingerprint, this.manifest.fingerprint].map((one) => String(one).slice(0, 12));
      throw new FileError(`the state is of another model (fingerprint ${its}, this one has ${mine}); use another file`);
    }
    if (digest !== (await digestOf(tensors))) {
      throw new FileError("damaged: the content does not match its checksum; take an older copy");
    }
    const front = Object.keys({ ...this.front.state(), rows: null });
    const expected = [...Object.keys(this.#first), ...front.map((name) => FRONT + name)].sort();
    if (String(expected) !== String(Object.keys(tensors).sort())) {
      throw new FileError(`expected the tensors ${expected.join(", ")}, received others`);
    }
    for (const [name, first] of Object.entries(this.#first)) check(name, tensors[name], first);
    const { data, dtype, shape } = tensors[`${FRONT}rows`];
    if (dtype !== "int64" || shape.length || data[0] < 0n) {
      throw new FileError("state: damaged: expected a number of rows, received something else");
    }
    this.front.setState(Object.fromEntries(front.map((name) => [name, tensors[FRONT + name]])));
    this.rows = Number(data[0]);
    this.#state = Object.fromEntries(Object.keys(this.#first).map((name) => [name, tensors[name]]));
  }

  /** Outputs by name and the state after one token; tensors of size 0 are not in the graph. */
  async #step(token, state) {
    const feeds = {};
    for (const { name, dtype, shape } of this.manifest.inputs) {
      if (!shape.includes(0)) feeds[name] = new this.#Tensor(dtype, token[name], shape);
    }
    for (const [name, { dtype, shape, data }] of Object.entries(state)) {
      if (!shape.includes(0)) feeds[BEFORE + name] = new this.#Tensor(dtype, data, shape);
    }
    const said = await this.#session.run(feeds);
    const outputs = this.manifest.outputs.map(({ name }) => [name, said[name]?.data ?? []]);
    const after = Object.entries(state).map(([name, tensor]) => {
      return [name, { ...tensor, data: said[AFTER + name]?.data ?? tensor.data }];
    });
    return [Object.fromEntries(outputs), Object.fromEntries(after)];
  }
}

function headerOf(text) {
  try {
    const { fingerprint, sha256: digest } = JSON.parse(text);
    return { fingerprint, sha256: digest };
  } catch {
    throw new FileError("not a state of an export");
  }
}

/** Over names, dtypes, shapes and bytes. */
async function digestOf(tensors) {
  const parts = Object.keys(tensors)
    .sort()
    .flatMap((name) => {
      const { dtype, shape } = tensors[name];
      const tuple = shape.length === 1 ? `(${shape[0]},)` : `(${shape.join(", ")})`;
      return [new TextEncoder().encode(`${name} ${dtype} ${tuple}`), bytesOf(tensors[name])];
    });
  return sha256(concatenated(parts));
}

/** Refuse a tensor that is no state: another shape or dtype, or numbers that are not finite where it began so. */
function check(name, received, first) {
  if (received.dtype !== first.dtype || String(received.shape) !== String(first.shape)) {
    const [expected, found] = [first, received].map(({ dtype, shape }) => `${dtype} (${shape})`);
    throw new FileError(`state: tensor ${name}: expected ${expected}, received ${found}`);
  }
  if (!first.dtype.startsWith("float")) return;
  const allowed = (number) => first.data.some((one) => Object.is(one, number) && !Number.isFinite(one));
  if (!received.data.every((number) => Number.isFinite(number) || allowed(number))) {
    throw new FileError(`state: tensor ${name}: expected finite numbers, received others; it is damaged`);
  }
}
