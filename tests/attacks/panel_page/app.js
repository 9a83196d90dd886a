export const toasts = [], tabs = [], questions = [];
export const app = {
  registerExtension: (one) => { app.extension = one; },
  extensionManager: {
    toast: { add: (one) => toasts.push(one) },
    registerSidebarTab: (one) => tabs.push(one),
    dialog: { confirm: async (one) => { questions.push(one); return true; } },
  },
};
