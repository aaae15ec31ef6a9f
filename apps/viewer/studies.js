// The list of studies, patient by patient.

import { ask } from "./api.js";
import { element } from "./page.js";

/** Images of the server's folder: id to what is known of each. */
export async function listed() {
  const { objects } = await (await ask("/datastore/", { output: "all" })).json();
  return Object.entries(objects).map(([id, { image, labels }]) => ({
    id,
    ...image.info,
    labels: Object.keys(labels),
  }));
}

/**
 * Show the list.
 * @param {object[]} images - as from `listed`
 * @param {(image: object) => void} onChoose
 */
export function showStudies(images, onChoose) {
  const patients = new Map();
  for (const image of images) {
    const key = image.partner ? [image.id, image.partner].sort().join() : image.id;
    patients.set(key, [...(patients.get(key) ?? []), image]);
  }
  const rows = [...patients.values()].map((group) => row(group, onChoose));
  const focused = document.activeElement?.dataset.id;
  element("studies").replaceChildren(...rows);
  if (!rows.length) element("studies").textContent = "None yet";
  // Whoever is in the list by keyboard stays there.
  if (focused) element("studies").querySelector(`[data-id="${CSS.escape(focused)}"]`)?.focus();
}

/** Mark the image that is open, `""` for none. */
export function markOpen(id) {
  for (const button of element("studies").querySelectorAll("button")) {
    button.setAttribute("aria-current", button.dataset.id === id ? "true" : "false");
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
