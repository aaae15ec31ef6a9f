// Contours of a slice changed as lines: pulled to another place, or drawn anew as a closed outline.

import { eachPlace, isOn } from "./draw.js";

/** @typedef {import("./planes.js").Plane} Plane */

const MYO = 2;
const LV = 3;
const LONGEST_STEP = 0.25; // of the radius; far below what would fold the slice

/** Contours that are being pulled: each voxel of the slice knows where in it, as it was, its value comes from. */
export class Pull {
  /**
   * @param {Uint8Array} mask
   * @param {Plane} plane
   * @param {number[]} spacing - mm of a voxel along u and v
   * @param {number} radius - mm around the pointer within which contours come along, the less the further away
   * @param {number | null} label - whose contour is pulled; null for all together
   */
  constructor(mask, plane, spacing, radius, label) {
    const { width, height } = plane;
    this.plane = plane;
    this.spacing = spacing;
    this.radius = radius;
    this.label = label;
    this.before = new Uint8Array(width * height);
    eachPlace(plane, (at, u, v, number) => (this.before[number] = mask[at]));
    this.shifts = [0, 1].map(() => new Float32Array(width * height)); // voxels along u and v
  }

  /**
   * Pull from one point to another.
   * @param {Uint8Array} mask - is changed
   * @param {number[]} from - [u, v] in voxels, the middle of voxel 0 is at 0.5
   * @param {number[]} to
   */
  move(mask, from, to) {
    const by = [0, 1].map((axis) => to[axis] - from[axis]);
    const length = Math.hypot(by[0] * this.spacing[0], by[1] * this.spacing[1]);
    const steps = Math.ceil(length / (LONGEST_STEP * this.radius));
    for (let step = 1; step <= steps; step++) {
      this.#step(by.map((one) => one / steps), by.map((one, axis) => from[axis] + (one * step) / steps));
    }
    const { before, label, shifts } = this;
    eachPlace(this.plane, (at, u, v, number) => {
      const now = this.#found(u, v, number, 1);
      const then = before[number];
      mask[at] = label === null || now === label ? now : then;
      if (label !== null && then === label && now !== label) {
        // What a structure leaves becomes what lay right across its contour.
        const steps = 1 + 2 * Math.ceil(Math.hypot(shifts[0][number], shifts[1][number]));
        for (let step = 1; step <= steps; step++) {
          mask[at] = this.#found(u, v, number, step / steps);
          if (mask[at] !== label) break;
        }
      }
    });
  }

  /** What was a share of the way to where a voxel's value comes from. */
  #found(u, v, number, share) {
    const { before, plane: { width, height }, shifts } = this;
    const inside = (value, length) => Math.min(length - 1, Math.max(0, Math.floor(value)));
    const [x, y] = [u + 0.5 + share * shifts[0][number], v + 0.5 + share * shifts[1][number]];
    return before[inside(x, width) + width * inside(y, height)];
  }

  /** Each voxel near the pointer now comes from where the one came from that was pulled onto it. */
  #step(by, to) {
    const { plane: { width, height }, spacing, radius } = this;
    const old = this.shifts.map((shift) => shift.slice());
    const reach = spacing.map((size) => radius / size);
    const first = (axis) => Math.max(0, Math.floor(to[axis] - reach[axis]));
    const last = (axis, length) => Math.min(length - 1, Math.ceil(to[axis] + reach[axis]));
    for (let v = first(1); v <= last(1, height); v++) {
      for (let u = first(0); u <= last(0, width); u++) {
        const away = [(u + 0.5 - to[0]) * spacing[0], (v + 0.5 - to[1]) * spacing[1]];
        const weight = Math.max(0, 1 - (away[0] ** 2 + away[1] ** 2) / radius ** 2) ** 2;
        if (!weight) continue;
        const source = [u - weight * by[0], v - weight * by[1]];
        this.shifts.forEach((shift, axis) => {
          shift[u + width * v] = between(old[axis], source, width, height) - weight * by[axis];
        });
      }
    }
  }
}

/**
 * Value between voxels, linear.
 * @param {Float32Array} values
 * @param {number[]} place
 * @param {number} width
 * @param {number} height
 */
function between(values, [x, y], width, height) {
  const [u, v] = [Math.min(width - 1, Math.max(0, x)), Math.min(height - 1, Math.max(0, y))];
  const [left, low] = [Math.min(width - 2, Math.floor(u)), Math.min(height - 2, Math.floor(v))].map((one) => Math.max(0, one));
  const [right, high] = [Math.min(width - 1, left + 1), Math.min(height - 1, low + 1)];
  const along = (row) => values[left + width * row] * (1 - u + left) + values[right + width * row] * (u - left);
  return along(low) * (1 - v + low) + along(high) * (v - low);
}

/**
 * Put what a closed outline surrounds in the place of a structure of a slice. The outline of the myocardium is
 * its outer one: the LV within stays. What the LV leaves becomes myocardium where the slice has any.
 * @param {Uint8Array} mask - is changed
 * @param {Plane} plane
 * @param {number[][]} points - [u, v] in voxels, along the outline
 * @param {number} label - of the structure, 0 for background
 * @returns {boolean} whether the outline surrounds the middle of any voxel; if not, nothing is changed
 */
export function fillOutline(mask, plane, points, label) {
  const inside = surrounded(plane, points);
  if (!inside.includes(1)) return false;
  const left = label === LV && isOn(mask, plane, MYO) ? MYO : 0;
  eachPlace(plane, (at, u, v, number) => {
    if (!inside[number]) mask[at] = mask[at] === label ? left : mask[at];
    else if (label !== MYO || mask[at] !== LV) mask[at] = label;
  });
  return true;
}

/** 1 for each voxel whose middle the closed line goes around, also where it overlaps itself. */
function surrounded({ width, height }, points) {
  const inside = new Uint8Array(width * height);
  for (let v = 0; v < height; v++) {
    for (let u = 0; u < width; u++) {
      let turns = 0;
      points.forEach((from, at) => {
        const to = points[(at + 1) % points.length];
        const [isFromLow, isToLow] = [from[1] <= v + 0.5, to[1] <= v + 0.5];
        if (isFromLow === isToLow) return;
        const crossing = from[0] + ((to[0] - from[0]) * (v + 0.5 - from[1])) / (to[1] - from[1]);
        if (crossing > u + 0.5) turns += isFromLow ? 1 : -1;
      });
      inside[u + width * v] = Number(turns !== 0);
    }
  }
  return inside;
}
