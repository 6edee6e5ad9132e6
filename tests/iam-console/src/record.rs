//! Ceremonies in a file, for verifiers other than ours: a line of JSON each, with the options that the page was given,
//! what the browser returned, and what came of it.
//!
//! ```json
//! {"kind": "create" or "get", "origin": "…", "options": {"publicKey": …}, "response": …, "accepted": true, "why": ""}
//! ```

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;

use anyhow::Context;
use serde_json::{Value, json};

pub(crate) struct Recorder {
    file: Option<File>,
    origin: String,
}

impl Recorder {
    pub(crate) fn open(path: Option<&Path>, origin: &str) -> anyhow::Result<Self> {
        let open = |path: &Path| {
            let file = OpenOptions::new().create(true).append(true).open(path);
            file.with_context(|| path.display().to_string())
        };
        Ok(Self { file: path.map(open).transpose()?, origin: origin.into() })
    }

    pub(crate) fn write(&mut self, kind: &str, options: &Value, response: &Value, refusal: Option<&str>) {
        let Some(file) = &mut self.file else { return };
        let line = json!({
            "kind": kind,
            "origin": self.origin,
            "options": options,
            "response": response,
            "accepted": refusal.is_none(),
            "why": refusal.unwrap_or_default(),
        });
        if let Err(error) = writeln!(file, "{line}") {
            eprintln!("a ceremony could not be recorded: {error}");
        }
    }
}
