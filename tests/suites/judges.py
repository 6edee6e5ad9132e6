#!/usr/bin/env python3
"""Independent judges: what Brasskey makes is verified by software that others wrote.

    judges.py HOST:PORT [BUSID]

Plugs the key exported there into a USB host in user space (usbip_host.py, strict: what the Linux kernel would
reject is an error), and has python-fido2 drive it and python-fido2 and py_webauthn verify what it answers. Prints
`ok NAME` or `FAILED NAME: why` for each check, then `N passed, N failed`. The key must have no PIN, and grant every
touch.
"""

import os
import sys
import traceback

# No pause after a control transfer: the stricter test of a server.
os.environ["FIDO_USBIP_SETTLE"] = "0"
if len(sys.argv) < 2:
    sys.exit(__doc__)
os.environ["FIDO_USBIP"] = f"{sys.argv[1]}/{sys.argv[2] if len(sys.argv) > 2 else ''}"
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import usbip_host  # noqa: E402

usbip_host.install()

import webauthn  # noqa: E402
from fido2.attestation import Attestation, InvalidSignature  # noqa: E402
from fido2.client import DefaultClientDataCollector, Fido2Client, UserInteraction  # noqa: E402
from fido2.cose import ES256, EdDSA  # noqa: E402
from fido2.ctap1 import ApduError, Ctap1  # noqa: E402
from fido2.ctap2 import ClientPin, CredentialManagement, Ctap2  # noqa: E402
from fido2.ctap2.extensions import HmacSecretExtension  # noqa: E402
from fido2.ctap2.pin import PinProtocolV1, PinProtocolV2  # noqa: E402
from fido2.hid import CtapHidDevice  # noqa: E402
from fido2.server import Fido2Server  # noqa: E402
from fido2.utils import sha256  # noqa: E402

RP = {"id": "example.com", "name": "Example"}
ORIGIN = "https://example.com"
USER = {"id": b"account 1", "name": "ada", "display_name": "Ada"}
PIN = "24680"

passed = failed = 0


def check(function):
    """Runs a function as a check named by its text."""
    global passed, failed
    name = function.__doc__
    try:
        function()
        passed += 1
        print(f"ok {name}", flush=True)
    except Exception as error:  # A judge's verdict may be any exception.
        failed += 1
        print(f"FAILED {name}: {error!r}", flush=True)
        traceback.print_exc()


class Interaction(UserInteraction):
    def request_pin(self, permissions, rp_id):
        return PIN


def client(device, extensions=()):
    return Fido2Client(
        device,
        client_data_collector=DefaultClientDataCollector(ORIGIN),
        user_interaction=Interaction(),
        extensions=list(extensions),
    )


def register(device, attestation="direct", algorithm=ES256, **options):
    """A ceremony with python-fido2's server; returns what the browser would send, and the challenge."""
    server = Fido2Server(RP, attestation=attestation)
    server.allowed_algorithms = [p for p in server.allowed_algorithms if p.alg == algorithm.ALGORITHM]
    request, state = server.register_begin(USER, user_verification="discouraged", **options)
    answer = client(device).make_credential(request.public_key)
    data = server.register_complete(state, answer)
    return answer, data.credential_data, request.public_key.challenge


def sign_in(device, credential):
    server = Fido2Server(RP)
    request, state = server.authenticate_begin([credential], user_verification="discouraged")
    answer = client(device).get_assertion(request.public_key).get_response(0)
    server.authenticate_complete(state, [credential], answer)
    return answer, request.public_key.challenge


def flipped(data, at=-1):
    data = bytearray(data)
    data[at] ^= 1
    return bytes(data)


def must_fail(function, *errors):
    try:
        function()
    except errors or Exception:
        return
    raise AssertionError("it was accepted")


def main():
    device = next(CtapHidDevice.list_devices())
    ctap2 = Ctap2(device)

    @check
    def enumerates():
        """the key enumerates and answers getInfo"""
        assert "U2F_V2" in ctap2.info.versions and "FIDO_2_0" in ctap2.info.versions
        assert ctap2.info.options["rk"] and not ctap2.info.options["clientPin"]

    for algorithm in (ES256, EdDSA):
        for attestation in ("direct", "none"):

            def ceremony():
                answer, credential, challenge = register(device, attestation, algorithm)
                made = answer.response.attestation_object
                assert credential.public_key[3] == algorithm.ALGORITHM
                if attestation == "direct":
                    assert made.fmt == "packed"
                    client_data = answer.response.client_data
                    verifier = Attestation.for_type("packed")()
                    verifier.verify(made.att_stmt, made.auth_data, client_data.hash)
                    must_fail(
                        lambda: verifier.verify(made.att_stmt, made.auth_data, flipped(client_data.hash)),
                        InvalidSignature,
                    )
                verified = webauthn.verify_registration_response(
                    credential=dict(answer),
                    expected_challenge=challenge,
                    expected_rp_id=RP["id"],
                    expected_origin=ORIGIN,
                    require_user_verification=False,
                )
                last = verified.sign_count
                for _ in range(2):
                    answer, challenge = sign_in(device, credential)
                    arguments = dict(
                        credential=dict(answer),
                        expected_challenge=challenge,
                        expected_rp_id=RP["id"],
                        expected_origin=ORIGIN,
                        credential_public_key=verified.credential_public_key,
                        credential_current_sign_count=last,
                    )
                    last_before, last = last, webauthn.verify_authentication_response(**arguments).new_sign_count
                    assert last > last_before
                    response = answer.response
                    client_data = response.client_data
                    forged = flipped(response.signature)
                    must_fail(
                        lambda: credential.public_key.verify(
                            response.authenticator_data + client_data.hash, forged
                        )
                    )

            ceremony.__doc__ = f"{algorithm.__name__}, attestation {attestation}: two judges accept, and notice a bit"
            check(ceremony)

    @check
    def excluded():
        """an excluded credential is not made again"""
        _, credential, _ = register(device)
        server = Fido2Server(RP)
        request, _ = server.register_begin(USER, [credential], user_verification="discouraged")
        must_fail(lambda: client(device).make_credential(request.public_key))

    @check
    def u2f():
        """U2F registers and signs in, verified by python-fido2"""
        ctap1 = Ctap1(device)
        assert ctap1.get_version() == "U2F_V2"
        application, challenge = sha256(b"https://example.com"), sha256(b"challenge")
        registration = ctap1.register(challenge, application)
        registration.verify(application, challenge)
        for _ in range(2):
            signature = ctap1.authenticate(challenge, application, registration.key_handle)
            signature.verify(application, challenge, registration.public_key)
        must_fail(lambda: signature.verify(application, flipped(challenge), registration.public_key))
        must_fail(
            lambda: ctap1.authenticate(challenge, application, flipped(registration.key_handle)), ApduError
        )

    @check
    def pins():
        """both PIN protocols set, change and try a PIN"""
        for protocol in (PinProtocolV1(), PinProtocolV2()):
            pin = ClientPin(ctap2, protocol)
            if ctap2.get_info().options["clientPin"]:
                pin.change_pin(PIN, PIN)
            else:
                pin.set_pin(PIN)
            must_fail(lambda: pin.get_pin_token("99999"))
            assert pin.get_pin_retries()[0] == 7
            pin.get_pin_token(PIN, ClientPin.PERMISSION.MAKE_CREDENTIAL, RP["id"])
            assert pin.get_pin_retries()[0] == 8

    @check
    def hmac_secret():
        """hmac-secret gives the same two secrets twice, with user verification"""
        extension = HmacSecretExtension(allow_hmac_secret=True)
        server = Fido2Server(RP)
        request, state = server.register_begin(
            USER, user_verification="required", resident_key_requirement="required"
        )
        options = {**request.public_key, "extensions": {"hmacCreateSecret": True}}
        answer = client(device, [extension]).make_credential(options)
        credential = server.register_complete(state, answer).credential_data
        outputs = []
        for _ in range(2):
            request, state = server.authenticate_begin(user_verification="required")
            salts = {"salt1": b"1" * 32, "salt2": b"2" * 32}
            options = {**request.public_key, "extensions": {"hmacGetSecret": salts}}
            answer = client(device, [extension]).get_assertion(options).get_response(0)
            server.authenticate_complete(state, [credential], answer)
            outputs.append(dict(answer.client_extension_results["hmacGetSecret"]))
        assert outputs[0] == outputs[1] and len(outputs[0]) == 2, outputs

    @check
    def credential_management():
        """credentials are counted, listed, renamed and deleted"""
        pin = ClientPin(ctap2)
        token = pin.get_pin_token(PIN, ClientPin.PERMISSION.CREDENTIAL_MGMT)
        manager = CredentialManagement(ctap2, pin.protocol, token)
        count = CredentialManagement.RESULT.EXISTING_CRED_COUNT
        assert manager.get_metadata()[count] == 1
        (rp,) = manager.enumerate_rps()
        assert rp[CredentialManagement.RESULT.RP]["id"] == RP["id"]
        rp_id_hash = rp[CredentialManagement.RESULT.RP_ID_HASH]
        (credential,) = manager.enumerate_creds(rp_id_hash)
        credential_id = credential[CredentialManagement.RESULT.CREDENTIAL_ID]
        user = {**credential[CredentialManagement.RESULT.USER], "name": "grace"}
        manager.update_user_info(credential_id, user)
        (credential,) = manager.enumerate_creds(rp_id_hash)
        assert credential[CredentialManagement.RESULT.USER]["name"] == "grace"
        manager.delete_cred(credential_id)
        assert manager.get_metadata()[count] == 0

    @check
    def usb():
        """the USB host saw nothing that a kernel would reject"""
        assert not usbip_host.port().hid.anomalies, usbip_host.port().hid.anomalies

    print(f"{passed} passed, {failed} failed")
    sys.exit(failed > 0)


main()
