// Wires the page together.

import { ask } from "./api.js";
import { chooseMine } from "./choice.js";
import { offered } from "./clicks.js";
import { Heart } from "./heart.js";
import { prepareKeys } from "./keys.js";
import { loggedIn, prepareLogin } from "./login.js";
import { complain, confirmed, during, element, say } from "./page.js";
import { Player } from "./player.js";
import { Dropped, Served } from "./source.js";
import { listed, markOpen, showStudies } from "./studies.js";
import { View } from "./view.js";
import * as xray from "./xray.js";

const VIEWS = ["all", "slice", "solid"];
const MAPS = ["mask", "lv", "myo", "rv"];
const CLICK_PX = 5;
const RELIST_MS = 10_000;

const view = new View(element("canvas"), () => heart.source && showPlace());
const heart = new Heart(view, refresh, confirmed, chooseMine);
const player = new Player((index) => heart.turnTo(index));
let can = { volume: false, slice: false };
let isBusy = false;

/** One thing at a time; what is asked for meanwhile is not kept. */
async function alone(doing, work) {
  if (isBusy) return;
  isBusy = true;
  refresh();
  await during(doing, work);
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

const act = {
  open: (source) =>
    alone(`Opening ${source.name}`, async () => {
      if (!heart.isOfStudy(source) && !(await mayLeave())) return "";
      player.stop();
      const told = await heart.open(source);
      xray.close();
      markOpen(source.id ?? "");
      element("canvas").focus();
      return told;
    }),
  openXray: (file, name) =>
    alone("Looking at the X-ray", async () => {
      player.stop();
      markOpen("");
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
    }),
  play: async () => {
    if (player.isPlaying) return pause();
    if (!heart.source || !heart.canPlay) return say("This image is no cine");
    await alone("Loading the cine", async () => (await heart.unfold(), "Playing"));
    if (heart.frames < 2) return;
    const playing = player.play(view.frame, heart.frames, view.nifti.frameSeconds);
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
    const choice = document.querySelector(`[name=structure][value="${structure}"]`);
    if (element("clicks").disabled) return;
    choice.checked = true;
    say(`A click adds ${choice.parentElement.textContent}`);
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
  refresh();
}

function addClick(at) {
  const structure = document.querySelector("[name=structure]:checked").value;
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
  element("clicks").disabled = !isOpen || !can.volume;
  element("one-slice").disabled = !can.slice;
  element("undo").disabled = !heart.edits.done.length || isBusy;
  element("redo").disabled = !heart.edits.undone.length || isBusy;
  element("measure").disabled = element("play").disabled = !isOpen || !heart.canPlay || isBusy;
  const file = isOpen ? heart.state.file : null;
  element("download").disabled = !file;
  element("save").disabled = !file || !heart.source.canBeSaved || isBusy;
  element("shown").value = heart.shown;
  element("play").textContent = player.isPlaying ? "Pause" : "Play";
  element("play").setAttribute("aria-pressed", player.isPlaying);
  const slider = element("frame");
  slider.disabled = heart.frames < 2;
  slider.max = heart.frames;
  slider.value = view.frame + 1;
  element("frame-text").textContent = heart.frames > 1 ? `${view.frame + 1} of ${heart.frames}` : "";
  for (const button of document.querySelectorAll("[data-view]")) {
    button.setAttribute("aria-pressed", button.dataset.view === view.name);
  }
}

function download() {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(heart.state.file);
  link.download = `${heart.source.name}_seg.nii.gz`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  if (!heart.source.canBeSaved) heart.edits.on(heart.source).saved = heart.state;
}

function openFile(file) {
  const name = file.name.toLowerCase();
  if (/\.nii(\.gz)?$/.test(name)) return act.open(new Dropped(file));
  if (/\.(jpe?g|png|tiff?|bmp|webp|dcm|dicom)$/.test(name)) return act.openXray(file);
  say("");
  complain(`Expected a heart (.nii, .nii.gz) or a chest X-ray (.jpg, .png, .dcm), found ${file.name}.`);
}

async function relist() {
  showStudies(await listed(), (image) => act.open(new Served(image.id, image)));
  markOpen(heart.source?.id ?? "");
}

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
  on("show-keys", act.showKeys);
  on("shown", (event) => act.show(event.target.value), "change");
  on("frame", ({ target }) => {
    const index = target.value - 1;
    pause(); // which puts the slider back to the frame that is shown
    heart.turnTo(index);
  }, "input");
  for (const id of ["file", "camera"]) {
    on(id, ({ target }) => {
      const file = target.files[0];
      target.value = "";
      if (file) id === "file" ? openFile(file) : act.openXray(xray.photograph(file), "photo.jpg");
    }, "change");
  }
  for (const button of document.querySelectorAll("[data-view]")) {
    button.addEventListener("click", () => setView(button.dataset.view));
  }
  window.addEventListener("beforeunload", (event) => {
    if (heart.edits.unsaved) event.preventDefault();
  });
  listenToCanvas();
  listenToDrops();
}

function listenToCanvas() {
  let down = null;
  element("canvas").addEventListener("pointerdown", (event) => {
    down = event.button === 0 ? event : null;
  });
  element("canvas").addEventListener("pointerup", (event) => {
    const isClick = down && Math.hypot(event.clientX - down.clientX, event.clientY - down.clientY) < CLICK_PX;
    down = null;
    if (isClick && heart.source) addClick(view.voxelUnder(event));
  });
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
    if (event.dataTransfer.files.length === 1) openFile(event.dataTransfer.files[0]);
    else complain("Expected one file.");
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
