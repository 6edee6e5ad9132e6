//! authenticatorCredentialManagement (CTAP 2.3 §6.8).

use brasskey_tests::client_pin::{PROTOCOLS, Token, permission};
use brasskey_tests::ctap2::{GetAssertion, Parameters, command, descriptors, status::*};
use brasskey_tests::management::credential::*;
use brasskey_tests::{Key, cbor, sha256};
use ciborium::Value;

use crate::{
    OTHER_SITE, PIN, SITE, attached, info_number, option, power_cycle, protected, refused, resident,
    token_for_all,
};

fn manager(key: &Key) -> Token {
    token_for_all(key, permission::CREDENTIAL_MANAGEMENT)
}

fn site(rp_id: &str) -> Value {
    cbor::map([(1, sha256(&[rp_id.as_bytes()]).to_vec())])
}

fn credential(id: &[u8]) -> Value {
    descriptors(&[id]).into_array().unwrap().remove(0)
}

/// What enumerating a site's credentials tells: ID and user ID of each.
fn listed(key: &Key, token: &Token, rp_id: &str) -> Vec<Value> {
    let first = key.manage(ENUMERATE_CREDENTIALS_BEGIN, Some(site(rp_id)), Some(token)).unwrap();
    let total = cbor::unsigned(&first, 9).unwrap();
    let mut all = vec![first];
    for _ in 1..total {
        all.push(key.manage(ENUMERATE_CREDENTIALS_GET_NEXT_CREDENTIAL, None, None).unwrap());
    }
    all
}

fn counts(key: &Key, token: &Token) -> (u64, u64) {
    let metadata = key.manage(GET_CREDS_METADATA, None, Some(token)).unwrap();
    (cbor::unsigned(&metadata, 1).unwrap(), cbor::unsigned(&metadata, 2).unwrap())
}

/// Covers: §6.8.2; §6.8.3; §6.8.4; command authenticatorCredentialManagement; subcommand getCredsMetadata;
/// subcommand enumerateRPsBegin; subcommand enumerateCredentialsBegin; status NO_CREDENTIALS
#[test]
fn an_empty_store() {
    let (_simulator, key) = protected();
    let (existing, remaining) = counts(&key, &manager(&key));
    assert_eq!(existing, 0);
    assert!(remaining > 0);
    assert_eq!(refused(key.manage(ENUMERATE_RPS_BEGIN, None, Some(&manager(&key)))), NO_CREDENTIALS);
    let credentials = key.manage(ENUMERATE_CREDENTIALS_BEGIN, Some(site(SITE)), Some(&manager(&key)));
    assert_eq!(refused(credentials), NO_CREDENTIALS);
}

/// Covers: §6.8.2; §6.8.3; §6.8.4; command authenticatorCredentialManagement; subcommand getCredsMetadata;
/// subcommand enumerateRPsBegin; subcommand enumerateRPsGetNextRP; subcommand enumerateCredentialsBegin;
/// subcommand enumerateCredentialsGetNextCredential; permission cm; protocol one; protocol two;
/// member remainingDiscoverableCredentials
#[test]
fn everything_is_listed() {
    let (_simulator, key) = protected();
    let one = resident(&key, SITE, b"1");
    let two = resident(&key, SITE, b"2");
    let other = resident(&key, OTHER_SITE, b"1");
    for protocol in PROTOCOLS {
        let token = key.token(protocol, PIN, permission::CREDENTIAL_MANAGEMENT, None).unwrap();
        let (existing, remaining) = counts(&key, &token);
        assert_eq!(existing, 3);
        assert_eq!(remaining, info_number(&key, 0x14));
        let first = key.manage(ENUMERATE_RPS_BEGIN, None, Some(&token)).unwrap();
        assert_eq!(cbor::unsigned(&first, 5).unwrap(), 2);
        let second = key.manage(ENUMERATE_RPS_GET_NEXT_RP, None, None).unwrap();
        assert!(cbor::get(&second, 5).is_none());
        let mut sites = [first, second].map(|rp| {
            let id = cbor::text(cbor::get(&rp, 3).unwrap(), "id").unwrap();
            assert_eq!(cbor::bytes(&rp, 4).unwrap(), sha256(&[id.as_bytes()]));
            id
        });
        sites.sort();
        assert_eq!(sites, [SITE, OTHER_SITE]);
        assert_eq!(refused(key.manage(ENUMERATE_RPS_GET_NEXT_RP, None, None)), NOT_ALLOWED);
        for (rp_id, made) in [(SITE, vec![&one, &two]), (OTHER_SITE, vec![&other])] {
            let all = listed(&key, &token, rp_id);
            assert_eq!(all.len(), made.len());
            for made in made {
                let found = all
                    .iter()
                    .find(|one| cbor::bytes(cbor::get(one, 7).unwrap(), "id").unwrap() == made.id());
                let found = found.expect("it is listed");
                assert_eq!(cbor::text(cbor::get(found, 6).unwrap(), "name").unwrap(), "ada");
                let public = cbor::get(found, 8).unwrap();
                assert_eq!(
                    brasskey_tests::cose::PublicKey::parse(public).unwrap(),
                    made.credential().public_key
                );
                assert_eq!(cbor::unsigned(found, 10).unwrap(), 1, "credProtect");
            }
            let next = key.manage(ENUMERATE_CREDENTIALS_GET_NEXT_CREDENTIAL, None, None);
            assert_eq!(refused(next), NOT_ALLOWED);
        }
    }
}

/// Covers: §6.8; command authenticatorCredentialManagement; status PUAT_REQUIRED; status PIN_AUTH_INVALID;
/// status MISSING_PARAMETER; status INVALID_SUBCOMMAND; status INVALID_PARAMETER
#[test]
fn without_the_right_token_nothing_is_told() {
    let (_simulator, key) = protected();
    let made = resident(&key, SITE, b"1");
    let by_id = || Some(cbor::map([(2, credential(made.id()))]));
    let requests = || {
        [
            (GET_CREDS_METADATA, None),
            (ENUMERATE_RPS_BEGIN, None),
            (ENUMERATE_CREDENTIALS_BEGIN, Some(site(SITE))),
            (DELETE_CREDENTIAL, by_id()),
        ]
    };
    let wrong = token_for_all(&key, permission::LARGE_BLOB_WRITE);
    for (subcommand, params) in requests() {
        assert_eq!(refused(key.manage(subcommand, params.clone(), None)), PUAT_REQUIRED);
        assert_eq!(refused(key.manage(subcommand, params, Some(&wrong))), PIN_AUTH_INVALID);
    }
    let right = manager(&key);
    for (subcommand, params) in requests() {
        // Signed is the subcommand with its parameters, and nothing else.
        let mut request = Parameters::default().with(1, subcommand);
        if let Some(params) = params {
            request = request.with(2, params);
        }
        let message = request.clone().with(3, right.protocol).with(4, right.authenticate(b"\x0f"));
        assert_eq!(refused(key.raw(command::CREDENTIAL_MANAGEMENT, &message.encode())), PIN_AUTH_INVALID);
        let no_protocol = request.with(4, right.authenticate(&[subcommand]));
        assert_eq!(
            refused(key.raw(command::CREDENTIAL_MANAGEMENT, &no_protocol.encode())),
            MISSING_PARAMETER
        );
    }
    assert_eq!(
        refused(key.manage(ENUMERATE_CREDENTIALS_BEGIN, None, Some(&manager(&key)))),
        MISSING_PARAMETER
    );
    assert_eq!(refused(key.manage(DELETE_CREDENTIAL, None, Some(&manager(&key)))), MISSING_PARAMETER);
    assert_eq!(refused(key.manage(0x7f, None, Some(&manager(&key)))), INVALID_SUBCOMMAND);
    assert_eq!(refused(key.raw(command::CREDENTIAL_MANAGEMENT, &[0xa0])), MISSING_PARAMETER);
    assert_eq!(counts(&key, &manager(&key)).0, 1, "nothing was deleted");
}

/// Covers: §6.8.2; §6.8.3; §6.8.4; command authenticatorCredentialManagement; permission cm;
/// status PIN_AUTH_INVALID
#[test]
fn a_token_of_a_site_sees_that_site() {
    let (_simulator, key) = protected();
    resident(&key, SITE, b"1");
    resident(&key, OTHER_SITE, b"1");
    let bound = || key.token(2, PIN, permission::CREDENTIAL_MANAGEMENT, Some(SITE)).unwrap();
    for subcommand in [GET_CREDS_METADATA, ENUMERATE_RPS_BEGIN] {
        assert_eq!(refused(key.manage(subcommand, None, Some(&bound()))), PIN_AUTH_INVALID);
    }
    assert_eq!(listed(&key, &bound(), SITE).len(), 1);
    let other = key.manage(ENUMERATE_CREDENTIALS_BEGIN, Some(site(OTHER_SITE)), Some(&bound()));
    assert_eq!(refused(other), PIN_AUTH_INVALID);
}

/// Covers: §6.8.5; command authenticatorCredentialManagement; subcommand deleteCredential;
/// status NO_CREDENTIALS; permission cm
#[test]
fn a_deleted_credential_is_gone() {
    let (simulator, key) = protected();
    let gone = resident(&key, SITE, b"1");
    let stays = resident(&key, SITE, b"2");
    let (_, remaining) = counts(&key, &manager(&key));
    let delete = || Some(cbor::map([(2, credential(gone.id()))]));
    key.manage(DELETE_CREDENTIAL, delete(), Some(&manager(&key))).unwrap();
    assert_eq!(refused(key.manage(DELETE_CREDENTIAL, delete(), Some(&manager(&key)))), NO_CREDENTIALS);
    assert_eq!(counts(&key, &manager(&key)), (1, remaining + 1));
    let key = power_cycle(&simulator, key);
    assert_eq!(refused(key.get_assertion(&GetAssertion::allow(SITE, &[gone.id()]))), NO_CREDENTIALS);
    let left = key.get_assertion(&GetAssertion::discover(SITE)).unwrap();
    assert_eq!((left.credential_id, left.number_of_credentials), (stays.id().to_vec(), None));
}

/// Covers: §6.8.6; command authenticatorCredentialManagement; subcommand updateUserInformation;
/// status INVALID_PARAMETER; status NO_CREDENTIALS; status MISSING_PARAMETER
#[test]
fn an_account_is_renamed() {
    let (_simulator, key) = protected();
    let made = resident(&key, SITE, b"1");
    let update = |id: &[u8], user: Value| {
        let params = cbor::map([(2, credential(id)), (3, user)]);
        key.manage(UPDATE_USER_INFORMATION, Some(params), Some(&manager(&key)))
    };
    let user = |id: &[u8], more: &[(&str, &str)]| {
        let names = more.iter().map(|&(name, value)| (name, Value::from(value)));
        cbor::map([("id", Value::from(id))].into_iter().chain(names))
    };
    let now = || cbor::get(&listed(&key, &manager(&key), SITE)[0], 6).unwrap().clone();
    update(made.id(), user(b"1", &[("name", "countess"), ("displayName", "The Countess")])).unwrap();
    assert_eq!(cbor::text(&now(), "name").unwrap(), "countess");
    assert_eq!(cbor::text(&now(), "displayName").unwrap(), "The Countess");
    assert_eq!(
        refused(update(made.id(), user(b"2", &[("name", "x")]))),
        INVALID_PARAMETER,
        "another account"
    );
    assert_eq!(refused(update(&[9; 40], user(b"1", &[("name", "x")]))), NO_CREDENTIALS);
    // What is empty or absent is removed.
    update(made.id(), user(b"1", &[("name", ""), ("displayName", "The Countess")])).unwrap();
    assert!(cbor::get(&now(), "name").is_none());
    update(made.id(), user(b"1", &[])).unwrap();
    assert_eq!(now(), user(b"1", &[]));
    let no_user = cbor::map([(2, credential(made.id()))]);
    let answer = key.manage(UPDATE_USER_INFORMATION, Some(no_user), Some(&manager(&key)));
    assert_eq!(refused(answer), MISSING_PARAMETER);
}

/// Covers: §6.8.3; §6.8.4; command authenticatorCredentialManagement; status NOT_ALLOWED;
/// subcommand enumerateRPsGetNextRP; subcommand enumerateCredentialsGetNextCredential
#[test]
fn a_list_goes_on_only_right_away_and_on_its_channel() {
    let (_simulator, key) = protected();
    for (rp_id, user) in [(SITE, b"1"), (SITE, b"2"), (OTHER_SITE, b"1")] {
        resident(&key, rp_id, user);
    }
    let other = Key::over(key.device().clone()).unwrap();
    type Begin<'a> = &'a dyn Fn(&Token) -> Value;
    let rps: Begin<'_> = &|token| key.manage(ENUMERATE_RPS_BEGIN, None, Some(token)).unwrap();
    let credentials: Begin<'_> =
        &|token| key.manage(ENUMERATE_CREDENTIALS_BEGIN, Some(site(SITE)), Some(token)).unwrap();
    for (begin, next) in
        [(rps, ENUMERATE_RPS_GET_NEXT_RP), (credentials, ENUMERATE_CREDENTIALS_GET_NEXT_CREDENTIAL)]
    {
        assert_eq!(refused(key.manage(next, None, None)), NOT_ALLOWED, "nothing was begun");
        begin(&manager(&key));
        key.get_info().unwrap();
        assert_eq!(refused(key.manage(next, None, None)), NOT_ALLOWED, "another command was between");
        begin(&manager(&key));
        assert_eq!(refused(other.manage(next, None, None)), NOT_ALLOWED, "another channel");
        begin(&manager(&key));
        key.manage(next, None, None).unwrap();
    }
}

/// Covers: §6.8; command authenticatorCredentialManagement; permission pcmr; option perCredMgmtRO;
/// status PIN_AUTH_INVALID; subcommand deleteCredential; subcommand updateUserInformation
#[test]
fn a_persistent_token_reads_and_changes_nothing() {
    let (simulator, key) = protected();
    if option(&key, "perCredMgmtRO") != Some(true) {
        return;
    }
    let made = resident(&key, SITE, b"1");
    let token = token_for_all(&key, permission::PERSISTENT_READ_ONLY);
    let key = power_cycle(&simulator, key);
    assert_eq!(counts(&key, &token).0, 1);
    key.manage(ENUMERATE_RPS_BEGIN, None, Some(&token)).unwrap();
    assert_eq!(listed(&key, &token, SITE).len(), 1);
    let params = cbor::map([(2, credential(made.id()))]);
    assert_eq!(refused(key.manage(DELETE_CREDENTIAL, Some(params), Some(&token))), PIN_AUTH_INVALID);
    let user = cbor::map([("id", Value::from(&b"1"[..]))]);
    let params = cbor::map([(2, credential(made.id())), (3, user)]);
    assert_eq!(refused(key.manage(UPDATE_USER_INFORMATION, Some(params), Some(&token))), PIN_AUTH_INVALID);
    // It is gone with the PIN that it was given for.
    key.change_pin(2, PIN, "5678").unwrap();
    assert_eq!(refused(key.manage(GET_CREDS_METADATA, None, Some(&token))), PIN_AUTH_INVALID);
}

/// Covers: §6.8; command authenticatorCredentialManagement (preview)
#[test]
fn the_preview_s_number_does_the_same() {
    let (_simulator, key) = protected();
    resident(&key, SITE, b"1");
    let preview = command::CREDENTIAL_MANAGEMENT_PREVIEW;
    let metadata = key.manage_by(preview, GET_CREDS_METADATA, None, Some(&manager(&key))).unwrap();
    assert_eq!(cbor::unsigned(&metadata, 1).unwrap(), 1);
    assert_eq!(refused(key.manage_by(preview, GET_CREDS_METADATA, None, None)), PUAT_REQUIRED);
}

/// Covers: §6.8; command authenticatorCredentialManagement; status PUAT_REQUIRED; subcommand getCredsMetadata
#[test]
fn a_key_without_a_pin_manages_nothing() {
    let (_simulator, key) = attached();
    assert_eq!(refused(key.manage(GET_CREDS_METADATA, None, None)), PUAT_REQUIRED);
}

/// Covers: §6.1.2 step 17; command authenticatorMakeCredential; member remainingDiscoverableCredentials
#[test]
fn a_full_store_loses_nothing() {
    use brasskey_tests::ctap2::MakeCredential;
    let (_simulator, key) = attached();
    let room = info_number(&key, 0x14);
    if room > 100 {
        // Filling that takes minutes; the authenticator's own tests do.
        return;
    }
    let new = |number: u64| key.make_credential(&MakeCredential::discoverable(SITE, &number.to_be_bytes()));
    let first = new(0).unwrap();
    for number in 1..room {
        new(number).unwrap();
    }
    assert_eq!(info_number(&key, 0x14), 0);
    assert_eq!(refused(new(room)), KEY_STORE_FULL);
    // An account that is there may have a new one, and those that are not discoverable need no room.
    let newest = new(1).unwrap();
    key.make_credential(&MakeCredential::new(SITE)).unwrap();
    let all = key.get_assertion(&GetAssertion::discover(SITE)).unwrap();
    assert_eq!((all.credential_id, all.number_of_credentials), (newest.id().to_vec(), Some(room)));
    key.get_assertion(&GetAssertion::allow(SITE, &[first.id()])).unwrap();
    // One that is deleted makes room for one.
    key.set_pin(2, PIN).unwrap();
    let params = cbor::map([(2, credential(first.id()))]);
    key.manage(DELETE_CREDENTIAL, Some(params), Some(&manager(&key))).unwrap();
    resident(&key, SITE, b"one more");
    assert_eq!(counts(&key, &manager(&key)), (room, 0));
}
