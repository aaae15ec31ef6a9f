// Clicks of the reader on one volume, and what they make of its contours.

import { infer } from "./api.js";

const VOLUME = "correct_volume";
const SLICE = "correct_slice";
export const STRUCTURES = ["background", "rv", "myo", "lv"];

/** @typedef {{at: number[], structure: string, isOneSlice: boolean, about: string}} Click */

/**
 * A click.
 * @param {number[]} at - voxel in the file's order
 * @param {string} structure - what is there
 * @param {boolean} isOneSlice - whether only its slice may change
 * @param {string} shown - what the contours say is there
 * @returns {Click}
 */
export function clickAt(at, structure, isOneSlice, shown) {
  // In one slice the server asks which structure a click is about: background, of what is shown there.
  const about = structure === "background" ? shown : structure;
  if (isOneSlice && about === "background") throw new Error("There is no contour to take away here.");
  return { at, structure, isOneSlice, about };
}

/**
 * Ask for the contours after one more click.
 * @param {Record<string, string>} source - what names the image
 * @param {number} version - newest version of the label that the reader has seen
 * @param {{file: Blob | null, clicks: Click[]}} state - the contours that are shown and what led to them
 * @param {Click} click
 */
export function afterClick(source, version, { file, clicks }, click) {
  const isAlike = (/** @type {Click} */ other) =>
    other.isOneSlice === click.isOneSlice && (!click.isOneSlice || other.about === click.about);
  const settled = clicks.filter(isAlike);
  const kind = click.isOneSlice ? inSlice : inVolume;
  const params = { ...kind([...settled, click]), settled: kind(settled), base_version: version };
  if (!click.isOneSlice) return infer(VOLUME, source, params, file);
  return infer(SLICE, source, { ...params, label: click.about, whole: true }, file);
}

/** What the server offers for clicks. */
export function offered(models) {
  return { volume: VOLUME in models, slice: SLICE in models };
}

function inVolume(clicks) {
  return Object.fromEntries(
    STRUCTURES.map((name) => [name, places(clicks.filter((click) => click.structure === name))]),
  );
}

function inSlice(clicks) {
  return {
    foreground: places(clicks.filter((click) => click.structure === click.about)),
    background: places(clicks.filter((click) => click.structure !== click.about)),
  };
}

function places(clicks) {
  return clicks.map((click) => click.at);
}
