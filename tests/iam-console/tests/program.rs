//! The program itself, over TCP.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};

fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_brasskey-iam-console"));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

#[test]
fn it_prints_its_address_and_who_can_sign_in_and_serves() {
    let mut child = program().args(["--attestation", "none", "--certification", "L1"]).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let lines: Vec<String> = lines.take_while(|line| line != "ready").collect();
    let host = lines[0].strip_prefix("http://").unwrap().trim_end_matches('/');
    assert!(lines.iter().any(|line| line.contains("root@example.com")), "{lines:?}");
    let mut stream = TcpStream::connect(host.replace("localhost", "127.0.0.1")).unwrap();
    write!(stream, "GET /settings HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    for expected in
        ["content-security-policy", "SameSite=Strict", "This is not AWS", "value=\"none\" selected"]
    {
        assert!(answer.contains(expected), "no {expected:?} in {answer}");
    }
}

#[test]
fn it_does_not_listen_to_the_network() {
    let output = program().args(["--listen", "0.0.0.0:0"]).output().unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("no loopback address"));
}
