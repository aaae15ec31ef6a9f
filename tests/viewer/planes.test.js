import assert from "node:assert/strict";
import { test } from "node:test";

import { copy, empty, fillBetween, mostDiffering, stroke } from "../../apps/viewer/draw.js";
import { outlines, planeOf } from "../../apps/viewer/planes.js";

const RAS = [1, 2, 3];

/** Area inside closed lines, by the shoelace formula; holes count negative. */
function area(lines) {
  const one = (line) =>
    line.reduce((sum, [u, v], at) => {
      const [x, y] = line[(at + 1) % line.length];
      return sum + (u * y - x * v) / 2;
    }, 0);
  return Math.abs(lines.reduce((sum, line) => sum + one(line), 0));
}

test("a slice is the same voxels however the file's axes lie", () => {
  const shape = [2, 3, 4];
  const value = (x, y, z) => x + 2 * y + 6 * z;
  for (const order of [[1, 2, 3], [-1, 2, -3], [3, -1, 2], [-2, -3, 1]]) {
    const lengths = order.map((one) => shape[Math.abs(one) - 1]);
    for (const axis of [0, 1, 2]) {
      const others = [0, 1, 2].filter((one) => one !== axis);
      const plane = planeOf(shape, order, axis, 1);
      assert.deepEqual([plane.width, plane.height], others.map((one) => lengths[one]));
      const patient = [0, 0, 0];
      [patient[axis], patient[others[0]], patient[others[1]]] = [1, 1, lengths[others[1]] - 1];
      const file = [0, 0, 0];
      order.forEach((one, at) => {
        const index = Math.abs(one) - 1;
        file[index] = one > 0 ? patient[at] : shape[index] - 1 - patient[at];
      });
      assert.equal(plane.start + plane.along + (plane.height - 1) * plane.across, value(...file));
    }
  }
});

test("a line goes around a square with its corners cut, up to the border", () => {
  const mask = new Uint8Array(25);
  for (const at of [6, 7, 11, 12]) mask[at] = 3;
  const lines = outlines(mask, planeOf([5, 5, 1], RAS, 2, 0), 3);
  assert.equal(lines.length, 1);
  assert.equal(lines[0].length, 8);
  assert.equal(area(lines), 4 - 4 * 0.125);
  const whole = outlines(new Uint8Array(25).fill(1), planeOf([5, 5, 1], RAS, 2, 0), 1);
  assert.equal(area(whole), 25 - 4 * 0.125);
});

test("a ring has two lines, two voxels that touch at a corner one each", () => {
  const plane = planeOf([5, 5, 1], RAS, 2, 0);
  const ring = new Uint8Array(25);
  for (const at of [6, 7, 8, 11, 13, 16, 17, 18]) ring[at] = 2;
  assert.equal(outlines(ring, plane, 2).length, 2);
  assert.equal(area(outlines(ring, plane, 2)), 9 - 4 * 0.125 - 0.5);
  const corner = new Uint8Array(25);
  corner[6] = corner[12] = 1;
  assert.equal(outlines(corner, plane, 1).length, 2);
  assert.equal(outlines(corner, plane, 2).length, 0);
});

test("a brush draws what lies within its radius in mm, in its slice", () => {
  const mask = new Uint8Array(9 * 9 * 2);
  const plane = planeOf([9, 9, 2], RAS, 2, 1);
  stroke(mask, plane, [4.5, 4.5], [4.5, 4.5], [1, 2], 2, 1);
  const drawn = [...mask.keys()].filter((at) => mask[at]).map((at) => [at % 9, Math.floor(at / 9) % 9, Math.floor(at / 81)]);
  assert.deepEqual(drawn, [[4, 3, 1], [2, 4, 1], [3, 4, 1], [4, 4, 1], [5, 4, 1], [6, 4, 1], [4, 5, 1]]);
});

test("a fast stroke has no holes, the smallest brush draws one voxel, and none leaves the slice", () => {
  const mask = new Uint8Array(100);
  const plane = planeOf([10, 10, 1], RAS, 2, 0);
  stroke(mask, plane, [0.5, 5.5], [20, 5.5], [1, 1], 0.6, 2);
  assert.equal(mask.filter((value) => value === 2).length, 10);
  stroke(mask, plane, [3.9, 3.1], [3.9, 3.1], [1, 1], 0.1, 1);
  assert.deepEqual([mask[33], mask.filter((value) => value === 1).length], [1, 1]);
});

test("a slice is emptied of one structure, or takes those of its neighbour", () => {
  const shape = [3, 1, 2];
  const [first, second] = [0, 1].map((index) => planeOf(shape, RAS, 2, index));
  const mask = Uint8Array.from([1, 2, 3, 1, 1, 0]);
  copy(mask, second, first, [3]);
  assert.deepEqual([...mask], [1, 2, 3, 1, 1, 3]);
  copy(mask, second, first, [1, 2, 3]);
  assert.deepEqual([...mask], [1, 2, 3, 1, 2, 3]);
  empty(mask, first, [2]);
  assert.deepEqual([...mask], [1, 0, 3, 1, 2, 3]);
});

test("the slice is found on which two label maps differ most", () => {
  const planes = [0, 1, 2].map((index) => planeOf([2, 1, 3], RAS, 2, index));
  assert.equal(mostDiffering(Uint8Array.from([0, 1, 2, 3, 0, 0]), Uint8Array.from([0, 0, 3, 2, 0, 0]), planes), 1);
});

/** Discs in slices along the third axis, by radius; 0 for an empty slice. */
function discs(radii, label, size = 21) {
  const mask = new Uint8Array(size * size * radii.length);
  radii.forEach((radius, z) => {
    if (radius) stroke(mask, planeOf([size, size, radii.length], RAS, 2, z), [10.5, 10.5], [10.5, 10.5], [1, 1], radius, label);
  });
  return mask;
}

test("between two discs lies one of the radius between, and other slices stay", () => {
  const mask = discs([0, 4, 0, 8, 0], 1);
  const planes = [0, 1, 2, 3, 4].map((index) => planeOf([21, 21, 5], RAS, 2, index));
  assert.equal(fillBetween(mask, planes, [1, 1], [1]), 1);
  const expected = discs([0, 4, 6, 8, 0], 1);
  const differing = mask.reduce((count, value, at) => count + (value !== expected[at]), 0);
  assert.ok(differing <= 8, `${differing} voxels differ`);
  assert.equal(fillBetween(mask, planes, [1, 1], [1]), 0);
});

test("structures fill a slice together, and what was drawn there stays", () => {
  const planes = [0, 1, 2].map((index) => planeOf([21, 21, 3], RAS, 2, index));
  const mask = discs([8, 0, 8], 2);
  for (const index of [0, 2]) stroke(mask, planes[index], [10.5, 10.5], [10.5, 10.5], [1, 1], 5, 3);
  const wanted = mask.slice(0, 441);
  mask[441] = 1;
  fillBetween(mask, planes, [1, 1], [1, 2, 3]);
  assert.deepEqual([...mask.slice(442, 882)], [...wanted.slice(1)]);
  assert.equal(mask[441], 1);
});
