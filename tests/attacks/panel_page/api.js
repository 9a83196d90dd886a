export const asked = [], listeners = [];
export const api = {
  clientId: 'me',
  answer: async () => new Response('{}'),
  fetchApi: (path, options) => { asked.push([path, options]); return api.answer(path, options); },
  apiURL: (path) => path,
  addEventListener: (name, run) => listeners.push([name, run]),
  removeEventListener: (name, run) => listeners.splice(listeners.findIndex(([n, r]) => n === name && r === run), 1),
};
