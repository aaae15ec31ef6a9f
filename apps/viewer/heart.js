// The heart that is open: its contours, what is measured on them, clicks, and the cine.

import { ask, form, infer, measure, Refusal } from "./api.js";
import { afterClick, clickAt, STRUCTURES } from "./clicks.js";
import { fillOutline, Pull } from "./contour.js";
import { copy, empty, fillBetween, mostDiffering, stroke } from "./draw.js";
import { Edits } from "./edits.js";
import { chooseVersion, version, versions } from "./history.js";
import { Nifti, packed, unpacked } from "./nifti.js";
import { curveInWords, inWords, markFrame, showCurve, showIndices, showNumbers } from "./numbers.js";
import { complain, reason } from "./page.js";

/**
 * @typedef {import("./edits.js").State} State
 * @typedef {import("./source.js").Source} Source
 */

export class Heart {
  /**
   * @param {import("./view.js").View} view
   * @param {() => void} onChange - called when something about it has changed
   * @param {(question: string, yes: string) => Promise<boolean>} confirm - asks the reader
   * @param {(mine: State, theirs: State, show: (mask: Uint8Array | null) => void) => Promise<boolean>} chooseMine -
   *   shows two versions of a label and resolves to whether the reader keeps the own one
   */
  constructor(view, onChange, confirm, chooseMine) {
    this.view = view;
    this.onChange = onChange;
    this.confirm = confirm;
    this.chooseMine = chooseMine;
    /** @type {(phase: string, index: number) => void} */
    this.onMoveMoment = () => {}; // called with a marker of the curve that was put elsewhere, from 0
    /** @type {any} */
    this.source = null; // a `Source` once one is open
    /** @type {Uint8Array | null} */
    this.wet = null; // contours that are being drawn
    /** @type {Pull | null} */
    this.pulled = null;
    /** @type {import("./lines.js").Lines["traced"]} */
    this.traced = null;
    this.edits = new Edits();
    this.#forget();
  }

  #forget() {
    this.shown = "mask";
    /** @type {Uint8Array | null} */
    this.map = null; // probability of a structure, 0 to 255, in the file's order
    /** @type {Uint8Array[]} */
    this.tracked = []; // contours of each frame, once the cine was measured
    /** @type {import("./numbers.js").Curve | null} */
    this.curve = null;
  }

  get frames() {
    return this.view.nifti?.frames ?? 1;
  }

  get canPlay() {
    return this.frames > 1 || Boolean(this.source?.hasCine);
  }

  /** The contours as they are now. */
  get state() {
    return this.edits.on(this.source).now;
  }

  /** Whether an image belongs to the study that is open, so that work on it is kept. */
  isOfStudy(source) {
    if (!this.source || this.source === source) return this.source === source;
    return Boolean(source.id) && [this.source.id, this.source.partner].includes(source.id);
  }

  /** Open an image; an answer that was still awaited for the last one is dropped. */
  async open(source) {
    const buffer = await source.load();
    new Nifti(buffer);
    const edits = this.isOfStudy(source) ? this.edits : new Edits();
    const work = edits.on(source);
    const isKept = work.now !== work.saved && work.now.mask;
    const saved = isKept ? null : await source.savedLabel();
    const label = saved && (await stateOf(saved, new Nifti(buffer)));
    this.source = source;
    this.edits = edits;
    // What was taken back can be done again, unless it was done to an older version.
    if (label && (work.now !== work.saved || work.version !== label.told.label_version)) {
      work.now = label;
      edits.save(source, label, label.told.label_version);
    }
    this.#forget();
    await this.view.open(buffer);
    showCurve(null);
    await this.#showState();
    if (isKept) return `${source.name} is open, with contours that are not saved`;
    return label ? `${source.name} is open, with the label that was saved` : `${source.name} is open`;
  }

  /** Find the contours; with two phases both, since the ejection fraction needs them. */
  async segment(model) {
    const { source, edits } = this;
    const found = await infer(model, await source.query());
    if (source.partner && found.told.indices?.lv_ef_percent == null) {
      found.told.indices = (await measure(model, { image: source.partner })).indices;
    }
    return inWords(await this.#act(source, edits, await stateOf(found, this.view.nifti)));
  }

  /** Say what is at a voxel, and show what that makes of the contours. */
  async click(at, structure, isOneSlice) {
    const { source, edits, state } = this;
    const work = edits.on(source);
    const [width, height] = this.view.image.shape;
    const value = state.mask?.[at[0] + width * (at[1] + height * at[2])] ?? 0;
    const click = clickAt(at, structure, isOneSlice, STRUCTURES[value]);
    const query = await source.query();
    const shown = { ...state, file: await this.file() };
    const found = await this.#unlessStale(() => afterClick(query, work.version, shown, click));
    if (!found) return this.#taken();
    const after = await stateOf(found, this.view.nifti, { clicks: [...state.clicks, click], isEdited: true });
    return inWords(await this.#act(source, edits, after));
  }

  /** Take the last act back, on whichever phase of the study it was; `isAgain` does it again. */
  async undo(isAgain = false) {
    const act = isAgain ? this.edits.redo() : this.edits.undo();
    if (!act) return isAgain ? "There is nothing to do again" : "There is nothing to take back";
    if (act.source.id !== this.source.id) await this.open(act.source);
    else if (act.key !== this.source.key) await this.#lookAt(Number(act.key));
    else await this.#showState();
    const told = await this.#measured();
    return (isAgain ? "Done again" : "Taken back") + (told?.volumes_ml ? `: ${inWords(told)}` : "");
  }

  /** The contours as a .nii.gz file, or null if there are none. */
  async file(state = this.state) {
    if (state.mask) state.file ??= await packed(this.view.image.withValues(state.mask));
    return state.file;
  }

  /** Whether contours can be drawn by hand on the frame that is shown. */
  get canDraw() {
    return Boolean(this.source) && (this.frames === 1 || this.view.frame === this.source.ownFrame);
  }

  /**
   * Draw with the brush from one point of a slice to the next; `endStroke` keeps what was drawn.
   * @param {{point: number[], index: number}} from
   * @param {number[]} to
   * @param {number} radius - mm
   * @param {number} value
   */
  brush({ point, index }, to, radius, value) {
    this.wet ??= this.#copy();
    stroke(this.wet, this.view.plane(index), point, to, this.view.spacing, radius, value);
    this.#showWet(index);
  }

  /**
   * Pull contours from one point of a slice to the next; `endStroke` keeps where they were pulled.
   * @param {{point: number[], index: number}} from
   * @param {number[]} to
   * @param {number} radius - mm
   * @param {number | null} label - whose contour, null for all
   */
  pull({ point, index }, to, radius, label) {
    this.wet ??= this.#copy();
    this.pulled ??= new Pull(this.wet, this.view.plane(index), this.view.spacing, radius, label);
    this.pulled.move(this.wet, point, to);
    this.#showWet(index);
  }

  /**
   * Draw an outline from one point of a slice to the next; `endStroke` closes it and puts what it surrounds in
   * the place of the structure there.
   * @param {{point: number[], index: number}} from
   * @param {number[]} to
   * @param {number} label
   */
  trace({ point, index }, to, label) {
    this.traced ??= { index, label, points: [point] };
    this.traced.points.push(to);
    this.view.lines.traced = this.traced;
    this.view.drawLines();
  }

  async endStroke() {
    const { traced, wet } = this;
    this.wet = this.pulled = this.traced = this.view.lines.traced = null;
    if (!traced) return wet ? this.#drawn(wet, "Drawn") : "";
    const mask = this.#copy();
    if (fillOutline(mask, this.view.plane(traced.index), traced.points, traced.label)) return this.#drawn(mask, "Drawn");
    this.view.drawLines();
    return "Draw all the way around the structure";
  }

  /** The contours as they are now, to be changed. */
  #copy() {
    return this.state.mask?.slice() ?? new Uint8Array(this.view.image.voxels);
  }

  /** Show what is being drawn on a slice. */
  #showWet(index) {
    this.view.lines.changed(this.wet, this.view.axis, index);
    this.view.show({ mask: this.wet, clicks: this.state.clicks });
  }

  /**
   * Change the slice at the cross, or those between.
   * @param {"fill" | "empty" | "before" | "after"} what - `before` and `after` name the slice that is copied
   * @param {number[]} labels
   */
  async drawSlice(what, labels) {
    const { at, count } = this.view.slice();
    const mask = this.#copy();
    const plane = this.view.plane();
    const from = { before: at - 2, after: at }[what];
    if (from < 0 || from >= count) throw new Error("There is no slice there to copy from.");
    if (what === "empty") empty(mask, plane, labels);
    else if (what === "fill") {
      fillBetween(mask, this.view.planes, this.view.spacing, labels);
    } else copy(mask, plane, this.view.plane(from), labels);
    return this.#drawn(mask, { fill: "Filled", empty: "Emptied" }[what] ?? "Copied");
  }

  /** Keep contours that were drawn. */
  async #drawn(mask, done) {
    const { source, edits, state } = this;
    if (!mask.some((value, at) => value !== (state.mask?.[at] ?? 0))) {
      await this.draw();
      return "Nothing to change here";
    }
    const contour = state.told?.contour;
    const told = contour && { contour };
    await this.#act(source, edits, { mask, file: null, told, clicks: state.clicks, isEdited: true });
    return done;
  }

  /** Measure contours that were drawn, those that are shown when their turn has come. */
  async #measureDrawn() {
    if (this.isMeasuring) return;
    this.isMeasuring = true;
    try {
      while (this.source && this.state.mask && !this.state.told?.volumes_ml) {
        const { source, state } = this;
        const body = form({ label: [/** @type {Blob} */ (await this.file(state)), "label.nii.gz"] });
        const answer = await ask("/viewer/data/measures", await source.query(), { method: "POST", body, signal: null });
        state.told = { ...(await answer.json()), contour: state.told?.contour };
        if (this.source !== source || this.state !== state) continue;
        showNumbers(await this.#measured(), source.moment);
      }
    } catch (error) {
      complain(`The drawn contours are kept but not measured: ${reason(error)}`);
      showNumbers(null, this.source.moment);
    } finally {
      this.isMeasuring = false;
    }
  }

  async #act(source, edits, state) {
    edits.act(source, state);
    return this.#showState();
  }

  /** Show the contours as they are now, and what is measured on them, which is returned. */
  async #showState() {
    this.shown = "mask";
    const told = await this.#measured();
    const isPending = Boolean(this.state.mask) && !told?.volumes_ml;
    showNumbers(told, this.source.moment, isPending);
    await this.draw();
    this.onChange();
    if (isPending) this.#measureDrawn();
    return told;
  }

  /** What was measured on the contours, with the indices by the other phase as it is now. */
  async #measured() {
    const { told } = this.state;
    const other = this.edits.works.get(this.source.partner)?.now.told;
    if (!told?.phase || !other?.phase) return told;
    const params = JSON.stringify({ [told.phase]: told.volumes_ml, [other.phase]: other.volumes_ml });
    const answer = await ask("/viewer/data/indices", {}, { method: "POST", body: form({ params }) });
    const { indices, index_warnings: found } = await answer.json();
    const warnings = (told.warnings ?? []).filter((text) => !told.index_warnings?.includes(text));
    return { ...told, indices, warnings: [...warnings, ...found] };
  }

  /** What `request` answers; if a newer version of the label is there, the reader chooses first. */
  async #unlessStale(request) {
    for (;;) {
      try {
        return await request();
      } catch (error) {
        if (!(error instanceof Refusal) || error.status !== 409) throw error;
        if (!(await this.#keepMine())) return null;
      }
    }
  }

  /** Show the own contours and the newest version; whether the reader keeps the own ones. */
  async #keepMine() {
    const { source, edits } = this;
    const work = edits.on(source);
    const theirs = await stateOf(await source.savedLabel(), this.view.nifti);
    const show = (mask) => this.view.show({ mask });
    if (this.frames > 1) this.view.setFrame(source.ownFrame);
    this.view.goTo(mostDiffering(work.now.mask ?? [], theirs.mask, this.view.planes));
    const isMine = await this.chooseMine(work.now, theirs, show);
    work.version = theirs.told?.label_version ?? 0;
    if (isMine) await this.draw();
    else {
      work.saved = theirs;
      await this.#act(source, edits, theirs);
    }
    return isMine;
  }

  #taken() {
    const { label_version: version, author } = this.state.told ?? {};
    return `Version ${version} by ${author} is shown, nothing of yours was sent; Undo brings yours back`;
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
    if (this.shown === "none") await this.view.show({});
    else if (this.shown !== "mask") await this.view.show({ map: isHere ? this.map : null });
    else if (isHere) await this.view.show(this.state);
    else await this.view.show({ mask: this.tracked[this.view.frame] });
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

  /** Look at a frame; `index` counts from 0. Other frames have contours once the cine was measured. */
  async turnTo(index) {
    this.view.setFrame(index);
    await this.draw();
    markFrame(index);
    this.onChange();
  }

  /** Before contours are asked for: a dropped cine is looked at in the frame that is shown. */
  async settle() {
    if (!this.source.isCine || this.view.frame === this.source.ownFrame) return;
    await this.#lookAt(this.view.frame);
  }

  /** Another frame of a dropped cine is looked at from now on. */
  async #lookAt(frame) {
    this.source.turnTo(frame);
    this.view.setFrame(frame);
    await this.#showState();
  }

  /** Volumes over the whole cine. */
  async measureCine() {
    const source = this.source;
    await this.unfold();
    const { told: curve, file } = await source.curve();
    const masks = new Nifti(await unpacked(file));
    if (this.source !== source) return "";
    if (masks.frames !== this.frames || masks.voxels !== this.view.image.voxels) {
      throw new Error("Expected contours of this cine, found others.");
    }
    this.tracked = Array.from({ length: masks.frames }, (_, index) => masks.labels(index));
    await this.draw();
    this.#showCurve(curve);
    return curveInWords(curve);
  }

  #showCurve(curve) {
    this.curve = curve;
    showCurve(curve, (phase, index) => this.onMoveMoment(phase, index));
    markFrame(this.view.frame);
    if (!this.source.partner || curve.isByHand) showIndices(curve.indices);
  }

  /**
   * ED or ES is at another frame of the measured cine; the indices are those of the frames that are chosen.
   * @param {"ed" | "es"} phase
   * @param {number} index - from 0
   */
  async setMoment(phase, index) {
    const { source, curve } = this;
    if (!curve) return "";
    const moved = { ...curve, [`frame_${phase}`]: index + 1, isByHand: true };
    const volumes = (frame) =>
      Object.fromEntries(Object.entries(moved.volumes_ml).map(([name, values]) => [name, values[frame - 1]]));
    const params = JSON.stringify({ ED: volumes(moved.frame_ed), ES: volumes(moved.frame_es) });
    const answer = await ask("/viewer/data/indices", {}, { method: "POST", body: form({ params }) });
    const { indices, index_warnings: warnings } = await answer.json();
    if (this.source !== source || this.curve !== curve) return "";
    this.#showCurve({ ...moved, indices, warnings });
    return `${phase.toUpperCase()} is frame ${index + 1} by hand: ${curveInWords({ ...moved, indices })}`;
  }

  /** Show the saved versions of the label; the one that the reader goes on from is an act that undo takes back. */
  async lookBack() {
    const { source, edits } = this;
    const records = await versions(source.id);
    if (!records.length) return "No version of this label was saved yet";
    if (this.frames > 1) await this.turnTo(source.ownFrame);
    const load = async (number, original) => stateOf(await version(source.id, number, original), this.view.nifti);
    const taken = await chooseVersion(records, load, (mask) => this.view.show({ mask }));
    if (!taken) {
      await this.draw();
      return "";
    }
    const { contour: _, ...told } = taken.told ?? {};
    await this.#act(source, edits, { ...taken, told, isEdited: true });
    return "These contours are shown; Save label makes them the newest version, Undo brings yours back";
  }

  /** Give the contours to the server as the accepted label. */
  async save() {
    const { source, edits, state } = this;
    const work = edits.on(source);
    const saved = await this.#unlessStale(() => this.#send(source, work.version, state));
    if (!saved) return this.#taken();
    if (saved === "refused") return "Not saved";
    edits.save(source, state, saved.history.number);
    this.onChange();
    return `Saved: the server accepted the label of ${source.name}`;
  }

  /** Send a label; one that cannot be a heart only if the reader means it. */
  async #send(source, version, state, confirmed = false) {
    const { told } = state;
    const segments = STRUCTURES.slice(1).map((name, index) => ({ name, idx: index + 1 }));
    const params = { label_info: segments, base_version: version, confirmed };
    if (told?.contour) params.contour = told.contour;
    const file = /** @type {Blob} */ (await this.file(state));
    const body = form({ label: [file, "label.nii.gz"], params: JSON.stringify(params) });
    try {
      return await (await ask("/datastore/label", { image: source.id }, { method: "PUT", body })).json();
    } catch (error) {
      if (!(error instanceof Refusal) || error.status !== 422 || !error.told.doubts) throw error;
      const question = `This cannot be a heart: ${error.told.doubts.join("; ")}. It would be marked, and not trained on.`;
      if (!(await this.confirm(question, "Save all the same"))) return "refused";
      return this.#send(source, version, state, true);
    }
  }
}

/**
 * The contours of an answer, checked to lie on an image.
 * @param {import("./api.js").Found} found
 * @param {Nifti | null} nifti
 * @param {Partial<State>} more
 * @returns {Promise<State>}
 */
async function stateOf({ file, told }, nifti, { clicks = [], isEdited = false } = {}) {
  const mask = new Nifti(await unpacked(file)).labels();
  if (mask.length !== nifti?.voxels) throw new Error("Expected contours of this image, found others.");
  return { mask, file, told, clicks, isEdited };
}
