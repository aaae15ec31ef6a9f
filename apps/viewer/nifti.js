// NIfTI-1 files, as far as the page has to understand them.
// Format: https://nifti.nimh.nih.gov/pub/dist/src/niftilib/nifti1.h

const HEADER_BYTES = 348;
const BYTES_OF = { 2: 1, 4: 2, 8: 4, 16: 4, 64: 8, 256: 1, 512: 2, 768: 4, 1024: 8, 1280: 8 };
const UINT8 = 2;

/** Content of a file, unpacked if it is packed. */
export async function unpacked(blob) {
  const start = new Uint8Array(await blob.slice(0, 2).arrayBuffer());
  if (start[0] !== 0x1f || start[1] !== 0x8b) return blob.arrayBuffer();
  try {
    return await new Response(blob.stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
  } catch {
    throw new Error("Expected a whole .nii.gz file, found a damaged one. Copy it again.");
  }
}

/** A file packed as .nii.gz. */
export function packed(buffer) {
  return new Response(new Blob([buffer]).stream().pipeThrough(new CompressionStream("gzip"))).blob();
}

/**
 * A grey image of three or four dimensions.
 * @param {ArrayBuffer} buffer - content of an unpacked NIfTI-1 file
 */
export class Nifti {
  constructor(buffer) {
    const view = new DataView(buffer);
    const isLittle = buffer.byteLength >= HEADER_BYTES && view.getInt32(0, true) === HEADER_BYTES;
    const isBig = buffer.byteLength >= HEADER_BYTES && view.getInt32(0, false) === HEADER_BYTES;
    if (!isLittle && !isBig) {
      throw new Error("Expected a NIfTI-1 file (.nii or .nii.gz), found a file that is none.");
    }
    this.buffer = buffer;
    this.isLittle = isLittle;
    const short = (at) => view.getInt16(at, isLittle);
    this.rank = short(40);
    this.shape = [1, 2, 3].map((axis) => short(40 + 2 * axis));
    this.frames = this.rank > 3 ? Math.max(1, short(48)) : 1;
    this.frameSeconds = seconds(view.getFloat32(92, isLittle), view.getUint8(123));
    this.start = Math.max(HEADER_BYTES, view.getFloat32(108, isLittle));
    this.voxels = this.shape[0] * this.shape[1] * this.shape[2];
    this.bytes = BYTES_OF[short(70)];
    if (this.rank < 3 || this.rank > 4 || Math.min(...this.shape) < 1 || !this.bytes) {
      throw new Error(`Expected a grey volume or a cine, found ${this.rank} dimensions ${this.shape}.`);
    }
    if (buffer.byteLength < this.start + this.voxels * this.frames * this.bytes) {
      throw new Error("Expected a whole NIfTI file, found one that ends early. Copy it again.");
    }
  }

  /** Values of a frame of a label map of one byte a voxel, in the file's own order. */
  labels(frame = 0) {
    if (this.bytes !== 1) throw new Error("Expected a label map of one byte a voxel, found another.");
    return new Uint8Array(this.buffer, this.start + frame * this.voxels, this.voxels);
  }

  /** One frame as a volume of its own; `index` counts from 0. */
  frame(index) {
    const length = this.voxels * this.bytes;
    const from = this.start + index * length;
    return joined(this.#header(this.#dataType()), new Uint8Array(this.buffer, from, length));
  }

  /** A map of one byte a voxel on this image's grid, by its header: whoever reads both sees them agree. */
  withValues(values) {
    return joined(this.#header(UINT8), values);
  }

  #dataType() {
    return new DataView(this.buffer).getInt16(70, this.isLittle);
  }

  #header(dataType) {
    const header = new Uint8Array(HEADER_BYTES + 4);
    header.set(new Uint8Array(this.buffer, 0, HEADER_BYTES));
    const view = new DataView(header.buffer);
    const set = (at, value) => view.setInt16(at, value, this.isLittle);
    set(40, 3);
    for (const at of [48, 50, 52, 54]) set(at, 1);
    view.setFloat32(108, HEADER_BYTES + 4, this.isLittle);
    if (dataType === UINT8) {
      set(68, 0); // intent
      set(70, UINT8);
      set(72, 8);
      view.setFloat32(112, 1, this.isLittle); // slope
      for (const at of [116, 124, 128]) view.setFloat32(at, 0, this.isLittle); // offset, window
    }
    return header;
  }
}

function seconds(value, units) {
  const scale = { 0: 1, 8: 1, 16: 1e-3, 24: 1e-6 }[units & 0x38] ?? 1;
  return value > 0 && Number.isFinite(value) ? value * scale : 0;
}

function joined(header, data) {
  const whole = new Uint8Array(header.length + data.length);
  whole.set(header);
  whole.set(data, header.length);
  return whole.buffer;
}

/**
 * Voxel of a file at a point in space, in the file's own order of axes.
 * @param {number[][]} affine - 4 rows, voxel index to mm
 * @param {number[]} mm
 * @returns {number[]} whole numbers, which may lie outside of the volume
 */
export function voxelAt(affine, mm) {
  const [a, b, c] = affine;
  const p = [mm[0] - a[3], mm[1] - b[3], mm[2] - c[3]];
  const minor = (x, y, i, j) => x[i] * y[j] - x[j] * y[i];
  const determinant = a[0] * minor(b, c, 1, 2) - a[1] * minor(b, c, 0, 2) + a[2] * minor(b, c, 0, 1);
  const inverse = [
    [minor(b, c, 1, 2), -minor(a, c, 1, 2), minor(a, b, 1, 2)],
    [-minor(b, c, 0, 2), minor(a, c, 0, 2), -minor(a, b, 0, 2)],
    [minor(b, c, 0, 1), -minor(a, c, 0, 1), minor(a, b, 0, 1)],
  ];
  return inverse.map((row) => Math.round((row[0] * p[0] + row[1] * p[1] + row[2] * p[2]) / determinant));
}
