/** The page: what a person does goes to the player, and what the stream says goes on the screen. */

import * as ort from "./runtime/ort.wasm.bundle.min.mjs";
import { Chart } from "./chart.js";
import { RowReader, decode } from "./csv.js";
import { DataError, FileError } from "./errors.js";
import { bytes, clock, duration, figure } from "./format.js";
import { History } from "./history.js";
import { readFile, readManifest } from "./manifest.js";
import { Meter } from "./meter.js";
import { Player } from "./player.js";
import { Runner } from "./runner.js";

const element = (id) => document.getElementById(id);
const EXPORT = new URL("export/", document.baseURI);
const chart = new Chart(element("chart"));

let runner, history, meter, player, source;
let [leftOut, restored] = [0, false];
let turns = Promise.resolve();

/** One thing after the other, however fast a person is. */
function inTurn(work) {
  turns = turns.then(work).catch((error) => complain(error));
}

/** Open the model; then rows may come. */
async function start() {
  ort.env.wasm.numThreads = 1;
  ort.env.wasm.wasmPaths = { wasm: new URL("runtime/ort-wasm-simd-threaded.wasm", document.baseURI).href };
  const manifest = await readManifest(EXPORT);
  runner = await Runner.open(ort, manifest, await readFile(EXPORT, manifest, "step.onnx"));
  history = new History(manifest);
  meter = new Meter();
  describe(manifest);
  for (const id of ["file", "open", "save"]) element(id).disabled = false;
  const sample = await fetch(new URL("rows.csv", EXPORT), { method: "HEAD" });
  element("sample").hidden = !sample.ok;
  draw();
}

function describe({ config, fingerprint, preprocessing }) {
  const { targets } = preprocessing.schema;
  const layers = config.num_layers === 1 ? "1 layer" : `${config.num_layers} layers`;
  const ahead = `${listed(targets)}, ${config.horizon} rows ahead`;
  element("model").textContent = `${ahead} · ${layers} of width ${config.d_model} · model ${fingerprint.slice(0, 8)}`;
  element("columns").textContent = `It needs the columns ${listed(runner.front.columns)}`;
  element("target").replaceChildren(...targets.map((name, index) => new Option(name, String(index))));
  element("targets").hidden = targets.length === 1;
  element("cache-more").textContent = `by now; ${bytes(cacheBytes(1))} a row`;
  element("bytes").textContent = bytes(runner.stateBytes);
  const { quantiles } = config;
  const band = quantiles.length > 1 ? `quantiles ${quantiles[0]} to ${quantiles.at(-1)}` : null;
  const entries = [
    ["truth", "measured"],
    ["mean", "forecast"],
    ["band", band],
    ["earlier", `what was forecast ${config.horizon} rows ago`],
  ];
  element("legend").replaceChildren(
    ...entries.filter(([, text]) => text).map(([name, text]) => {
      const item = document.createElement("li");
      [item.className, item.textContent] = [name, text];
      return item;
    }),
  );
}

/** Keys and values of every row, layer and place in float32. */
function cacheBytes(rows) {
  const { num_layers: layers, d_model: width } = runner.manifest.config;
  return rows * layers * 2 * width * 4;
}

/** Play a table from its beginning: a new stream, unless a state was opened just before. */
async function openTable(name, data) {
  await player?.pause();
  tell(null);
  complain(null);
  let reader;
  try {
    reader = new RowReader(decode(data), runner.front.columns);
  } catch (error) {
    complain(error, name);
    return;
  }
  if (!restored) runner.reset();
  [source, leftOut, restored, meter] = [name, 0, false, new Meter()];
  history.clear(runner.rows);
  chart.forget();
  element("drop").classList.add("full");
  element("table").textContent = name;
  player = new Player(runner, reader, {
    row: (said, micro) => {
      history.add(said);
      meter.add(micro);
    },
    frame: () => {
      element("rows-more").textContent = progress(reader);
      draw();
    },
    refused: (error) => {
      leftOut += 1;
      tell(`Left out: ${error.describe(source)}`);
    },
    ended: (error) => {
      if (error) complain(error, source);
      else tell(`That was the last row of ${source}. Save the state to go on from here with later rows.`);
    },
  });
  play();
}

function progress(reader) {
  const read = `${Math.floor(100 * reader.progress)} % of the table`;
  return leftOut ? `${read}, ${leftOut.toLocaleString("en")} left out` : read;
}

function play() {
  complain(null);
  obey();
  player.play();
  draw();
}

/** Let the player do what is chosen. */
function obey() {
  if (!player) return;
  player.speed = Number(element("speed").value);
  player.skip = element("fault").value === "skip";
  runner.front.onBadRow = element("fault").value === "impute" ? "impute" : "error";
}

/** Everything on the screen, as it is now. */
function draw() {
  chart.draw(history, Number(element("target").value || 0));
  element("play").disabled = !player || player.done;
  element("play").textContent = player?.playing ? "Pause" : "Play";
  element("rows").textContent = runner.rows.toLocaleString("en");
  element("bytes").textContent = bytes(runner.stateBytes);
  element("cache").textContent = bytes(cacheBytes(runner.rows));
  const { last } = history;
  if (!last) return;
  element("micro").textContent = duration(meter.quantile(0.5));
  element("micro-more").textContent = `median; 99 in 100 within ${duration(meter.quantile(0.99))}`;
  element("said").textContent = sentence(last);
}

/** The chart in words. */
function sentence({ time, number, values }) {
  const target = Number(element("target").value || 0);
  const { mean, bands } = history.forecast(target);
  const name = runner.manifest.preprocessing.schema.targets[target];
  const when = time === null ? `Row ${number.toLocaleString("en")}` : clock(time);
  const at = (step) => {
    const range = bands.length ? ` (${figure(bands[0].low[step])} to ${figure(bands[0].high[step])})` : "";
    return figure(mean[step]) + range;
  };
  const last = history.horizon - 1;
  const far = last ? `; in ${history.horizon} rows ${at(last)}` : "";
  return `${when}: ${name} ${figure(values[target])}. Next ${at(0)}${far}.`;
}

function complain(error, name = "") {
  element("error").hidden = !error;
  if (error) element("error").textContent = worded(error, name);
}

function worded(error, name) {
  if (error instanceof DataError) return error.describe(name);
  if (error instanceof FileError) return name ? `${name}: ${error.message}` : error.message;
  return `Something went wrong: ${error.message ?? error}`;
}

function tell(text) {
  element("note").hidden = !text;
  element("note").textContent = text ?? "";
}

function listed(names) {
  return names.length > 6 ? `${names.slice(0, 5).join(", ")} and ${names.length - 5} more` : names.join(", ");
}

async function playOrPause() {
  if (!player.playing) return play();
  await player.pause();
  return draw();
}

async function openFile(file) {
  await openTable(file.name, new Uint8Array(await file.arrayBuffer()));
}

async function openSample() {
  const response = await fetch(new URL("rows.csv", EXPORT));
  await openTable("rows.csv", new Uint8Array(await response.arrayBuffer()));
}

async function saveState() {
  await player?.pause();
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([await runner.save()]));
  link.download = `after-${runner.rows}-rows.state`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  draw();
}

async function openState(file) {
  await player?.pause();
  complain(null);
  try {
    await runner.read(new Uint8Array(await file.arrayBuffer()));
  } catch (error) {
    complain(error, file.name);
    return;
  }
  [player, restored] = [undefined, true];
  history.clear(runner.rows);
  const since = runner.front.time === null ? "" : `, the last of ${clock(runner.front.time)}`;
  tell(`The state after ${runner.rows.toLocaleString("en")} rows is back${since}. The next table goes on from it.`);
  draw();
}

/** What `work` refuses is shown; a file that a person chose may be chosen again. */
function onFile(id, work) {
  element(id).addEventListener("change", ({ target }) => {
    const [file] = target.files;
    target.value = "";
    if (file) inTurn(() => work(file));
  });
}

onFile("file", openFile);
onFile("state", openState);
element("open").addEventListener("click", () => element("state").click());
element("save").addEventListener("click", () => inTurn(saveState));
element("sample").addEventListener("click", () => inTurn(openSample));
element("play").addEventListener("click", () => inTurn(playOrPause));
for (const id of ["speed", "fault"]) element(id).addEventListener("change", obey);
element("target").addEventListener("change", () => {
  chart.forget();
  draw();
});
for (const name of ["dragenter", "dragover", "dragleave", "drop"]) {
  document.addEventListener(name, (event) => {
    event.preventDefault();
    element("drop").classList.toggle("over", name === "dragenter" || name === "dragover");
    const [file] = name === "drop" ? event.dataTransfer.files : [];
    if (file && runner) inTurn(() => openFile(file));
  });
}
addEventListener("resize", () => history && draw());
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => history && draw());
start().catch((error) => {
  element("model").textContent = "The model cannot be opened.";
  complain(error);
});
