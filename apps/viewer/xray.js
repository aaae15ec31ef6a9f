// A chest X-ray: its class, and the pixels that speak for it.

import { ask, form } from "./api.js";
import { element } from "./page.js";

const LONGEST_PHOTO_PX = 2048;

/** Classify a picture and show it; `file` is a JPEG, PNG or DICOM file. */
export async function classify(file, name = file.name) {
  const body = form({ file: [file, name] });
  const found = await (await ask("/viewer/data/xray", {}, { method: "POST", body })).json();
  element("picture").src = `data:image/png;base64,${found.picture}`;
  element("xray-name").textContent = name;
  const isFilm = found.decision !== null;
  element("heat").hidden = element("heat-row").hidden = !isFilm;
  if (isFilm) element("heat").src = `data:image/png;base64,${found.heat_map}`;
  showHeat(0); // the film first
  const decision = { PNEUMONIA: "Pneumonia", NORMAL: "No pneumonia" }[found.decision] ?? "No verdict";
  const text = isFilm
    ? `probability ${percent(found.probability)}, from ${percent(found.threshold)} on it counts as pneumonia`
    : "this is hardly a frontal chest film";
  element("decision").textContent = decision;
  element("probability-text").textContent = text;
  element("xray-warnings").textContent = found.warnings.map((warning) => `Doubtful: ${warning}.`).join(" ");
  swap(true);
  return `${decision}: ${text}`;
}

/** Show the heart again. */
export function close() {
  swap(false);
}

function swap(isXray) {
  for (const id of ["heart", "bar", "side"]) element(id).hidden = isXray;
  element("xray").hidden = !isXray;
}

/** Let the reader choose how strong the heat map is. */
export function prepareXray() {
  element("heat-strength").addEventListener("input", ({ target }) => showHeat(target.value));
}

function showHeat(percents) {
  element("heat-strength").value = percents;
  element("heat").style.opacity = percents / 100;
}

/** A photograph as the camera saw it, upright and not larger than needed. */
export async function photograph(file) {
  const picture = await createImageBitmap(file).catch(() => {
    throw new Error("Expected a photograph, found a file that is none.");
  });
  const scale = Math.min(1, LONGEST_PHOTO_PX / Math.max(picture.width, picture.height));
  const canvas = document.createElement("canvas");
  canvas.width = Math.round(picture.width * scale);
  canvas.height = Math.round(picture.height * scale);
  canvas.getContext("2d").drawImage(picture, 0, 0, canvas.width, canvas.height);
  return new Promise((done) => canvas.toBlob(done, "image/jpeg", 0.95));
}

function percent(share) {
  return `${(100 * share).toFixed(0)}%`;
}
