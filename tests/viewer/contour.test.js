import assert from "node:assert/strict";
import { test } from "node:test";

import { fillOutline, Pull } from "../../apps/viewer/contour.js";
import { stroke } from "../../apps/viewer/draw.js";
import { planeOf } from "../../apps/viewer/planes.js";

const SIZE = 41;
const RAS = [1, 2, 3];
const PLANE = planeOf([SIZE, SIZE, 2], RAS, 2, 1);
const MIDDLE = [20.5, 20.5];

/** A ring of myocardium around the LV, on the second of two slices. */
function heart() {
  const mask = new Uint8Array(2 * SIZE * SIZE);
  stroke(mask, PLANE, MIDDLE, MIDDLE, [1, 1], 10, 2);
  stroke(mask, PLANE, MIDDLE, MIDDLE, [1, 1], 6, 3);
  return mask;
}

/** Labels from the middle to the right, from -10 voxels to 15. */
const line = (mask) => Array.from({ length: 26 }, (_, at) => mask[SIZE * SIZE + SIZE * 20 + 10 + at]);
const last = (mask, label) => line(mask).lastIndexOf(label) - 10;
const count = (mask, label) => mask.reduce((sum, value) => sum + Number(value === label), 0);

test("a pulled contour goes as far as the pointer, and what is out of reach stays", () => {
  const mask = heart();
  const before = mask.slice();
  new Pull(mask, PLANE, [1, 1], 8, null).move(mask, [30.9, 20.5], [33.9, 20.5]);
  assert.equal(last(before, 2), 10);
  assert.equal(last(mask, 2), 13);
  assert.deepEqual(line(mask).slice(0, 12), line(before).slice(0, 12));
  assert.equal(count(mask.slice(0, SIZE * SIZE), 2), 0);
});

test("many small pulls come to the same place as a large one, and back to where they began", () => {
  const mask = heart();
  const before = mask.slice();
  const pull = new Pull(mask, PLANE, [1, 1], 12, null);
  for (let step = 0; step < 20; step++) pull.move(mask, [30.9 + step / 5, 20.5], [31.1 + step / 5, 20.5]);
  assert.equal(last(mask, 2), 14);
  pull.move(mask, [34.9, 20.5], [30.9, 20.5]);
  const differing = mask.reduce((sum, value, at) => sum + Number(value !== before[at]), 0);
  assert.ok(differing <= 6, `${differing} voxels differ`);
});

test("of one structure only its own contour moves", () => {
  const mask = heart();
  const before = mask.slice();
  new Pull(mask, PLANE, [1, 1], 8, 3).move(mask, [26.9, 20.5], [28.9, 20.5]);
  assert.deepEqual([last(mask, 3), last(mask, 2)], [8, 10]);
  new Pull(mask, PLANE, [1, 1], 8, 3).move(mask, [28.9, 20.5], [24.9, 20.5]);
  // What the LV leaves is myocardium, not a hole.
  assert.deepEqual([last(mask, 3), line(mask).slice(10, 21).includes(0)], [4, false]);
  assert.equal(count(mask, 2) + count(mask, 3), count(before, 2) + count(before, 3));
});

test("the reach of a pull is in mm, whatever the voxels are", () => {
  const mask = new Uint8Array(2 * SIZE * SIZE);
  stroke(mask, PLANE, [0, 20.5], [SIZE, 20.5], [1, 1], 5, 1);
  new Pull(mask, PLANE, [2, 1], 8, null).move(mask, [20.5, 25.9], [20.5, 28.9]);
  const height = (u) => [...Array(SIZE).keys()].filter((v) => mask[PLANE.start + u + SIZE * v] === 1).length;
  assert.equal(height(20), 14);
  assert.deepEqual([height(15), height(25)], [11, 11]); // 10 mm away, though 5 voxels
});

const square = (low, high) => [[low, low], [high, low], [high, high], [low, high]];

test("an outline replaces the structure of its slice, and what the LV leaves is myocardium", () => {
  const mask = heart();
  assert.ok(fillOutline(mask, PLANE, square(18, 23), 3));
  assert.equal(count(mask, 3), 25);
  assert.equal(count(mask, 2) + 25, count(heart(), 2) + count(heart(), 3));
  assert.ok(fillOutline(mask, PLANE, square(10, 31), 2));
  assert.deepEqual([count(mask, 3), count(mask, 2)], [25, 21 * 21 - 25]);
  assert.ok(fillOutline(mask, PLANE, square(0, 41), 0));
  assert.equal(count(mask, 0), mask.length);
});

test("an outline may overlap itself; one around no voxel changes nothing", () => {
  const mask = heart();
  const before = mask.slice();
  assert.ok(!fillOutline(mask, PLANE, square(20.6, 21.4), 3));
  assert.deepEqual(mask, before);
  fillOutline(mask, PLANE, [...square(18, 23), [18, 18], [21, 18], [21, 21]], 3);
  assert.equal(count(mask, 3), 25);
});
