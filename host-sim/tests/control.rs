//! The test control over HTTP: what it does to a key that a host has attached, and whom it refuses.

mod common;

use brasskey::{ConformanceResults, Control, ControlServer, ImageSource, Key, KeyOptions, PresencePolicy};
use common::{Host, SELECTION, TestServer, is_ended};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::thread;
use tokio::sync::oneshot;

const OK: u8 = 0x00;
const OPERATION_DENIED: u8 = 0x27;
const KEEPALIVE_CANCEL: u8 = 0x2D;
const CANCEL: u8 = 0x11;
const UPNEEDED: u8 = 2;
/// ST_NODEV of USB/IP.
const NO_DEVICE: u32 = 4;

/// A control's port, until dropped.
struct Port {
    address: SocketAddr,
    _stop: oneshot::Sender<()>,
}

fn serve<F: Future<Output = ControlServer>>(bind: impl FnOnce() -> F + Send + 'static) -> Port {
    let (address_sender, address) = std::sync::mpsc::channel();
    let (stop, stopped) = oneshot::channel::<()>();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let server = bind().await;
            address_sender.send(server.local_addr().unwrap()).unwrap();
            server.serve(async { drop(stopped.await) }).await;
        });
    });
    Port { address: address.recv().unwrap(), _stop: stop }
}

impl Port {
    /// Sends a request; the answer's status and body.
    fn send(&self, method: &str, path: &str, headers: &str, body: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.address).unwrap();
        let length = body.len();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
        (status, answer.split_once("\r\n\r\n").unwrap().1.into())
    }

    fn get(&self, path: &str) -> u16 {
        self.send("GET", path, &format!("Host: {}\r\n", self.address), "").0
    }

    fn post(&self, path: &str) -> u16 {
        self.send("POST", path, "Host: localhost\r\n", "").0
    }
}

fn controlled(policy: PresencePolicy) -> Key {
    Key::new(KeyOptions::new(ImageSource::Memory).presence(policy).test_control(true))
}

fn bench(policies: &[PresencePolicy]) -> (TestServer, Vec<Arc<Control>>, Port) {
    let keys: Vec<Key> = policies.iter().map(|policy| controlled(*policy)).collect();
    let controls: Vec<_> = keys.iter().map(|key| Arc::clone(key.control())).collect();
    let served = controls.clone();
    let port = serve(|| async { ControlServer::bind("127.0.0.1:0".parse().unwrap(), served).await.unwrap() });
    (TestServer::start(keys), controls, port)
}

/// authenticatorSelection's status, and the first keep-alive before it.
fn select(host: &mut Host, channel: u32) -> (Option<u8>, u8) {
    let (keep_alives, answer) = host.ctap2(channel, &[SELECTION]);
    (keep_alives.first().copied(), answer[0])
}

#[test]
fn a_finger_goes_before_the_policy() {
    let (server, _, port) = bench(&[PresencePolicy::Deny, PresencePolicy::Auto]);
    assert_eq!(port.get("/"), 200);
    for (number, bus_id, away) in [(1, "1-1", OPERATION_DENIED), (2, "1-2", OK)] {
        let mut host = server.import(bus_id).unwrap();
        host.control(0x00, 9, 1, 0, &[]);
        let channel = host.open_channel();
        assert_eq!(select(&mut host, channel).1, away);
        // As python-fido2's device suite calls them.
        assert_eq!(port.get(&format!("/usb{number}/touch/off")), 200);
        assert_eq!(port.get(&format!("/usb{number}/touch/on")), 200);
        for _ in 0..2 {
            assert_eq!(select(&mut host, channel), (Some(UPNEEDED), OK));
        }
        assert_eq!(port.post(&format!("/usb{number}/touch/deny")), 200);
        assert_eq!(select(&mut host, channel), (Some(UPNEEDED), OPERATION_DENIED));
        assert_eq!(port.post(&format!("/usb{number}/finger/thumb/on")), 200);
        assert_eq!(select(&mut host, channel).1, OK);
        assert_eq!(port.post(&format!("/usb{number}/touch/off")), 200);
        assert_eq!(select(&mut host, channel).1, away);
    }
}

#[test]
fn one_touch_serves_the_command_that_waits() {
    let (server, _, port) = bench(&[PresencePolicy::Deny]);
    let mut host = server.fido();
    let channel = host.open_channel();
    assert_eq!(port.post("/usb1/touch/never"), 200);
    host.send_message(channel, 0x10, &[SELECTION]);
    assert_eq!(host.read_packet()[7], UPNEEDED);
    // Answered after the act, not before.
    assert_eq!(port.post("/usb1/touch/once"), 200);
    assert_eq!(host.read_message(channel).2, [OK]);

    // It may also come first. The next command finds no other.
    thread::scope(|scope| {
        let touch = scope.spawn(|| port.post("/usb1/touch/once"));
        assert_eq!(select(&mut host, channel).1, OK);
        assert_eq!(touch.join().unwrap(), 200);
    });
    host.send_message(channel, 0x10, &[SELECTION]);
    assert_eq!(host.read_packet()[7], UPNEEDED);
    host.send_message(channel, CANCEL, &[]);
    assert_eq!(host.read_message(channel).2, [KEEPALIVE_CANCEL]);
}

#[test]
fn a_power_cut_takes_the_key_from_its_host() {
    let (server, controls, port) = bench(&[PresencePolicy::Auto, PresencePolicy::Auto]);
    let mut host = server.fido();
    let mut other = server.import("1-2").unwrap();
    assert_eq!(port.get("/usb1/power/off"), 200);
    assert!(!controls[0].has_power() && controls[1].has_power());
    assert!(is_ended(&mut host.stream));
    assert_eq!(server.import("1-1").err(), Some(NO_DEVICE));
    assert_eq!(common::listed(&server), ["1-2"]);
    assert_eq!(port.get("/usb1/power/off"), 200, "again");

    assert_eq!(port.get("/usb1/power/on"), 200);
    assert_eq!(common::listed(&server), ["1-1", "1-2"]);
    let mut host = server.fido();
    let channel = host.open_channel();
    assert_eq!(select(&mut host, channel).1, OK);
    // While it waits for a touch, too.
    port.post("/usb1/touch/never");
    host.send_message(channel, 0x10, &[SELECTION]);
    assert_eq!(port.post("/usb1/power/cycle"), 200);
    assert!(is_ended(&mut host.stream));
    server.fido();
    // The other key was left alone.
    assert_eq!(other.control(0x00, 9, 1, 0, &[]).0, 0);
}

#[test]
fn conformance_tools_touch_and_cut_the_first_key() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("results");
    let key = controlled(PresencePolicy::Deny);
    let (control, results) = (Arc::clone(key.control()), ConformanceResults::new(Some(file.clone())));
    control.hold(brasskey::Held::Never);
    let port = serve(|| async { ControlServer::conformance(0, control, results).await.unwrap() });
    let server = TestServer::start(vec![key]);
    let mut host = server.fido();
    let channel = host.open_channel();
    host.send_message(channel, 0x10, &[SELECTION]);
    assert_eq!(host.read_packet()[7], UPNEEDED);
    assert_eq!(port.post("/conformance/userpresence"), 200);
    assert_eq!(host.read_message(channel).2, [OK]);
    assert_eq!(port.post("/conformance/powercycle"), 200);
    assert!(is_ended(&mut host.stream));
    server.fido();

    let report = r#"{"failedTestsCount":0,"passedTestsCount":1}"#;
    let send = |body| port.send("POST", "/conformance/results", "Host: localhost:3000\r\n", body).0;
    assert_eq!((send(report), send("{")), (200, 400));
    assert_eq!(std::fs::read_to_string(file).unwrap(), format!("{report}\n"));
    // What acts is POST, and by no page.
    assert_eq!(port.get("/conformance/userpresence"), 405);
    assert_eq!(port.post("/usb1/touch/on"), 404);
    let page = "Host: localhost\r\nOrigin: null\r\n";
    assert_eq!(port.send("POST", "/conformance/userpresence", page, "").0, 403);
}

#[test]
fn no_web_page_gets_a_touch() {
    let (server, _, port) = bench(&[PresencePolicy::Deny]);
    let mut host = server.fido();
    let channel = host.open_channel();
    for headers in [
        "Host: evil.example\r\n",
        "",
        "Host: localhost\r\nOrigin: https://evil.example\r\n",
        "Host: localhost\r\nOrigin: null\r\n",
        "Host: localhost\r\nSec-Fetch-Site: cross-site\r\n",
        "Host: localhost\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\n",
    ] {
        for method in ["GET", "POST", "OPTIONS", "PUT"] {
            for path in ["/usb1/touch/on", "/usb1/power/off", "/usb1/finger/x/on", "/", "/other"] {
                let (status, answer) = port.send(method, path, headers, "");
                // Without a Host, HTTP/1.1 itself is broken.
                assert!(matches!(status, 400 | 403), "{headers:?} {method} {path}: {status} {answer}");
            }
        }
    }
    assert_eq!(select(&mut host, channel).1, OPERATION_DENIED);
    // What python-fido2 does not know is not for GET.
    for path in ["/usb1/touch/once", "/usb1/touch/deny", "/usb1/power/cycle", "/usb1/finger/x/on"] {
        assert_eq!(port.get(path), 405, "{path}");
    }
    for path in ["/usb/touch/on", "/usb0/touch/on", "/usb1/touch/maybe", "/usb1/finger/x/maybe", "/usb1"] {
        assert_eq!(port.post(path), 404, "{path}");
    }
}
