// The elements of the page, and what it says.

import { endWith } from "./api.js";

export const element = (id) => document.getElementById(id);

/** What goes on, for the eye and for screen readers. */
export function say(text) {
  element("status").textContent = text;
}

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
 * Run something that may fail, with a note while it runs, and after a second how long it has run.
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
  const began = performance.now();
  const clock = setInterval(() => {
    element("elapsed").textContent = `${Math.round((performance.now() - began) / 1000)} s`;
    element("cancel").hidden = !canEnd;
  }, 1000);
  try {
    say(await work());
  } catch (error) {
    say(ending.signal.aborted ? "Cancelled" : "");
    if (!ending.signal.aborted) complain(error.message);
  } finally {
    clearInterval(clock);
    endWith(null);
    element("elapsed").textContent = "";
    element("cancel").hidden = true;
    element("main").removeAttribute("aria-busy");
  }
}
