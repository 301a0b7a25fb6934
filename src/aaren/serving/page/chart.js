// The chart of one stream, drawn on a canvas: what was said before each row, what came, and what is said now.
"use strict";

const Chart = (() => {
  const MARGIN = { left: 54, right: 14, top: 10, bottom: 28 };

  function colour(name) {
    return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  }

  function known(value) {
    return typeof value === "number" && Number.isFinite(value);
  }

  // About `count` round numbers between low and high.
  function ticks(low, high, count) {
    const raw = (high - low) / Math.max(1, count);
    const power = Math.pow(10, Math.floor(Math.log10(raw)));
    const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= raw) || raw;
    const found = [];
    for (let value = Math.ceil(low / step) * step; value <= high + step * 1e-9; value += step) found.push(value);
    return found.map((value) => Number(value.toPrecision(12)));
  }

  function short(value) {
    const size = Math.abs(value);
    if (size >= 1e6 || (size > 0 && size < 1e-3)) return value.toExponential(1);
    return String(Number(value.toPrecision(6)));
  }

  function prepared(canvas) {
    const scale = window.devicePixelRatio || 1;
    const { width, height } = canvas.getBoundingClientRect();
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
    const context = canvas.getContext("2d");
    context.setTransform(scale, 0, 0, scale, 0, 0);
    context.clearRect(0, 0, width, height);
    context.font = "12px system-ui, sans-serif";
    context.lineJoin = "round";
    return { context, width, height };
  }

  function axes(area, range) {
    const { context, width, height } = area;
    const plot = {
      left: MARGIN.left, right: width - MARGIN.right, top: MARGIN.top, bottom: height - MARGIN.bottom,
    };
    const x = (n) => plot.left + ((n - range.first) / Math.max(1, range.last - range.first)) * (plot.right - plot.left);
    const y = (v) => plot.bottom - ((v - range.low) / (range.high - range.low)) * (plot.bottom - plot.top);
    context.lineWidth = 1;
    context.strokeStyle = colour("--grid");
    context.fillStyle = colour("--quiet");
    context.textBaseline = "middle";
    context.textAlign = "right";
    for (const value of ticks(range.low, range.high, height / 70)) {
      context.beginPath();
      context.moveTo(plot.left, Math.round(y(value)) + 0.5);
      context.lineTo(plot.right, Math.round(y(value)) + 0.5);
      context.stroke();
      context.fillText(short(value), plot.left - 8, y(value));
    }
    context.textBaseline = "alphabetic";
    context.textAlign = "center";
    ticks(range.first, range.last, width / 130).filter((n) => Number.isInteger(n) && n > 0).forEach((n, index) => {
      context.fillText(`${index ? "" : "row "}${n.toLocaleString("en")}`, x(n), plot.bottom + 18);
    });
    return { ...plot, x, y };
  }

  // The points in runs without a gap in row numbers or values.
  function runs(points, names) {
    const found = [];
    let run = [];
    for (const point of points) {
      const whole = names.every((name) => known(point[name]));
      const joined = run.length === 0 || point.number === run[run.length - 1].number + 1;
      if (!whole || !joined) {
        if (run.length) found.push(run);
        run = [];
      }
      if (whole) run.push(point);
    }
    if (run.length) found.push(run);
    return found;
  }

  function line(area, plot, points, name, style, dash) {
    const { context } = area;
    context.strokeStyle = style;
    context.fillStyle = style;
    context.lineWidth = 1.8;
    context.setLineDash(dash || []);
    for (const run of runs(points, [name])) {
      context.beginPath();
      run.forEach((point, index) => context[index ? "lineTo" : "moveTo"](plot.x(point.number), plot.y(point[name])));
      context.stroke();
      if (run.length === 1) {
        context.beginPath();
        context.arc(plot.x(run[0].number), plot.y(run[0][name]), 2.5, 0, 7);
        context.fill();
      }
    }
    context.setLineDash([]);
  }

  function band(area, plot, points, style) {
    const { context } = area;
    context.fillStyle = style;
    for (const run of runs(points, ["low", "high"])) {
      context.beginPath();
      run.forEach((point, index) => context[index ? "lineTo" : "moveTo"](plot.x(point.number), plot.y(point.high)));
      [...run].reverse().forEach((point) => context.lineTo(plot.x(point.number), plot.y(point.low)));
      context.fill();
    }
  }

  function extent(values) {
    const numbers = values.filter(known).sort((a, b) => a - b);
    if (!numbers.length) return [0, 1];
    const low = numbers[0], high = numbers[numbers.length - 1];
    const room = (high - low) * 0.06 || Math.abs(high) * 0.1 || 1;
    return [low - room, high + room];
  }

  // A forecast: truth, the band that was said one row before, the band that is said now.
  function forecast(canvas, stream) {
    const ahead = (stream.ahead.mid || []).map((mid, index) => ({
      number: stream.number + 1 + index, mid, low: stream.ahead.low[index], high: stream.ahead.high[index],
    }));
    const shown = Math.max(40, Math.min(240, Math.round(canvas.getBoundingClientRect().width / 5)));
    const points = stream.points.slice(-shown);
    const all = [...points, ...ahead];
    const [low, high] = extent(all.flatMap((point) => [point.truth, point.low, point.mid, point.high]));
    const area = prepared(canvas);
    const first = all.length ? all[0].number : 1;
    const plot = axes(area, { low, high, first, last: Math.max(first + 1, all.length ? all[all.length - 1].number : 1) });
    const last = points[points.length - 1];
    const joined = last && known(last.truth) && ahead.length > 1
      ? [{ number: last.number, mid: last.truth, low: last.truth, high: last.truth }, ...ahead] : ahead;
    band(area, plot, points, colour("--band"));
    band(area, plot, joined, colour("--ahead-band"));
    line(area, plot, points, "mid", colour("--accent"), [4, 3]);
    line(area, plot, joined, "mid", colour("--ahead"));
    line(area, plot, points, "truth", colour("--ink"));
    if (last) {
      const x = Math.round(plot.x(last.number)) + 0.5;
      area.context.strokeStyle = colour("--quiet");
      area.context.lineWidth = 1;
      area.context.setLineDash([2, 3]);
      area.context.beginPath();
      area.context.moveTo(x, plot.top);
      area.context.lineTo(x, plot.bottom);
      area.context.stroke();
      area.context.setLineDash([]);
    }
  }

  // Probabilities of classes after each row.
  function classes(canvas, stream) {
    const names = Object.keys(stream.ahead.classes || {}).sort();
    const points = stream.points.map((point) => ({ number: point.number, ...(point.classes || {}) }));
    const area = prepared(canvas);
    const first = points.length ? points[0].number : 1;
    const last = points.length ? points[points.length - 1].number : 1;
    const plot = axes(area, { low: 0, high: 1, first, last: Math.max(first + 1, last) });
    names.forEach((name, index) => line(area, plot, points, name, colour(`--c${index % 8}`)));
    return names;
  }

  return { forecast, classes, colour };
})();
