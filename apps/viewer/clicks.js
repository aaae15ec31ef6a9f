// Clicks of the reader on one volume, and what they make of its contours.

import { infer, measure } from "./api.js";

const VOLUME = "correct_volume";
const SLICE = "correct_slice";
export const STRUCTURES = ["background", "rv", "myo", "lv"];

/** Clicks so far; each request sends all of them, and one that is missing is taken back. */
export class Clicks {
  constructor() {
    this.all = [];
  }

  /**
   * Remember a click.
   * @param {number[]} at - voxel in the file's order
   * @param {string} structure - what is there
   * @param {boolean} isOneSlice - whether only its slice may change
   * @param {string} shown - what the contours say is there
   */
  add(at, structure, isOneSlice, shown) {
    // In one slice the server asks which structure a click is about: background, of what is shown there.
    const about = structure === "background" ? shown : structure;
    if (isOneSlice && about === "background") throw new Error("There is no contour to take away here.");
    this.all.push({ at, structure, isOneSlice, about });
  }

  /** Forget the last click; returns it. */
  takeBack() {
    return this.all.pop();
  }

  get places() {
    return this.all.map((click) => click.at);
  }

  /** Ask for the contours after all clicks, `last` being the one that was added or taken back. */
  async apply(source, last) {
    if (last.isOneSlice) {
      const inSlices = this.all.filter((click) => click.isOneSlice && click.about === last.about);
      const foreground = inSlices.filter((click) => click.structure === last.about);
      const background = inSlices.filter((click) => click.structure !== last.about);
      const params = { label: last.about, foreground: places(foreground), background: places(background) };
      await measure(SLICE, source, params);
    }
    const inVolume = this.all.filter((click) => !click.isOneSlice);
    const params = {};
    for (const name of STRUCTURES) {
      params[name] = places(inVolume.filter((click) => click.structure === name));
    }
    return infer(VOLUME, source, params);
  }
}

/** What the server offers for clicks. */
export function offered(models) {
  return { volume: VOLUME in models, slice: SLICE in models };
}

function places(clicks) {
  return clicks.map((click) => click.at);
}
