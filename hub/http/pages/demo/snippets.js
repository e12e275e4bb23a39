// "View source": the lines of code behind a feature, as the documents have them.
// tests/pages/test_snippets.py checks that each one is in its document.

import { $ } from "./dom.js";

export const SNIPPETS = {
  connection: ["The connection", "docs/clients/javascript.md", "js", `hub.on("state", ({ state, retryAt }) => badge(state, retryAt));`],
  chats: ["The list of answers", "docs/guides/chat.md", "sh", `curl 'http://localhost:8080/generations?user=alice&chat=c-17&limit=20'`],
  notifications: ["Notifications", "docs/clients/javascript.md", "js", `hub.on("notification", ({ data }) => show(data.title));`],
  topic: ["A shared topic", "docs/guides/chat.md", "js", `const hub = connect({ user: "alice", topics: ["room:1"] });
for await (const { text } of hub.ask({ prompt: "why is the sky blue?", to: { topic: "room:1" } })) console.log(text);`],
  devices: ["The same answer elsewhere", "docs/clients/javascript.md", "js", `const joined = hub.join(sessionStorage.getItem("generation"));
for await (const { text } of joined) box.textContent = text;`],
  answer: ["An answer", "docs/clients/javascript.md", "js", `const answer = hub.ask("why is the sky blue?"); // or the body of POST /generations
stopButton.onclick = () => answer.stop();

for await (const { text } of answer) box.textContent = text;`],
  break: ["Lost and repeated events", "docs/guides/demo-page.md", "js", `if (i < next) this.twice += 1;
else this.lost += i - next;`],
  input: ["Approve and deny", "docs/clients/javascript.md", "js", `asking.onInput(async ({ prompt, options, respond, settled }) => {
  const dialog = openDialog(prompt, options, respond); // yours; a button calls respond("approve")
  const { state, value, by } = await settled; // also if another tab was faster
  dialog.close(state === "received" ? \`\${by}: \${value}\` : state);
});`],
};

export function startSnippets() {
  addEventListener("click", ({ target }) => {
    const name = target.closest?.("[data-snippet]")?.dataset.snippet;
    if (name) show(...SNIPPETS[name]);
  });
}

async function show(title, page, language, code) {
  const { MarkdownView } = await import("./markdown.js");
  $("snippet-code").replaceChildren();
  $("snippet-title").textContent = title;
  $("snippet-page").textContent = page;
  new MarkdownView($("snippet-code")).update(`\`\`\`${language}\n${code}\n\`\`\``);
  $("snippet").showModal();
}
