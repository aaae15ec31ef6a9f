// Slices of a label map, and the lines around what is on them.

/**
 * A slice as places in a flat array: voxel (u, v) is at `start + u * along + v * across`.
 * @typedef {object} Plane
 * @property {number} start
 * @property {number} along - step of u
 * @property {number} across - step of v
 * @property {number} width - voxels along u
 * @property {number} height - voxels along v
 */

/**
 * A slice of a volume, by the patient's axes whatever the file's are.
 * @param {number[]} shape - voxels along each axis of the file, the first changes fastest
 * @param {number[]} order - for each axis of the patient that of the file, from 1, negative if turned round
 * @param {number} axis - axis of the patient, 0 to 2, across the slice
 * @param {number} index - of the slice along it
 * @returns {Plane} u and v are the other axes of the patient in their order
 */
export function planeOf(shape, order, axis, index) {
  const steps = [1, shape[0], shape[0] * shape[1]];
  const lines = order.map((one) => {
    const at = Math.abs(one) - 1;
    const length = shape[at];
    return one > 0 ? { first: 0, step: steps[at], length } : { first: (length - 1) * steps[at], step: -steps[at], length };
  });
  const [u, v] = lines.filter((_, one) => one !== axis);
  const start = u.first + v.first + lines[axis].first + index * lines[axis].step;
  return { start, along: u.step, across: v.step, width: u.length, height: v.length };
}

// For each cell between four voxel centres, by which of them are inside (1 at u v, 2 at u+1 v, 4 at
// u+1 v+1, 8 at u v+1): the sides that the line goes from and to, with what is inside on its right.
const [LOW_V, HIGH_U, HIGH_V, LOW_U] = [0, 1, 2, 3];
const TURNS = [
  [], [[LOW_U, LOW_V]], [[LOW_V, HIGH_U]], [[LOW_U, HIGH_U]],
  [[HIGH_U, HIGH_V]], [[LOW_U, LOW_V], [HIGH_U, HIGH_V]], [[LOW_V, HIGH_V]], [[LOW_U, HIGH_V]],
  [[HIGH_V, LOW_U]], [[HIGH_V, LOW_V]], [[LOW_V, HIGH_U], [HIGH_V, LOW_U]], [[HIGH_V, HIGH_U]],
  [[HIGH_U, LOW_U]], [[HIGH_U, LOW_V]], [[LOW_V, LOW_U]], [],
];
const SIDES = [[0, -1], [1, 0], [0, 1], [-1, 0]]; // from the middle of a cell, in halves of a voxel

/**
 * Closed lines around a label on a slice, half way between voxels inside and outside.
 * @param {Uint8Array} mask
 * @param {Plane} plane
 * @param {number} label
 * @returns {number[][][]} lines of points [u, v]; voxel 0 reaches from 0 to 1
 */
export function outlines(mask, plane, label) {
  const { width, height } = plane;
  const [low, high] = extent(mask, plane, label);
  const isIn = (u, v) =>
    Number(u >= 0 && v >= 0 && u < width && v < height && mask[plane.start + u * plane.along + v * plane.across] === label);
  const stride = 2 * width + 4;
  const next = new Map();
  for (let v = low[1] - 1; v <= high[1]; v++) {
    for (let u = low[0] - 1; u <= high[0]; u++) {
      const found = isIn(u, v) + 2 * isIn(u + 1, v) + 4 * isIn(u + 1, v + 1) + 8 * isIn(u, v + 1);
      const key = (/** @type {number[]} */ [du, dv]) => 2 * u + 2 + du + stride * (2 * v + 2 + dv);
      for (const [from, to] of TURNS[found]) next.set(key(SIDES[from]), key(SIDES[to]));
    }
  }
  const lines = [];
  for (const first of next.keys()) {
    const line = [];
    for (let at = first; next.has(at); ) {
      line.push([(at % stride) / 2, Math.floor(at / stride) / 2]);
      const to = next.get(at);
      next.delete(at);
      at = to;
    }
    if (line.length) lines.push(line);
  }
  return lines;
}

/** Lowest and highest u and v of a label on a slice; the lowest above the highest where there is none. */
function extent(mask, { start, along, across, width, height }, label) {
  const [low, high] = [[width, height], [-1, -1]];
  for (let v = 0; v < height; v++) {
    for (let u = 0, at = start + v * across; u < width; u++, at += along) {
      if (mask[at] !== label) continue;
      if (u < low[0]) low[0] = u;
      if (u > high[0]) high[0] = u;
      if (v < low[1]) low[1] = v;
      high[1] = v;
    }
  }
  return [low, high];
}
