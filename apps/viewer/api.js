// Requests to the server that the page came from.

let token = "";
let logIn = async () => {};
/** @type {AbortSignal | null} */
let signal = null;

/** What the server refused, in its own words. */
export class Refusal extends Error {
  /** @param {number} status @param {string} text @param {Record<string, any>} told */
  constructor(status, text, told = {}) {
    super(text);
    this.status = status;
    this.told = told; // the facts that came with it
  }
}

/** What to do when the server asks who is there: it resolves when somebody has logged in. */
export function onLogin(ask) {
  logIn = ask;
}

/** Requests from now on end with a signal; those with `signal: null` among their options do not. */
export function endWith(found) {
  signal = found;
}

/** Log in; the token is kept for as long as the page is open and nowhere else. */
export async function enter(username, password) {
  const body = new URLSearchParams({ username, password });
  const answer = await send("/auth/token", { method: "POST", body });
  token = (await answer.json()).access_token ?? "";
}

/**
 * Ask the server.
 * @param {string} path
 * @param {Record<string, string>} [query]
 * @param {RequestInit} [options]
 * @returns {Promise<Response>}
 */
export async function ask(path, query = {}, options = {}) {
  const url = `${path}?${new URLSearchParams(query)}`;
  try {
    return await send(url, options);
  } catch (error) {
    if (!(error instanceof Refusal) || error.status !== 401) throw error;
    await logIn();
    return send(url, options);
  }
}

async function send(url, options) {
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  let answer;
  try {
    answer = await fetch(url, { signal, ...options, headers });
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new Refusal(0, "The server does not answer. Is it still running?");
  }
  if (answer.ok) return answer;
  const told = await answer.json().catch(() => ({}));
  const detail = typeof told.detail === "string" ? told.detail : `the server answered ${answer.status}`;
  throw new Refusal(answer.status, detail[0].toUpperCase() + detail.slice(1) + ".", told);
}

/**
 * A form with files; of a file also its name.
 * @param {Record<string, string | [Blob, string]>} fields
 */
export function form(fields) {
  const made = new FormData();
  for (const [name, value] of Object.entries(fields)) {
    if (Array.isArray(value)) made.append(name, value[0], value[1]);
    else made.append(name, value);
  }
  return made;
}

/**
 * Measures, and the label map as .nii.gz.
 * @typedef {{told: import("./numbers.js").Told, file: Blob}} Found
 */

/**
 * What a model finds.
 * @param {string} model
 * @param {Record<string, string>} source - what names the image
 * @param {object} [params]
 * @param {Blob | null} [mask] - the contours to go on from, as .nii.gz
 * @returns {Promise<Found>}
 */
export async function infer(model, source, params = {}, mask = null) {
  const fields = { params: JSON.stringify({ ...params, result_extension: ".nii.gz" }) };
  const body = form(mask ? { ...fields, label: [mask, "label.nii.gz"] } : fields);
  return parts(await ask(`/infer/${model}`, source, { method: "POST", body }));
}

/**
 * Measures and label map of an answer that holds both.
 * @param {Response} answer
 * @returns {Promise<Found>}
 */
export async function parts(answer) {
  const found = await answer.formData();
  return { told: JSON.parse(/** @type {string} */ (found.get("params"))), file: /** @type {File} */ (found.get("image")) };
}

/** What a model measures, without the label map. */
export async function measure(model, source, params = {}) {
  const body = form({ params: JSON.stringify(params) });
  const query = { ...source, output: "json" };
  return (await ask(`/infer/${model}`, query, { method: "POST", body })).json();
}
