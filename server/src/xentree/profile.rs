//! The demonstration as a conformance profile: who the harness may act as here, and how.

use super::demo::{Demo, DemoUser};
use crate::platform::profile::quoted;

/// Addresses on the loopback interface that the harness sends from, so that counting by address can be looked at on one
/// machine. The last one is for exhausting the limit of anonymous callers.
const ADDRESSES: std::ops::RangeInclusive<u8> = 2..=24;

/// What is for admins of the platform.
const REFUSED_TO_USERS: [&str; 3] = ["get_search_status", "rebuild_search_index", "list_integration_token_revocations"];

/// What plain members must be refused in their organization.
const REFUSED_TO_MEMBERS: [&str; 3] = ["update_organization", "delete_organization", "add_organization_member"];

impl Demo {
    /// A profile (TOML) for `trueline check` against this service at `base_url`.
    #[must_use]
    pub fn profile(&self, base_url: &str) -> String {
        let addresses: Vec<String> = ADDRESSES.map(|last| format!("127.0.0.{last}")).collect();
        let mut text = String::from("# Made by `trueline-server demo-data`. Holds credentials of the demonstration.\n");
        let mut line = |line: String| {
            text.push_str(&line);
            text.push('\n');
        };
        line("contract = \"xentree\"".to_owned());
        // Nobody else lives here.
        line("safety = \"full\"".to_owned());
        line(format!("base-url = {}", quoted(base_url)));
        line(format!("addresses = [{}]", list(addresses.iter().map(String::as_str))));
        for (name, user) in &self.users {
            line(String::new());
            self.user(name, user).into_iter().for_each(&mut line);
        }
        for (label, key) in &self.keys {
            let mut lines = vec![
                format!("[principals.key-{label}]"),
                "scheme = \"apiKeyAuth\"".to_owned(),
                format!("credential = {}", quoted(&key.key)),
            ];
            match label.as_str() {
                "all" => {
                    lines.insert(0, "# A key with every scope.".to_owned());
                    lines.push(self.guest());
                    lines.push(format!("tenant = \"k\"\nscopes = [{}]", list(key.scopes.iter().map(String::as_str))));
                }
                "expired" => continue,
                "limits" | "limits-2" => lines.push("group = \"l\"\nreserved-for = \"limits\"".to_owned()),
                _ => lines.push(format!("reserved-for = \"denial\"\ndenied = [{}]", list(key.denied.iter().copied()))),
            }
            line(String::new());
            lines.into_iter().for_each(&mut line);
        }
        let expired = self.keys.get("expired").map(|key| key.key.as_str()).unwrap_or_default();
        for (scheme, kind, credential) in [
            ("bearerAuth", "expired", self.tokens.expired.as_str()),
            ("bearerAuth", "revoked", &self.tokens.unknown_session),
            ("apiKeyAuth", "expired", expired),
        ] {
            line(String::new());
            line("[[bad-credentials]]".to_owned());
            line(format!("scheme = \"{scheme}\"\nkind = \"{kind}\"\ncredential = {}", quoted(credential)));
        }
        text
    }

    /// Somebody to be made a member.
    fn guest(&self) -> String {
        let guest = self.users.get("gus").map(|user| user.id.as_str()).unwrap_or_default();
        format!("values = {{ user_id = {} }}", quoted(guest))
    }

    fn user(&self, name: &str, user: &DemoUser) -> Vec<String> {
        let mut lines =
            vec![format!("# {}", user.purpose), format!("[principals.{name}]"), "scheme = \"bearerAuth\"".to_owned()];
        match name {
            "lena" | "lars" => lines.push("group = \"l\"\nreserved-for = \"limits\"".to_owned()),
            "mia" => {
                let organization = self.organizations.get(user.organization).map(String::as_str).unwrap_or_default();
                lines.push("reserved-for = \"denial\"".to_owned());
                lines.push(format!("values = {{ org_id = {} }}", quoted(organization)));
                lines.push(format!("denied = [{}]", list(REFUSED_TO_USERS.into_iter().chain(REFUSED_TO_MEMBERS))));
            }
            "root" => lines.push(format!("tenant = \"r\"\n{}", self.guest())),
            "gus" => lines.push("reserved-for = \"denial\"".to_owned()),
            "nora" => {
                lines.push("reserved-for = \"denial\"".to_owned());
            }
            _ => {
                lines.push(format!("tenant = \"{}\"\n{}", user.organization, self.guest()));
                lines.push(format!("denied = [{}]", list(REFUSED_TO_USERS.into_iter())));
            }
        }
        if name == "kim" {
            // Keys with any set of scopes, made through the API itself.
            let tenant = self.organizations.get(user.organization).map(String::as_str).unwrap_or_default();
            let body = format!("name = \"minted\", tenant_id = {}, scopes = []", quoted(tenant));
            let every = self.keys.get("all").map(|key| key.scopes.as_slice()).unwrap_or_default();
            lines.push("[principals.kim.mint]".to_owned());
            lines.push(format!("operation = \"create_api_key\"\nbody = {{ {body} }}"));
            lines.push("scopes = \"/scopes\"\ntoken = \"/key\"\nscheme = \"apiKeyAuth\"".to_owned());
            lines.push(format!("available = [{}]", list(every.iter().map(String::as_str))));
            lines.push("revoke = \"delete_api_key\"".to_owned());
        }
        lines.push(format!("[principals.{name}.login]"));
        lines.push("operation = \"login\"".to_owned());
        let body = format!("username = {}, password = {}", quoted(&user.username), quoted(&user.password));
        lines.push(format!("body = {{ {body} }}"));
        lines.push("token = \"/access_token\"\nrefresh = \"/refresh_token\"".to_owned());
        lines
    }
}

fn list<'a>(texts: impl Iterator<Item = &'a str>) -> String {
    texts.map(quoted).collect::<Vec<_>>().join(", ")
}
