// What the page uses of NiiVue, whose published file comes without its types.

interface Slice {
  leftTopWidthHeight: number[];
  axCorSag: number;
  sliceFrac: number;
}

interface Measurement {
  distance: number;
}

export class NVImage {
  static new(
    buffer: ArrayBuffer, name: string, colormap?: string, opacity?: number, pairedUrl?: null, low?: number, high?: number,
  ): Promise<NVImage>;
  id: string;
  hdr: { affine: number[][] };
  cal_min: number;
  cal_max: number;
  robust_min: number;
  robust_max: number;
  global_min: number;
  global_max: number;
  permRAS: number[];
  dimsRAS: number[];
  pixDimsRAS: number[];
  frame4D: number;
  setColormapLabel(map: object): void;
}

export class Niivue {
  constructor(options: object);
  volumes: NVImage[];
  screenSlices: Slice[];
  scene: { crosshairPos: number[]; pan2Dxyzmm: number[] };
  opts: { crosshairWidth: number; dragModePrimary: number; isOrientationTextVisible: boolean };
  uiData: { dpr?: number; dragStart: number[]; dragEnd: number[] };
  document: { completedMeasurements: Measurement[] };
  onLocationChange: () => void;
  onMeasurementCompleted: (found: Measurement) => void;
  attachToCanvas(canvas: HTMLCanvasElement, antialias: boolean): Promise<void>;
  addVolume(image: NVImage): void;
  removeVolume(image: NVImage): void;
  refreshLayers(image: NVImage, layer: number): void;
  drawScene(): string | void;
  draw2D(box: number[], plane: number, slice: number, size?: number[]): void;
  clearMeasurements(): void;
  createOnLocationChange(): void;
  setFrame4D(id: string, frame: number): void;
  setClipPlane(depthAzimuthElevation: number[]): void;
  setCustomLayout(tiles: object[]): void;
  clearCustomLayout(): void;
  setSliceType(type: number): void;
  setPan2Dxyzmm(place: number[]): void;
  moveCrosshairInVox(x: number, y: number, z: number): void;
  tileIndex(x: number, y: number): number;
  inRenderTile(x: number, y: number): number;
  canvasPos2frac(at: number[]): number[];
  screenXY2TextureFrac(x: number, y: number, tile: number, isRestricted: boolean): number[];
  frac2mm(place: number[], volume?: number, isForced?: boolean): number[];
}
