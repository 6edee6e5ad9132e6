//! The console with a key, and the client of `brasskey-tests` as the browser: all that a person can do there, without
//! a browser and in seconds.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use brasskey::{ImageSource, Key as Image, KeyOptions, Missing};
use brasskey_iam_console::visitor::{Page, Visitor};
use brasskey_iam_console::{
    AWS_APP_ID, Attestation, Console, DEMO_TOKENS, Level, Options, ROOT, Settings, Trust, UserVerification,
};
use brasskey_tests::cose::PublicKey;
use brasskey_tests::ctap2::GetAssertion;
use brasskey_tests::{Key, Simulator, sha256, webauthn};
use totp_rs::{Builder, Totp};
use webauthn_rs_core::proto::{CreationChallengeResponse, RegisterPublicKeyCredential};

const ORIGIN: &str = "http://localhost:8080";
const ROOT_LOGIN: (&str, &str) = ("root@example.com", "root-demo-password");
const ADA: (&str, &str) = ("ada", "ada-demo-password");
const BOB: (&str, &str) = ("bob", "bob-demo-password");

/// A console whose clock the test moves.
struct World {
    console: Arc<Console>,
    time: Arc<AtomicU64>,
}

impl World {
    fn new() -> Self {
        Self::with(|options| options)
    }

    fn with(change: impl FnOnce(Options) -> Options) -> Self {
        let time = Arc::new(AtomicU64::new(1_000_000_000));
        let clock = time.clone();
        let options = Options::at(ORIGIN).unwrap();
        let options = Options { clock: Box::new(move || clock.load(Ordering::Relaxed)), ..options };
        Self { console: Console::new(change(options)).unwrap(), time }
    }

    fn visitor(&self) -> Visitor {
        Visitor::new(self.console.clone())
    }

    fn signed_in(&self, (name, password): (&str, &str)) -> Visitor {
        let mut visitor = self.visitor();
        let page = visitor.sign_in(name, password).unwrap();
        assert_eq!(page.path, "/iam", "{}", page.body);
        visitor
    }

    /// Somebody who has given the password, and is asked for more.
    fn half_way(&self, (name, password): (&str, &str)) -> Visitor {
        let mut visitor = self.visitor();
        let page = visitor.sign_in(name, password).unwrap();
        assert_eq!(page.path, "/signin/mfa", "{}", page.body);
        visitor
    }

    fn pass(&self, seconds: u64) {
        self.time.fetch_add(seconds, Ordering::Relaxed);
    }

    fn now(&self) -> u64 {
        self.time.load(Ordering::Relaxed)
    }
}

fn key() -> (Simulator, Key) {
    let simulator = Simulator::start().unwrap();
    let key = Key::attach(simulator.address()).unwrap();
    (simulator, key)
}

fn create(
    key: &Key,
) -> impl FnOnce(&CreationChallengeResponse) -> brasskey_tests::Result<RegisterPublicKeyCredential> {
    |options| webauthn::create(key, ORIGIN, options)
}

fn sign_in(visitor: &mut Visitor, key: &Key) -> anyhow::Result<Page> {
    visitor.sign_in_with_key(|options| webauthn::get(key, ORIGIN, options))
}

fn assert_in_console_with_mfa(page: &Page) {
    assert_eq!(page.path, "/console");
    assert!(page.body.contains("(with MFA)"), "{}", page.body);
}

#[test]
fn root_and_an_iam_user_assign_the_key_and_sign_in_with_it() {
    let (_simulator, key) = key();
    let world = World::new();
    for (login, user, hint) in
        [(ROOT_LOGIN, ROOT, "Add MFA for root user"), (BOB, "bob", "Add MFA for yourself")]
    {
        let mut visitor = world.signed_in(login);
        let dashboard = visitor.open("/iam").unwrap();
        assert!(
            dashboard.body.contains(hint) && dashboard.body.contains("(without MFA)"),
            "{}",
            dashboard.body
        );
        let page = visitor.assign_key(user, "my-key", create(&key)).unwrap();
        assert!(page.body.contains("MFA device my-key assigned."), "{}", page.body);
        assert!(page.body.contains("attestation packed") && page.body.contains("1 of 8"), "{}", page.body);
        assert!(!visitor.open("/iam").unwrap().body.contains(hint));
        visitor.sign_out().unwrap();
        assert_eq!(visitor.open("/console").unwrap().path, "/signin");

        let mut visitor = world.half_way(login);
        assert_eq!(visitor.open("/console").unwrap().path, "/signin/mfa", "the password alone is not enough");
        assert_in_console_with_mfa(&sign_in(&mut visitor, &key).unwrap());
    }
}

#[test]
fn every_page_says_what_it_is() {
    let world = World::new();
    let mut visitor = world.signed_in(ADA);
    for path in [
        "/console",
        "/iam",
        "/iam/users",
        "/iam/users/bob",
        "/iam/security-credentials",
        "/service",
        "/iam/mfa/assign?user=ada",
        "/settings",
        "/bench",
        "/iam/users/nobody",
        "/signin",
    ] {
        assert!(visitor.open(path).unwrap().body.contains("This is not AWS"), "{path}");
    }
}

#[test]
fn wrong_passwords_and_names_are_refused() {
    let world = World::new();
    for (name, password) in [
        ("root@example.com", "ada-demo-password"),
        ("ada", "bob-demo-password"),
        ("ada", ""),
        ("nobody", "ada-demo-password"),
        ("ada@example.com", "ada-demo-password"),
    ] {
        assert_eq!(world.visitor().sign_in(name, password).unwrap().path, "/signin", "{name} {password}");
    }
    let fields = [("account", "999999999999"), ("user", "ada"), ("password", ADA.1)];
    let page = world.visitor().submit("/signin/iam", &fields).unwrap();
    assert_eq!(page.status.as_u16(), 403, "another account");
}

#[test]
fn another_key_and_an_altered_answer_are_refused() {
    let ((_one, key), (_two, other)) = (key(), self::key());
    let world = World::new();
    world.signed_in(BOB).assign_key("bob", "mine", create(&key)).unwrap();
    let mut visitor = world.half_way(BOB);
    let error = sign_in(&mut visitor, &other).unwrap_err();
    assert!(error.to_string().contains("0x2e"), "the other key has no credential: {error}");
    type Change = fn(&mut webauthn_rs_core::proto::PublicKeyCredential);
    let changes: [Change; 4] = [
        |answer| answer.response.signature[20] ^= 1,
        |answer| answer.response.authenticator_data[36] ^= 1,
        |answer| answer.response.client_data_json[40] ^= 1,
        |answer| answer.raw_id[5] ^= 1,
    ];
    for (index, change) in changes.into_iter().enumerate() {
        let refused = visitor.sign_in_with_key(|options| {
            let mut answer = webauthn::get(&key, ORIGIN, options)?;
            change(&mut answer);
            brasskey_tests::Result::Ok(answer)
        });
        assert!(refused.unwrap_err().to_string().contains("refused"), "change {index}");
    }
    let elsewhere = visitor.sign_in_with_key(|options| webauthn::get(&key, "http://localhost:8081", options));
    elsewhere.unwrap_err();
    assert_in_console_with_mfa(&sign_in(&mut visitor, &key).unwrap());
}

#[test]
fn a_challenge_serves_once_and_not_for_ever() {
    let (_simulator, key) = key();
    let world = World::new();
    let mut visitor = world.signed_in(BOB);
    visitor.assign_key("bob", "mine", create(&key)).unwrap();
    let mut visitor = world.half_way(BOB);
    let options = visitor.post("/signin/mfa/options", &serde_json::Value::Null).unwrap();
    let answer = webauthn::get(&key, ORIGIN, &serde_json::from_value(options).unwrap()).unwrap();
    let answer = serde_json::to_value(answer).unwrap();
    visitor.post("/signin/mfa/key", &answer).unwrap();
    let mut again = world.half_way(BOB);
    again.post("/signin/mfa/key", &answer).unwrap_err();
    again.post("/signin/mfa/options", &serde_json::Value::Null).unwrap();
    again.post("/signin/mfa/key", &answer).unwrap_err();
    let late = again.sign_in_with_key(|options| {
        world.pass(3600);
        webauthn::get(&key, ORIGIN, options)
    });
    assert!(late.unwrap_err().to_string().contains("took too long"));
}

#[test]
fn eight_devices_of_any_kind_and_no_ninth() {
    let keys: Vec<_> = (0..5).map(|_| key()).collect();
    let world = World::new();
    let mut visitor = world.signed_in(BOB);
    for (index, (_simulator, key)) in keys.iter().enumerate() {
        visitor.assign_key("bob", &format!("key-{index}"), create(key)).unwrap();
    }
    for index in 0..2 {
        assign_app(&world, &mut visitor, "bob", &format!("app-{index}"));
    }
    assign_token(&world, &mut visitor, "token");
    let page = visitor.open("/iam/security-credentials").unwrap();
    assert!(page.body.contains("8 of 8"), "{}", page.body);
    let error = visitor.select_device("bob", "ninth", "key").unwrap_err();
    assert!(error.to_string().contains("quota"), "{error}");
    // Any of them signs in.
    for (_simulator, key) in &keys {
        assert_in_console_with_mfa(&sign_in(&mut world.half_way(BOB), key).unwrap());
    }
    let fields = [("user", "bob"), ("device", "key-3")];
    assert!(visitor.submit("/iam/mfa/remove", &fields).unwrap().body.contains("7 of 8"));
    let error = sign_in(&mut world.half_way(BOB), &keys[3].1).unwrap_err();
    assert!(error.to_string().contains("0x2e"), "a key that was removed: {error}");
    visitor.assign_key("bob", "ninth", create(&keys[3].1)).unwrap();
}

#[test]
fn the_same_key_twice_is_excluded_for_one_user_and_fine_for_two() {
    let (_simulator, key) = key();
    let world = World::new();
    let mut visitor = world.signed_in(BOB);
    visitor.assign_key("bob", "mine", create(&key)).unwrap();
    let error = visitor.assign_key("bob", "again", create(&key)).unwrap_err();
    assert!(error.to_string().contains("0x19"), "CREDENTIAL_EXCLUDED: {error}");
    // A browser that ignores the list is caught, too: one answer for two challenges.
    let error = visitor.select_device("bob", "mine", "key").unwrap_err();
    assert!(error.to_string().contains("already"), "{error}");
    world.signed_in(ADA).assign_key("ada", "mine", create(&key)).unwrap();
}

#[test]
fn a_count_that_does_not_rise_is_refused_and_shown() {
    let folder = tempfile::tempdir().unwrap();
    let [original, copy] = ["original", "copy"].map(|name| folder.path().join(name).display().to_string());
    let world = World::new();
    {
        let simulator = Simulator::with_image(&original).unwrap();
        let key = Key::attach(simulator.address()).unwrap();
        world.signed_in(BOB).assign_key("bob", "mine", create(&key)).unwrap();
    }
    std::fs::copy(&original, &copy).unwrap();
    let simulator = Simulator::with_image(&original).unwrap();
    let key = Key::attach(simulator.address()).unwrap();
    for _ in 0..2 {
        assert_in_console_with_mfa(&sign_in(&mut world.half_way(BOB), &key).unwrap());
    }
    let simulator_of_copy = Simulator::with_image(&copy).unwrap();
    let stolen = Key::attach(simulator_of_copy.address()).unwrap();
    let error = sign_in(&mut world.half_way(BOB), &stolen).unwrap_err();
    assert!(error.to_string().contains("there may be a copy"), "{error}");
    let page = sign_in(&mut world.half_way(BOB), &key).unwrap();
    assert!(page.body.contains("there may be a copy"), "the owner is told: {}", page.body);
}

#[test]
fn an_iam_user_needs_mfa_where_a_policy_says_so() {
    let (_simulator, key) = key();
    let world = World::new();
    world.visitor().set(&Settings { require_mfa: true, ..Settings::default() }).unwrap();
    let mut ada = world.signed_in(ADA);
    let denied = ada.open("/service").unwrap();
    assert_eq!(denied.status.as_u16(), 403);
    assert!(denied.body.contains("arn:aws:iam::123456789012:user/ada is not authorized"), "{}", denied.body);
    assert_eq!(ada.open("/iam/users").unwrap().status.as_u16(), 403);
    ada.assign_key("ada", "mine", create(&key)).unwrap();
    assert_eq!(ada.open("/service").unwrap().status.as_u16(), 403, "until signed in with it");
    let removal = [("user", "ada"), ("device", "mine")];
    assert_eq!(ada.submit("/iam/mfa/remove", &removal).unwrap().status.as_u16(), 403);
    let mut ada = world.half_way(ADA);
    sign_in(&mut ada, &key).unwrap();
    ada.open("/service").unwrap().ok().unwrap();
    ada.open("/iam/users").unwrap().ok().unwrap();
    world.signed_in(ROOT_LOGIN).open("/service").unwrap().ok().unwrap();
}

#[test]
fn an_administrator_manages_others_and_nobody_else_does() {
    let (_simulator, key) = key();
    let world = World::new();
    let mut ada = world.signed_in(ADA);
    let page = ada.assign_key("bob", "bobs", create(&key)).unwrap();
    assert_eq!(page.path, "/iam/users/bob");
    assert_in_console_with_mfa(&sign_in(&mut world.half_way(BOB), &key).unwrap());
    assert!(ada.select_device(ROOT, "x", "key").is_err());
    let mut bob = world.half_way(BOB);
    sign_in(&mut bob, &key).unwrap();
    assert_eq!(bob.open("/iam/users/ada").unwrap().status.as_u16(), 403);
    assert!(bob.select_device("ada", "x", "key").is_err());
    let removal = [("user", "bob"), ("device", "bobs")];
    assert!(ada.submit("/iam/mfa/remove", &removal).unwrap().body.contains("removed"));
    world.signed_in(BOB);
}

#[test]
fn a_certification_is_proved_by_attestation_under_a_trusted_root() {
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("key.img");
    let made = Simulator::with_image(&image.display().to_string()).unwrap();
    made.stop(rustix::process::Signal::TERM).unwrap();
    let root = root_of(&image);
    let simulator = Simulator::with_image(&image.display().to_string()).unwrap();
    let key = Key::attach(simulator.address()).unwrap();

    let policy = |level| Settings { certification: Some(level), ..Settings::default() };
    let unknown = World::new();
    unknown.visitor().set(&policy(Level::L1)).unwrap();
    let error = unknown.signed_in(BOB).assign_key("bob", "mine", create(&key)).unwrap_err().to_string();
    assert!(error.contains("iam:EnableMFADevice") && error.contains("this key's is none"), "{error}");
    unknown.signed_in(ROOT_LOGIN).assign_key(ROOT, "mine", create(&key)).unwrap();

    let trust = Trust::new(&root, Level::L1).unwrap();
    let known = World::with(|options| Options { trust: Some(trust), ..options });
    known.visitor().set(&policy(Level::L2)).unwrap();
    known.signed_in(BOB).assign_key("bob", "mine", create(&key)).unwrap_err();
    known.visitor().set(&Settings { attestation: Attestation::None, ..policy(Level::L1) }).unwrap();
    known.signed_in(BOB).assign_key("bob", "mine", create(&key)).unwrap_err();
    known.visitor().set(&policy(Level::L1)).unwrap();
    let page = known.signed_in(BOB).assign_key("bob", "mine", create(&key)).unwrap();
    assert!(page.body.contains("certification L1"), "{}", page.body);
}

#[test]
fn a_key_from_the_time_of_u2f_signs_in_by_the_app_id() {
    let (_simulator, key) = key();
    let world = World::new();
    let registered = key.u2f_register(&[7; 32], &sha256(&[AWS_APP_ID.as_bytes()])).unwrap();
    let point = match &registered.public_key {
        PublicKey::Es256(key) => key.to_sec1_point(false).as_bytes().to_vec(),
        other => panic!("U2F is ES256: {other:?}"),
    };
    world.console.add_u2f_key("bob", "old", registered.key_handle, &point).unwrap();
    let with_extension = |visitor: &mut Visitor, told: bool, app_id: &str| {
        visitor.sign_in_with_key(|options| {
            assert_eq!(options.public_key.extensions.as_ref().unwrap().appid.as_deref(), Some(AWS_APP_ID));
            // WebAuthn §10.1.1: a browser tries the AppID where the RP ID finds nothing.
            let mut by_app_id = options.clone();
            by_app_id.public_key.rp_id = app_id.into();
            let mut answer = webauthn::get(&key, ORIGIN, &by_app_id)?;
            answer.extensions.appid = Some(told);
            brasskey_tests::Result::Ok(answer)
        })
    };
    with_extension(&mut world.half_way(BOB), false, AWS_APP_ID).unwrap_err();
    with_extension(&mut world.half_way(BOB), true, "https://example.com/app-id.json").unwrap_err();
    let page = with_extension(&mut world.half_way(BOB), true, AWS_APP_ID).unwrap();
    assert_in_console_with_mfa(&page);
    let error = sign_in(&mut world.half_way(BOB), &key).unwrap_err();
    assert!(error.to_string().contains("0x2e"), "under the RP ID there is nothing: {error}");
    let nothing = GetAssertion::allow("localhost", &[b"x"]);
    key.get_assertion(&nothing).unwrap_err();
}

#[test]
fn a_site_that_requires_user_verification_refuses_a_key_without_a_pin() {
    let (_simulator, key) = key();
    let world = World::new();
    let required = Settings { user_verification: UserVerification::Required, ..Settings::default() };
    world.visitor().set(&required).unwrap();
    let error = world.signed_in(BOB).assign_key("bob", "mine", create(&key)).unwrap_err();
    assert!(error.to_string().to_lowercase().contains("verif"), "{error}");
}

#[test]
fn ceremonies_are_recorded() {
    let (_simulator, key) = key();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ceremonies");
    let world = World::with(|options| Options { record: Some(file.clone()), ..options });
    world.signed_in(BOB).assign_key("bob", "mine", create(&key)).unwrap();
    let mut visitor = world.half_way(BOB);
    visitor.sign_in_with_key(|options| webauthn::get(&key, "http://elsewhere", options)).unwrap_err();
    sign_in(&mut visitor, &key).unwrap();
    let lines = std::fs::read_to_string(&file).unwrap();
    let lines: Vec<serde_json::Value> =
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let told: Vec<_> = lines.iter().map(|line| (line["kind"].as_str().unwrap(), &line["accepted"])).collect();
    assert_eq!(told, [("create", &true.into()), ("get", &false.into()), ("get", &true.into())]);
    assert!(lines.iter().all(|line| line["options"]["publicKey"]["challenge"].is_string()));
}

/// The code generator of a secret in base32, as an app would have it.
fn app_of(secret: &str) -> Totp {
    let secret = totp_rs::Secret::try_from_base32(secret).unwrap();
    Builder::new().with_secret(secret).build().unwrap()
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> &'a str {
    text.split_once(before).unwrap().1.split_once(after).unwrap().0
}

fn assign_app(world: &World, visitor: &mut Visitor, user: &str, name: &str) -> Totp {
    let page = visitor.select_device(user, name, "app").unwrap();
    assert!(page.body.contains("<svg"), "{}", page.body);
    let app = app_of(between(&page.body, "id=\"secret\">", "<"));
    let [first, second] = [world.now() - 30, world.now()].map(|time| app.generate(time).to_string());
    let page = visitor.submit("/iam/mfa/app", &[("first", &first), ("second", &second)]).unwrap();
    assert!(page.body.contains("assigned"), "{}", page.body);
    app
}

fn assign_token(world: &World, visitor: &mut Visitor, name: &str) {
    let (serial, secret) = DEMO_TOKENS[0];
    let token = Builder::new().with_secret(secret.to_vec()).build().unwrap();
    let codes = [world.now() - 30, world.now()].map(|time| token.generate(time).to_string());
    visitor.select_device("bob", name, "token").unwrap();
    let fields = [("serial", "GADA99999999"), ("first", &*codes[0]), ("second", &*codes[1])];
    assert_eq!(visitor.submit("/iam/mfa/token", &fields).unwrap().status.as_u16(), 400, "no such token");
    let fields = [("serial", serial), ("first", &*codes[1]), ("second", &*codes[0])];
    assert_eq!(
        visitor.submit("/iam/mfa/token", &fields).unwrap().status.as_u16(),
        400,
        "the wrong way round"
    );
    let fields = [("serial", serial), ("first", &*codes[0]), ("second", &*codes[1])];
    let page = visitor.submit("/iam/mfa/token", &fields).unwrap();
    assert!(page.body.contains("assigned") && page.body.contains(serial), "{}", page.body);
}

#[test]
fn an_app_signs_in_drifts_and_is_resynchronised() {
    let world = World::new();
    let mut visitor = world.signed_in(BOB);
    let app = assign_app(&world, &mut visitor, "bob", "phone");
    let code = |offset: i64| app.generate(world.now().saturating_add_signed(offset)).to_string();
    let try_code =
        |offset| world.half_way(BOB).submit("/signin/mfa/code", &[("code", &*code(offset))]).unwrap();
    assert_eq!(try_code(0).status.as_u16(), 403, "it was the second code at the assignment");
    world.pass(30);
    assert_in_console_with_mfa(&try_code(0));
    assert!(try_code(0).body.contains("used before"));
    world.pass(60);
    assert_eq!(try_code(-300).status.as_u16(), 403);
    assert_eq!(try_code(600).status.as_u16(), 403, "its clock is ten minutes fast");
    let (first, second) = (code(600), code(630));
    let fields = [("user", "bob"), ("device", "phone"), ("first", &*first), ("second", &*second)];
    assert!(visitor.submit("/iam/mfa/resync", &fields).unwrap().body.contains("resynchronised"));
    assert_in_console_with_mfa(&try_code(660));
}

#[test]
fn a_token_belongs_to_one_user() {
    let world = World::new();
    let mut bob = world.signed_in(BOB);
    assign_token(&world, &mut bob, "token");
    let mut ada = world.signed_in(ADA);
    ada.select_device("ada", "token", "token").unwrap();
    let (serial, secret) = DEMO_TOKENS[0];
    let token = Builder::new().with_secret(secret.to_vec()).build().unwrap();
    let codes = [world.now() - 30, world.now()].map(|time| token.generate(time).to_string());
    let fields = [("serial", serial), ("first", &*codes[0]), ("second", &*codes[1])];
    assert_eq!(ada.submit("/iam/mfa/token", &fields).unwrap().status.as_u16(), 400);
}

#[test]
fn foreign_hosts_and_foreign_pages_get_nothing() {
    let world = World::new();
    let mut rebound = world.visitor();
    rebound.host = "attacker.example:8080".into();
    assert_eq!(rebound.open("/signin").unwrap().status.as_u16(), 421);
    for origin in [None, Some("http://localhost:8081"), Some("null"), Some("https://attacker.example")] {
        let mut visitor = world.signed_in(BOB);
        visitor.origin = origin.map(str::to_owned);
        for path in ["/signout", "/settings", "/iam/mfa/assign", "/iam/mfa/key/options", "/signin/mfa/key"] {
            assert_eq!(visitor.submit(path, &[]).unwrap().status.as_u16(), 403, "{path} {origin:?}");
        }
        assert_eq!(visitor.open("/console").unwrap().path, "/console", "still signed in");
    }
}

#[test]
fn signing_in_changes_the_cookie() {
    let world = World::new();
    let mut visitor = world.visitor();
    visitor.open("/signin").unwrap();
    let before = visitor.cookie().unwrap().to_owned();
    visitor.sign_in(BOB.0, BOB.1).unwrap();
    assert_ne!(visitor.cookie().unwrap(), before);
    let signed_in = visitor.cookie().unwrap().to_owned();
    visitor.sign_out().unwrap();
    assert_ne!(visitor.cookie().unwrap(), signed_in);
}

/// What the owner of an image that is not in use can read of it: the root of its attestation.
fn root_of(image: &Path) -> Vec<u8> {
    let options = KeyOptions::new(ImageSource::File(image.into())).missing(Missing::Refuse);
    Image::new(options).with_authenticator(|key| key.attestation_root().to_vec()).unwrap()
}
