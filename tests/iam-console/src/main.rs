//! `brasskey-iam-console`: serves the stand-in for a person to click through, and for tests.
//!
//! Prints its URL first, `http://localhost:PORT/`, then who can sign in, then `ready`. Ends at SIGINT.
#![forbid(unsafe_code)]

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use anyhow::{Context, bail};
use brasskey_iam_console::{
    ACCOUNT, Console, DEMO_TOKENS, DEMO_USERS, Level, Options, ROOT, Settings, Trust,
};
use clap::Parser;
use tokio::net::TcpListener;

/// A stand-in for the AWS IAM console's MFA pages, to test security keys against. It is not AWS.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Loopback address to listen at; port 0 picks a free one
    #[arg(long, value_name = "ADDR", default_value_t = SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))]
    listen: SocketAddr,
    #[command(flatten)]
    settings: Settings,
    /// Append each WebAuthn ceremony to this file, a line of JSON each
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// Root certificate (DER or PEM) of a maker whose keys are certified
    #[arg(long, value_name = "FILE", requires = "trusted_level")]
    trusted_root: Option<PathBuf>,
    /// The certification of keys under --trusted-root
    #[arg(long, value_enum, value_name = "LEVEL", requires = "trusted_root")]
    trusted_level: Option<Level>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    if !arguments.listen.ip().is_loopback() {
        bail!("{} is no loopback address: the passwords here are public", arguments.listen);
    }
    let trust = match (&arguments.trusted_root, arguments.trusted_level) {
        (Some(path), Some(level)) => Some(Trust::new(&certificate(path)?, level)?),
        _ => None,
    };
    let listener = TcpListener::bind(arguments.listen)
        .await
        .with_context(|| format!("{} cannot be listened at", arguments.listen))?;
    // By name: WebAuthn's RP ID cannot be an address.
    let options = Options::at(&format!("http://localhost:{}", listener.local_addr()?.port()))?;
    let options = Options { settings: arguments.settings, record: arguments.record, trust, ..options };
    let console = Console::new(options)?;

    println!("{}/", console.origin());
    for (name, sign_in_name, password) in DEMO_USERS {
        if name == ROOT {
            println!("root user: e-mail {sign_in_name} password {password}");
        } else {
            println!("IAM user: account {ACCOUNT} user {sign_in_name} password {password}");
        }
    }
    for (serial, secret) in DEMO_TOKENS {
        println!("hardware token: serial {serial} secret {}", String::from_utf8_lossy(secret));
    }
    println!("ready");
    axum::serve(listener, console.router()).await?;
    Ok(())
}

fn certificate(path: &std::path::Path) -> anyhow::Result<Vec<u8>> {
    let bytes = std::fs::read(path).with_context(|| path.display().to_string())?;
    Ok(match x509_parser::pem::parse_x509_pem(&bytes) {
        Ok((_, pem)) => pem.contents,
        Err(_) => bytes,
    })
}
