//! The demonstration as a conformance profile: who the harness may act as here, and how.

use super::demo::{Demo, DemoUser};
use crate::platform::profile::{Text, quoted};

/// Addresses on the loopback interface that the harness sends from, so that counting by address can be looked at on one
/// machine. The last one is for exhausting the limit of anonymous callers.
const ADDRESSES: std::ops::RangeInclusive<u8> = 2..=64;

/// What a viewer must be refused.
const REFUSED_TO_VIEWERS: [&str; 8] = [
    "createAgent",
    "updateAgent",
    "deleteAgent",
    "createDataSource",
    "uploadDocument",
    "deleteDataSource",
    "syncDataSource",
    // A question spends the quota and writes a conversation.
    "queryAgent",
];

impl Demo {
    /// A profile (TOML) for `trueline check` against this service at `base_url`.
    #[must_use]
    pub fn profile(&self, base_url: &str) -> String {
        let mut text = Text::new("ragchats", base_url, ADDRESSES);
        for (name, user) in &self.users {
            text.line(String::new());
            self.user(name, user).into_iter().for_each(|line| text.line(line));
        }
        let agent = self.organizations.get("a").map(|organization| organization.agent).unwrap_or_default();
        text.line(String::new());
        text.line("# A key of one agent: it can ask that agent, and nothing else.".to_owned());
        text.line("[principals.agent-key]".to_owned());
        text.line("scheme = \"agentApiKey\"\ntenant = \"a\"".to_owned());
        text.line(format!("credential = {}", quoted(&self.agent_keys.good)));
        text.line(format!("values = {{ agentId = \"{agent}\" }}"));
        text.bad("jwtAuth", "expired", &self.tokens.expired);
        text.bad("jwtAuth", "revoked", &self.tokens.unknown_session);
        text.bad("agentApiKey", "revoked", &self.agent_keys.revoked);
        text.finish()
    }

    fn user(&self, name: &str, user: &DemoUser) -> Vec<String> {
        let organization = self.organizations.get(user.organization);
        let id = organization.map(|organization| organization.id).unwrap_or_default();
        let mut lines = vec![
            format!("# {}", user.purpose),
            format!("[principals.{name}]"),
            "scheme = \"jwtAuth\"".to_owned(),
            format!("group = \"{}\"", user.organization),
            format!("tenant = \"{}\"", user.organization),
            format!("values = {{ organizationId = \"{id}\" }}"),
        ];
        match name {
            "dave" | "dora" => lines.push("reserved-for = \"limits\"".to_owned()),
            "erin" => {
                lines.push("reserved-for = \"quotas\"".to_owned());
                let queries = organization.map_or(0, |organization| organization.monthly_queries);
                lines.push(format!("quotas = {{ monthly-queries = {queries} }}"));
            }
            "victor" => {
                lines.push("reserved-for = \"denial\"".to_owned());
                lines.push(format!("denied = [{}]", REFUSED_TO_VIEWERS.map(quoted).join(", ")));
            }
            _ => {}
        }
        lines.push(format!("[principals.{name}.login]"));
        lines.push("operation = \"logIn\"".to_owned());
        lines.push(format!("body = {{ email = {}, password = {} }}", quoted(&user.email), quoted(&user.password)));
        lines.push("token = \"/access\"\nrefresh = \"/refresh\"".to_owned());
        lines
    }
}
