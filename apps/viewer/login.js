// The login form, shown when the server asks who is there.

import { ask, enter, onLogin } from "./api.js";
import { element, reason } from "./page.js";

/** @type {Promise<void> | null} */
let waiting = null;

/** Show the form whenever a login has ended. */
export function prepareLogin() {
  onLogin(logIn);
}

/** Show the form at the start if this server has logins. */
export async function loggedIn() {
  const { enabled } = await (await ask("/auth/")).json();
  if (enabled) await logIn();
}

function logIn() {
  return (waiting ??= new Promise(show).finally(() => {
    waiting = null;
  }));
}

/** @param {(value?: any) => void} done @param {(error: Error) => void} refused */
function show(done, refused) {
  const dialog = element("login");
  const fields = element("login-form");
  fields.onsubmit = async (event) => {
    event.preventDefault();
    try {
      await enter(element("login-name").value, element("login-password").value);
    } catch (error) {
      element("login-problem").textContent = reason(error);
      return;
    }
    element("login-password").value = element("login-problem").textContent = "";
    dialog.onclose = null;
    dialog.close();
    done();
  };
  dialog.onclose = () => refused(new Error("Log in to go on."));
  dialog.showModal();
}
