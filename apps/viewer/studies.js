// The list of studies, patient by patient.

import { ask } from "./api.js";
import { element } from "./page.js";

/** Images of the server's folder: id to what is known of each. */
export async function listed() {
  const { objects } = await (await ask("/datastore/", { output: "all" }, { signal: null })).json();
  return Object.entries(objects).map(([id, { image, labels }]) => ({
    id,
    ...image.info,
    labels: Object.keys(labels),
  }));
}

const ROW_REM = 2.5;
const BEYOND = 10; // rows that are there above and below those that are seen, for Tab

/** The list of patients, of which only those in sight are elements of the page. */
export class Studies {
  /** @param {(image: object) => void} onChoose */
  constructor(onChoose) {
    this.onChoose = onChoose;
    this.patients = this.chosen = [];
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

  /** @param {object[]} images - as from `listed` */
  show(images) {
    const patients = new Map();
    for (const image of images) {
      const key = image.partner ? [image.id, image.partner].sort().join() : image.id;
      patients.set(key, [...(patients.get(key) ?? []), image]);
    }
    this.patients = [...patients.values()];
    this.#choose();
  }

  /** Mark the image that is open, `""` for none. */
  mark(id) {
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
    const focused = document.activeElement?.dataset.id;
    element("studies").style.height = `${this.chosen.length * ROW_REM}rem`;
    const rows = this.chosen.slice(first, last).map((group, number) => {
      const made = row(group, this.onChoose);
      made.style.top = `${(first + number) * ROW_REM}rem`;
      made.setAttribute("aria-posinset", first + number + 1);
      made.setAttribute("aria-setsize", this.chosen.length);
      return made;
    });
    element("studies").replaceChildren(...rows);
    this.mark(this.open);
    // Whoever is in the list by keyboard stays there.
    if (focused) element("studies").querySelector(`[data-id="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
  }
}

function row(group, onChoose) {
  const made = document.createElement("li");
  const name = document.createElement("span");
  name.textContent = group[0].patient;
  name.title = group.map((image) => image.id).join(", ");
  made.append(name);
  for (const image of group) {
    const button = document.createElement("button");
    button.type = "button";
    button.dataset.id = image.id;
    button.textContent = image.phase ?? "open";
    const state = image.labels.includes("final") ? ", has a label" : "";
    button.setAttribute("aria-label", `${image.patient} ${image.phase ?? ""}${state}`);
    button.classList.toggle("labelled", state !== "");
    button.addEventListener("click", () => onChoose(image));
    made.append(button);
  }
  return made;
}
