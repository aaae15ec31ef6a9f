// The keyboard: every step of the page without a mouse.

import { element, made } from "./page.js";

const STRUCTURE_OF = { 0: "background", 1: "rv", 2: "myo", 3: "lv", Escape: "" };

const SHOWN = [
  ["Up, Down, Page Up, Page Down", "slice"],
  ["Left, Right", "frame of the cine"],
  ["Space", "play, pause"],
  ["V", "next view"],
  ["S", "segment"],
  ["G", "grid of all slices"],
  ["D", "ED and ES side by side"],
  ["F", "zoom to the heart, whole image"],
  ["1 2 3 0", "structure to correct: RV, myocardium, LV, background"],
  ["Esc", "correct nothing"],
  ["X, B, E", "correct by clicks, brush, eraser"],
  ["U, L", "pull contours, draw an outline"],
  ["R", "ruler"],
  ["[ ]", "smaller, larger brush"],
  ["Shift and arrows", "move the cross in the slice"],
  ["Enter", "click at the cross"],
  ["Ctrl+Z, Z or Backspace", "undo"],
  ["Ctrl+Shift+Z", "redo"],
  ["O", "in this slice only"],
  ["M", "contours on and off"],
  ["P", "next probability map"],
  ["C", "volume curve"],
  ["?", "this list"],
];

/**
 * Listen to the keyboard.
 * @param {Record<string, Function>} act - what to do, by name
 */
export function prepareKeys(act) {
  element("key-list").replaceChildren(...SHOWN.flatMap(([keys, what]) => [made("dt", keys), made("dd", what)]));
  // Before NiiVue, which has keys of its own.
  window.addEventListener("keydown", (event) => handle(event, act), { capture: true });
}

function handle(event, act) {
  const target = event.target;
  if (event.altKey || document.querySelector("dialog[open]")) return;
  if (!element("xray").hidden && event.key !== "?") return;
  if (event.ctrlKey || event.metaKey) return handleWithControl(event, act);
  if (target.matches("input:not([type=radio], [type=checkbox]), select, textarea")) return;
  const isCanvas = target === element("canvas") || target === document.body;
  const action = isCanvas ? (onImage(event, act) ?? anywhere(event, act)) : anywhere(event, act);
  if (!action) return;
  event.preventDefault();
  event.stopImmediatePropagation();
  action();
}

function handleWithControl(event, act) {
  if (event.key.toLowerCase() !== "z") return;
  event.preventDefault();
  event.stopImmediatePropagation();
  if (event.shiftKey) act.redo();
  else act.undo();
}

/** Keys that mean something else on buttons and lists. */
function onImage(event, act) {
  const shift = {
    ArrowUp: () => act.shift(0, 1),
    ArrowDown: () => act.shift(0, -1),
    ArrowLeft: () => act.shift(-1, 0),
    ArrowRight: () => act.shift(1, 0),
  };
  const plain = {
    ArrowUp: () => act.step(1),
    ArrowDown: () => act.step(-1),
    ArrowLeft: () => act.turn(-1),
    ArrowRight: () => act.turn(1),
    " ": act.play,
    Enter: act.click,
  };
  return (event.shiftKey ? shift : plain)[event.key];
}

function anywhere(event, act) {
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (key in STRUCTURE_OF) return () => act.choose(STRUCTURE_OF[key]);
  return {
    PageUp: () => act.step(1),
    PageDown: () => act.step(-1),
    v: act.nextView,
    g: act.grid,
    d: act.pair,
    f: act.zoom,
    x: () => act.tool("click"),
    b: () => act.tool("brush"),
    e: () => act.tool("eraser"),
    u: () => act.tool("pull"),
    l: () => act.tool("outline"),
    r: () => act.tool("ruler"),
    "[": () => act.resize(-1),
    "]": () => act.resize(1),
    s: act.segment,
    z: act.undo,
    Backspace: act.undo,
    o: act.oneSlice,
    m: act.toggleMask,
    p: act.nextMap,
    c: act.measureCine,
    "?": act.showKeys,
  }[key];
}
