// When something about the characters may have changed, whoever has changed it.

import { api } from "../../../scripts/api.js";

const PAUSE = 300; // ms; changes that come together are looked at once, and many in a row now and then

/**
 * Calls `run` soon after each of the server's words that the library changed, and after the events in `also`; never
 * before the promise of an earlier call has settled, so that a slow server's answer is not given up for the next one.
 */
export function onLibraryChange(run, also = []) {
  let later;
  let running = false;
  let again = false;
  let stopped = false;
  function soon() {
    if (running) again = true;
    else if (!stopped) later ??= setTimeout(look, PAUSE);
  }
  async function look() {
    later = undefined;
    running = true;
    try {
      await run();
    } finally {
      running = false;
      if (again) soon();
      again = false;
    }
  }
  const heard = (event) => {
    if (event.type !== "status" || event.detail) soon(); // without one, ComfyUI does not answer
  };
  const events = ["likeness.changed", ...also];
  for (const name of events) api.addEventListener(name, heard);
  function stop() {
    stopped = true;
    clearTimeout(later);
    for (const name of events) api.removeEventListener(name, heard);
  }
  return { soon, stop };
}
