/** Plays the rows of a table through a runner, so many a second, and lets the page draw between them. */

import { DataError } from "./errors.js";

const FRAME = 12; // milliseconds of work in one frame of the screen

export class Player {
  #runner;
  #reader;
  #events;
  #running = null;

  /**
   * @param {import("./runner.js").Runner} runner
   * @param {import("./csv.js").RowReader} reader
   * @param {object} events called with what happened: row(said, micro), frame(), refused(error), ended(error or null)
   */
  constructor(runner, reader, events) {
    this.#runner = runner;
    this.#reader = reader;
    this.#events = events;
    this.speed = 20; // rows a second
    this.skip = false; // whether a row at fault is left out
    this.playing = false;
    this.done = false; // whether the last row was read
  }

  /** Go on. */
  play() {
    if (this.playing) return;
    this.playing = true;
    this.#running = this.#run();
  }

  /** Stop after the row that is under way. */
  async pause() {
    this.playing = false;
    await this.#running;
  }

  async #run() {
    let [owed, before] = [1, performance.now()];
    while (this.playing) {
      const now = await new Promise(requestAnimationFrame);
      owed += this.speed === Infinity ? Infinity : (this.speed * Math.max(now - before, 0)) / 1000;
      before = now;
      const until = performance.now() + FRAME;
      while (this.playing && owed >= 1 && performance.now() < until) {
        await this.#row();
        owed -= 1;
      }
      owed = Math.min(owed, 1); // what the machine could not keep up with is not owed
      this.#events.frame();
    }
  }

  async #row() {
    try {
      const start = performance.now();
      const row = this.#reader.next();
      if (row === null) {
        this.playing = false;
        this.done = true;
        this.#events.ended(null);
        return;
      }
      const said = await this.#runner.update(row.cells, row.line);
      this.#events.row(said, 1000 * (performance.now() - start));
    } catch (error) {
      if (this.skip && error instanceof DataError) {
        this.#runner.skip();
        this.#events.refused(error);
        return;
      }
      this.playing = false;
      this.#events.ended(error);
    }
  }
}
