//! What the services' conformance profiles share: how a profile file (TOML) is written.

use std::ops::RangeInclusive;

/// A profile in the making.
#[derive(Debug)]
pub struct Text(String);

impl Text {
    /// The head of a profile: contract, base URL, and the last bytes of addresses on the loopback interface to send from.
    #[must_use]
    pub fn new(contract: &str, base_url: &str, addresses: RangeInclusive<u8>) -> Self {
        let addresses: Vec<String> = addresses.map(|last| quoted(&format!("127.0.0.{last}"))).collect();
        let mut text = Self(String::new());
        text.line("# Made by `trueline-server demo-data`. Holds credentials of the demonstration.".to_owned());
        text.line(format!("contract = {}", quoted(contract)));
        text.line(format!("base-url = {}", quoted(base_url)));
        text.line(format!("addresses = [{}]", addresses.join(", ")));
        text.line("# The demonstration is there to be tried on: nothing in it needs to be spared.".to_owned());
        text.line("safety = \"full\"".to_owned());
        text
    }

    /// One line.
    pub fn line(&mut self, line: String) {
        self.0.push_str(&line);
        self.0.push('\n');
    }

    /// A credential that must be refused.
    pub fn bad(&mut self, scheme: &str, kind: &str, credential: &str) {
        self.line(String::new());
        self.line("[[bad-credentials]]".to_owned());
        self.line(format!("scheme = {}\nkind = {}\ncredential = {}", quoted(scheme), quoted(kind), quoted(credential)));
    }

    /// The whole text.
    #[must_use]
    pub fn finish(self) -> String {
        self.0
    }
}

/// A TOML basic string.
#[must_use]
pub fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}
