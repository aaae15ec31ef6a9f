// The heart that is open: its contours, what is measured on them, clicks, and the cine.

import { ask, form, infer, measure } from "./api.js";
import { Clicks, STRUCTURES } from "./clicks.js";
import { Nifti, unpacked } from "./nifti.js";
import { curveInWords, inWords, markFrame, showCurve, showIndices, showNumbers } from "./numbers.js";

export class Heart {
  /**
   * @param {import("./view.js").View} view
   * @param {() => void} onChange - called when something about it has changed
   */
  constructor(view, onChange) {
    this.view = view;
    this.onChange = onChange;
    this.source = null;
    this.#forget();
  }

  #forget() {
    this.mask = null; // values in the file's order
    this.maskFile = null; // the label map as the server sent it
    this.clicks = new Clicks();
    this.shown = "mask";
    this.map = null; // probability of a structure, 0 to 255, in the file's order
  }

  get frames() {
    return this.view.nifti?.frames ?? 1;
  }

  get canPlay() {
    return this.frames > 1 || Boolean(this.source?.hasCine);
  }

  /** Open an image; an answer that was still awaited for the last one is dropped. */
  async open(source) {
    const buffer = await source.load();
    new Nifti(buffer);
    this.source = source;
    this.#forget();
    await this.view.open(buffer);
    showCurve(null);
    showNumbers(null, source.moment);
    const saved = await source.savedLabel();
    if (saved && this.source === source) await this.#take({ file: saved, told: null });
    this.onChange();
    return saved ? `${source.name} is open, with the label that was saved` : `${source.name} is open`;
  }

  /** Find the contours; with two phases both, since the ejection fraction needs them. */
  async segment(model) {
    const source = this.source;
    const query = await source.query();
    const found = await infer(model, query);
    this.clicks = new Clicks();
    await this.#take(found, source);
    if (source.partner && found.told.indices.lv_ef_percent == null) {
      const { indices } = await measure(model, { image: source.partner });
      found.told.indices = indices;
      if (this.source === source) showIndices(indices);
    }
    return inWords(found.told);
  }

  /** Say what is at a voxel, and show what that makes of the contours. */
  async click(at, structure, isOneSlice) {
    const [width, height] = this.view.nifti.shape;
    const value = this.mask?.[at[0] + width * (at[1] + height * at[2])] ?? 0;
    this.clicks.add(at, structure, isOneSlice, STRUCTURES[value]);
    try {
      return await this.#corrected(this.clicks.all.at(-1));
    } catch (error) {
      this.clicks.takeBack();
      throw error;
    }
  }

  /** Take the last click back. */
  async undo() {
    const last = this.clicks.takeBack();
    return last ? this.#corrected(last) : "There is no click to take back";
  }

  async #corrected(last) {
    const source = this.source;
    const found = await this.clicks.apply(await source.query(), last);
    await this.#take(found, source);
    return inWords(found.told);
  }

  async #take({ file, told }, source = this.source) {
    const values = new Nifti(await unpacked(file)).labels();
    if (this.source !== source) return;
    if (values.length !== this.view.nifti.voxels) throw new Error("Expected contours of this image, found others.");
    this.maskFile = file;
    this.mask = values;
    this.shown = "mask";
    if (told) showNumbers(told, source.moment);
    await this.draw();
    this.onChange();
  }

  /** Show the contours ("mask"), the image only ("none") or the probability of a structure. */
  async show(what, model) {
    const source = this.source;
    if (!["mask", "none"].includes(what)) {
      const query = { ...(await source.query()), model, structure: what };
      const file = await (await ask("/viewer/data/probability", query)).blob();
      const values = new Nifti(await unpacked(file)).labels();
      if (this.source !== source) return "";
      this.map = values;
    }
    this.shown = what;
    await this.draw();
    this.onChange();
    return { mask: "Contours", none: "Image only" }[what] ?? `Probability of ${what.toUpperCase()} by ${model}`;
  }

  /** Draw what belongs to the frame that is looked at. */
  async draw() {
    const isHere = this.frames === 1 || this.view.frame === this.source.ownFrame;
    if (!isHere || this.shown === "none") await this.view.overlay(null);
    else if (this.shown === "mask") await this.view.overlay(this.mask, "labels", this.clicks.places);
    else await this.view.overlay(this.map, "probability");
  }

  /** Fetch the cine that the image is a frame of, if it is not there yet. */
  async unfold() {
    if (this.frames > 1 || !this.source.hasCine) return;
    const source = this.source;
    const buffer = await source.loadCine();
    if (this.source !== source) return;
    await this.view.open(buffer, { keepCross: true });
    this.view.setFrame(source.ownFrame);
    await this.draw();
    this.onChange();
  }

  /** Look at a frame; `index` counts from 0. Contours stay with the frame that they were found on. */
  async turnTo(index) {
    const wasHere = this.view.frame === this.source.ownFrame;
    this.view.setFrame(index);
    if (wasHere !== (index === this.source.ownFrame)) await this.draw();
    markFrame(index);
    this.onChange();
  }

  /** Before contours are asked for: a dropped cine is looked at in the frame that is shown. */
  settle() {
    if (!this.source.isCine || this.view.frame === this.source.ownFrame) return;
    this.source.turnTo(this.view.frame);
    this.mask = this.maskFile = null;
    this.clicks = new Clicks();
  }

  /** Volumes over the whole cine. */
  async measureCine() {
    const source = this.source;
    const curve = await source.curve();
    if (this.source !== source) return "";
    showCurve(curve);
    markFrame(this.view.frame);
    if (!source.partner) showIndices(curve.indices);
    return curveInWords(curve);
  }

  /** Give the contours to the server as the accepted label. */
  async save() {
    const segments = STRUCTURES.slice(1).map((name, index) => ({ name, idx: index + 1 }));
    const body = form({
      label: [this.maskFile, "label.nii.gz"],
      params: JSON.stringify({ label_info: segments }),
    });
    await ask("/datastore/label", { image: this.source.id }, { method: "PUT", body });
    return `Saved: the server accepted the label of ${this.source.name}`;
  }
}
