// verify.mjs FILE…: SimpleWebAuthn judges the ceremonies that browsers made with the key, as verify.py has other verifiers
// do. Prints a line for each file. Exit status: 0 if nothing failed.

import { readFileSync } from "node:fs";
import { basename } from "node:path";
import { verifyAuthenticationResponse, verifyRegistrationResponse } from "@simplewebauthn/server";

const decode = (text) => new Uint8Array(Buffer.from(text, "base64url"));
const encode = (bytes) => Buffer.from(bytes).toString("base64url");

function flip(response, part, at) {
  const altered = structuredClone(response);
  const bytes = decode(altered.response[part]);
  bytes[at < 0 ? bytes.length + at : at] ^= 1;
  altered.response[part] = encode(bytes);
  return altered;
}

// One bit changed, in each place where a verifier has to notice.
function* alterations({ kind, response }) {
  const challenge = Buffer.from(decode(response.response.clientDataJSON)).indexOf('"challenge":"') + 20;
  yield ["client data", flip(response, "clientDataJSON", challenge)];
  if (kind === "get") {
    yield ["hash of the RP ID", flip(response, "authenticatorData", 3)];
    yield ["signature count", flip(response, "authenticatorData", 36)];
    yield ["signature", flip(response, "signature", 20)];
  } else {
    const object = Buffer.from(decode(response.response.attestationObject));
    // The authenticator data follows its name and a head of two or three bytes; its first bytes hash the RP ID.
    const start = object.indexOf("authData") + "authData".length;
    yield ["hash of the RP ID", flip(response, "attestationObject", start + 6)];
    const sig = object.indexOf("csig");
    if (sig >= 0) yield ["attestation's signature", flip(response, "attestationObject", sig + 30)];
  }
}

async function judge(path) {
  const registered = new Map();
  let [created, got, refused] = [0, 0, 0];
  for (const line of readFileSync(path, "utf8").trim().split("\n")) {
    const record = JSON.parse(line);
    if (!record.accepted) continue;
    const options = record.options.publicKey;
    const known = registered.get(record.response.id);
    const verify = async (response) => {
      const common = {
        response,
        expectedChallenge: options.challenge,
        expectedOrigin: record.origin,
        expectedRPID: "localhost",
        requireUserVerification:
          (options.authenticatorSelection ?? options).userVerification === "required",
      };
      return record.kind === "create"
        ? verifyRegistrationResponse(common)
        : verifyAuthenticationResponse({ ...common, credential: known });
    };
    const result = await verify(record.response);
    if (!result.verified) throw new Error(`${record.kind} refused`);
    for (const [place, altered] of alterations(record)) {
      const verified = await verify(altered).then((result) => result.verified, () => false);
      if (verified) throw new Error(`accepted a ${record.kind} with one bit of the ${place} changed`);
      refused += 1;
    }
    if (record.kind === "create") {
      created += 1;
      registered.set(record.response.id, result.registrationInfo.credential);
    } else {
      got += 1;
      known.counter = result.authenticationInfo.newCounter;
    }
  }
  if (!created || !got) throw new Error("nothing to judge");
  return `${created} registrations and ${got} sign-ins accepted, ${refused} altered ones refused`;
}

for (const path of process.argv.slice(2)) {
  const name = `simplewebauthn-${basename(path).replace(/^ceremonies-|\.jsonl$/g, "")}`;
  try {
    console.log(`ok ${name}: ${await judge(path)}`);
  } catch (error) {
    process.exitCode = 1;
    console.log(`FAILED ${name}: ${error.message.replaceAll("\n", " ")}`);
  }
}
