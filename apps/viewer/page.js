// The elements of the page, and what it says.

import { endWith } from "./api.js";

/**
 * What the elements are that have more than an `HTMLElement`, by id.
 * @typedef {Record<"cancel" | "download" | "measure" | "pair" | "play" | "redo" | "save" | "segment" | "show-history" | "undo" | "zoom", HTMLButtonElement>
 *   & Record<"fill" | "frame" | "heat-strength" | "login-name" | "login-password" | "note" | "one-slice" | "search" | "size" | "window-level" | "window-width", HTMLInputElement>
 *   & Record<"filter" | "heat-method" | "history-list" | "model" | "report" | "shown" | "window", HTMLSelectElement>
 *   & Record<"beside-canvas" | "beside-lines" | "canvas" | "lines", HTMLCanvasElement>
 *   & Record<"heat" | "picture", HTMLImageElement>
 *   & Record<"history" | "keys" | "login" | "question" | "stale", HTMLDialogElement>
 *   & Record<"login-form" | "reading", HTMLFormElement>
 *   & Record<"clicks", HTMLFieldSetElement>} Kinds
 */

/**
 * An element of the page, which must be there.
 * @template {string} Id
 * @param {Id} id
 * @returns {Id extends keyof Kinds ? Kinds[Id] : HTMLElement}
 */
export function element(id) {
  return /** @type {any} */ (document.getElementById(id));
}

/** The buttons that choose one of several things, and what is chosen of them, by the name that they share. */
export const choices = (/** @type {string} */ name) =>
  /** @type {HTMLInputElement[]} */ ([...document.querySelectorAll(`[type=radio][name=${name}]`)]);
export const chosen = (/** @type {string} */ name) => choices(name).find(({ checked }) => checked)?.value ?? "";

/** Show a button as pressed or not. */
export function press(/** @type {Element} */ button, /** @type {boolean} */ isOn) {
  button.setAttribute("aria-pressed", `${isOn}`);
}

/**
 * A new element of a kind, with text.
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 */
export function made(tag, text = "") {
  const found = document.createElement(tag);
  found.textContent = text;
  return found;
}

/** What goes on, for the eye and for screen readers. */
export function say(text) {
  element("status").textContent = text;
}

/** What an error says. */
export const reason = (/** @type {unknown} */ error) => (error instanceof Error ? error.message : `${error}`);

/** What went wrong and what to do about it; "" once it is over. */
export function complain(text) {
  const place = element("problem");
  place.textContent = text;
  place.hidden = !text;
}

/**
 * Ask the reader before something cannot be taken back.
 * @param {string} question
 * @param {string} yes - what the button says that goes on
 * @returns {Promise<boolean>} whether to go on
 */
export function confirmed(question, yes) {
  const dialog = element("question");
  element("question-text").textContent = question;
  element("question-yes").textContent = yes;
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((done) => {
    dialog.onclose = () => done(dialog.returnValue === "yes");
  });
}

/**
 * Run something that may fail, with a note while it runs, and after a second how long it has run. While a
 * dialog waits for the reader nothing runs, so that no seconds count and nothing can be ended.
 * @param {string} doing - what the reader is told meanwhile
 * @param {() => Promise<string>} work - resolves to what is said when it is done
 * @param {boolean} canEnd - whether the reader may end it
 */
export async function during(doing, work, canEnd = true) {
  complain("");
  say(doing);
  element("main").setAttribute("aria-busy", "true");
  const ending = new AbortController();
  if (canEnd) endWith(ending.signal);
  element("cancel").onclick = () => ending.abort();
  let seconds = 0;
  const clock = setInterval(() => {
    if (document.querySelector("dialog[open]")) return;
    element("elapsed").textContent = `${++seconds} s`;
    element("cancel").hidden = !canEnd;
  }, 1000);
  try {
    say(await work());
  } catch (error) {
    say(ending.signal.aborted ? "Cancelled" : "");
    if (!ending.signal.aborted) complain(reason(error));
  } finally {
    clearInterval(clock);
    endWith(null);
    element("elapsed").textContent = "";
    element("cancel").hidden = true;
    element("main").removeAttribute("aria-busy");
  }
}
