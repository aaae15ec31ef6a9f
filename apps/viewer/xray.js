// A chest X-ray: its class, the pixels that speak for it, and what readers say of it.

import { ask, form } from "./api.js";
import { chosen, element, made, press } from "./page.js";

const LONGEST_PHOTO_PX = 2048;
const LIVE_NAME = "camera.jpg";
const LIVE_MS = 3000;
/** The camera, while its pictures are looked at. */
let camera = /** @type {MediaStream | null} */ (null);
/**
 * The file that is looked at, its SHA-256, and how its heat map was made.
 * @type {{file: Blob, name: string, film: string, method: string} | null}
 */
let shown = null;

/** Classify a picture and show it; `file` is a JPEG, PNG or DICOM file. */
export async function classify(file, name = file.name) {
  const method = element("heat-method").value;
  const found = await asked(file, name, method);
  const said = await readings(found.film);
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
  shown = { file, name, film: found.film, method };
  element("film-text").textContent = `${name}: ${decision}` + (isFilm ? `, ${percent(found.probability)}` : "");
  element("reading").reset();
  element("readings").replaceChildren(...said.map((one) => made("li", inWords(one))));
  swap(true);
  return `${decision}: ${text}`;
}

async function asked(file, name, method) {
  const body = form({ file: [file, name] });
  return (await ask("/viewer/data/xray", { method }, { method: "POST", body })).json();
}

/** Make the heat map of the film that is shown anew, by the method that is chosen. */
export async function explainAnew() {
  if (!shown) return "";
  const method = element("heat-method").value;
  const { heat_map: heat } = await asked(shown.file, shown.name, method);
  element("heat").src = `data:image/png;base64,${heat}`;
  shown.method = method;
  return "The heat map is made";
}

/** Readings of a film that were saved, the newest first. */
async function readings(film) {
  return (await (await ask("/viewer/data/reading", { image: film })).json()).reverse();
}

/** What the reader says of the film that is shown, or null if nothing was said yet. */
function reading() {
  const word = chosen("word");
  const note = element("note").value.trim();
  return word || note ? { word, note } : null;
}

/** Whether the reader has said something that was not saved. */
export const hasUnsaved = () => !element("xray").hidden && reading() !== null;

/** Give the reader's reading to the server, which keeps it with that of the network. */
export async function save() {
  if (!shown) return "";
  const { film, name, method } = shown;
  const body = form({ ...reading(), name: name.slice(-200), method });
  const saved = await (await ask("/viewer/data/reading", { image: film }, { method: "PUT", body })).json();
  element("reading").reset();
  element("readings").prepend(made("li", inWords(saved)));
  return `Saved: ${name} is ${saved.word} by ${saved.author}`;
}

/** A saved reading in a line. */
export function inWords({ author, time, word, note, result }) {
  const { decision, probability, model } = result;
  const network = decision ? `${decision.toLowerCase()}, ${percent(probability)}` : "no verdict";
  return `${word} by ${author}, ${new Date(time).toLocaleString()}${note && `: ${note}`} (${model}: ${network})`;
}

/** Keep the film that is shown beside the next ones, or put it away. */
export function compare() {
  const [other, film] = [element("other"), element("film")];
  const isOn = Boolean(other.hidden);
  other.replaceChildren(...(isOn ? [...film.children].map((one) => one.cloneNode(true)) : []));
  for (const one of other.children) one.removeAttribute("id");
  for (const text of document.querySelectorAll("#films .corner")) text.toggleAttribute("hidden", !isOn);
  other.hidden = !isOn;
  press(element("compare"), isOn);
  return isOn ? "Open the film to compare with" : "";
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
  if (!element("other").hidden) compare();
  swap(false);
}

function swap(isXray) {
  for (const id of ["heart", "bar", "side"]) element(id).hidden = isXray;
  element("xray").hidden = !isXray;
}

/** Let the reader choose how strong the heat map is. */
export function prepareXray() {
  element("heat-strength").addEventListener("input", () => showHeat(element("heat-strength").valueAsNumber));
}

function showHeat(/** @type {number} */ percents) {
  element("heat-strength").value = `${percents}`;
  element("heat").style.opacity = `${percents / 100}`;
}

/** Give `look` a picture of the camera every few seconds, until called again, a reading is begun or another film is opened. */
export async function live(look) {
  if (camera) return stopCamera();
  const devices = navigator.mediaDevices;
  if (!devices) throw new Error("Expected https, or a server on this machine: browsers give no camera to other pages.");
  camera = await devices.getUserMedia({ video: { facingMode: "environment" } }).catch(() => {
    throw new Error("Expected a camera and leave to use it, found none.");
  });
  press(element("live"), true);
  const video = Object.assign(document.createElement("video"), { srcObject: camera, muted: true, playsInline: true });
  await video.play();
  do {
    await look(photograph(video), LIVE_NAME);
    await new Promise((done) => setTimeout(done, LIVE_MS));
  } while (camera && shown?.name === LIVE_NAME && !element("xray").hidden && !hasUnsaved());
  stopCamera();
}

function stopCamera() {
  for (const track of camera?.getTracks() ?? []) track.stop();
  camera = null;
  press(element("live"), false);
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
  canvas.getContext("2d")?.drawImage(picture, 0, 0, canvas.width, canvas.height);
  return new Promise((done) => canvas.toBlob(done, "image/jpeg", 0.95));
}

function percent(share) {
  return `${(100 * share).toFixed(0)}%`;
}
