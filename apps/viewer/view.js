// The heart on the canvas: NiiVue draws the volume, and on it lie the lines around the structures.

import { Niivue, NVImage } from "./vendor/niivue/index.js";
import { Lines } from "./lines.js";
import { Nifti, voxelAt } from "./nifti.js";
import { planeOf } from "./planes.js";

const AXIAL = 0;
const CORONAL = 1;
const SAGITTAL = 2;
const MULTIPLANAR = 3;
const RENDER = 4;
const PLANE_ACROSS = [SAGITTAL, CORONAL, AXIAL];
const THICK_SLICE_RATIO = 1.5;
const MAP_OPACITY = 0.6;
const CROSS_WIDTH = 0.4;
const NARROW_PX = 600; // where lines of that width would be lost between the pixels

// What dragging with the left button does, as NiiVue counts it.
const MEASURES = 2;
const MOVES_CROSS = 8;
const SHORTEST_MM = 0.5; // a shorter line is a click
const RULER_COLOUR = [0.95, 0.75, 0.2, 1];

// How much larger than the heart the picture is when it is zoomed in on, and how far that goes.
const HEART_MARGIN = 1.7;
const MOST_ZOOM = 5;

// Depth, azimuth and elevation of a cut across each axis: the contours stand on the slice there.
const CUT_ACROSS = [[0.05, 90, 0], [0.05, 180, 0], [0.05, 0, 90]];
const NO_CUT = [2, 0, 0];

/** NiiVue with a grid of slices that pans and zooms, and with a word when it has drawn. */
class Drawn extends Niivue {
  /** @type {{axis: number, count: number} | null} */
  gridAxis = null;
  afterDraw = () => {};

  drawScene() {
    const told = super.drawScene();
    this.afterDraw?.(); // Niivue itself draws before there is one
    return told;
  }

  /** Of a tile of the grid the third argument is the number of its slice; NiiVue means a place in mm. */
  draw2D(box, plane, slice, size) {
    if (!this.gridAxis || Number.isNaN(slice)) return super.draw2D(box, plane, slice, size);
    const cross = this.scene.crosshairPos;
    const place = [...cross];
    const { axis, count } = this.gridAxis;
    place[axis] = (slice + 0.5) / count;
    const isCurrent = Math.floor(cross[axis] * count) === slice;
    this.scene.crosshairPos = place;
    const { crosshairWidth } = this.opts;
    if (!isCurrent) this.opts.crosshairWidth = 0;
    super.draw2D(box, plane, NaN, size);
    this.scene.crosshairPos = cross;
    this.opts.crosshairWidth = crosshairWidth;
  }
}

export class View {
  /**
   * @param {HTMLCanvasElement} canvas
   * @param {HTMLCanvasElement} over - lies on it, for the lines
   * @param {() => void} onMove - called when the cross has moved
   */
  constructor(canvas, over, onMove) {
    this.canvas = canvas;
    /** @type {Nifti | null} */
    this.nifti = null;
    this.name = "all";
    this.axis = 2; // of the patient, across the slices
    /** @type {Uint8Array | null} */
    this.mask = null;
    /** @type {Uint8Array | null} */
    this.map = null;
    /** @type {import("./clicks.js").Click[]} */
    this.clicks = [];
    this.isZoomed = this.isRuler = false;
    this.lines = new Lines(over);
    this.niivue = new Drawn({
      dragAndDropEnabled: false,
      logLevel: "error",
      loadingText: "",
      backColor: [0.04, 0.05, 0.07, 1],
      crosshairColor: [0.95, 0.75, 0.2, 0.8],
      crosshairWidth: CROSS_WIDTH,
      crosshairGap: 4,
      clipPlaneColor: [0, 0, 0, 0],
      isRadiologicalConvention: true,
      isOrientationTextVisible: true,
      clipPlaneHotKey: "",
      cycleClipPlaneHotKey: "",
      viewModeHotKey: "",
      dragMode: 0, // the page turns what the right button does into window and level
      rulerColor: RULER_COLOUR,
      rulerWidth: 2,
      measureLineColor: RULER_COLOUR,
      measureTextColor: [1, 1, 1, 1], // on grey, which NiiVue lays under it
    });
    /** @type {(mm: number) => void} */
    this.onMeasure = () => {}; // called with a distance that was measured
    this.niivue.onMeasurementCompleted = ({ distance }) => this.#measured(distance);
    this.niivue.onLocationChange = onMove;
    this.niivue.afterDraw = () => this.drawLines();
  }

  async start() {
    await this.niivue.attachToCanvas(this.canvas, false);
    new ResizeObserver(() => this.nifti && this.setView(this.name)).observe(this.canvas);
  }

  /** Show a NIfTI file in the place of what was there; the cross stays if the grid does. */
  async open(buffer, { keepCross = false } = {}) {
    const nifti = new Nifti(buffer);
    const cross = [...this.niivue.scene.crosshairPos];
    const window = keepCross && this.window;
    const image = await NVImage.new(buffer, "image.nii");
    this.nifti = null; // nothing to draw lines on
    while (this.niivue.volumes.length) this.niivue.removeVolume(this.niivue.volumes[this.niivue.volumes.length - 1]);
    this.mask = this.map = null;
    this.niivue.addVolume(image);
    if (!keepCross) this.niivue.clearMeasurements();
    this.nifti = nifti;
    this.axis = acrossSlices(image);
    if (window) this.setWindow(window);
    else if (this.isZoomed) this.zoom(false);
    this.niivue.scene.crosshairPos = keepCross ? cross : [0.5, 0.5, 0.5];
    this.step(0); // onto the middle of a voxel, where stepping away and back leads to
    this.setView(this.name);
    this.niivue.createOnLocationChange();
  }

  /**
   * Show contours or a map on the image, or neither.
   * @param {object} what - values one a voxel, in the file's order
   * @param {Uint8Array | null} [what.mask] - label map
   * @param {import("./clicks.js").Click[]} [what.clicks] - voxels that are marked
   * @param {Uint8Array | null} [what.map] - probability, 0 to 255
   */
  async show({ mask = null, clicks = [], map = null }) {
    const isSame = this.map === map && (this.name !== "solid" || this.mask === mask);
    Object.assign(this, { mask, map, clicks });
    if (isSame) this.drawLines();
    else await this.#overlay();
  }

  /** What NiiVue has to draw itself: a map, and the contours in 3-D. */
  async #overlay() {
    const { map, mask } = this;
    const values = map ?? (this.name === "solid" ? mask : null);
    const image = values && this.nifti && (await NVImage.new(this.nifti.withValues(values), "map.nii", map ? "inferno" : "", map ? MAP_OPACITY : 1, null, 12, 255));
    if (this.map !== map || this.mask !== mask) return; // something else is shown meanwhile
    for (const one of this.niivue.volumes.slice(1)) this.niivue.removeVolume(one);
    if (!image) return this.niivue.setClipPlane(NO_CUT);
    if (!map) image.setColormapLabel(this.lines.colourMap());
    this.niivue.addVolume(image);
    this.niivue.setClipPlane(CUT_ACROSS[this.axis]);
  }

  /** The view: "all" planes, the short-axis "slice", the "grid" of all slices, or the "solid" heart. */
  setView(name) {
    const wasSolid = this.name === "solid";
    this.name = name;
    const { axis } = this;
    const type = { slice: PLANE_ACROSS[axis], solid: RENDER }[name] ?? MULTIPLANAR;
    const count = this.nifti ? this.niivue.volumes[0].dimsRAS[axis + 1] : 1;
    this.niivue.gridAxis = name === "grid" ? { axis, count } : null;
    this.niivue.opts.isOrientationTextVisible = name !== "grid";
    const { clientWidth, clientHeight } = this.canvas;
    if (name === "all") this.niivue.setCustomLayout(planes(axis, clientWidth / clientHeight));
    else if (name === "grid") this.niivue.setCustomLayout(grid(axis, count, clientWidth / clientHeight));
    else this.niivue.clearCustomLayout();
    this.niivue.setSliceType(type);
    this.setRuler(this.isRuler);
    this.#sizeCross();
    if (this.nifti && wasSolid !== (name === "solid")) this.#overlay();
  }

  /** Whether dragging measures distances; they stay on their slice as long as it does. */
  setRuler(isOn) {
    this.isRuler = isOn;
    // In the grid NiiVue would draw the line on another slice.
    this.niivue.opts.dragModePrimary = isOn && this.name !== "grid" ? MEASURES : MOVES_CROSS;
    if (!isOn && this.niivue.document.completedMeasurements.length) this.niivue.clearMeasurements();
  }

  /** Only what lies in one plane is a distance. */
  #measured(distance) {
    const { dragStart, dragEnd } = this.niivue.uiData;
    const [from, to] = [dragStart, dragEnd].map((at) => this.niivue.tileIndex(at[0], at[1]));
    if (from === to && distance >= SHORTEST_MM) this.onMeasure(distance);
    else this.niivue.document.completedMeasurements.pop();
  }

  setFrame(index) {
    this.niivue.setFrame4D(this.niivue.volumes[0].id, index);
  }

  get frame() {
    return this.niivue.volumes[0]?.frame4D ?? 0;
  }

  /** Values that are black and white. */
  get window() {
    const image = this.niivue.volumes[0];
    return image && { low: image.cal_min, high: image.cal_max };
  }

  setWindow({ low, high }) {
    const image = this.niivue.volumes[0];
    image.cal_min = low;
    image.cal_max = Math.max(high, low + 1e-6 * (image.global_max - image.global_min || 1));
    this.niivue.refreshLayers(image, 0);
    this.niivue.drawScene();
  }

  /**
   * Windows that suit the image: from its darkest to its brightest 2%, and all of its values.
   * @returns {Record<string, {low: number, high: number}>}
   */
  get windows() {
    const image = this.niivue.volumes[0];
    const usual = { low: image.robust_min, high: image.robust_max };
    const quarter = (usual.high - usual.low) / 4;
    return {
      usual,
      hard: { low: usual.low + quarter, high: usual.high - quarter },
      soft: { low: usual.low - 2 * quarter, high: usual.high + 2 * quarter },
      full: { low: image.global_min, high: image.global_max },
    };
  }

  /** Zoom in on the contours, or show the whole image. */
  zoom(isIn) {
    this.isZoomed = isIn && Boolean(this.mask?.some((value) => value));
    this.niivue.setPan2Dxyzmm(this.isZoomed ? this.#onHeart() : [0, 0, 0, 1]);
    this.#sizeCross();
  }

  /** Draw the cross as wide on the page whether it is zoomed in or not. */
  #sizeCross() {
    const width = this.canvas.clientWidth < NARROW_PX ? 2 * CROSS_WIDTH : CROSS_WIDTH;
    this.niivue.opts.crosshairWidth = width / this.niivue.scene.pan2Dxyzmm[3];
    this.niivue.drawScene();
  }

  #onHeart() {
    const { shape } = this.image;
    const [low, high] = [[...shape], [-1, -1, -1]];
    this.mask?.forEach((value, at) => {
      if (!value) return;
      const voxel = [at % shape[0], Math.floor(at / shape[0]) % shape[1], Math.floor(at / shape[0] / shape[1])];
      voxel.forEach((one, axis) => {
        low[axis] = Math.min(low[axis], one);
        high[axis] = Math.max(high[axis], one + 1);
      });
    });
    // Along the patient's axes, as shares of the image.
    const sides = this.order.map((one) => {
      const axis = Math.abs(one) - 1;
      const [from, to] = [low[axis] / shape[axis], high[axis] / shape[axis]];
      return one > 0 ? [from, to] : [1 - to, 1 - from];
    });
    const inPlane = sides.filter((_, axis) => axis !== this.axis).map(([from, to]) => to - from);
    const zoom = Math.min(MOST_ZOOM, Math.max(1, 1 / (HEART_MARGIN * Math.max(...inPlane))));
    const middle = this.niivue.frac2mm(sides.map(([from, to]) => (from + to) / 2));
    const whole = this.niivue.frac2mm([0.5, 0.5, 0.5]);
    return [...[0, 1, 2].map((axis) => whole[axis] - zoom * middle[axis]), zoom];
  }

  /** The image that is open, where there must be one. */
  get image() {
    if (!this.nifti) throw new Error("Open a heart first.");
    return this.nifti;
  }

  /** Axes of the file, from 1, along those of the patient; negative where they run the other way. */
  get order() {
    return [...this.niivue.volumes[0].permRAS].slice(0, 3);
  }

  /** A slice across the axis of the slices, the one at the cross if none is named; see `planeOf`. */
  plane(index = this.slice().at - 1) {
    return planeOf(this.image.shape, this.order, this.axis, index);
  }

  /** All slices across that axis. */
  get planes() {
    return Array.from({ length: this.slice().count }, (_, index) => this.plane(index));
  }

  /** Sizes of a voxel along u and v of a slice, mm. */
  get spacing() {
    const sizes = [...this.niivue.volumes[0].pixDimsRAS].slice(1, 4);
    return sizes.filter((_, axis) => axis !== this.axis);
  }

  /** Look at the place of another view as it does. */
  follow(other) {
    const { crosshairPos, pan2Dxyzmm } = other.niivue.scene;
    if (String([...this.cross, ...this.niivue.scene.pan2Dxyzmm]) === String([...crosshairPos, ...pan2Dxyzmm])) return;
    this.niivue.scene.crosshairPos = [...crosshairPos];
    this.niivue.setPan2Dxyzmm([...pan2Dxyzmm]);
  }

  get cross() {
    return this.niivue.scene.crosshairPos;
  }

  drawLines() {
    const { niivue } = this;
    const shown = this.nifti && {
      mask: this.map ? null : this.mask,
      clicks: this.clicks,
      shape: this.nifti.shape,
      order: this.order,
      axis: this.axis,
      isGrid: this.name === "grid",
    };
    this.lines.draw(this.canvas, niivue.uiData.dpr ?? 1, this.nifti && this.name !== "solid" ? tiles(niivue) : [], shown);
  }

  /** Move across the slices. */
  step(slices) {
    const [x, y, z] = [0, 1, 2].map((axis) => (axis === this.axis ? slices : 0));
    this.niivue.moveCrosshairInVox(x, y, z);
  }

  /** Move the cross in the plane of the slice, voxels to the right and up. */
  shift(right, up) {
    const [across, along] = [0, 1, 2].filter((axis) => axis !== this.axis);
    const by = [0, 0, 0];
    by[across] = across === 0 ? -right : right; // the patient's right is on the left
    by[along] = up;
    this.niivue.moveCrosshairInVox(by[0], by[1], by[2]);
  }

  /** Number of the slice under the cross, from 1, and of all. */
  slice() {
    const count = this.niivue.volumes[0].dimsRAS[this.axis + 1];
    const at = Math.floor(this.niivue.scene.crosshairPos[this.axis] * count) + 1;
    return { at: Math.min(Math.max(at, 1), count), count };
  }

  /** Voxel of the file under the cross, or null if it lies outside. */
  voxel() {
    return this.#voxelAt(this.niivue.scene.crosshairPos);
  }

  /** Voxel of the file under a point of the page, or null if there is no slice; the cross goes there. */
  voxelUnder(event) {
    const at = this.#pixel(event);
    if (this.niivue.inRenderTile(...at) >= 0) return null;
    const place = this.niivue.canvasPos2frac(at);
    if (!(place[0] >= 0)) return null;
    this.niivue.scene.crosshairPos = place;
    this.niivue.drawScene();
    this.niivue.createOnLocationChange();
    return this.#voxelAt(place);
  }

  /** Point of the slice under the pointer as [u, v] and the slice's index, or null outside of slices. */
  pointUnder(event) {
    const at = this.#pixel(event);
    if (this.niivue.inRenderTile(...at) >= 0) return null;
    const tile = tiles(this.niivue).find(({ box: [x, y, width, height], axis }) =>
      axis === this.axis && at[0] >= x && at[0] < x + width && at[1] >= y && at[1] < y + height);
    const place = tile && this.niivue.screenXY2TextureFrac(...at, tile.number, false);
    if (!place || !(place[0] >= -1)) return null;
    const counts = [...this.niivue.volumes[0].dimsRAS].slice(1, 4);
    const point = [0, 1, 2].filter((axis) => axis !== this.axis).map((axis) => place[axis] * counts[axis]);
    return { point, index: Math.min(counts[this.axis] - 1, Math.floor(tile.share * counts[this.axis])) };
  }

  /** Put the cross on a slice. */
  goTo(index) {
    const { at } = this.slice();
    if (index !== at - 1) this.step(index - at + 1);
  }

  /** @param {MouseEvent} event @returns {[number, number]} */
  #pixel(event) {
    const box = this.canvas.getBoundingClientRect();
    const scale = this.niivue.uiData.dpr ?? 1;
    return [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale];
  }

  #voxelAt(place) {
    const image = this.niivue.volumes[0];
    const mm = this.niivue.frac2mm(place, 0, true);
    const found = voxelAt(image.hdr.affine, mm);
    return found.every((at, axis) => at >= 0 && at < this.image.shape[axis]) ? found : null;
  }
}

/**
 * The slices that are on the canvas: where, and which.
 * @param {Niivue} niivue
 */
function tiles(niivue) {
  return niivue.screenSlices
    .map((slice, number) => {
      const [left, top, width, height] = slice.leftTopWidthHeight;
      /** @type {import("./lines.js").Box} */
      const box = [Math.min(left, left + width), top, Math.abs(width), height];
      const axis = PLANE_ACROSS.indexOf(slice.axCorSag);
      if (axis < 0) return null;
      // Two pixels well inside and the places of the volume that they show.
      /** @type {import("./lines.js").Box} */
      const inner = [box[0] + box[2] / 4, box[1] + box[3] / 4, box[2] / 2, box[3] / 2];
      const [from, to] = [0, 1].map((end) =>
        niivue.screenXY2TextureFrac(inner[0] + end * inner[2], inner[1] + end * inner[3], number, false));
      return { number, box, inner, axis, share: slice.sliceFrac, from, to };
    })
    .filter((tile) => tile !== null);
}

/** The slice in large and the other planes beside it, or below where the canvas is high; shares of the canvas. */
function planes(axis, aspect) {
  const [slice, ...others] = [axis, ...[0, 1, 2].filter((one) => one !== axis)].map((one) => PLANE_ACROSS[one]);
  const boxes = aspect > 1
    ? [[0, 0, 0.64, 1], [0.65, 0, 0.35, 0.495], [0.65, 0.505, 0.35, 0.495]]
    : [[0, 0, 1, 0.7], [0, 0.71, 0.495, 0.29], [0.505, 0.71, 0.495, 0.29]];
  return [slice, ...others].map((sliceType, number) => ({ sliceType, position: boxes[number] }));
}

/** All slices, in the rows and columns that make them largest. */
function grid(axis, count, aspect) {
  const side = (columns) => Math.min(aspect / columns, 1 / Math.ceil(count / columns));
  const columns = Array.from({ length: count }, (_, one) => one + 1).reduce((a, b) => (side(b) > side(a) ? b : a));
  const rows = Math.ceil(count / columns);
  return Array.from({ length: count }, (_, slice) => ({
    sliceType: PLANE_ACROSS[axis],
    position: [(slice % columns) / columns, Math.floor(slice / columns) / rows, 0.995 / columns, 0.995 / rows],
    sliceMM: slice,
  }));
}

/** Axis of the patient, 0 to 2, across the slices: the one with thick voxels, else the file's third. */
function acrossSlices(image) {
  const spacing = [...image.pixDimsRAS].slice(1, 4);
  const order = [0, 1, 2].sort((one, other) => spacing[other] - spacing[one]);
  if (spacing[order[0]] >= THICK_SLICE_RATIO * spacing[order[1]]) return order[0];
  return [...image.permRAS].findIndex((axis) => Math.abs(axis) === 3);
}
