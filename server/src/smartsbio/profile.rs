//! The demonstration as a conformance profile: who the harness may act as here, and how.

use crate::platform::profile::quoted;
use contract_smartsbio::operations::CONTRACT;

use super::demo::{Demo, DemoKey};

/// What takes a workspace of the caller's choice, and must be refused where the key is not good for it.
const IN_A_WORKSPACE: [&str; 14] = [
    "runQuery",
    "streamQuery",
    "runTool",
    "createPipelineRun",
    "listConversations",
    "getConversation",
    "listFiles",
    "deleteFile",
    "uploadFile",
    "getDownloadUrl",
    "createUploadUrl",
    "confirmUpload",
    "createViewerUrl",
    "createRender",
];

impl Demo {
    /// A profile (TOML) for `trueline check` against this service at `base_url`.
    #[must_use]
    pub fn profile(&self, base_url: &str) -> String {
        let mut text = String::from("# Made by `trueline-server demo-data`. Holds credentials of the demonstration.\n");
        text.push_str(&format!("contract = \"smartsbio\"\nbase-url = {}\nsafety = \"full\"\n", quoted(base_url)));
        for (name, key) in &self.keys {
            if !["revoked", "expired"].contains(&name.as_str()) {
                text.push_str(&self.key(name, key));
            }
        }
        let workspace = self.workspaces("a").first().copied().unwrap_or_default();
        for (number, session) in self.sessions.iter().enumerate() {
            text.push_str(&principal(&format!("session-{number}"), "manages keys", "webSession", session, "a"));
            // The last one asks for a key to somebody else's workspace.
            let elsewhere = number + 1 == self.sessions.len();
            let foreign = self.workspaces("b").first().copied().unwrap_or_default();
            text.push_str(&values(if elsewhere { foreign } else { workspace }));
            if elsewhere {
                text.push_str(
                    "reserved-for = \"denial\"\ndenied = [\"createApiKey\"]\ndenied-code = \"workspace_access_denied\"\n",
                );
            }
        }
        for (number, session) in self.limits_sessions.iter().enumerate() {
            let name = format!("limits-session-{number}");
            text.push_str(&principal(&name, "reserved for exhausting rate limits", "webSession", session, "c"));
            text.push_str(&values(self.workspaces("c").first().copied().unwrap_or_default()));
            text.push_str("reserved-for = \"limits\"\n");
        }
        let key = |name: &str| self.keys.get(name).map_or("", |key| key.key.as_str());
        for (scheme, kind, credential) in [
            ("bearerKey", "expired", key("expired")),
            ("bearerKey", "revoked", key("revoked")),
            ("headerKey", "expired", key("expired")),
            ("headerKey", "revoked", key("revoked")),
            ("webSession", "expired", &self.expired_session),
            ("webSession", "revoked", &self.unknown_session),
        ] {
            text.push_str(&format!(
                "\n[[bad-credentials]]\nscheme = \"{scheme}\"\nkind = \"{kind}\"\ncredential = {}\n",
                quoted(credential)
            ));
        }
        text
    }

    fn workspaces(&self, organization: &str) -> &'static [&'static str] {
        self.organizations.get(organization).map_or(&[], |organization| organization.workspaces)
    }

    fn key(&self, name: &str, key: &DemoKey) -> String {
        let scheme = if name.starts_with("header-") { "headerKey" } else { "bearerKey" };
        let workspaces = self.workspaces(key.organization);
        // The restricted key asks for the workspace that it is not good for.
        let workspace = if key.workspaces.is_some() { workspaces.last() } else { workspaces.first() };
        let mut text = principal(name, key.purpose, scheme, &key.key, key.organization);
        text.push_str(&values(workspace.copied().unwrap_or_default()));
        match name {
            "limits-1" | "limits-2" => text.push_str("reserved-for = \"limits\"\n"),
            "quota" => {
                let quota = self.organizations.get("d").map_or(0, |organization| organization.compute_quota);
                text.push_str(&format!("reserved-for = \"quotas\"\nquotas = {{ compute = {quota} }}\n"));
            }
            "restricted" => {
                let denied = IN_A_WORKSPACE.map(quoted).join(", ");
                text.push_str(&format!("reserved-for = \"denial\"\ndenied = [{denied}]\n"));
                text.push_str("denied-code = \"workspace_access_denied\"\n");
            }
            _ if name.starts_with("only-") => {
                let lacks = CONTRACT
                    .operations
                    .iter()
                    .filter(|operation| operation.scopes.iter().any(|scope| !key.scopes.contains(scope)));
                let denied: Vec<String> = lacks.map(|operation| quoted(operation.id)).collect();
                text.push_str(&format!("reserved-for = \"denial\"\ndenied = [{}]\n", denied.join(", ")));
            }
            _ => {}
        }
        text
    }
}

fn principal(name: &str, purpose: &str, scheme: &str, credential: &str, group: &str) -> String {
    let credential = quoted(credential);
    format!(
        "\n# {purpose}\n[principals.{name}]\nscheme = \"{scheme}\"\ncredential = {credential}\ngroup = \"{group}\"\n"
    )
}

fn values(workspace: &str) -> String {
    format!("values = {{ workspace_id = {}, tool_id = \"sequence_statistics\" }}\n", quoted(workspace))
}
