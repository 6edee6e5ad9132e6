"""judges.py ATTESTATION HOST:PORT: python-fido2 and py_webauthn judge a key that is served there by `brasskey run
--presence auto --attestation ATTESTATION`, which is packed, self or none.

python-fido2 is the browser: it speaks to the key over `usbip_conn`. Then what came out is verified by python-fido2's
own attestation verifiers and server, and by py_webauthn.

Prints a line for each check, `ok NAME` or `FAILED NAME: why`, and ends with `N passed, N failed, N skipped`. Exit
status: 0 if nothing failed.
"""

import json
import os
import sys
import time
import traceback
from dataclasses import replace

from fido2.attestation import AttestationVerifier, InvalidSignature, NoneAttestation, PackedAttestation, UntrustedAttestation
from fido2.client import DefaultClientDataCollector, Fido2Client, UserInteraction
from fido2.ctap import CtapError
from fido2.ctap1 import APDU, ApduError, Ctap1
from fido2.ctap2 import ClientPin, CredentialManagement, Ctap2
from fido2.ctap2.extensions import HmacSecretExtension
from fido2.ctap2.pin import PinProtocolV1, PinProtocolV2
from fido2.hid import CtapHidDevice
from fido2.hid.base import HidDescriptor
from fido2.server import Fido2Server
from fido2.utils import sha256
from fido2.webauthn import (
    AttestationObject,
    AuthenticatorData,
    PublicKeyCredentialCreationOptions,
    PublicKeyCredentialRequestOptions,
    PublicKeyCredentialRpEntity,
    UserVerificationRequirement,
)
import webauthn
from webauthn.helpers.cose import COSEAlgorithmIdentifier
from webauthn.helpers.exceptions import InvalidAuthenticationResponse
from webauthn.helpers.structs import (
    AttestationConveyancePreference,
    AuthenticatorSelectionCriteria,
    PublicKeyCredentialDescriptor,
    UserVerificationRequirement as UV,
)
from webauthn import options_to_json
from cryptography import x509

from usbip_conn import UsbIpHid

RP_ID = "example.com"
ORIGIN = "https://example.com"
ALGORITHMS = {"es256": -7, "eddsa": -8}
CONVEYANCES = ("direct", "none")
NO_AAGUID = bytes(16)


class Judge:
    """One attached key, and what each check came to."""

    def __init__(self, attestation, host, port):
        self.attestation = attestation
        self.hid = hid = UsbIpHid(host, port)
        descriptor = HidDescriptor("usbip", hid.vid, hid.pid, hid.report_in, hid.report_out, hid.product, hid.serial)
        self.device = CtapHidDevice(descriptor, hid.open())
        self.client = Fido2Client(self.device, DefaultClientDataCollector(ORIGIN), UserInteraction())
        self.passed = self.failed = 0

    def create(self, options, conveyance):
        """What a browser's create() returns. python-fido2's does not take the attestation away where a site wants
        none, so this does it, as browsers do."""
        created = self.client.make_credential(options)
        if conveyance == "none":
            attestation = created.response.attestation_object
            auth_data = bytes(attestation.auth_data)
            auth_data = AuthenticatorData(auth_data[:37] + NO_AAGUID + auth_data[53:])  # After hash, flags, counter.
            stripped = AttestationObject.create("none", auth_data, {})
            response = replace(created.response, attestation_object=stripped)
            created = replace(created, response=response)
        return created

    def expected_format(self, conveyance):
        return "none" if "none" in (conveyance, self.attestation) else "packed"

    def check(self, name, run, *arguments):
        name = f"{self.attestation}-{name}"
        try:
            run(self, *arguments)
        except Exception as error:  # A check that breaks off has failed, however.
            traceback.print_exc()
            self.failed += 1
            print(f"FAILED {name}: {type(error).__name__}: {error}".replace("\n", " "), flush=True)
        else:
            self.passed += 1
            print(f"ok {name}", flush=True)


class Trusting(AttestationVerifier):
    """Verifies the statement and the profile of its certificate, as a site does that has no metadata: each key has a
    root of its own, and nothing on the wire says which."""

    def __init__(self):
        super().__init__([PackedAttestation(), NoneAttestation()])
        self.results = []

    def verify_attestation(self, attestation_object, client_data_hash):
        try:
            super().verify_attestation(attestation_object, client_data_hash)
        except UntrustedAttestation:
            pass  # Said only after the statement itself has been verified.

    def ca_lookup(self, result, auth_data):
        self.results.append(result)
        return None


def require(condition, why):
    if not condition:
        raise AssertionError(why)


def expect(exceptions, why, run, *arguments, **named):
    try:
        run(*arguments, **named)
    except exceptions:
        return
    raise AssertionError(f"{why} was accepted")


def flipped(data, bit=0):
    changed = bytearray(data)
    changed[-1] ^= 1 << bit
    return bytes(changed)


def python_fido2(judge, algorithm, conveyance, resident):
    """A registration and two sign-ins, verified by python-fido2."""
    verifier = Trusting()
    server = Fido2Server(
        PublicKeyCredentialRpEntity(name="A site", id=RP_ID), attestation=conveyance, verify_attestation=verifier
    )
    server.allowed_algorithms = [one for one in server.allowed_algorithms if one.alg == algorithm]
    require(server.allowed_algorithms, f"python-fido2 knows no algorithm {algorithm}")
    options, state = server.register_begin(
        {"id": b"account 7", "name": "ada", "displayName": "Ada Lovelace"},
        resident_key_requirement="required" if resident else "discouraged",
        user_verification=UserVerificationRequirement.DISCOURAGED,
    )
    response = judge.create(options.public_key, conveyance)
    auth_data = server.register_complete(state, response)
    if conveyance == "none":  # python-fido2's server verifies no statement that it did not ask for.
        verifier(response.response.attestation_object, response.response.client_data.hash)
    require(len(verifier.results) == 1, "the attestation was not verified")
    credential = auth_data.credential_data
    require(credential.public_key[3] == algorithm, f"algorithm {credential.public_key[3]}")
    attestation = response.response.attestation_object
    require(attestation.fmt == judge.expected_format(conveyance), f"format {attestation.fmt}")
    if attestation.fmt == "packed":
        certified = bool(verifier.results[0].trust_path)
        require(certified == (judge.attestation == "packed"), f"with a certificate: {certified}")
        client_data_hash = response.response.client_data.hash
        statement = dict(attestation.att_stmt)
        statement["sig"] = flipped(statement["sig"])
        verify = PackedAttestation().verify
        expect(InvalidSignature, "an attestation with a wrong bit", verify, statement, auth_data, client_data_hash)
    elif conveyance == "none":
        require(credential.aaguid == NO_AAGUID, "the AAGUID is left")

    counters = [auth_data.counter]
    for _ in range(2):
        options, state = server.authenticate_begin(
            None if resident else [credential], user_verification=UserVerificationRequirement.DISCOURAGED
        )
        assertion = judge.client.get_assertion(options.public_key).get_response(0)
        server.authenticate_complete(state, [credential], assertion)
        counters.append(assertion.response.authenticator_data.counter)
    require(counters == sorted(set(counters)), f"counters {counters}")
    response = assertion.response
    signed = response.authenticator_data + response.client_data.hash
    credential.public_key.verify(signed, response.signature)
    expect(Exception, "a signature with a wrong bit", credential.public_key.verify, signed, flipped(response.signature))


def py_webauthn(judge, algorithm, conveyance):
    """A registration and two sign-ins, verified by py_webauthn."""
    options = webauthn.generate_registration_options(
        rp_id=RP_ID,
        rp_name="A site",
        user_name="ada",
        attestation=AttestationConveyancePreference(conveyance),
        authenticator_selection=AuthenticatorSelectionCriteria(user_verification=UV.DISCOURAGED),
        supported_pub_key_algs=[COSEAlgorithmIdentifier(algorithm)],
    )
    created = judge.create(
        PublicKeyCredentialCreationOptions.from_dict(json.loads(options_to_json(options))), conveyance
    )
    registered = webauthn.verify_registration_response(
        credential=dict(created),
        expected_challenge=options.challenge,
        expected_rp_id=RP_ID,
        expected_origin=ORIGIN,
        supported_pub_key_algs=[COSEAlgorithmIdentifier(algorithm)],
    )
    require(registered.fmt == judge.expected_format(conveyance), f"format {registered.fmt}")

    count = registered.sign_count
    for _ in range(2):
        options = webauthn.generate_authentication_options(
            rp_id=RP_ID,
            allow_credentials=[PublicKeyCredentialDescriptor(id=registered.credential_id)],
            user_verification=UV.DISCOURAGED,
        )
        got = judge.client.get_assertion(
            PublicKeyCredentialRequestOptions.from_dict(json.loads(options_to_json(options)))
        ).get_response(0)
        expected = {
            "expected_challenge": options.challenge,
            "expected_rp_id": RP_ID,
            "expected_origin": ORIGIN,
            "credential_public_key": registered.credential_public_key,
            "credential_current_sign_count": count,
        }
        response = json.loads(json.dumps(dict(got)))
        verified = webauthn.verify_authentication_response(credential=response, **expected)
        require(verified.new_sign_count > count, f"count {verified.new_sign_count} after {count}")
        wrong = webauthn.helpers.bytes_to_base64url(flipped(got.response.signature))
        response["response"]["signature"] = wrong
        expect(
            InvalidAuthenticationResponse,
            "a signature with a wrong bit",
            webauthn.verify_authentication_response,
            credential=response,
            **expected,
        )
        count = verified.new_sign_count


def touched(run, *arguments):
    """U2F has no keep-alive: a client asks until there is a touch."""
    for _ in range(100):
        try:
            return run(*arguments)
        except ApduError as error:
            if error.code != APDU.USE_NOT_SATISFIED:
                raise
            time.sleep(0.05)
    raise TimeoutError("no touch")


def u2f(judge):
    """U2F, verified by python-fido2."""
    ctap = Ctap1(judge.device)
    require(ctap.get_version() == "U2F_V2", "no U2F_V2")
    application, client = sha256(ORIGIN.encode()), sha256(b"registration")
    registration = touched(ctap.register, client, application)
    registration.verify(application, client)
    expect(Exception, "another application", registration.verify, sha256(b"other"), client)
    x509.load_der_x509_certificate(registration.certificate)

    counters = []
    for text in (b"first", b"second"):
        client = sha256(text)
        signature = touched(ctap.authenticate, client, application, registration.key_handle)
        signature.verify(application, client, registration.public_key)
        require(signature.user_presence == 1, "no user presence")
        counters.append(signature.counter)
        changed = type(signature)(flipped(signature))
        expect(Exception, "a signature with a wrong bit", changed.verify, application, client, registration.public_key)
    require(counters[0] < counters[1], f"counters {counters}")
    try:
        ctap.authenticate(client, sha256(b"other"), registration.key_handle, check_only=True)
    except ApduError as error:
        require(error.code == APDU.WRONG_DATA, f"status {error.code:#06x} for another application")
    else:
        raise AssertionError("a key handle of another application was accepted")


PIN = "24680"


class PinPad(UserInteraction):
    """A user who knows the PIN."""

    def request_pin(self, permissions, rp_id):
        return PIN


def pins(judge):
    """Both protocols set or change the PIN, and a wrong one costs a try until the right one comes."""
    ctap2 = Ctap2(judge.device)
    for protocol in PinProtocolV1(), PinProtocolV2():
        pin = ClientPin(ctap2, protocol)
        if ctap2.get_info().options["clientPin"]:
            pin.change_pin(PIN, PIN)
        else:
            pin.set_pin(PIN)
        expect(CtapError, "a wrong PIN was taken", pin.get_pin_token, "99999")
        require(pin.get_pin_retries()[0] == 7, "a wrong PIN costs one try")
        pin.get_pin_token(PIN, ClientPin.PERMISSION.MAKE_CREDENTIAL, RP_ID)
        require(pin.get_pin_retries()[0] == 8, "the right PIN gives all tries back")


def hmac_secret(judge):
    """The same two secrets twice, with the user verified by the PIN."""
    extensions = [HmacSecretExtension(allow_hmac_secret=True)]
    client = Fido2Client(judge.device, DefaultClientDataCollector(ORIGIN), PinPad(), extensions=extensions)
    server = Fido2Server(PublicKeyCredentialRpEntity(name="Example", id=RP_ID))
    user = {"id": b"hmac", "name": "ada", "displayName": "Ada"}
    options, state = server.register_begin(user, user_verification="required", resident_key_requirement="required")
    created = client.make_credential({**options.public_key, "extensions": {"hmacCreateSecret": True}})
    credential = server.register_complete(state, created).credential_data
    outputs = []
    for _ in range(2):
        options, state = server.authenticate_begin(user_verification="required")
        salts = {"salt1": b"1" * 32, "salt2": b"2" * 32}
        chosen = client.get_assertion({**options.public_key, "extensions": {"hmacGetSecret": salts}}).get_response(0)
        server.authenticate_complete(state, [credential], chosen)
        outputs.append(dict(chosen.client_extension_results["hmacGetSecret"]))
    require(outputs[0] == outputs[1] and len(set(outputs[0].values())) == 2, f"secrets differ: {outputs}")


def credential_management(judge):
    """Credentials are counted, listed, renamed and deleted, until none is left."""
    pin = ClientPin(Ctap2(judge.device))
    token = pin.get_pin_token(PIN, ClientPin.PERMISSION.CREDENTIAL_MGMT)
    manager = CredentialManagement(Ctap2(judge.device), pin.protocol, token)
    key = CredentialManagement.RESULT
    left = manager.get_metadata()[key.EXISTING_CRED_COUNT]
    require(left > 0, "no credential to manage")
    for rp in manager.enumerate_rps():
        for credential in manager.enumerate_creds(rp[key.RP_ID_HASH]):
            credential_id = credential[key.CREDENTIAL_ID]
            manager.update_user_info(credential_id, {**credential[key.USER], "name": "grace"})
            renamed = manager.enumerate_creds(rp[key.RP_ID_HASH])
            require(any(found[key.USER].get("name") == "grace" for found in renamed), "no new name")
            manager.delete_cred(credential_id)
            left -= 1
            require(manager.get_metadata()[key.EXISTING_CRED_COUNT] == left, "the count does not follow")
    require(left == 0, f"{left} credentials were not listed")


def no_anomalies(judge):
    """Nothing that a kernel would have stumbled over, with no pause after control transfers."""
    require(judge.hid.settle == 0, "FIDO_USBIP_SETTLE is not 0")
    require(not judge.hid.anomalies, "; ".join(judge.hid.anomalies))
    require(judge.hid.error is None, str(judge.hid.error))


def main(attestation, address):
    os.environ["FIDO_USBIP_SETTLE"] = "0"
    host, _, port = address.rpartition(":")
    judge = Judge(attestation, host, int(port))
    for name, algorithm in ALGORITHMS.items():
        for conveyance in CONVEYANCES:
            judge.check(f"python-fido2-{name}-{conveyance}", python_fido2, algorithm, conveyance, False)
            judge.check(f"py_webauthn-{name}-{conveyance}", py_webauthn, algorithm, conveyance)
        judge.check(f"python-fido2-{name}-resident", python_fido2, algorithm, "direct", True)
    judge.check("python-fido2-u2f", u2f)
    # From here on the key has a PIN.
    judge.check("python-fido2-pin", pins)
    judge.check("python-fido2-hmac-secret", hmac_secret)
    judge.check("python-fido2-credential-management", credential_management)
    judge.check("usb-anomalies", no_anomalies)
    judge.hid.detach()
    print(f"{judge.passed} passed, {judge.failed} failed, 0 skipped")
    return 1 if judge.failed else 0


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:]))
