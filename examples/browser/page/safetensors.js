/** safetensors files: eight bytes of length, a JSON header, the numbers. A tensor is {dtype, shape, data}. */

import { FileError } from "./errors.js";

/** The typed array of each dtype. */
export const ARRAYS = {
  float64: Float64Array,
  float32: Float32Array,
  int64: BigInt64Array,
  int32: Int32Array,
  uint8: Uint8Array,
};
const NAMES = { float64: "F64", float32: "F32", int64: "I64", int32: "I32", uint8: "U8" };
const DTYPES = Object.fromEntries(Object.entries(NAMES).map(([dtype, name]) => [name, dtype]));

/** How many numbers a shape has. */
export function sizeOf(shape) {
  return shape.reduce((product, length) => product * length, 1);
}

/** The bytes of a tensor's numbers. */
export function bytesOf({ data }) {
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
}

/**
 * The bytes of a file.
 * @param {Record<string, {dtype: string, shape: number[], data: ArrayBufferView}>} tensors by name
 * @param {Record<string, string>} metadata texts of the header
 */
export function writeTensors(tensors, metadata) {
  // the widest numbers first, so that every tensor begins at a multiple of its own size
  const width = (name) => ARRAYS[tensors[name].dtype].BYTES_PER_ELEMENT;
  const names = Object.keys(tensors).sort((a, b) => width(b) - width(a) || (a < b ? -1 : 1));
  const header = { __metadata__: metadata };
  let end = 0;
  for (const name of names) {
    const { dtype, shape, data } = tensors[name];
    header[name] = { dtype: NAMES[dtype], shape, data_offsets: [end, (end += data.byteLength)] };
  }
  let text = new TextEncoder().encode(JSON.stringify(header));
  text = Uint8Array.from({ length: Math.ceil(text.length / 8) * 8 }, (_, index) => text[index] ?? 32);
  const length = new Uint8Array(8);
  new DataView(length.buffer).setBigUint64(0, BigInt(text.length), true);
  return concatenated([length, text, ...names.map((name) => bytesOf(tensors[name]))]);
}

/** Tensors by name and the texts of the header; FileError if the file is truncated or crafted. */
export function readTensors(bytes) {
  try {
    return parsed(bytes);
  } catch (error) {
    throw new FileError(`damaged, or not a file of a state: ${error.message}`);
  }
}

/** All of them, one after the other. */
export function concatenated(parts) {
  const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

function parsed(bytes) {
  if (bytes.length < 8) throw new Error("it is too short");
  const start = 8 + Number(new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true));
  if (start > bytes.length) throw new Error("its header is longer than the file");
  const text = new TextDecoder("utf-8", { fatal: true }).decode(bytes.subarray(8, start));
  const { __metadata__: metadata = {}, ...entries } = JSON.parse(text);
  const tensors = {};
  let end = 0;
  for (const [name, entry] of Object.entries(entries).sort(([, a], [, b]) => a.data_offsets[0] - b.data_offsets[0])) {
    const [first, last] = entry.data_offsets;
    const dtype = DTYPES[entry.dtype];
    const whole = [...entry.shape, last].every((number) => Number.isInteger(number) && number >= 0);
    if (first !== end || !whole || dtype === undefined) throw new Error(`tensor ${name} is not well described`);
    if (last - first !== sizeOf(entry.shape) * ARRAYS[dtype].BYTES_PER_ELEMENT || start + last > bytes.length) {
      throw new Error(`tensor ${name} is not of its size`);
    }
    const data = new ARRAYS[dtype](bytes.slice(start + first, start + last).buffer);
    tensors[name] = { dtype, shape: entry.shape, data };
    end = last;
  }
  if (start + end !== bytes.length) throw new Error("there are more bytes than tensors");
  return { tensors, metadata };
}
