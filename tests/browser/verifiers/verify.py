"""verify.py FILE…: python-fido2, py_webauthn and libfido2's tools judge the ceremonies that browsers made with the key, as
the stand-in of the IAM console recorded them (tests/iam-console/src/record.rs).

Each verifier must accept all that the stand-in accepted, and refuse the same with one bit changed. Prints a line for each
verifier and file. Exit status: 0 if nothing failed.
"""

import base64
import copy
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass

import cbor2
import webauthn
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from fido2.attestation import Attestation
from fido2.server import Fido2Server
from fido2.webauthn import (
    AttestationObject,
    AttestedCredentialData,
    AuthenticationResponse,
    AuthenticatorData,
    PublicKeyCredentialRpEntity,
    RegistrationResponse,
    UserVerificationRequirement,
)

RP_ID = "localhost"


def decode(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def encode(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@dataclass
class Ceremony:
    """A line of the record, and what has to be known from before."""

    kind: str
    origin: str
    options: dict
    response: dict
    # For a sign-in: the registration's authenticator data, and the last signature count.
    registered: bytes = b""
    count: int = 0

    @property
    def challenge(self):
        return decode(self.options["challenge"])

    @property
    def uv(self):
        selection = self.options.get("authenticatorSelection", self.options)
        return selection["userVerification"]

    def part(self, name):
        return decode(self.response["response"][name])

    def with_part(self, name, data):
        changed = copy.deepcopy(self)
        changed.response["response"][name] = encode(data)
        return changed

    @property
    def attestation(self):
        return cbor2.loads(self.part("attestationObject"))

    def altered(self):
        """The same with one bit changed, in each place where a verifier has to notice."""
        client_data = bytearray(self.part("clientDataJSON"))
        client_data[client_data.index(b'"challenge":"') + 20] ^= 1
        yield "client data", self.with_part("clientDataJSON", bytes(client_data))
        if self.kind == "get":
            for name, at in (("authenticatorData", 3), ("authenticatorData", 36), ("signature", 20)):
                data = bytearray(self.part(name))
                data[at] ^= 1
                yield f"{name} byte {at}", self.with_part(name, bytes(data))
            return
        # Without attestation nothing but the hash of the RP ID can be checked.
        signed = self.attestation["fmt"] == "packed"
        for at in (3, 36, 60) if signed else (3,):
            attestation = self.attestation
            data = bytearray(attestation["authData"])
            data[at] ^= 1
            attestation["authData"] = bytes(data)
            yield f"authData byte {at}", self.with_part("attestationObject", cbor2.dumps(attestation))
        if signed:
            attestation = self.attestation
            signature = bytearray(attestation["attStmt"]["sig"])
            signature[20] ^= 1
            attestation["attStmt"]["sig"] = bytes(signature)
            yield "attestation's signature", self.with_part("attestationObject", cbor2.dumps(attestation))


def read(path):
    """The ceremonies that the stand-in accepted."""
    registered, counts = {}, {}
    with open(path) as file:
        for line in file:
            record = json.loads(line)
            if not record["accepted"]:
                continue
            ceremony = Ceremony(record["kind"], record["origin"], record["options"]["publicKey"], record["response"])
            identity = ceremony.response["id"]
            if ceremony.kind == "create":
                registered[identity] = ceremony.attestation["authData"]
                counts[identity] = 0
            else:
                ceremony.registered, ceremony.count = registered[identity], counts[identity]
                counts[identity] = int.from_bytes(ceremony.part("authenticatorData")[33:37], "big")
            yield ceremony


def credential_data(auth_data):
    # After hash, flags and counter; in front of extensions.
    return AttestedCredentialData.unpack_from(auth_data[37:])[0]


def py_webauthn(ceremony):
    common = {
        "credential": ceremony.response,
        "expected_challenge": ceremony.challenge,
        "expected_rp_id": RP_ID,
        "expected_origin": ceremony.origin,
        "require_user_verification": ceremony.uv == "required",
    }
    if ceremony.kind == "create":
        webauthn.verify_registration_response(**common)
    else:
        webauthn.verify_authentication_response(
            **common,
            credential_public_key=cbor2.dumps(dict(credential_data(ceremony.registered).public_key)),
            credential_current_sign_count=ceremony.count)


def python_fido2(ceremony):
    server = Fido2Server(PublicKeyCredentialRpEntity(name="A site", id=RP_ID),
                         verify_origin=lambda origin: origin == ceremony.origin)
    state = {"challenge": ceremony.options["challenge"], "user_verification": UserVerificationRequirement(ceremony.uv)}
    if ceremony.kind == "create":
        server.register_complete(state, RegistrationResponse.from_dict(ceremony.response))
        attestation = AttestationObject(ceremony.part("attestationObject"))
        client_data_hash = hashlib.sha256(ceremony.part("clientDataJSON")).digest()
        Attestation.for_type(attestation.fmt)().verify(
            attestation.att_stmt, attestation.auth_data, client_data_hash)
    else:
        known = [credential_data(ceremony.registered)]
        server.authenticate_complete(state, known, AuthenticationResponse.from_dict(ceremony.response))


def libfido2(ceremony):
    """fido2-cred -V and fido2-assert -V. They are given the hash of the client data, and so the challenge is for us to
    compare."""
    client_data = ceremony.part("clientDataJSON")
    if json.loads(client_data)["challenge"] != encode(ceremony.challenge):
        raise ValueError("another challenge")

    def lines(*parts):
        return "".join((part if isinstance(part, str) else base64.b64encode(part).decode()) + "\n" for part in parts)
    hashed = hashlib.sha256(client_data).digest()
    with tempfile.TemporaryDirectory() as folder:
        name = os.path.join(folder, "input")
        if ceremony.kind == "create":
            attestation = ceremony.attestation
            statement, auth_data = attestation["attStmt"], attestation["authData"]
            text = lines(hashed, RP_ID, attestation["fmt"], cbor2.dumps(auth_data),
                         bytes(credential_data(auth_data).credential_id), statement["sig"], statement["x5c"][0])
            # The tool wants to be told what to find. Chromium asks for credProtect by itself.
            extensions = AuthenticatorData(auth_data).extensions or {}
            protection = ["-c", str(extensions["credProtect"])] if "credProtect" in extensions else []
            secret = ["-h"] if "hmac-secret" in extensions else []
            uv = ["-v"] if auth_data[32] & 4 else []
            command = ["fido2-cred", "-V", *uv, *protection, *secret, "-i", name, "-o", os.devnull]
        else:
            auth_data = ceremony.part("authenticatorData")
            key = dict(credential_data(ceremony.registered).public_key)
            point = ec.EllipticCurvePublicNumbers(
                int.from_bytes(key[-2], "big"), int.from_bytes(key[-3], "big"), ec.SECP256R1()).public_key()
            pem = os.path.join(folder, "key.pem")
            with open(pem, "wb") as file:
                file.write(point.public_bytes(
                    serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo))
            text = lines(hashed, RP_ID, cbor2.dumps(auth_data), ceremony.part("signature"))
            uv = ["-v"] if auth_data[32] & 4 else []
            command = ["fido2-assert", "-V", "-p"] + uv + ["-i", name, pem, "es256"]
        with open(name, "w") as file:
            file.write(text)
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
        if done.returncode != 0:
            raise ValueError(done.stderr.strip())


def can_judge(verifier, ceremony):
    # fido2-cred -V knows no attestation "none".
    return verifier is not libfido2 or ceremony.kind == "get" or ceremony.attestation["fmt"] == "packed"


def judge(verifier, ceremonies):
    """What was accepted and refused, in words."""
    accepted, refused = {"create": 0, "get": 0}, 0
    for ceremony in ceremonies:
        if not can_judge(verifier, ceremony):
            continue
        verifier(ceremony)
        accepted[ceremony.kind] += 1
        for place, altered in ceremony.altered():
            try:
                verifier(altered)
            except Exception:
                refused += 1
            else:
                raise AssertionError(f"accepted a {ceremony.kind} with one bit of the {place} changed")
    assert accepted["create"] and accepted["get"], "nothing to judge"
    return f"{accepted['create']} registrations and {accepted['get']} sign-ins accepted, {refused} altered ones refused"


def main():
    failed = False
    for path in sys.argv[1:]:
        browser = os.path.basename(path).removeprefix("ceremonies-").removesuffix(".jsonl")
        ceremonies = list(read(path))
        for verifier in (py_webauthn, python_fido2, libfido2):
            name = f"{verifier.__name__}-{browser}"
            try:
                said = judge(verifier, ceremonies)
            except Exception as error:
                failed = True
                print(f"FAILED {name}: {type(error).__name__} {error}".replace("\n", " ")[:500])
            else:
                print(f"ok {name}: {said}")
    return failed


if __name__ == "__main__":
    sys.exit(main())
