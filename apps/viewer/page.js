// The elements of the page, and what it says.

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
 * Run something that may fail, with a note while it runs.
 * @param {string} doing - what the reader is told meanwhile
 * @param {() => Promise<string>} work - resolves to what is said when it is done
 */
export async function during(doing, work) {
  complain("");
  say(doing);
  element("main").setAttribute("aria-busy", "true");
  try {
    say(await work());
  } catch (error) {
    say("");
    complain(error.message);
  } finally {
    element("main").removeAttribute("aria-busy");
  }
}
