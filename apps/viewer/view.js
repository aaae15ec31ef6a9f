// The heart on the canvas: NiiVue with the volume, the contours or a probability on it, and the cross.

import { Niivue, NVImage } from "./vendor/niivue/index.js";
import { Nifti, voxelAt } from "./nifti.js";

const AXIAL = 0;
const CORONAL = 1;
const SAGITTAL = 2;
const MULTIPLANAR = 3;
const RENDER = 4;
const PLANE_ACROSS = [SAGITTAL, CORONAL, AXIAL];
const THICK_SLICE_RATIO = 1.5;
const CLICKED = 4;
const MASK_OPACITY = 0.5;

// Depth, azimuth and elevation of a cut across each axis: the contours stand on the slice there.
const CUT_ACROSS = [[0.05, 90, 0], [0.05, 180, 0], [0.05, 0, 90]];
const NO_CUT = [2, 0, 0];

// Values as in the label convention, colours as in the reports; clicks are white.
const COLOURS = {
  R: [0, 59, 34, 239, 255],
  G: [0, 130, 197, 68, 255],
  B: [0, 246, 94, 68, 255],
  A: [0, 255, 255, 255, 255],
  I: [0, 1, 2, 3, CLICKED],
  labels: ["background", "RV", "myocardium", "LV", "click"],
};

export class View {
  /** @param {() => void} onMove - called when the cross has moved */
  constructor(canvas, onMove) {
    this.canvas = canvas;
    this.nifti = null;
    this.name = "all";
    this.niivue = new Niivue({
      dragAndDropEnabled: false,
      logLevel: "error",
      backColor: [0.04, 0.05, 0.07, 1],
      crosshairColor: [0.95, 0.75, 0.2, 0.8],
      crosshairWidth: 0.4,
      crosshairGap: 4,
      clipPlaneColor: [0, 0, 0, 0],
      isRadiologicalConvention: true,
      isOrientationTextVisible: true,
      clipPlaneHotKey: "",
      cycleClipPlaneHotKey: "",
      viewModeHotKey: "",
    });
    this.niivue.onLocationChange = onMove;
  }

  async start() {
    await this.niivue.attachToCanvas(this.canvas, false);
  }

  /** Show a NIfTI file in the place of what was there; the cross stays if the grid does. */
  async open(buffer, { keepCross = false } = {}) {
    const nifti = new Nifti(buffer);
    const cross = [...this.niivue.scene.crosshairPos];
    const image = await NVImage.new(buffer, "image.nii");
    while (this.niivue.volumes.length) this.niivue.removeVolume(this.niivue.volumes.at(-1));
    this.nifti = nifti;
    this.niivue.addVolume(image);
    this.axis = acrossSlices(image);
    this.niivue.scene.crosshairPos = keepCross ? cross : [0.5, 0.5, 0.5];
    this.setView(this.name);
    this.niivue.createOnLocationChange();
  }

  /**
   * Show a map on the image, or none.
   * @param {Uint8Array | null} values - one a voxel, in the file's order
   * @param {"labels" | "probability"} kind
   * @param {number[][]} clicks - voxels that are marked
   */
  async overlay(values, kind = "labels", clicks = []) {
    while (this.niivue.volumes.length > 1) this.niivue.removeVolume(this.niivue.volumes.at(-1));
    if (!values) return this.niivue.setClipPlane(NO_CUT);
    const shown = values.slice();
    for (const [i, j, k] of kind === "labels" ? clicks : []) {
      shown[i + this.nifti.shape[0] * (j + this.nifti.shape[1] * k)] = CLICKED;
    }
    const buffer = this.nifti.withValues(shown);
    const isMap = kind === "probability";
    const image = await NVImage.new(buffer, "map.nii", isMap ? "inferno" : "", isMap ? 0.6 : MASK_OPACITY, null, 12, 255);
    if (!isMap) image.setColormapLabel(COLOURS);
    this.niivue.addVolume(image);
    this.niivue.setClipPlane(CUT_ACROSS[this.axis]);
  }

  /** The view: "all" planes and 3-D, the short-axis "slice", or the "solid" heart. */
  setView(name) {
    this.name = name;
    const type = { all: MULTIPLANAR, slice: PLANE_ACROSS[this.axis ?? 2], solid: RENDER }[name];
    if (name === "all") this.niivue.setCustomLayout(layout(this.axis ?? 2));
    else this.niivue.clearCustomLayout();
    this.niivue.setSliceType(type);
  }

  setFrame(index) {
    this.niivue.setFrame4D(this.niivue.volumes[0].id, index);
  }

  get frame() {
    return this.niivue.volumes[0]?.frame4D ?? 0;
  }

  /** Move across the slices. */
  step(slices) {
    const by = [0, 0, 0];
    by[this.axis] = slices;
    this.niivue.moveCrosshairInVox(...by);
  }

  /** Move the cross in the plane of the slice, voxels to the right and up. */
  shift(right, up) {
    const [across, along] = [0, 1, 2].filter((axis) => axis !== this.axis);
    const by = [0, 0, 0];
    by[across] = across === 0 ? -right : right; // the patient's right is on the left
    by[along] = up;
    this.niivue.moveCrosshairInVox(...by);
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
    const box = this.canvas.getBoundingClientRect();
    const scale = this.niivue.uiData.dpr ?? 1;
    const at = [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale];
    if (this.niivue.inRenderTile(...at) >= 0) return null;
    const place = this.niivue.canvasPos2frac(at);
    if (!(place[0] >= 0)) return null;
    this.niivue.scene.crosshairPos = place;
    this.niivue.drawScene();
    this.niivue.createOnLocationChange();
    return this.#voxelAt(place);
  }

  #voxelAt(place) {
    const image = this.niivue.volumes[0];
    const mm = this.niivue.frac2mm(place, 0, true);
    const found = voxelAt(image.hdr.affine, mm);
    return found.every((at, axis) => at >= 0 && at < this.nifti.shape[axis]) ? found : null;
  }
}

/** The slice in large, the other planes and the solid heart beside it; shares of the canvas. */
function layout(axis) {
  const [slice, ...others] = [axis, ...[0, 1, 2].filter((one) => one !== axis)].map((one) => PLANE_ACROSS[one]);
  return [
    { sliceType: slice, position: [0, 0, 0.64, 1] },
    { sliceType: others[0], position: [0.65, 0, 0.35, 0.28] },
    { sliceType: others[1], position: [0.65, 0.29, 0.35, 0.28] },
    { sliceType: RENDER, position: [0.65, 0.58, 0.35, 0.42] },
  ];
}

/** Axis of the patient, 0 to 2, across the slices: the one with thick voxels, else the file's third. */
function acrossSlices(image) {
  const spacing = [...image.pixDimsRAS].slice(1, 4);
  const order = [0, 1, 2].sort((one, other) => spacing[other] - spacing[one]);
  if (spacing[order[0]] >= THICK_SLICE_RATIO * spacing[order[1]]) return order[0];
  return [...image.permRAS].findIndex((axis) => Math.abs(axis) === 3);
}
