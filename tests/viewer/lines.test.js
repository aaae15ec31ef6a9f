import assert from "node:assert/strict";
import { test } from "node:test";

globalThis.getComputedStyle = () => ({ getPropertyValue: () => "#102030" });
globalThis.Path2D = class {
  moveTo() {}
  lineTo() {}
  quadraticCurveTo() {}
  closePath() {}
};
const { Lines } = await import("../../apps/viewer/lines.js");

/** A canvas whose pen notes the ellipses that it draws: their middles. */
function canvas() {
  const circles = [];
  const pen = new Proxy({}, {
    get: (_, name) => (name === "ellipse" ? (...at) => circles.push(at.slice(0, 2)) : () => {}),
    set: () => true,
  });
  return { width: 40, height: 40, getContext: () => pen, circles };
}

test("a click is marked where it was, on its own slice only", () => {
  const over = canvas();
  const lines = new Lines(over);
  const box = [0, 0, 40, 40];
  const tile = (share) => ({ number: 0, box, inner: box, axis: 2, share, from: [0, 0, 0], to: [1, 1, 0] });
  const shown = {
    mask: new Uint8Array(4 * 4 * 2),
    clicks: [{ at: [1, 2, 1], structure: "lv", isOneSlice: false, about: "lv" }],
    shape: [4, 4, 2],
    order: [1, 2, 3],
    axis: 2,
    isGrid: false,
  };
  lines.draw(canvas(), 1, [tile(0.25)], shown);
  assert.deepEqual(over.circles, []);
  lines.draw(canvas(), 1, [tile(0.75)], shown);
  assert.deepEqual(over.circles, [[15, 25]]);
});
