// When something about the characters may have changed, whoever has changed it.

import { api } from "../../../scripts/api.js";

const PAUSE = 300; // ms; changes that come together are looked at once, and many in a row now and then

/** Calls `run` soon after each of the server's words that the library changed, and after the events in `also`. */
export function onLibraryChange(run, also = []) {
  let later;
  const soon = () => {
    later ??= setTimeout(() => {
      later = undefined;
      run();
    }, PAUSE);
  };
  const heard = (event) => {
    if (event.type !== "status" || event.detail) soon(); // without one, ComfyUI does not answer
  };
  const events = ["likeness.changed", ...also];
  for (const name of events) api.addEventListener(name, heard);
  function stop() {
    clearTimeout(later);
    for (const name of events) api.removeEventListener(name, heard);
  }
  return { soon, stop };
}
