// The list of studies, patient by patient.

import { ask } from "./api.js";
import { element, made } from "./page.js";

/**
 * What the server tells of an image.
 * @typedef {object} Listed
 * @property {string} id
 * @property {string} patient
 * @property {string | null} phase
 * @property {number | null} frame
 * @property {string | null} partner
 * @property {boolean} has_cine
 * @property {string[]} labels
 */

/** Images of the server's folder with what is known of each, and its files that could not be read and why. */
export async function listed() {
  const answers = ["all", "stats"].map((output) => ask("/datastore/", { output }, { signal: null }));
  const [{ objects }, { not_read: notRead }] = await Promise.all(answers.map(async (one) => (await one).json()));
  /** @type {Listed[]} */
  const images = Object.entries(objects).map(([id, { image, labels }]) => ({
    id,
    ...image.info,
    labels: Object.keys(labels),
  }));
  return { images, notRead: /** @type {string[]} */ (notRead) };
}

const ROW_REM = 2.5;
const BEYOND = 10; // rows that are there above and below those that are seen, for Tab

/** The list of patients, of which only those in sight are elements of the page. */
export class Studies {
  /** @param {(image: Listed) => void} onChoose */
  constructor(onChoose) {
    this.onChoose = onChoose;
    /** @type {Listed[][]} */
    this.patients = [];
    this.chosen = this.patients;
    this.open = "";
    element("studies-box").addEventListener("scroll", () => this.#draw());
    new ResizeObserver(() => this.#draw()).observe(element("studies-box"));
    for (const [id, event] of [["search", "input"], ["filter", "change"]]) {
      element(id).addEventListener(event, () => {
        element("studies-box").scrollTop = 0;
        this.#choose();
      });
    }
  }

  /** @param {{images: Listed[], notRead: string[]}} found - as from `listed` */
  show({ images, notRead }) {
    element("not-read").hidden = !notRead.length;
    element("not-read-count").textContent = `${notRead.length} ${notRead.length > 1 ? "files" : "file"} could not be read`;
    element("not-read-list").replaceChildren(...notRead.map((text) => made("li", text)));
    const patients = new Map();
    for (const image of images) {
      const key = image.partner ? [image.id, image.partner].sort().join() : image.id;
      patients.set(key, [...(patients.get(key) ?? []), image]);
    }
    this.patients = [...patients.values()];
    this.#choose();
  }

  /** Mark the image that is open, `""` for none. */
  mark(/** @type {string} */ id) {
    this.open = id;
    for (const button of element("studies").querySelectorAll("button")) {
      button.setAttribute("aria-current", button.dataset.id === id ? "true" : "false");
    }
  }

  #choose() {
    const words = element("search").value.toLowerCase().split(/\s+/).filter(Boolean);
    const kind = element("filter").value;
    this.chosen = this.patients.filter((group) => {
      const text = group.map((image) => `${image.patient} ${image.id}`).join(" ").toLowerCase();
      const isDone = group.every((image) => image.labels.includes("final"));
      return words.every((word) => text.includes(word)) && (kind === "all" || isDone === (kind === "done"));
    });
    const [found, all] = [this.chosen.length, this.patients.length].map((count) => count.toLocaleString("en"));
    element("studies-count").textContent = !this.patients.length ? "None yet" : found === all ? "" : `${found} of ${all}`;
    this.#draw();
  }

  #draw() {
    const height = ROW_REM * parseFloat(getComputedStyle(document.documentElement).fontSize);
    const box = element("studies-box");
    const first = Math.max(0, Math.floor(box.scrollTop / height) - BEYOND);
    const last = Math.ceil((box.scrollTop + box.clientHeight) / height) + BEYOND;
    const focused = document.activeElement instanceof HTMLButtonElement && document.activeElement.dataset.id;
    element("studies").style.height = `${this.chosen.length * ROW_REM}rem`;
    const rows = this.chosen.slice(first, last).map((group, number) => {
      const line = row(group, this.onChoose);
      line.style.top = `${(first + number) * ROW_REM}rem`;
      line.setAttribute("aria-posinset", `${first + number + 1}`);
      line.setAttribute("aria-setsize", `${this.chosen.length}`);
      return line;
    });
    element("studies").replaceChildren(...rows);
    this.mark(this.open);
    // Whoever is in the list by keyboard stays there.
    for (const button of focused ? element("studies").querySelectorAll("button") : []) {
      if (button.dataset.id === focused) button.focus({ preventScroll: true });
    }
  }
}

/** @param {Listed[]} group @param {(image: Listed) => void} onChoose */
function row(group, onChoose) {
  const line = made("li");
  const name = made("span", group[0].patient);
  name.title = group.map((image) => image.id).join(", ");
  line.append(name);
  for (const image of group) {
    const button = made("button");
    button.type = "button";
    button.dataset.id = image.id;
    button.textContent = image.phase ?? "open";
    const state = image.labels.includes("final") ? ", has a label" : "";
    button.setAttribute("aria-label", `${image.patient} ${image.phase ?? ""}${state}`);
    button.classList.toggle("labelled", state !== "");
    button.addEventListener("click", () => onChoose(image));
    line.append(button);
  }
  return line;
}
