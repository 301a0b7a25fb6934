/** What an export says of itself, and its files, each checked against the digest that the manifest has. */

import { FileError } from "./errors.js";
import { ARRAYS, sizeOf } from "./safetensors.js";

const WORDS = { "-inf": -Infinity, nan: NaN };

/** The manifest at an address; FileError if it is none that this page can run. */
export async function readManifest(base) {
  const manifest = JSON.parse(new TextDecoder().decode(await fetched(new URL("manifest.json", base))));
  const { format, version, runtime, kind } = manifest;
  if (format !== "aaren-export" || version !== 1) {
    throw new FileError(`manifest.json: expected version 1 of aaren-export, received ${version} of ${format}`);
  }
  if (runtime !== "onnx" || kind !== "forecaster") {
    throw new FileError(`manifest.json: expected a forecaster for onnx, received kind ${kind} for ${runtime}`);
  }
  return manifest;
}

/** The bytes of a file of the export; FileError if they are not those that were exported. */
export async function readFile(base, manifest, name) {
  const bytes = await fetched(new URL(name, base));
  if ((await sha256(bytes)) !== manifest.files[name]) {
    throw new FileError(`${name}: the file was changed after the export, or is damaged; export the model again`);
  }
  return bytes;
}

/** What a state tensor of the manifest holds before the first row. */
export function firstOf({ dtype, shape, initial }) {
  const numbers = [initial].flat(Infinity).map((one) => WORDS[one] ?? one);
  const convert = dtype === "int64" ? BigInt : Number;
  const data = new ARRAYS[dtype](sizeOf(shape)).map((_, place) => convert(numbers[place % numbers.length]));
  return { dtype, shape, data };
}

/** SHA-256 in hexadecimal digits. */
export async function sha256(bytes) {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return [...digest].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

async function fetched(url) {
  const response = await fetch(url);
  if (!response.ok) throw new FileError(`${url.pathname}: cannot be read (${response.status}); export the model again`);
  return new Uint8Array(await response.arrayBuffer());
}
