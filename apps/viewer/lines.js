// Lines around the structures, marks and words that lie on the picture.

import { outlines, planeOf } from "./planes.js";

const WIDTH_PX = 1.8;
const CLICK_PX = 4;
const TEXT_PX = 12;
const STRUCTURES = [
  { label: 2, name: "myo", dash: [] },
  { label: 1, name: "rv", dash: [6, 3] }, // told apart without colour too
  { label: 3, name: "lv", dash: [] },
];

/**
 * A slice on the picture: its number there, its box and an inner part of it in pixels, the axis across it and where
 * along that it is, and the places of the volume at two corners of the inner part.
 * @typedef {{number: number, box: Box, inner: Box, axis: number, share: number, from: number[], to: number[]}} Tile
 *
 * @typedef {[number, number, number, number]} Box - left, top, width, height
 *
 * What lies on the slices; see `planeOf` for the shape and the order of axes.
 * @typedef {object} Shown
 * @property {Uint8Array | null} mask
 * @property {import("./clicks.js").Click[]} clicks
 * @property {number[]} shape
 * @property {number[]} order
 * @property {number} axis - across the slices
 * @property {boolean} isGrid
 */

export class Lines {
  /** @param {HTMLCanvasElement} canvas - lies on the picture */
  constructor(canvas) {
    this.canvas = canvas;
    this.fill = 0; // opacity of the areas, 0 to 1
    /** @type {{point: number[], index: number, radii: number[]} | null} */
    this.brush = null; // u and v in voxels
    /** @type {{points: number[][], index: number, label: number} | null} */
    this.traced = null; // an outline that is being drawn
    const style = getComputedStyle(canvas);
    this.colours = Object.fromEntries(STRUCTURES.map(({ name }) => [name, style.getPropertyValue(`--${name}`).trim()]));
    /** @type {{mask: Uint8Array | null, lines: Map<string, number[][][]>}} */
    this.known = { mask: null, lines: new Map() };
  }

  /** Colours by label, as NiiVue takes them for 3-D. */
  colourMap() {
    const parts = ["rv", "myo", "lv"].map((name) => (this.colours[name].match(/[0-9a-f]{2}/gi) ?? []).map((part) => parseInt(part, 16)));
    const all = (channel) => [0, ...parts.map((one) => one[channel])];
    return { R: all(0), G: all(1), B: all(2), A: [0, 255, 255, 255], I: [0, 1, 2, 3], labels: ["", "RV", "myocardium", "LV"] };
  }

  /** A mask is the last one with one slice changed: lines there and across it are out of date. */
  changed(mask, axis, index) {
    this.known.mask = mask;
    for (const key of this.known.lines.keys()) {
      const [ofAxis, at] = key.split(" ").map(Number);
      if (ofAxis !== axis || at === index) this.known.lines.delete(key);
    }
  }

  /**
   * @param {HTMLCanvasElement} below - the picture
   * @param {number} scale - pixels of the canvas to one of the page
   * @param {Tile[]} tiles - slices on the picture
   * @param {Shown | null} shown - what to draw on them
   */
  draw(below, scale, tiles, shown) {
    const { canvas } = this;
    if (canvas.width !== below.width || canvas.height !== below.height) {
      [canvas.width, canvas.height] = [below.width, below.height];
    }
    const pen = canvas.getContext("2d");
    if (!pen) return;
    pen.clearRect(0, 0, canvas.width, canvas.height);
    if (!shown) return;
    for (const tile of tiles) {
      pen.save();
      pen.beginPath();
      pen.rect(...tile.box);
      pen.clip();
      this.#drawTile(pen, scale, tile, shown);
      pen.restore();
    }
  }

  /** @param {CanvasRenderingContext2D} pen @param {number} scale @param {Tile} tile @param {Shown} shown */
  #drawTile(pen, scale, tile, { mask, clicks, shape, order, axis, isGrid }) {
    const count = shape[Math.abs(order[tile.axis]) - 1];
    const index = Math.min(count - 1, Math.max(0, Math.floor(tile.share * count)));
    const plane = planeOf(shape, order, tile.axis, index);
    const toPixel = pixels(tile, plane);
    if (mask) {
      for (const { label, name, dash } of STRUCTURES) {
        const path = new Path2D();
        for (const line of this.#outlines(mask, plane, tile.axis, index, label)) add(path, line.map(toPixel));
        pen.fillStyle = pen.strokeStyle = this.colours[name];
        pen.globalAlpha = this.fill;
        if (this.fill) pen.fill(path, "evenodd");
        pen.globalAlpha = 1;
        pen.setLineDash(dash.map((length) => length * scale));
        pen.lineWidth = WIDTH_PX * scale;
        pen.stroke(path);
      }
      pen.setLineDash([]);
    }
    pen.strokeStyle = "#fff";
    pen.lineWidth = 1.5 * scale;
    for (const { at } of mask ? clicks : []) {
      const place = order.map((one) => {
        const voxel = at[Math.abs(one) - 1];
        return one > 0 ? voxel : shape[Math.abs(one) - 1] - 1 - voxel;
      });
      if (place[tile.axis] !== index) continue;
      const point = place.filter((_, one) => one !== tile.axis).map((one) => one + 0.5);
      circle(pen, toPixel(point), [CLICK_PX * scale, CLICK_PX * scale]);
    }
    if (tile.axis !== axis) return;
    if (this.brush?.index === index) {
      const [middle, corner] = [[0, 0], this.brush.radii].map(toPixel);
      circle(pen, toPixel(this.brush.point), [Math.abs(corner[0] - middle[0]), Math.abs(corner[1] - middle[1])]);
    }
    if (this.traced?.index === index) {
      const path = new Path2D();
      const { label, points } = this.traced;
      for (const point of points) path.lineTo(...toPixel(point));
      pen.strokeStyle = this.colours[STRUCTURES.find((one) => one.label === label)?.name ?? ""] ?? "#fff";
      pen.lineWidth = 2 * WIDTH_PX * scale;
      pen.stroke(path);
    }
    if (!isGrid) return;
    pen.font = `${TEXT_PX * scale}px system-ui, sans-serif`;
    pen.fillStyle = "#fff";
    pen.fillText(`${index + 1}`, tile.box[0] + 5 * scale, tile.box[1] + (TEXT_PX + 3) * scale);
  }

  #outlines(mask, plane, axis, index, label) {
    if (this.known.mask !== mask) this.known = { mask, lines: new Map() };
    const key = `${axis} ${index} ${label}`;
    const lines = this.known.lines.get(key) ?? outlines(mask, plane, label);
    this.known.lines.set(key, lines);
    return lines;
  }
}

/**
 * From [u, v] of a slice to the pixel.
 * @param {Tile} tile
 * @param {import("./planes.js").Plane} plane
 * @returns {(point: number[]) => [number, number]}
 */
function pixels({ inner, from, to, axis }, { width, height }) {
  const [u, v] = [0, 1, 2].filter((one) => one !== axis);
  return (point) => [
    inner[0] + (inner[2] * (point[0] / width - from[u])) / (to[u] - from[u]),
    inner[1] + (inner[3] * (point[1] / height - from[v])) / (to[v] - from[v]),
  ];
}

/**
 * Add a closed line, rounded through the middle of each of its steps.
 * @param {Path2D} path
 * @param {[number, number][]} points
 */
function add(path, points) {
  /** @type {(one: number[], other: number[]) => [number, number]} */
  const middle = (one, other) => [(one[0] + other[0]) / 2, (one[1] + other[1]) / 2];
  path.moveTo(...middle(points[points.length - 1], points[0]));
  points.forEach((point, at) => path.quadraticCurveTo(...point, ...middle(point, points[(at + 1) % points.length])));
  path.closePath();
}

/** @param {CanvasRenderingContext2D} pen @param {[number, number]} middle @param {[number, number]} radii */
function circle(pen, middle, radii) {
  pen.beginPath();
  pen.ellipse(...middle, ...radii, 0, 0, 2 * Math.PI);
  pen.stroke();
}
