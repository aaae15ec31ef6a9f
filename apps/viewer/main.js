// Wires the page together.

import { ask } from "./api.js";
import { Beside } from "./beside.js";
import { chooseMine } from "./choice.js";
import { offered, STRUCTURES } from "./clicks.js";
import { ALL } from "./draw.js";
import { Heart } from "./heart.js";
import { prepareKeys } from "./keys.js";
import { loggedIn, prepareLogin } from "./login.js";
import { choices, chosen, complain, confirmed, during, element, press, reason, say } from "./page.js";
import { Player } from "./player.js";
import { listenToBrush, listenToWindow, prepareWindow, showWindow } from "./pointer.js";
import { Dropped, ofSeries, Served } from "./source.js";
import { listed, Studies } from "./studies.js";
import { View } from "./view.js";
import * as xray from "./xray.js";

const VIEWS = ["all", "slice", "solid"];
const MAPS = ["mask", "lv", "myo", "rv"];
const CLICK_PX = 5;
/** @type {Record<string, number>} */
const sizes = { brush: 8, eraser: 8, pull: 30 }; // mm, by the tools that have one
const RELIST_MS = 10_000;

const view = new View(element("canvas"), element("lines"), () => {
  if (!heart.source || !view.nifti) return;
  showPlace();
  beside.follow();
});
const heart = new Heart(view, refresh, confirmed, chooseMine);
const beside = new Beside(heart, () => showPlace());
const studies = new Studies((image) => act.open(new Served(image.id, image)));
const player = new Player((index) => heart.turnTo(index));
let can = { volume: false, slice: false };
let isBusy = false;
let known = new Map(); // images of the folder by id

/** One thing at a time; what is asked for meanwhile is not kept. */
async function alone(doing, work, canEnd = true) {
  if (isBusy) return;
  isBusy = true;
  refresh();
  await during(doing, work, canEnd);
  isBusy = false;
  refresh();
}

/** Whether nothing would be lost by leaving the study that is open, or the reader agrees. */
async function mayLeave() {
  const count = heart.edits.unsaved;
  if (!count) return true;
  const what = count > 1 ? `Corrections of ${count} images are` : "Corrections are";
  return confirmed(`${what} not saved and would be lost.`, "Lose them");
}

/** Whether nothing would be lost by leaving the film that is open, or the reader agrees. */
async function mayLeaveFilm() {
  return !xray.hasUnsaved() || confirmed("Your reading is not saved and would be lost.", "Lose it");
}

const act = {
  open: (source) =>
    alone(`Opening ${source.name}`, async () => {
      if (!(await mayLeaveFilm()) || (!heart.isOfStudy(source) && !(await mayLeave()))) return "";
      player.stop();
      const told = await heart.open(source);
      showWindow(view);
      if (beside.isOn) await beside.show(partner());
      xray.close();
      studies.mark(source.id ?? "");
      element("canvas").focus();
      return told;
    }),
  openXray: (file, name) =>
    alone("Looking at the X-ray", async () => {
      if (!(await mayLeaveFilm())) return "";
      player.stop();
      studies.mark("");
      return xray.classify(await file, name);
    }),
  segment: () =>
    heart.source &&
    alone("Segmenting", async () => {
      pause();
      await heart.settle();
      const question = "Corrections would be replaced by new contours. Undo brings them back until they are saved.";
      if (heart.state.isEdited && !(await confirmed(question, "Segment anew"))) return "";
      return heart.segment(element("model").value);
    }),
  click: () => addClick(view.voxel()),
  undo: () => heart.source && alone("Taking back", () => heart.undo()),
  redo: () => heart.source && alone("Doing again", () => heart.undo(true)),
  show: (what) => heart.source && alone("Drawing", () => heart.show(what, element("model").value)),
  measureCine: () =>
    heart.source && heart.canPlay && alone("Measuring every frame", () => heart.measureCine()),
  save: () =>
    alone("Saving", async () => {
      const told = await heart.save();
      await relist();
      return told;
    }, false),
  play: async () => {
    if (player.isPlaying) return pause();
    if (!heart.source || !heart.canPlay) return say("This image is no cine");
    await alone("Loading the cine", async () => (await heart.unfold(), "Playing"));
    if (heart.frames < 2) return;
    const playing = player.play(view.frame, heart.frames, view.nifti?.frameSeconds);
    refresh();
    await playing;
  },
  turn: async (by) => {
    if (!heart.source || !heart.canPlay || isBusy) return;
    pause();
    if (heart.frames < 2) await alone("Loading the cine", async () => (await heart.unfold(), ""));
    await heart.turnTo((view.frame + by + heart.frames) % heart.frames);
  },
  step: (by) => heart.source && view.step(by),
  shift: (right, up) => heart.source && view.shift(right, up),
  choose: (structure) => {
    const choice = choices("structure").find(({ value }) => value === structure);
    if (element("clicks").disabled || !choice) return;
    choice.checked = true;
    say(`Correct: ${choice.parentElement?.textContent}`);
  },
  tool: (name) => {
    if (element("clicks").disabled) return;
    for (const choice of choices("tool")) choice.checked = choice.value === name;
    showTool();
  },
  resize: (by) => {
    const tool = chosen("tool");
    if (!(tool in sizes)) return;
    element("size").value = `${sizes[tool] + by}`;
    sizes[tool] = element("size").valueAsNumber;
    showTool();
  },
  drawSlice: (what) => canDraw() && during("Drawing", () => heart.drawSlice(what, chosenLabels())),
  lookBack: () => heart.source?.id && alone("Looking at the saved versions", () => heart.lookBack()),
  report: (format) => alone("Making the report", () => report(format)),
  setMoment: (phase, index) => heart.curve && alone("Measuring", () => heart.setMoment(phase, index)),
  openSeries: (files, name) =>
    alone("Putting the series together", async () => {
      const source = await ofSeries(files, name);
      setTimeout(() => act.open(source));
      return "";
    }),
  pair: () =>
    heart.source &&
    alone("Opening the other phase", async () => {
      await beside.show(beside.isOn ? null : partner());
      if (beside.isOn && view.name === "all") setView("slice");
      return beside.isOn ? "Both phases are shown" : "";
    }),
  grid: () => setView(view.name === "grid" ? "slice" : "grid"),
  zoom: () => {
    if (!heart.source) return;
    view.zoom(!view.isZoomed);
    beside.follow();
    refresh();
  },
  oneSlice: () => {
    const box = element("one-slice");
    if (!box.disabled && !element("clicks").disabled) box.checked = !box.checked;
  },
  nextView: () => setView(VIEWS[(VIEWS.indexOf(view.name) + 1) % VIEWS.length]),
  toggleMask: () => act.show(heart.shown === "none" ? "mask" : "none"),
  nextMap: () => act.show(MAPS[(MAPS.indexOf(heart.shown) + 1) % MAPS.length]),
  showKeys: () => element("keys").showModal(),
};

function pause() {
  player.stop();
  refresh();
}

function setView(name) {
  if (heart.source) view.setView(name);
  if (beside.isOn) beside.view.setView(name);
  refresh();
}

/** Labels that an act on a whole slice is about. */
function chosenLabels() {
  const label = STRUCTURES.indexOf(chosen("structure"));
  return label > 0 ? [label] : ALL;
}

/** Whether contours can be drawn on what is shown; else the reader is told why not. */
function canDraw() {
  if (!heart.source || element("clicks").disabled || isBusy) return false;
  if (heart.source.isCine) heart.settle();
  if (heart.canDraw) return true;
  say(`Contours can be drawn on frame ${heart.source.ownFrame + 1}, which they belong to`);
  return false;
}

function showTool() {
  const tool = chosen("tool");
  if (["brush", "outline"].includes(tool) && !chosen("structure")) act.choose("lv");
  element("size-row").hidden = !(tool in sizes);
  if (tool in sizes) element("size").value = `${sizes[tool]}`;
  element("size-name").textContent = tool === "pull" ? "Reach" : "Size";
  element("no-structure").textContent = tool === "pull" ? "all" : "nothing";
  element("size-text").textContent = `${sizes[tool]} mm`;
  element("one-slice-row").hidden = tool !== "click";
  element("structures").hidden = ["eraser", "ruler"].includes(tool);
  element("canvas").parentElement?.classList.toggle("drawing", tool !== "click");
  for (const one of [view, beside.view]) one.setRuler(tool === "ruler");
  if (!isByHand()) view.lines.brush = null;
  if (heart.source) view.drawLines();
}

function addClick(at) {
  const structure = chosen("structure");
  if (!structure || !at || !can.volume || !heart.source || element("clicks").disabled) return;
  const isOneSlice = element("one-slice").checked;
  alone("Correcting", async () => {
    pause();
    await heart.settle();
    return heart.click(at, structure, isOneSlice);
  });
}

function showPlace() {
  const { at, count } = view.slice();
  element("slice").textContent = `Slice ${at} of ${count}`;
  element("canvas").setAttribute("aria-label", `Heart of ${heart.source.moment}, slice ${at} of ${count}`);
}

/** Bring buttons and sliders up to what is open. */
function refresh() {
  const isOpen = Boolean(heart.source);
  element("empty").hidden = isOpen;
  element("segment").disabled = !isOpen || isBusy;
  element("clicks").disabled = !isOpen;
  for (const choice of choices("tool")) if (choice.value === "click") choice.disabled = !can.volume;
  element("one-slice").disabled = !can.slice;
  element("undo").disabled = !heart.edits.done.length || isBusy;
  element("redo").disabled = !heart.edits.undone.length || isBusy;
  element("measure").disabled = element("play").disabled = !isOpen || !heart.canPlay || isBusy;
  const hasContours = isOpen && Boolean(heart.state.mask);
  element("pair").disabled = !isOpen || !partner() || isBusy;
  press(element("pair"), beside.isOn);
  beside.draw();
  if (isOpen) element("here").textContent = heart.canDraw ? heart.source.moment : `Frame ${view.frame + 1}`;
  element("zoom").disabled = !hasContours;
  press(element("zoom"), view.isZoomed);
  element("download").disabled = !hasContours;
  element("save").disabled = !hasContours || !heart.source.canBeSaved || isBusy;
  element("show-history").disabled = element("report").disabled = !heart.source?.id || isBusy;
  element("shown").value = heart.shown;
  element("play").textContent = player.isPlaying ? "Pause" : "Play";
  press(element("play"), player.isPlaying);
  const slider = element("frame");
  slider.disabled = heart.frames < 2;
  slider.max = `${heart.frames}`;
  slider.value = `${view.frame + 1}`;
  element("frame-text").textContent = heart.frames > 1 ? `${view.frame + 1} of ${heart.frames}` : "";
  for (const button of buttons("view")) press(button, button.dataset.view === view.name);
}

function give(file, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(file);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

/** The report of the study by its saved labels, as a file. */
async function report(format) {
  const file = await (await ask("/viewer/data/report", { image: heart.source.id, format })).blob();
  const name = `${heart.source.name}_${format}.${{ pdf: "pdf", csv: "csv", fhir: "json" }[format] ?? "dcm"}`;
  give(file, name);
  return heart.edits.unsaved ? `${name} is made from the saved labels, without what is not saved` : `${name} is made`;
}

async function download() {
  give(await heart.file(), `${heart.source.name}_seg.nii.gz`);
  if (!heart.source.canBeSaved) heart.edits.on(heart.source).saved = heart.state;
}

function openFile(file) {
  const name = file.name.toLowerCase();
  if (/\.nii(\.gz)?$/.test(name)) return act.open(new Dropped(file));
  if (/\.(jpe?g|png|tiff?|bmp|webp|dcm|dicom)$/.test(name)) return act.openXray(file);
  say("");
  complain(`Expected a heart (.nii, .nii.gz) or a chest X-ray (.jpg, .png, .dcm), found ${file.name}.`);
}

/** Open what was dropped or chosen: one file, or the files of a DICOM series. */
function openFiles(files, name) {
  const other = /^\.|^DICOMDIR$|\.(nii|gz|nrrd|txt|cfg|csv|json|xml|pdf|jpe?g|png|tiff?|bmp|webp)$/i;
  const slices = files.filter((file) => !other.test(file.name));
  if (files.length === 1 && !slices.length) return openFile(files[0]);
  if (slices.length > 1) return act.openSeries(slices, name || "series");
  if (files.length === 1) return openFile(files[0]);
  complain("Expected one file, or a folder with the files of one DICOM series.");
}

/** Files that were dropped, those of folders too. */
async function dropped(items) {
  const files = [];
  const walk = async (entry) => {
    if (entry instanceof File) files.push(entry);
    else if (entry.isFile) files.push(await new Promise((done, fail) => entry.file(done, fail)));
    else {
      const reader = entry.createReader();
      for (;;) {
        const some = await new Promise((done, fail) => reader.readEntries(done, fail));
        if (!some.length) break;
        for (const one of some) await walk(one);
      }
    }
  };
  // Gone after the event; text that is dropped is neither.
  const entries = [...items].map((one) => one.webkitGetAsEntry() ?? one.getAsFile()).filter(Boolean);
  for (const entry of entries) await walk(entry);
  openFiles(files, entries.find((entry) => entry.isDirectory)?.name);
}

async function relist() {
  const found = await listed();
  known = new Map(found.images.map((image) => [image.id, image]));
  studies.show(found);
}

/** The other phase of the study that is open, or null. */
function partner() {
  const image = known.get(heart.source?.partner);
  return image ? new Served(image.id, image) : null;
}

/** Buttons that differ in what a `data-` attribute says. */
const buttons = (/** @type {string} */ data) =>
  /** @type {NodeListOf<HTMLButtonElement>} */ (document.querySelectorAll(`button[data-${data}]`));

function listen() {
  const on = (id, what, event = "click") => element(id).addEventListener(event, what);
  on("segment", act.segment);
  on("undo", act.undo);
  on("redo", act.redo);
  on("play", act.play);
  on("slice-up", () => act.step(1));
  on("slice-down", () => act.step(-1));
  on("measure", act.measureCine);
  on("save", act.save);
  on("download", download);
  on("show-history", act.lookBack);
  on("report", ({ target }) => {
    const format = target.value;
    target.value = "";
    if (format) act.report(format);
  }, "change");
  on("reading", (event) => {
    event.preventDefault();
    alone("Saving", xray.save, false);
  }, "submit");
  on("compare", () => say(xray.compare()));
  on("heat-method", () => alone("Making the heat map", xray.explainAnew), "change");
  on("folder", ({ target }) => {
    const files = [...target.files];
    target.value = "";
    openFiles(files, files[0]?.webkitRelativePath.split("/")[0]);
  }, "change");
  for (const button of buttons("moment")) {
    button.addEventListener("click", () => act.setMoment(button.dataset.moment, view.frame));
  }
  heart.onMoveMoment = act.setMoment;
  on("show-keys", act.showKeys);
  on("shown", (event) => act.show(event.target.value), "change");
  on("frame", ({ target }) => {
    const index = target.value - 1;
    pause(); // which puts the slider back to the frame that is shown
    heart.turnTo(index);
  }, "input");
  on("live", () => xray.live(act.openXray).catch(({ message }) => complain(message)));
  for (const id of ["file", "camera"]) {
    on(id, ({ target }) => {
      const file = target.files[0];
      target.value = "";
      if (file) id === "file" ? openFile(file) : act.openXray(xray.photograph(file), "photo.jpg");
    }, "change");
  }
  for (const button of buttons("view")) button.addEventListener("click", () => setView(button.dataset.view));
  for (const button of buttons("draw")) {
    button.addEventListener("click", () => act.drawSlice(button.dataset.draw));
  }
  for (const choice of choices("tool")) choice.addEventListener("change", showTool);
  on("zoom", act.zoom);
  on("pair", act.pair);
  on("swap", () => act.open(partner()));
  on("size", ({ target }) => {
    sizes[chosen("tool")] = target.valueAsNumber;
    showTool();
  }, "input");
  for (const one of [view, beside.view]) one.onMeasure = (mm) => say(`Distance ${mm.toFixed(1)} mm`);
  on("fill", ({ target }) => {
    view.lines.fill = target.value / 100;
    if (heart.source) view.drawLines();
    beside.draw();
  }, "input");
  window.addEventListener("beforeunload", (event) => {
    if (heart.edits.unsaved || xray.hasUnsaved()) event.preventDefault();
  });
  listenToCanvas();
  listenToDrops();
  prepareWindow(view);
}

function listenToCanvas() {
  /** @type {PointerEvent | null} */
  let down = null;
  element("canvas").addEventListener("pointerdown", (event) => {
    down = event.button === 0 && chosen("tool") === "click" ? event : null;
  });
  element("canvas").addEventListener("pointerup", (event) => {
    const isClick = down && Math.hypot(event.clientX - down.clientX, event.clientY - down.clientY) < CLICK_PX;
    down = null;
    if (isClick && heart.source) addClick(view.voxelUnder(event));
  });
  listenToBrush(element("canvas"), {
    view,
    isOn: () => Boolean(heart.source) && isByHand() && !element("clicks").disabled,
    radius: () => (sizes[chosen("tool")] ?? 0) / 2,
    begin: () => {
      pause();
      return canDraw();
    },
    draw,
    end: () => heart.endStroke().then(say),
  });
  listenToWindow(element("canvas"), view, () => Boolean(heart.source));
}

const isByHand = () => !["click", "ruler"].includes(chosen("tool"));

/** Draw with the tool that is chosen. */
function draw(from, to) {
  const tool = chosen("tool");
  const label = STRUCTURES.indexOf(chosen("structure")); // -1 for nothing
  const radius = sizes[tool] / 2;
  if (tool === "pull") heart.pull(from, to, radius, label < 0 ? null : label);
  else if (tool === "outline") heart.trace(from, to, Math.max(0, label));
  else heart.brush(from, to, radius, tool === "eraser" ? 0 : Math.max(0, label));
}

function listenToDrops() {
  const stop = (event) => {
    event.preventDefault();
    event.stopPropagation();
    document.body.classList.toggle("dropping", event.type === "dragover");
  };
  for (const type of ["dragover", "dragleave"]) window.addEventListener(type, stop, { capture: true });
  window.addEventListener("drop", (event) => {
    stop(event);
    dropped(event.dataTransfer?.items ?? []).catch((error) => complain(reason(error)));
  }, { capture: true });
}

async function start() {
  prepareLogin();
  xray.prepareXray();
  prepareKeys(act);
  listen();
  await during("Starting", async () => {
    await view.start();
    await loggedIn();
    const { models } = await (await ask("/info/")).json();
    can = offered(models);
    const networks = Object.keys(models).filter((name) => models[name].type === "segmentation");
    element("model").replaceChildren(...networks.map((name) => new Option(name, name)));
    await relist();
    refresh();
    return "Ready";
  });
  setInterval(() => document.hidden || isBusy || relist().catch(() => {}), RELIST_MS);
}

start();
