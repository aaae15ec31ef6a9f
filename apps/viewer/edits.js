// What was done to the contours of a study, act by act, and what of it is not saved.

/**
 * Contours of an image at one moment.
 * @typedef {object} State
 * @property {Uint8Array | null} mask - values in the file's order
 * @property {Blob | null} file - the label map as the server sent it; null if it was drawn and not needed yet
 * @property {object[]} clicks - those that led to it
 * @property {object | null} told - what was measured on it
 * @property {boolean} isEdited - whether a person's work is in it that was not saved with it
 */

/** @type {State} */
const NONE = { mask: null, file: null, clicks: [], told: null, isEdited: false };

/** The work on all images of one study. */
export class Edits {
  constructor() {
    this.works = new Map();
    this.done = [];
    this.undone = [];
  }

  /** The work on an image: its contours now and as they were saved, and the label version last seen. */
  on(source) {
    if (!this.works.has(source.key)) this.works.set(source.key, { version: 0, saved: NONE, now: NONE });
    return this.works.get(source.key);
  }

  /** Images with work that would be lost. */
  get unsaved() {
    return [...this.works.values()].filter(({ now, saved }) => now !== saved && now.isEdited).length;
  }

  /** Something was done: `state` is what it led to. */
  act(source, state) {
    const work = this.on(source);
    this.done.push({ source, key: source.key, before: work.now, after: state });
    this.undone = [];
    work.now = state;
  }

  /** Take the last act back; returns it, or undefined if there is none. */
  undo() {
    return this.#turn(this.done, this.undone, "before");
  }

  /** Do what was taken back again; returns it, or undefined. */
  redo() {
    return this.#turn(this.undone, this.done, "after");
  }

  #turn(from, to, state) {
    const act = from.pop();
    if (!act) return undefined;
    to.push(act);
    this.works.get(act.key).now = act[state];
    return act;
  }

  /** The state `now` of an image was saved as a version; its acts are over. */
  save(source, state, version) {
    const work = this.on(source);
    work.saved = state;
    work.version = version;
    this.done = this.done.filter((act) => act.key !== source.key);
    this.undone = this.undone.filter((act) => act.key !== source.key);
  }
}
