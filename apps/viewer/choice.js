// Two versions of a label side by side, and which of them the reader goes on from.

import { choices, chosen, element } from "./page.js";
import { comparison } from "./numbers.js";

/**
 * Show the reader's contours and the newest version, on the picture one at a time, their numbers together.
 * @param {import("./edits.js").State} mine
 * @param {import("./edits.js").State} theirs
 * @param {(mask: Uint8Array | null) => void} show - draws contours
 * @returns {Promise<boolean>} whether the reader keeps the own ones
 */
export function chooseMine(mine, theirs, show) {
  const { author, time = "", label_version: version } = theirs.told ?? {};
  const differing = theirs.mask?.reduce((count, value, at) => count + Number(value !== (mine.mask?.[at] ?? 0)), 0) ?? 0;
  element("stale-text").textContent =
    `${author} saved version ${version} at ${new Date(time).toLocaleString()}, after the one that your contours ` +
    `began with. They differ in ${differing.toLocaleString("en")} voxels.`;
  element("stale-numbers").replaceChildren(...comparison(mine.told, theirs.told));
  const dialog = element("stale");
  const showChosen = () => show(chosen("version") === "mine" ? mine.mask : theirs.mask);
  for (const choice of choices("version")) {
    choice.checked = choice.value === "theirs";
    choice.onchange = showChosen;
  }
  showChosen();
  dialog.show();
  return new Promise((done) => {
    dialog.onclose = () => done(dialog.returnValue === "mine");
  });
}
