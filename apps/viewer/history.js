// The saved versions of a label: who, when and from what; each shown before and after, and gone on from.

import { ask, parts } from "./api.js";
import { comparison } from "./numbers.js";
import { choices, chosen, element } from "./page.js";

/**
 * What the server keeps of a saved version; of the fields those that are shown.
 * @typedef {object} Version
 * @property {number} number
 * @property {string} author
 * @property {string} time
 * @property {string | null} model
 * @property {{number?: number} | null} before
 * @property {object | null} original
 * @property {number | null} changed_voxels
 * @property {string[]} doubts
 *
 * @typedef {import("./edits.js").State} State
 */

/**
 * Records of the saved versions of an image, the newest first.
 * @param {string} image
 * @returns {Promise<Version[]>}
 */
export async function versions(image) {
  const found = await (await ask("/datastore/label/history", { label: image })).json();
  return found.reverse();
}

/**
 * Show a version and what it replaced, one at a time on the picture and side by side in numbers.
 * @param {Version[]} records - as from `versions`
 * @param {(number: number, original: boolean) => Promise<State>} load
 * @param {(mask: Uint8Array | null) => void} show - draws contours
 * @returns {Promise<State | null>} the contours that the reader goes on from, or null
 */
export async function chooseVersion(records, load, show) {
  const dialog = element("history");
  const list = element("history-list");
  list.replaceChildren(...records.map((record) => new Option(inWords(record), `${record.number}`)));
  /** @type {Record<string, State | null>} */
  let pair = {};
  const showChosen = () => show(pair[chosen("side")]?.mask ?? null);
  const choose = async () => {
    const record = records.find((one) => one.number === Number(list.value)) ?? records[0];
    const former = record.before?.number;
    const before = former ? load(former, false) : record.original ? load(record.number, true) : null;
    const [beforeIt, after] = await Promise.all([before, load(record.number, false)]);
    if (record.number !== Number(list.value)) return;
    pair = { before: beforeIt, after };
    const what = former ? `version ${former}` : record.original ? "the network's contours" : "nothing";
    const changed = record.changed_voxels;
    element("history-text").textContent =
      `Before: ${what}. ` + (changed == null ? "" : `${changed.toLocaleString("en")} voxels were changed. `) +
      (record.model ? `It began with ${record.model}. ` : "") + record.doubts.map((doubt) => `Doubtful: ${doubt}. `).join("");
    element("history-numbers").replaceChildren(...comparison(beforeIt?.told, after.told));
    showChosen();
  };
  for (const side of choices("side")) {
    side.checked = side.value === "after";
    side.onchange = showChosen;
  }
  await choose();
  /** @type {unknown} */
  let problem = null;
  list.onchange = () => choose().catch((error) => ((problem = error), dialog.close("")));
  dialog.returnValue = "";
  dialog.show();
  list.focus();
  return new Promise((done, fail) => {
    dialog.onclose = () => (problem ? fail(problem) : done(dialog.returnValue === "take" ? pair[chosen("side")] : null));
  });
}

/**
 * A version, or the automatic contours that it began with, and what is measured on it.
 * @param {string} image
 * @param {number} number
 * @param {boolean} original
 */
export async function version(image, number, original) {
  return parts(await ask("/viewer/data/label", { image, version: `${number}`, original: `${original}` }));
}

function inWords(/** @type {Version} */ { number, author, time, doubts }) {
  return `${number}: ${author}, ${new Date(time).toLocaleString()}${doubts.length ? ", doubtful" : ""}`;
}
