//! The program as a shell sees it: what it prints, how it exits, and what is left when it is killed.

mod common;

use brasskey::IMAGE_LEN;
use common::{SELECTION, be32, import_request, read};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

fn brasskey(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_brasskey"));
    command.args(arguments).stdin(Stdio::null()).env_remove("RUST_LOG").env("RUST_BACKTRACE", "0");
    command
}

fn output(arguments: &[&str]) -> Output {
    brasskey(arguments).output().unwrap()
}

/// Asserts exit status 1 and one line on standard error, which contains `hint`.
fn assert_refused(arguments: &[&str], hint: &str) {
    let output = output(arguments);
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {text}");
    assert_eq!(text.lines().count(), 1, "{arguments:?}: {text}");
    assert!(text.starts_with("brasskey: ") && text.contains(hint), "{arguments:?}: {text}");
    assert_eq!(output.stdout, b"");
}

/// A server that is killed when it is dropped.
struct Running {
    child: Child,
    lines: Vec<String>,
}

impl Running {
    fn start(arguments: &[&str]) -> Self {
        let mut arguments = [&["run"], arguments].concat();
        if !arguments.contains(&"--listen") {
            arguments.extend(["--listen", "127.0.0.1:0"]);
        }
        let (out, err) = (Stdio::piped(), Stdio::piped());
        let child = brasskey(&arguments).stdout(out).stderr(err).spawn().unwrap();
        let mut running = Self { child, lines: Vec::new() };
        for line in BufReader::new(running.child.stdout.take().unwrap()).lines() {
            let line = line.unwrap();
            if line == "ready" {
                return running;
            }
            running.lines.push(line);
        }
        let (_, text) = running.wait();
        panic!("{arguments:?}: {text}");
    }

    fn address(&self) -> &str {
        self.lines[0].split(' ').nth(1).unwrap()
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    fn wait(mut self) -> (Option<i32>, String) {
        let mut text = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
        (self.child.wait().unwrap().code(), text)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[test]
fn run_says_what_it_serves_and_stops_by_signal() {
    use rustix::process::Signal;
    for signal in [Signal::INT, Signal::TERM] {
        let running = Running::start(&["--image", ":memory:", "--keys", "3", "--presence", "auto"]);
        let port = running.address().strip_prefix("127.0.0.1:").unwrap();
        assert_ne!(port, "0");
        let expected = [1, 2, 3].map(|number| format!("usbip 127.0.0.1:{port} bus 1-{number}"));
        assert_eq!(running.lines, expected);
        let attached = attach(running.address());
        running.signal(signal);
        assert_eq!(running.wait(), (Some(0), String::new()));
        drop(attached);
    }
}

#[test]
fn the_test_control_listens_only_when_it_is_asked_for() {
    let arguments = ["--image", ":memory:", "--http", "127.0.0.1:0"];
    let running = Running::start(&arguments);
    assert_eq!(running.lines.len(), 1, "{:?}", running.lines);

    let wanted = ["--test-control", "--conformance-port=0"];
    let running = Running::start(&[&arguments[..], &wanted].concat());
    let url = |line: usize, name: &str| {
        let url = running.lines[line].strip_prefix(name).unwrap().to_string();
        url.strip_prefix(" http://").unwrap().to_string()
    };
    for (address, path) in
        [(url(1, "control"), "/usb1/touch/on"), (url(2, "conformance"), "/conformance/userpresence")]
    {
        let mut stream = TcpStream::connect(&address).unwrap();
        write!(stream, "PUT {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 405 "), "{answer}");
    }
    drop(running);

    let off = Running::start(&["--image", ":memory:", "--test-control", "--http", "off"]);
    assert_eq!(off.lines.len(), 1, "{:?}", off.lines);
    let remote =
        ["run", "--image", ":memory:", "--listen", "127.0.0.1:0", "--test-control", "--http", "0.0.0.0:0"];
    assert_refused(&remote, "can be reached from other machines");
}

#[test]
fn usage_errors_are_two() {
    for arguments in [
        &[][..],
        &["fly"],
        &["run", "--keys", "0"],
        &["run", "--keys", "65536"],
        &["run", "--presence", "maybe"],
        &["run", "--listen", "nonsense"],
        &["run", "--http", "nonsense"],
        &["run", "--conformance-port"],
        &["run", "--test-control", "--conformance-results", "file"],
        &["info", "--listen", "127.0.0.1:0"],
        &["credentials"],
        &["completions", "tcsh"],
    ] {
        let output = output(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(!output.stderr.is_empty());
    }
    assert_eq!(output(&["--help"]).status.code(), Some(0));
    assert_eq!(
        output(&["--version"]).stdout,
        format!("brasskey {}\n", env!("CARGO_PKG_VERSION")).into_bytes()
    );
    assert!(String::from_utf8(output(&["completions", "bash"]).stdout).unwrap().contains("credentials"));
}

#[test]
fn an_image_in_use_is_refused_and_nothing_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("deep/down/key.img");
    let image = image.to_str().unwrap();
    let first = Running::start(&["--image", image, "--presence", "auto"]);
    let metadata = fs::metadata(image).unwrap();
    assert_eq!((metadata.len(), metadata.mode() & 0o777), (IMAGE_LEN as u64, 0o600));
    let before = fs::read(image).unwrap();
    for arguments in [
        &["run", "--listen", "127.0.0.1:0", "--image", image][..],
        &["info", "--image", image],
        &["credentials", "list", "--image", image],
        &["reset", "--yes", "--image", image],
    ] {
        assert_refused(arguments, "in use by another brasskey");
    }
    assert_eq!(fs::read(image).unwrap(), before);
    drop(first);
    assert_eq!(output(&["info", "--image", image]).status.code(), Some(0));
}

#[test]
fn a_port_in_use_is_refused_before_an_image_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("key.img");
    let first = Running::start(&["--image", ":memory:"]);
    let arguments = ["run", "--listen", first.address(), "--image", image.to_str().unwrap()];
    assert_refused(&arguments, "is in use");
    assert!(!image.exists());
}

#[test]
fn other_machines_must_be_allowed() {
    for address in ["0.0.0.0:0", "[::]:0", "[::ffff:0.0.0.0]:0"] {
        assert_refused(&["run", "--image", ":memory:", "--listen", address], "--allow-remote");
    }
    let running = Running::start(&["--image", ":memory:", "--listen", "0.0.0.0:0", "--allow-remote"]);
    running.signal(rustix::process::Signal::TERM);
    let (status, text) = running.wait();
    assert_eq!(status, Some(0));
    assert!(text.contains("whoever reaches 0.0.0.0:"), "{text}");
}

#[test]
fn what_is_no_image_is_refused_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let run = |image: &str, hint: &str| {
        for command in [&["run", "--listen", "127.0.0.1:0"][..], &["info"], &["reset", "--yes"]] {
            assert_refused(&[command, &["--image", image]].concat(), hint);
        }
    };

    run(folder.path().to_str().unwrap(), "not a file");
    run("/dev/full", "not a file");
    fs::write(at("letter"), "Dear key").unwrap();
    run(&at("letter"), "not a key image");
    run(&at("letter/below"), "letter/below");
    // The right size and the wrong content.
    let noise: Vec<u8> = (0..IMAGE_LEN).map(|at| (at * at / 7) as u8).collect();
    fs::write(at("noise"), &noise).unwrap();
    run(&at("noise"), "nothing was changed");
    assert_eq!(fs::read(at("noise")).unwrap(), noise);

    // A key with its middle torn out.
    drop(Running::start(&["--image", &at("key")]));
    let mut damaged = fs::read(at("key")).unwrap();
    damaged[2 * 4096..].fill(0);
    fs::write(at("key"), &damaged).unwrap();
    run(&at("key"), "damaged");
    assert_eq!(fs::read(at("key")).unwrap(), damaged);

    for command in [&["info"][..], &["credentials", "list"], &["reset", "--yes"]] {
        assert_refused(&[command, &["--image", &at("nothing")]].concat(), "brasskey run");
    }
    assert!(!Path::new(&at("nothing")).exists());
}

#[test]
fn further_keys_have_images_beside_the_first() {
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("key.img");
    let names = || {
        let entries = fs::read_dir(folder.path()).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    let running = Running::start(&["--image", image.to_str().unwrap(), "--keys", "3"]);
    // The others are made when they are first attached.
    assert_eq!(names(), ["key.img"]);
    drop(attach_to(running.address(), "1-3"));
    assert_eq!(names(), ["key-3.img", "key.img"]);
    drop(running);

    // What exists is looked at when the program starts.
    fs::write(folder.path().join("key-3.img"), "torn").unwrap();
    let image = image.to_str().unwrap();
    assert_refused(&["run", "--listen", "127.0.0.1:0", "--keys", "3", "--image", image], "key-3.img");
    drop(Running::start(&["--image", image, "--keys", "2"]));
}

#[test]
fn attach_says_what_is_missing() {
    if Path::new("/sys/devices/platform/vhci_hcd.0").exists() {
        // This machine could really do it. tests/vm does.
        return;
    }
    assert_refused(
        &["run", "--image", ":memory:", "--listen", "127.0.0.1:0", "--attach"],
        "modprobe vhci-hcd",
    );
}

#[test]
fn info_speaks_in_words_and_in_json() {
    let text = String::from_utf8(output(&["info", "--image", ":memory:"]).stdout).unwrap();
    assert!(text.contains("5b7cdcf4-089d-441f-b61e-83a36d6ebe95"), "{text}");
    assert!(text.contains("FIDO_2_0") && text.contains("ES256"), "{text}");
    let json: serde_json::Value =
        serde_json::from_slice(&output(&["info", "--json", "--image", ":memory:"]).stdout).unwrap();
    assert_eq!(json["aaguid"], "5b7cdcf4-089d-441f-b61e-83a36d6ebe95");
    assert_eq!(json["options"]["rk"], true);
    assert_eq!(json["maxMsgSize"], 7609);
}

#[test]
fn reset_asks_first() {
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("key.img");
    drop(Running::start(&["--image", image.to_str().unwrap()]));
    let before = fs::read(&image).unwrap();
    assert_refused(&["reset", "--image", image.to_str().unwrap()], "--yes");
    assert_eq!(fs::read(&image).unwrap(), before);
    let reset = output(&["reset", "--yes", "--image", image.to_str().unwrap()]);
    assert_eq!((reset.status.code(), reset.stdout, reset.stderr), (Some(0), vec![], vec![]));
    assert_ne!(fs::read(&image).unwrap(), before);
    let list = output(&["credentials", "list", "--image", image.to_str().unwrap()]);
    assert_eq!(list.stdout, b"no discoverable credentials\n");
    let list = output(&["credentials", "list", "--json", "--image", image.to_str().unwrap()]);
    assert_eq!(list.stdout, b"[]\n");
}

#[test]
fn without_a_terminal_ask_refuses_and_says_so() {
    let running = Running::start(&["--image", ":memory:", "--presence", "ask"]);
    let mut stream = attach(running.address());
    // SET_CONFIGURATION, INIT, and authenticatorSelection.
    submit(&mut stream, 0, 0, 0, [0, 9, 1, 0, 0, 0, 0, 0], &[]);
    reply(&mut stream, false);
    let init = [0xFF, 0xFF, 0xFF, 0xFF, 0x86, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8];
    let channel = exchange(&mut stream, &init)[15..19].to_vec();
    let answer = exchange(&mut stream, &[&channel[..], &[0x90, 0, 1, SELECTION]].concat());
    assert_eq!(answer[4..8], [0x90, 0, 1, 0x27], "OPERATION_DENIED");
    running.signal(rustix::process::Signal::TERM);
    let (status, text) = running.wait();
    assert_eq!((status, text.lines().count()), (Some(0), 1), "{text}");
    assert!(text.contains("no terminal to ask on"), "{text}");
}

fn attach(address: &str) -> TcpStream {
    attach_to(address, "1-1")
}

fn attach_to(address: &str, bus_id: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(&import_request(bus_id)).unwrap();
    assert_eq!(be32(&read(&mut stream, 8), 4), 0);
    read(&mut stream, 312);
    stream
}

fn submit(stream: &mut TcpStream, direction: u32, endpoint: u32, length: i32, setup: [u8; 8], data: &[u8]) {
    let submit = common::Submit {
        seqnum: 1,
        device_id: 0x0001_0001,
        direction,
        endpoint,
        flags: 0,
        length,
        packets: 0,
        setup,
    };
    stream.write_all(&submit.bytes(data)).unwrap();
}

fn reply(stream: &mut TcpStream, has_data: bool) -> Vec<u8> {
    let header = read(stream, 48);
    assert_eq!(be32(&header, 20), 0);
    if has_data { read(stream, be32(&header, 24) as usize) } else { Vec::new() }
}

fn exchange(stream: &mut TcpStream, packet: &[u8]) -> Vec<u8> {
    let mut packet = packet.to_vec();
    packet.resize(64, 0);
    submit(stream, 0, 1, 64, [0; 8], &packet);
    reply(stream, false);
    submit(stream, 1, 1, 64, [0; 8], &[]);
    reply(stream, true)
}
