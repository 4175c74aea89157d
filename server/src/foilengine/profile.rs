//! The demonstration as a conformance profile: who the harness may act as here, and how.

use super::demo::Demo;
use crate::platform::profile::{Text, quoted};

/// Addresses on the loopback interface that the harness sends from, so that counting by address can be looked at on one
/// machine. The last one is for exhausting limits that count by address.
const ADDRESSES: std::ops::RangeInclusive<u8> = 2..=64;

/// Headers that hold keys for single steps. Any key that the provider takes will do.
const STEP_KEYS: [&str; 3] = ["X-LLM-Eval-API-Key", "X-LLM-Response-API-Key", "X-LLM-Summarization-API-Key"];

impl Demo {
    /// A profile (TOML) for `trueline check` against this service at `base_url`.
    #[must_use]
    pub fn profile(&self, base_url: &str) -> String {
        let mut text = Text::new("foilengine", base_url, ADDRESSES);
        for (name, user) in &self.users {
            text.line(String::new());
            text.line(format!("# {}", user.purpose));
            text.line(format!("[principals.{name}]"));
            text.line("scheme = \"jwtAuth\"".to_owned());
            text.line(format!("group = \"{}\"\ntenant = \"{name}\"", group(name)));
            text.line(format!("credential = {}", quoted(&user.token)));
            text.line(format!("values = {{ old_session_id = {} }}", quoted(&self.visitor)));
            match *name {
                "rafe" => text.line("reserved-for = \"limits\"".to_owned()),
                "gina" => text.line("reserved-for = \"denial\"".to_owned()),
                _ => {}
            }
            if *name != "root" {
                text.line("denied = [\"listAllPersonas\"]".to_owned());
            }
        }
        for (name, key) in &self.api_keys {
            text.line(String::new());
            text.line(format!("# {}", key.purpose));
            text.line(format!("[principals.{name}]"));
            text.line("scheme = \"apiKeyAuth\"".to_owned());
            text.line(format!("group = \"{}\"\ntenant = \"{}\"", group(key.owner), key.owner));
            text.line(format!("credential = {}", quoted(&key.key)));
            text.line(format!("credentials = {{ llmKeyAuth = {} }}", quoted(&self.llm_key)));
            let values = STEP_KEYS.map(|header| format!("{} = {}", quoted(header), quoted(&self.llm_key)));
            text.line(format!("values = {{ {} }}", values.join(", ")));
            if key.owner == "rafe" {
                text.line("reserved-for = \"limits\"".to_owned());
            }
        }
        text.bad("jwtAuth", "expired", &self.expired_token);
        text.bad("apiKeyAuth", "revoked", &self.revoked_api_key);
        text.finish()
    }
}

/// A user and the games of the user's account see the same personas.
fn group(owner: &str) -> String {
    format!("account of {owner}")
}
