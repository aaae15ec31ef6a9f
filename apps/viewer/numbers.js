// Volumes, ejection fraction and the volume curve.

import { element, made } from "./page.js";

/**
 * What the server measured on contours.
 * @typedef {object} Told
 * @property {Record<string, number>} [volumes_ml] - by structure
 * @property {Record<string, any>} [indices]
 * @property {string} [phase]
 * @property {string[]} [warnings]
 * @property {string[]} [index_warnings]
 * @property {string} [contour] - name of the automatic contour that they began with
 * @property {number} [label_version]
 * @property {string} [author]
 * @property {string} [time]
 *
 * What the server measured over a cine; frames count from 1.
 * @typedef {object} Curve
 * @property {Record<string, number[]>} volumes_ml
 * @property {number} frame_ed
 * @property {number} frame_es
 * @property {Record<string, any>} indices
 * @property {string[]} [warnings]
 * @property {boolean} [isByHand]
 */

const CELLS = { lv: "lv-ml", rv: "rv-ml", myo: "myo-ml" };
const INDICES = { lv_ef_percent: "lv-ef", rv_ef_percent: "rv-ef", myo_mass_ed_g: "mass" };
const WIDTH = 280;
const HEIGHT = 130;
const LEFT = 34;
const BOTTOM = 20;

/**
 * Fill the table with what was measured, or empty it.
 * @param {Told | null} told
 * @param {string} moment
 * @param {boolean} isPending - whether it is being measured
 */
export function showNumbers(told, moment, isPending = false) {
  element("numbers").setAttribute("aria-busy", `${isPending}`);
  element("moment").textContent = moment;
  for (const [name, id] of Object.entries(CELLS)) element(id).textContent = shown(told?.volumes_ml?.[name], 1);
  showIndices(told?.indices);
  element("warnings").replaceChildren(...(told?.warnings ?? []).map((text) => made("li", text)));
}

/** Fill in the indices of the patient. */
export function showIndices(indices) {
  for (const [name, id] of Object.entries(INDICES)) {
    element(id).textContent = shown(indices?.[name], 1);
    element(id).title = indices?.reason ?? "";
  }
}

/**
 * Rows of a table that puts two measurements beside each other.
 * @param {Told | null | undefined} mine
 * @param {Told | null | undefined} theirs
 */
export function comparison(mine, theirs) {
  /** @type {[string, (told: Told | null | undefined) => number | undefined][]} */
  const rows = [
    ["LV, mL", (told) => told?.volumes_ml?.lv],
    ["RV, mL", (told) => told?.volumes_ml?.rv],
    ["Myocardium, mL", (told) => told?.volumes_ml?.myo],
    ["LV ejection fraction, %", (told) => told?.indices?.lv_ef_percent],
  ];
  return rows.map(([name, value]) => {
    const row = made("tr");
    const title = made("th", name);
    title.scope = "row";
    row.append(title, made("td", shown(value(mine), 1)), made("td", shown(value(theirs), 1)));
    return row;
  });
}

/** The numbers in a sentence, for the status line. */
export function inWords(/** @type {Told | null} */ told) {
  const { volumes_ml: ml = {}, indices } = told ?? {};
  const fraction = indices?.lv_ef_percent;
  return `LV ${shown(ml.lv)} mL, RV ${shown(ml.rv)} mL` + (fraction == null ? "" : `, LV EF ${shown(fraction)}%`);
}

function shown(value, decimals = 0) {
  return value == null ? "–" : value.toFixed(decimals);
}

/**
 * Draw the volumes over the cine.
 * @param {Curve | null} curve - null removes them
 * @param {(phase: string, index: number) => void} onMove - called with where a marker was put, from 0
 */
export function showCurve(curve, onMove = () => {}) {
  const place = element("curve");
  place.hidden = element("moments").hidden = !curve;
  place.replaceChildren();
  if (!curve) return;
  const { lv, rv } = curve.volumes_ml;
  const most = Math.max(...lv, ...rv, 1);
  const x = (index) => LEFT + ((WIDTH - LEFT - 6) * index) / (lv.length - 1);
  const y = (ml) => HEIGHT - BOTTOM - ((HEIGHT - BOTTOM - 10) * ml) / most;
  const line = (values) => values.map((ml, index) => `${x(index).toFixed(1)},${y(ml).toFixed(1)}`).join(" ");
  const picture = drawn("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img" });
  picture.setAttribute("aria-label", curveInWords(curve));
  picture.append(
    drawn("line", { class: "axis", x1: LEFT, x2: WIDTH - 6, y1: y(0), y2: y(0) }),
    drawn("text", { x: LEFT - 4, y: y(0), class: "end" }, "0"),
    drawn("text", { x: LEFT - 4, y: y(most) + 4, class: "end" }, `${Math.round(most)}`),
    drawn("text", { x: 2, y: HEIGHT / 2, class: "unit" }, "mL"),
  );
  for (const [name, frame] of Object.entries({ ED: curve.frame_ed, ES: curve.frame_es })) {
    const at = x(frame - 1);
    const grip = drawn("circle", { class: "grip", "data-moment": name.toLowerCase(), cx: at, cy: 8, r: 5 });
    listenToGrip(grip, picture, lv.length, (index) => onMove(name.toLowerCase(), index));
    picture.append(
      drawn("line", { class: "moment", x1: at, x2: at, y1: 8, y2: y(0) }),
      drawn("text", { x: at, y: HEIGHT - 6, class: "middle" }, `${name} ${frame}`),
      grip,
    );
  }
  picture.append(
    drawn("polyline", { class: "rv", points: line(rv) }),
    drawn("polyline", { class: "lv", points: line(lv) }),
    drawn("line", { class: "now", x1: x(0), x2: x(0), y1: 8, y2: y(0) }),
  );
  place.append(picture, made("figcaption", curveInWords(curve)));
  place.append(...(curve.warnings ?? []).map((text) => made("p", text)));
  place.dataset.frames = `${lv.length}`;
}

/** Let a marker of the curve be dragged to another frame. */
function listenToGrip(grip, picture, frames, onDrop) {
  const frameUnder = (event) => {
    const { left, width } = picture.getBoundingClientRect();
    const across = ((event.clientX - left) * WIDTH) / width;
    const index = Math.round(((across - LEFT) * (frames - 1)) / (WIDTH - LEFT - 6));
    return Math.min(Math.max(index, 0), frames - 1);
  };
  grip.addEventListener("pointerdown", (event) => {
    event.preventDefault();
    grip.setPointerCapture(event.pointerId);
    grip.onpointermove = (move) =>
      grip.setAttribute("cx", LEFT + ((WIDTH - LEFT - 6) * frameUnder(move)) / (frames - 1));
  });
  grip.addEventListener("pointerup", (event) => {
    grip.onpointermove = null;
    onDrop(frameUnder(event));
  });
}

/** Mark the frame that is looked at; `index` counts from 0. */
export function markFrame(index) {
  const mark = document.querySelector("#curve .now");
  if (!mark) return;
  const at = LEFT + ((WIDTH - LEFT - 6) * index) / (Number(element("curve").dataset.frames) - 1);
  mark.setAttribute("x1", `${at}`);
  mark.setAttribute("x2", `${at}`);
}

export function curveInWords({ volumes_ml: ml, frame_ed: ed, frame_es: es, indices }) {
  return (
    `LV ${shown(ml.lv[ed - 1])} mL at frame ${ed}, ${shown(ml.lv[es - 1])} mL at frame ${es}: ` +
    `EF ${shown(indices.lv_ef_percent)}%`
  );
}

function drawn(tag, attributes, text = "") {
  const found = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) found.setAttribute(name, value);
  found.textContent = text;
  return found;
}
