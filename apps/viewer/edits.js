// What was done to the contours of a study, act by act, and what of it is not saved.

/**
 * Contours of an image at one moment.
 * @typedef {object} State
 * @property {Uint8Array | null} mask - values in the file's order
 * @property {Blob | null} file - the label map as the server sent it; null if it was drawn and not needed yet
 * @property {import("./clicks.js").Click[]} clicks - those that led to it
 * @property {import("./numbers.js").Told | null} told - what was measured on it
 * @property {boolean} isEdited - whether a person's work is in it that was not saved with it
 */

/** @type {State} */
const NONE = { mask: null, file: null, clicks: [], told: null, isEdited: false };

/**
 * The contours of an image now and as they were saved, and the label version last seen.
 * @typedef {{version: number, saved: State, now: State}} Work
 *
 * Something that was done to the contours of an image.
 * @typedef {{source: import("./source.js").Source, key: string, before: State, after: State}} Act
 */

/** The work on all images of one study. */
export class Edits {
  constructor() {
    /** @type {Map<string, Work>} */
    this.works = new Map();
    /** @type {Act[]} */
    this.done = [];
    /** @type {Act[]} */
    this.undone = [];
  }

  /** The work on an image. */
  on(/** @type {import("./source.js").Source} */ source) {
    const work = this.works.get(source.key) ?? { version: 0, saved: NONE, now: NONE };
    this.works.set(source.key, work);
    return work;
  }

  /** Images with work that would be lost. */
  get unsaved() {
    return [...this.works.values()].filter(({ now, saved }) => now !== saved && now.isEdited).length;
  }

  /**
   * Something was done.
   * @param {import("./source.js").Source} source
   * @param {State} state - what it led to
   */
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

  /** @param {Act[]} from @param {Act[]} to @param {"before" | "after"} state */
  #turn(from, to, state) {
    const act = from.pop();
    const work = act && this.works.get(act.key);
    if (!work) return undefined;
    to.push(act);
    work.now = act[state];
    return act;
  }

  /**
   * A state of an image was saved as a version; its acts are over.
   * @param {import("./source.js").Source} source
   * @param {State} state
   * @param {number} version
   */
  save(source, state, version) {
    const work = this.on(source);
    work.saved = state;
    work.version = version;
    this.done = this.done.filter((act) => act.key !== source.key);
    this.undone = this.undone.filter((act) => act.key !== source.key);
  }
}
