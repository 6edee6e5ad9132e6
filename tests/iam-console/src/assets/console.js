// A button with data-ceremony runs a WebAuthn ceremony: it fetches options, has the browser ask the key, and posts what
// comes of it. Errors stay on the page, in #status.
"use strict";

let running = null;

async function post(path, body) {
  const response = await fetch(path, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body ?? null),
  });
  const answer = await response.json();
  if (!response.ok) throw Object.assign(new Error(answer.error), { name: "Refused" });
  return answer;
}

const ceremonies = {
  create: async (publicKey, signal) => navigator.credentials.create({
    publicKey: PublicKeyCredential.parseCreationOptionsFromJSON(publicKey), signal,
  }),
  get: async (publicKey, signal) => navigator.credentials.get({
    publicKey: PublicKeyCredential.parseRequestOptionsFromJSON(publicKey), signal,
  }),
};

async function run(button) {
  const status = document.getElementById("status");
  const cancel = document.getElementById("cancel");
  status.textContent = "";
  delete status.dataset.error;
  running = new AbortController();
  button.disabled = true;
  cancel.hidden = false;
  try {
    const options = await post(button.dataset.options);
    const credential = await ceremonies[button.dataset.ceremony](options.publicKey, running.signal);
    const answer = await post(button.dataset.finish, credential.toJSON());
    location.assign(answer.next);
  } catch (error) {
    status.dataset.error = error.name;
    status.textContent = error.name === "Refused" ? error.message : `${error.name}: ${error.message}`;
  } finally {
    button.disabled = false;
    cancel.hidden = true;
  }
}

for (const button of document.querySelectorAll("button[data-ceremony]")) {
  button.addEventListener("click", () => run(button));
}
document.getElementById("cancel")?.addEventListener("click", () => running?.abort());
