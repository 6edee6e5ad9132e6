// A row's button runs a whole life of a security key with the row's options: assign, sign out, sign in, remove.
"use strict";

async function form(path, fields) {
  const response = await fetch(path, { method: "POST", body: new URLSearchParams(fields) });
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  const refusal = page.querySelector("#refusal");
  if (refusal) throw Object.assign(new Error(refusal.textContent), { name: "Refused" });
  return page;
}

async function ceremony(kind, options, finish) {
  const publicKey = (await post(options)).publicKey;
  const credential = await ceremonies[kind](publicKey);
  await post(finish, credential.toJSON());
  return credential;
}

// Bit 2 of the flags, which come after the hash of the RP ID, tells of user verification.
function verified(authenticatorData) {
  return new Uint8Array(authenticatorData)[32] & 4 ? "UV" : "no UV";
}

async function life(user, options) {
  const name = "bench";
  const signIn = () => form("/signin/iam", user);
  let steps = "";
  await form("/settings", options);
  await form("/signout", {});
  try {
    await signIn();
    await form("/iam/mfa/assign", { user: user.user, name, type: "key" });
    const made = await ceremony("create", "/iam/mfa/key/options", "/iam/mfa/key");
    const page = new DOMParser().parseFromString(
      await (await fetch("/iam/security-credentials")).text(), "text/html");
    const { attestation } = page.querySelector(`[data-device=${name}] .key`).dataset;
    const response = made.response;
    steps = `${attestation}, alg ${response.getPublicKeyAlgorithm()}, ${verified(response.getAuthenticatorData())}`;
    await form("/signout", {});
    await signIn();
    const got = await ceremony("get", "/signin/mfa/options", "/signin/mfa/key");
    steps += `; signed in, ${verified(got.response.authenticatorData)}`;
    await form("/iam/mfa/remove", { user: user.user, device: name });
    return [true, steps];
  } catch (error) {
    return [false, `${steps && `${steps}; then `}${error.name}: ${error.message}`];
  } finally {
    // The session may stand half way, where nothing can be removed: the settings page can.
    await form("/settings/forget", { user: user.user });
    await form("/signout", {});
  }
}

async function runRow(row) {
  const { attestation, userVerification, residentKey, algorithms } = row.dataset;
  const table = row.closest("table").dataset;
  const result = row.querySelector(".result");
  row.dataset.state = "running";
  result.textContent = "…";
  const [good, text] = await life(
    { account: table.account, user: table.user, password: table.password },
    { attestation, user_verification: userVerification, resident_key: residentKey, algorithms,
      app_id: table.appId, certification: "" });
  result.textContent = text;
  row.dataset.state = good ? "passed" : "failed";
}

for (const row of document.querySelectorAll("#bench tr[data-attestation]")) {
  row.querySelector("button").addEventListener("click", () => runRow(row));
}
document.getElementById("all").addEventListener("click", async () => {
  for (const row of document.querySelectorAll("#bench tr[data-attestation]")) await runRow(row);
});
