// The page: asks the service twice in a second how it is, and shows it. Nothing is asked of any other host.
"use strict";

const EVERY_MS = 500;
const TOKEN = "aaren-token";
const at = (id) => document.getElementById(id);

let chosen = null;
let followed = false; // whether the user chose the stream
let latest = null;
let model = null;
let timer = null;

function put(id, text) {
  const element = at(id);
  if (element.textContent !== text) element.textContent = text;
}

function bytes(size) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let power = 0;
  while (size >= 1000 && power < units.length - 1) {
    size /= 1000;
    power += 1;
  }
  return `${power && size < 100 ? size.toFixed(1) : Math.round(size)} ${units[power]}`;
}

function whole(number) {
  return Math.round(number).toLocaleString("en");
}

function milliseconds(value) {
  return `${value < 10 ? value.toFixed(2) : value < 100 ? value.toFixed(1) : Math.round(value)} ms`;
}

async function ask(path) {
  const token = sessionStorage.getItem(TOKEN);
  const headers = token ? { authorization: `Bearer ${token}` } : {};
  const answer = await fetch(path, { headers, cache: "no-store" });
  if (answer.status === 401) throw new Error("token");
  if (!answer.ok) throw new Error(`${answer.status}`);
  return answer.json();
}

function status(kind, text) {
  at("status").className = kind;
  put("status-text", text);
}

function askForToken(wrong) {
  at("live").hidden = true;
  at("token-form").hidden = false;
  put("token-error", wrong ? "The service does not know this token." : "");
  status("", "waiting for a token");
  at("token").focus();
}

function showTiles(live) {
  put("streams", whole(live.streams));
  put("streams-note", live.queue_rows ? `${whole(live.queue_rows)} rows wait` : "no row waits");
  put("rate", whole(live.rows_per_second));
  put("rows", `${whole(live.rows)} since the start`);
  put("p50", live.latency_ms ? milliseconds(live.latency_ms.p50) : "–");
  put("p99", live.latency_ms ? `99 of 100 within ${milliseconds(live.latency_ms.p99)}` : "no request yet");
  put("memory", bytes(live.stream_bytes));
  put("cache", bytes(live.cache_bytes_per_token * live.rows));
  const held = `; the states here: ${bytes(live.streams * live.stream_bytes)}`;
  put("cache-note", `would be, by now${held}`);
  put("per-token", `here ${bytes(live.cache_bytes_per_token)}`);
}

function showTop(live) {
  const list = at("top");
  at("empty").hidden = live.top.length > 0;
  const most = Math.max(...live.top.map((one) => one.rows_per_second), 1e-9);
  while (list.children.length > live.top.length) list.lastChild.remove();
  live.top.forEach((one, index) => {
    let item = list.children[index];
    if (!item) {
      item = document.createElement("li");
      const button = document.createElement("button");
      button.type = "button";
      for (const part of ["name", "number", "bar"]) {
        const span = document.createElement("span");
        span.className = part;
        button.append(span);
      }
      button.addEventListener("click", () => {
        chosen = button.dataset.key;
        followed = true;
        tick();
      });
      item.append(button);
      list.append(item);
    }
    const button = item.firstChild;
    const [name, number, bar] = button.children;
    button.dataset.key = one.key;
    button.setAttribute("aria-pressed", String(one.key === chosen));
    button.title = `${one.key}: about ${one.rows_per_second} rows in a second`;
    if (name.textContent !== one.key) name.textContent = one.key;
    number.textContent = `row ${whole(one.number)}`;
    bar.style.width = `${Math.max(1, (100 * one.rows_per_second) / most)}%`;
  });
}

function legend(entries) {
  const text = JSON.stringify(entries);
  const list = at("legend");
  if (list.dataset.entries === text) return;
  list.dataset.entries = text;
  list.replaceChildren(...entries.map(([kind, variable, label]) => {
    const item = document.createElement("li");
    const mark = document.createElement("i");
    if (kind === "line") {
      mark.className = "line";
      mark.style.borderTopColor = `var(${variable})`;
    } else {
      mark.style.background = `var(${variable})`;
    }
    item.append(mark, label);
    return item;
  }));
}

function showStream(stream, live) {
  if (!stream) return;
  put("key", live.target ? `${stream.key}: ${live.target}` : stream.key);
  put("when", stream.time === null || stream.time === undefined ? "" : `last row ${String(stream.time).replace("T", " ")}`);
  const canvas = at("chart");
  if (live.kind === "classifier") {
    const names = Chart.classes(canvas, stream);
    legend(names.map((name, index) => ["line", `--c${index % 8}`, name]));
  } else {
    const events = live.kind === "events";
    const wide = (stream.ahead.low || []).some((low, index) => low !== stream.ahead.high[index]);
    Chart.forecast(canvas, stream);
    legend([
      ["line", "--ink", events ? "time since the event before" : "what came"],
      [wide ? "band" : "line", wide ? "--band" : "--accent", "said one row before"],
      [wide ? "band" : "line", wide ? "--ahead-band" : "--ahead", "said now"],
    ]);
  }
  if (stream.number === null) {
    put("said", "The next row of this stream is drawn as soon as it comes.");
    return;
  }
  const state = bytes(live.stream_bytes);
  const cache = bytes(stream.number * live.cache_bytes_per_token);
  put("said", `After ${whole(stream.number)} rows this stream holds ${state}; a Transformer's cache would hold ${cache}.`);
  canvas.setAttribute("aria-label", `Forecast and truth of stream ${stream.key} after row ${stream.number}`);
}

async function tick() {
  clearTimeout(timer);
  try {
    if (!model) {
      model = await ask("v1/model");
      put("model", model.description);
    }
    latest = await ask(`v1/live${chosen === null ? "" : `?key=${encodeURIComponent(chosen)}`}`);
    at("token-form").hidden = true;
    at("live").hidden = false;
    status("live", "live");
    if (!followed && chosen === null && latest.top.length) {
      chosen = latest.top[0].key;
      return tick();
    }
    showTiles(latest);
    showTop(latest);
    showStream(latest.stream, latest);
  } catch (error) {
    if (error.message === "token") {
      askForToken(sessionStorage.getItem(TOKEN) !== null);
      sessionStorage.removeItem(TOKEN);
      return undefined;
    }
    status("lost", "the service does not answer; trying again");
  }
  if (!document.hidden) timer = setTimeout(tick, EVERY_MS);
  return undefined;
}

at("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem(TOKEN, at("token").value.trim());
  at("token").value = "";
  tick();
});
document.addEventListener("visibilitychange", () => document.hidden || tick());
window.addEventListener("resize", () => latest && showStream(latest.stream, latest));
window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => latest && showStream(latest.stream, latest));
tick();
