// The panel's way to the server, and to ComfyUI's own upload.

import { api } from "../../../scripts/api.js";
import { t } from "./words.mjs";

/** What went wrong, in the server's own sentence. */
export class Failed extends Error {}

/** The answer's JSON. Failed for a refusal, for no answer, and for one that is none of ComfyUI's: a proxy's page, say. */
async function answered(asking) {
  let response;
  try {
    response = await asking;
  } catch {
    throw new Failed(t("ComfyUI does not answer: is it still running?"));
  }
  const body = await response.json().catch(() => undefined);
  if (response.ok && body) return body;
  const error = body?.error; // ours is a sentence, that of ComfyUI's queue an object
  const text = typeof error === "string" ? error : [error?.message, error?.details].filter(Boolean).join(": ");
  throw new Failed(text || `The server answered ${response.status}.`);
}

export async function get(path) {
  return answered(api.fetchApi(`/likeness/${path}`));
}

export async function post(path, body = {}) {
  return answered(
    api.fetchApi(`/likeness/${path}`, {
      method: "POST",
      headers: { "Content-Type": "application/json", "X-Likeness": "1" },
      body: JSON.stringify({ ...body, client_id: api.clientId ?? "" }),
    }),
  );
}

/** Whether what is deleted is gone for good; undefined, and said, where the server does not tell. */
export async function deletesForGood(panel) {
  try {
    return (await get("settings")).delete_for_good;
  } catch (error) {
    panel.told("error", error.message);
    return undefined;
  }
}

/** The address of a reference's picture; `tag` changes with it, so that a changed one is fetched anew. */
export function picture(slug, tag, { reference, size = 128, box = false } = {}) {
  const query = new URLSearchParams({ size, v: tag });
  if (reference !== undefined) query.set("reference", reference);
  if (box) query.set("box", "1");
  return api.apiURL(`/likeness/characters/${slug}/thumbnail?${query}`);
}

/** The address of a file that ComfyUI itself serves: {filename, subfolder, type}. */
export function view({ filename, subfolder, type }) {
  return api.apiURL(`/view?${new URLSearchParams({ filename, subfolder, type })}`);
}

/** Puts files into ComfyUI's input folder for one request, which deletes them; gives their names there. */
export async function upload(files) {
  const lot = [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  const subfolder = `likeness/uploads/${lot}`;
  const names = [];
  for (const file of files) {
    const form = new FormData();
    form.append("image", file);
    form.append("subfolder", subfolder);
    const told = await answered(api.fetchApi("/upload/image", { method: "POST", body: form }));
    names.push(told.subfolder ? `${told.subfolder}/${told.name}` : told.name);
  }
  return names;
}

/** Queues a graph in API format, as the editor's own button does. */
export async function queue(prompt) {
  return answered(
    api.fetchApi("/prompt", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ prompt, client_id: api.clientId }),
    }),
  );
}
