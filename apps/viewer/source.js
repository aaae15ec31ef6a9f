// Where the heart that is open came from: an image of the studies folder, or a file of the reader's.

import { ask, form, parts } from "./api.js";
import { Nifti, unpacked } from "./nifti.js";

/** @typedef {Served | Dropped} Source */

/** An image of the studies folder. */
export class Served {
  isCine = false;

  /** @param {string} id @param {import("./studies.js").Listed} info - what the server tells of it */
  constructor(id, info) {
    this.id = id;
    this.name = id;
    this.info = info;
    this.canBeSaved = true;
    this.hasCine = Boolean(info.has_cine);
    this.ownFrame = info.has_cine ? (info.frame ?? 1) - 1 : 0;
    this.partner = info.partner;
    this.key = id;
  }

  get moment() {
    const { patient, phase, frame } = this.info;
    return [patient, phase, frame ? `frame ${frame}` : ""].filter(Boolean).join(", ");
  }

  async load() {
    return unpacked(await (await ask("/datastore/image", { image: this.id })).blob());
  }

  async loadCine() {
    return unpacked(await (await ask("/viewer/data/cine", { image: this.id })).blob());
  }

  /** What names the image in a request. */
  async query() {
    return { image: this.id };
  }

  /** The label that was accepted last with what was measured on it, or null. */
  async savedLabel() {
    const answer = await ask("/viewer/data/label", { image: this.id });
    return answer.status === 204 ? null : parts(answer);
  }

  async curve() {
    return parts(await ask("/viewer/data/curve", { image: this.id, output: "all" }, { method: "POST" }));
  }
}

/**
 * The heart in the files of one DICOM series, which the server puts together; it keeps nothing of them.
 * @param {File[]} files
 * @param {string} name
 */
export async function ofSeries(files, name) {
  const body = new FormData();
  for (const file of files) body.append("files", file, "slice.dcm");
  const volume = await (await ask("/viewer/data/volume", {}, { method: "POST", body })).blob();
  return new Dropped(new File([volume], `${name}.nii.gz`));
}

/** A file that the reader dropped; the server gets one frame of it when it has to look at it. */
export class Dropped {
  id = "";
  /** @type {Nifti | null} */
  nifti = null;

  /** @param {File} file - a NIfTI file */
  constructor(file) {
    this.file = file;
    this.name = file.name.replace(/\.nii(\.gz)?$/i, "");
    this.canBeSaved = false;
    this.hasCine = false;
    this.ownFrame = 0;
    this.partner = null;
    this.session = "";
  }

  get moment() {
    return this.isCine ? `${this.name}, frame ${this.ownFrame + 1}` : this.name;
  }

  /** Names the frame that is looked at: each has contours of its own. */
  get key() {
    return `${this.ownFrame}`;
  }

  get isCine() {
    return (this.nifti?.frames ?? 1) > 1;
  }

  async load() {
    const buffer = await unpacked(this.file);
    this.nifti = new Nifti(buffer);
    return buffer;
  }

  /** Another frame is looked at from now on. */
  turnTo(/** @type {number} */ frame) {
    this.ownFrame = frame;
    this.session = "";
  }

  async query() {
    if (!this.session && this.nifti) {
      const volume = new Blob([this.nifti.frame(this.ownFrame)]);
      const body = form({ files: [volume, "volume.nii"] });
      const begun = await (await ask("/session/", {}, { method: "PUT", body })).json();
      this.session = begun.session_id;
    }
    return { session_id: this.session };
  }

  async savedLabel() {
    return null;
  }

  async curve() {
    const name = this.file.name.toLowerCase().endsWith(".gz") ? "cine.nii.gz" : "cine.nii";
    const body = form({ file: [this.file, name] });
    return parts(await ask("/viewer/data/curve", { output: "all" }, { method: "POST", body }));
  }
}
