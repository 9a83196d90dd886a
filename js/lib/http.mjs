// The panel's way to the server, and to ComfyUI's own upload.

import { api } from "../../../scripts/api.js";

/** What went wrong, in the server's own sentence. */
export class Failed extends Error {}

async function answered(response) {
  let body = {};
  try {
    body = await response.json();
  } catch {
    // a proxy's page, or nothing
  }
  if (!response.ok) throw new Failed(body.error ?? `The server answered ${response.status}.`);
  return body;
}

export async function get(path) {
  return answered(await api.fetchApi(`/likeness/${path}`));
}

export async function post(path, body = {}) {
  return answered(
    await api.fetchApi(`/likeness/${path}`, {
      method: "POST",
      headers: { "Content-Type": "application/json", "X-Likeness": "1" },
      body: JSON.stringify({ ...body, client_id: api.clientId ?? "" }),
    }),
  );
}

/** The address of a reference's picture; `tag` changes with it, so that a changed one is fetched anew. */
export function picture(slug, tag, { reference, size = 128, box = false } = {}) {
  const query = new URLSearchParams({ size, v: tag });
  if (reference !== undefined) query.set("reference", reference);
  if (box) query.set("box", "1");
  return api.apiURL(`/likeness/characters/${slug}/thumbnail?${query}`);
}

/** Puts files into ComfyUI's input folder; gives their names there. */
export async function upload(files, subfolder = "likeness") {
  const names = [];
  for (const file of files) {
    const form = new FormData();
    form.append("image", file);
    form.append("subfolder", subfolder);
    const told = await answered(await api.fetchApi("/upload/image", { method: "POST", body: form }));
    names.push(told.subfolder ? `${told.subfolder}/${told.name}` : told.name);
  }
  return names;
}

/** Queues a graph in API format, as the editor's own button does. */
export async function queue(prompt) {
  return answered(
    await api.fetchApi("/prompt", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ prompt, client_id: api.clientId }),
    }),
  );
}
