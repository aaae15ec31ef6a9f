// Drawing by hand on a label map, slice by slice.

/** @typedef {import("./planes.js").Plane} Plane */

/** Values of labels that "all" stands for: RV, myocardium, LV. */
export const ALL = [1, 2, 3];

/**
 * Draw a stroke with a round brush.
 * @param {Uint8Array} mask - is changed
 * @param {Plane} plane
 * @param {number[]} from - [u, v] in voxels, the middle of voxel 0 is at 0.5
 * @param {number[]} to
 * @param {number[]} spacing - mm of a voxel along u and v
 * @param {number} radius - mm; the voxel under the brush is always drawn
 * @param {number} value
 */
export function stroke(mask, plane, from, to, spacing, radius, value) {
  const [du, dv] = [0, 1].map((axis) => radius / spacing[axis]);
  const lowest = (axis, reach) => Math.max(0, Math.floor(Math.min(from[axis], to[axis]) - reach));
  const highest = (axis, reach, length) => Math.min(length - 1, Math.floor(Math.max(from[axis], to[axis]) + reach));
  const [a, b] = [from, to].map(([u, v]) => [u * spacing[0], v * spacing[1]]);
  for (let v = lowest(1, dv); v <= highest(1, dv, plane.height); v++) {
    for (let u = lowest(0, du); u <= highest(0, du, plane.width); u++) {
      const isUnder = [from, to].some((end) => Math.floor(end[0]) === u && Math.floor(end[1]) === v);
      const middle = [(u + 0.5) * spacing[0], (v + 0.5) * spacing[1]];
      if (isUnder || fromLine(middle, a, b) <= radius) mask[place(plane, u, v)] = value;
    }
  }
}

/** Take structures away from a slice. */
export function empty(mask, plane, labels) {
  eachPlace(plane, (at) => {
    if (labels.includes(mask[at])) mask[at] = 0;
  });
}

/** Put structures as they are on another slice in the place of those on this one. */
export function copy(mask, plane, other, labels) {
  empty(mask, plane, labels);
  eachPlace(plane, (at, u, v) => {
    const found = mask[place(other, u, v)];
    if (labels.includes(found)) mask[at] = found;
  });
}

/**
 * Draw structures on slices that have none of them, between two that have: the line goes half way where
 * the slice is half way, and what is on the slice already stays.
 * @param {Uint8Array} mask - is changed
 * @param {Plane[]} planes - all slices in their order
 * @param {number[]} spacing - mm of a voxel along u and v
 * @param {number[]} labels
 * @returns {number} slices that were drawn on
 */
export function fillBetween(mask, planes, spacing, labels) {
  const filled = new Map(); // slice: for each of its voxels the depth of the deepest structure, and which it is
  for (const label of labels) {
    const has = planes.map((plane) => isOn(mask, plane, label));
    for (let low = has.indexOf(true), high; (high = has.indexOf(true, low + 1)) > 0 && low >= 0; low = high) {
      if (high === low + 1) continue;
      const part = around(mask, [planes[low], planes[high]], label);
      const [below, above] = [low, high].map((index) => depths(mask, part(planes[index]), spacing, label));
      for (let index = low + 1; index < high; index++) {
        const share = (index - low) / (high - low);
        if (!filled.has(index)) filled.set(index, new Map());
        const deepest = filled.get(index);
        eachPlace(part(planes[index]), (at, u, v, number) => {
          const depth = (1 - share) * below[number] + share * above[number];
          if (depth > (deepest.get(at)?.depth ?? 0)) deepest.set(at, { depth, label });
        });
      }
    }
  }
  for (const deepest of filled.values()) {
    for (const [at, { label }] of deepest) if (mask[at] === 0) mask[at] = label;
  }
  return filled.size;
}

/** Cuts planes down to what a structure takes up on any of them, and one voxel around it. */
function around(mask, planes, label) {
  /** @type {number[][]} */
  const [us, vs] = [[], []];
  for (const plane of planes) {
    eachPlace(plane, (at, u, v) => {
      if (mask[at] === label) us.push(u), vs.push(v);
    });
  }
  const least = (all) => Math.max(0, all.reduce((a, b) => Math.min(a, b)) - 1);
  const most = (all, length) => Math.min(length - 1, all.reduce((a, b) => Math.max(a, b)) + 1);
  const [{ width, height }] = planes;
  const [u, v] = [least(us), least(vs)];
  const size = { width: most(us, width) - u + 1, height: most(vs, height) - v + 1 };
  return (plane) => ({ ...plane, start: place(plane, u, v), ...size });
}

/** Index of the slice on which two label maps differ most. */
export function mostDiffering(one, other, planes) {
  const counts = planes.map((plane) => {
    let count = 0;
    eachPlace(plane, (at) => (count += Number(one[at] !== other[at])));
    return count;
  });
  return counts.indexOf(Math.max(...counts));
}

/** For each voxel of a slice how deep it lies in a structure, mm; negative outside, as far as it is away. */
function depths(mask, plane, spacing, label) {
  const isIn = new Uint8Array(plane.width * plane.height);
  eachPlace(plane, (at, u, v, number) => (isIn[number] = Number(mask[at] === label)));
  const away = distances(isIn, 1, plane, spacing);
  return distances(isIn, 0, plane, spacing).map((inside, at) => Math.sqrt(inside) - Math.sqrt(away[at]));
}

/**
 * Squared distances to the nearest voxel with a value, mm2.
 * Method: Felzenszwalb and Huttenlocher, Theory of Computing 8, 2012, doi:10.4086/toc.2012.v008a019,
 * with a plain minimum along each line, since slices are small.
 */
function distances(values, wanted, { width, height }, spacing) {
  const far = (width * spacing[0]) ** 2 + (height * spacing[1]) ** 2;
  const rows = new Float32Array(width * height);
  for (let v = 0; v < height; v++) {
    let last = -Infinity;
    for (let u = 0; u < width; u++) {
      if (values[u + width * v] === wanted) last = u;
      rows[u + width * v] = (u - last) * spacing[0];
    }
    last = Infinity;
    for (let u = width - 1; u >= 0; u--) {
      if (values[u + width * v] === wanted) last = u;
      rows[u + width * v] = Math.min(far, Math.min(rows[u + width * v], (last - u) * spacing[0]) ** 2);
    }
  }
  const found = new Float32Array(width * height).fill(far);
  for (let u = 0; u < width; u++) {
    for (let v = 0; v < height; v++) {
      for (let other = 0; other < height; other++) {
        const squared = rows[u + width * other] + ((v - other) * spacing[1]) ** 2;
        if (squared < found[u + width * v]) found[u + width * v] = squared;
      }
    }
  }
  return found;
}

/** @param {number[]} point @param {number[]} from @param {number[]} to */
function fromLine([x, y], [x1, y1], [x2, y2]) {
  const [dx, dy] = [x2 - x1, y2 - y1];
  const squared = dx * dx + dy * dy;
  const share = squared ? Math.min(1, Math.max(0, ((x - x1) * dx + (y - y1) * dy) / squared)) : 0;
  return Math.hypot(x - x1 - share * dx, y - y1 - share * dy);
}

/** Whether a slice has a label. */
export function isOn(mask, plane, label) {
  let found = false;
  eachPlace(plane, (at) => (found ||= mask[at] === label));
  return found;
}

/** Visit each voxel of a slice with its place in the volume, u, v and its number in the slice. */
export function eachPlace(plane, visit) {
  for (let v = 0; v < plane.height; v++) {
    for (let u = 0; u < plane.width; u++) visit(place(plane, u, v), u, v, u + plane.width * v);
  }
}

/** Where voxel (u, v) of a slice is in the volume. */
export const place = (plane, u, v) => plane.start + u * plane.along + v * plane.across;
