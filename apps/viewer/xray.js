// A chest X-ray: its class, and the pixels that speak for it.

import { ask, form } from "./api.js";
import { element } from "./page.js";

const LONGEST_PHOTO_PX = 2048;
let shown = null; // the file that is looked at, and its name

/** Classify a picture and show it; `file` is a JPEG, PNG or DICOM file. */
export async function classify(file, name = file.name) {
  const found = await asked(file, name, element("heat-method").value);
  shown = { file, name };
  element("picture").src = `data:image/png;base64,${found.picture}`;
  element("xray-name").textContent = name;
  const isFilm = found.decision !== null;
  element("heat").hidden = element("heat-row").hidden = !isFilm;
  if (isFilm) element("heat").src = `data:image/png;base64,${found.heat_map}`;
  showHeat(0); // the film first
  element("calibration").textContent = isFilm && found.calibration_error != null ? trust(found) : "";
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

async function asked(file, name, method) {
  const body = form({ file: [file, name] });
  return (await ask("/viewer/data/xray", { method }, { method: "POST", body })).json();
}

/** Make the heat map of the film that is shown anew, by the method that is chosen. */
export async function explainAnew() {
  const { heat_map: heat } = await asked(shown.file, shown.name, element("heat-method").value);
  element("heat").src = `data:image/png;base64,${heat}`;
  return "The heat map is made";
}

/** What the probability is worth, in words. */
function trust({ calibration_error: error }) {
  return (
    "Of 100 test films with one probability, as many had pneumonia as it says, " +
    `with ${Math.max(1, Math.round(100 * error))} more or fewer on average. Other hospitals and adults may differ more.`
  );
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
