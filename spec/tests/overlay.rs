//! Overlays and documents at a URL: what is applied, where it is said to stand, and how mistakes are told.
#![allow(clippy::unwrap_used)]

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde_json::json;
use trueline_spec::document::{Location, Sources};
use trueline_spec::{Contract, Problems};

const BASE: &str = "openapi: 3.1.0
info: {title: T, version: '1'}
tags: [{name: a}]
paths:
  /a:
    get:
      operationId: get_a
      parameters:
        - {name: first, in: query, schema: {type: string}}
        - {name: second, in: query, schema: {type: string, maxLength: 9}}
        - {name: third, in: query, schema: {type: string}}
      responses: {200: {description: A.}}
    delete:
      operationId: delete_a
      responses: {204: {description: Gone.}}
";

struct Folder(tempfile::TempDir);

impl Folder {
    fn new(files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        Folder(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn load(&self, document: Option<&str>, overlays: &[&str]) -> Result<Contract, Problems> {
        let overlays: Vec<PathBuf> = overlays.iter().map(|name| self.path(name)).collect();
        let document = document.map(|name| self.path(name));
        Contract::gather(Sources { document: document.as_deref(), overlays: &overlays, fetch: None })
    }

    /// The messages without the folder's name.
    fn said(&self, text: &str) -> String {
        text.replace(&format!("{}/", self.0.path().display()), "")
    }
}

fn laid(actions: &str) -> (Folder, Result<Contract, Problems>) {
    let overlay = format!("overlay: 1.0.0\ninfo: {{title: O, version: '1'}}\nactions:\n{actions}");
    let folder = Folder::new(&[("doc.yaml", BASE), ("over.yaml", &overlay)]);
    let contract = folder.load(Some("doc.yaml"), &["over.yaml"]);
    (folder, contract)
}

#[test]
fn objects_merge_arrays_grow_and_values_are_replaced() {
    let (folder, contract) = laid(
        "  - target: $.paths['/a'].get
    update:
      summary: From the overlay.
      x-required-scopes: [read]
      parameters:
        - {name: fourth, in: query, schema: {type: integer}}
      responses:
        404: {description: Not there.}
  - target: $.tags
    update: {name: b}
  - target: $.tags
    update: [{name: c}, {name: d}]
  - target: $.info
    update: {title: Other}
",
    );
    let contract = contract.unwrap();
    let operation = contract.operation("get_a").unwrap();
    assert_eq!(operation.summary.as_deref(), Some("From the overlay."));
    assert_eq!(operation.required_scopes, ["read"]);
    assert_eq!(operation.parameters.len(), 4);
    assert_eq!(operation.responses.len(), 2);
    assert_eq!(contract.tags.iter().map(|tag| tag.name.as_str()).collect::<Vec<_>>(), ["a", "b", "c", "d", "default"]);
    assert_eq!(contract.title, "Other");
    // What the overlay added stands in the overlay, what it left alone in the document.
    let place = |at: &Location| folder.said(&contract.document.describe(at));
    assert_eq!(place(&operation.parameters[3].at), "over.yaml:9:11");
    assert_eq!(place(&operation.parameters[1].at), "doc.yaml:10:11");
    assert_eq!(place(&operation.parameters[1].schema.at.join("maxLength")), "doc.yaml:10:60");
    assert_eq!(place(&operation.at), "doc.yaml:6:5");
    assert_eq!(place(&operation.response(404).unwrap().at), "over.yaml:11:9");
    assert_eq!(place(&Location { file: 0, pointer: "/info/title".into() }), "over.yaml:17:14");
    assert!(contract.notes.is_empty());
}

#[test]
fn what_is_removed_is_gone_and_the_rest_keeps_its_place() {
    let (folder, contract) = laid(
        "  - target: $.paths['/a'].get.parameters[?@.name != 'third']
    remove: true
    update: {name: ignored}
  - target: $.paths['/a'].delete
    remove: true
",
    );
    let contract = contract.unwrap();
    assert_eq!(contract.operations.len(), 1);
    let operation = &contract.operations[0];
    assert_eq!(operation.parameters.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(), ["third"]);
    assert_eq!(folder.said(&contract.document.describe(&operation.parameters[0].at)), "doc.yaml:11:11");
}

#[test]
fn overlays_come_one_after_the_other() {
    let overlay = |value: &str| {
        format!(
            "overlay: 1.0.0\ninfo: {{title: O, version: '1'}}\nextends: doc.yaml\nactions:\n  - {{target: $.info, update: {{x-list: [{value}], title: {value}}}}}\n"
        )
    };
    let folder = Folder::new(&[("doc.yaml", BASE), ("1.yaml", &overlay("one")), ("2.yaml", &overlay("two"))]);
    let contract = folder.load(None, &["1.yaml", "2.yaml"]).unwrap();
    assert_eq!(contract.title, "two");
    assert_eq!(contract.document.files[0].value["info"]["x-list"], json!(["one", "two"]));
    assert!(contract.notes.is_empty(), "{:?}", contract.notes);
    let other = folder.load(None, &["2.yaml", "1.yaml"]).unwrap();
    assert_eq!(other.title, "one");
    assert_ne!(contract.digest, other.digest);
    assert_ne!(contract.digest, folder.load(Some("doc.yaml"), &[]).unwrap().digest);
}

#[test]
fn references_of_an_overlay_are_read_from_the_document() {
    let overlay = "overlay: 1.0.0\ninfo: {title: O, version: '1'}\nactions:\n  - target: $\n    update: {components: {schemas: {A: {$ref: 'a.yaml#/A'}}}}\n";
    let folder = Folder::new(&[("doc.yaml", BASE), ("a.yaml", "A: {type: string}\n"), ("over.yaml", overlay)]);
    let contract = folder.load(Some("doc.yaml"), &["over.yaml"]).unwrap();
    assert_eq!(*contract.schemas["A"].value, json!({"type": "string"}));
    assert_eq!(folder.said(&contract.document.describe(&contract.schemas["A"].at)), "a.yaml:1:1");
}

#[test]
fn messages() {
    const PAGE: &[(&str, &str)] = &[
        ("not an overlay", "openapi: 3.1.0\n"),
        ("misspelled", "overlai: 1.0.0\nactions: []\n"),
        ("version", "overlay: 2.0.0\nactions: []\n"),
        ("no actions", "overlay: 1.0.0\n"),
        (
            "actions",
            "overlay: 1.0.0\nactions:\n  - {target: $.info}\n  - {update: {}}\n  - {target: $.info, remov: true}\n  - {target: $.info, remove: 'yes'}\n  - text\n",
        ),
        ("not a JSONPath", "overlay: 1.0.0\nactions:\n  - target: paths./a.get\n    update: {}\n"),
        ("does not fit", "overlay: 1.0.0\nactions:\n  - target: $.paths['/a'].get\n    update: text\n"),
        ("the whole document", "overlay: 1.0.0\nactions:\n  - {target: $, remove: true}\n"),
        ("not there", "overlay: 1.0.0\nextends: other.yaml\nactions:\n  - {target: \"$.paths['/b']\", remove: true}\n"),
        (
            "makes it wrong",
            "overlay: 1.0.0\nactions:\n  - target: $.paths['/a'].get.responses\n    update: {2000: {description: Too long.}}\n",
        ),
        ("broken", "overlay: 1.0.0\nactions: [\n"),
    ];
    let mut page = String::new();
    for (name, overlay) in PAGE {
        let folder = Folder::new(&[("doc.yaml", BASE), ("over.yaml", overlay)]);
        let said = match folder.load(Some("doc.yaml"), &["over.yaml"]) {
            Ok(contract) => {
                contract.notes.iter().map(|note| note.render(&contract.document)).collect::<Vec<_>>().join("\n")
            }
            Err(problems) => problems.to_string(),
        };
        write!(page, "── {name} {}\n\n{}\n", "─".repeat(60 - name.chars().count()), folder.said(&said)).unwrap();
    }
    insta::with_settings!({omit_expression => true, prepend_module_to_snapshot => true}, {
        insta::assert_snapshot!("messages", page);
    });
}

/// A server of files that counts what it is asked for.
#[derive(Default)]
struct Server {
    files: HashMap<&'static str, String>,
    asked: RefCell<Vec<String>>,
}

impl Server {
    fn get(&self, url: &str) -> Result<Vec<u8>, String> {
        self.asked.borrow_mut().push(url.to_owned());
        self.files.get(url).map(|text| text.clone().into_bytes()).ok_or_else(|| "404 Not Found".to_owned())
    }

    fn load(&self, url: &str, overlays: &[&str]) -> Result<Contract, Problems> {
        let fetch = |url: &str| self.get(url);
        let overlays: Vec<PathBuf> = overlays.iter().map(PathBuf::from).collect();
        Contract::gather(Sources { document: Some(Path::new(url)), overlays: &overlays, fetch: Some(&fetch) })
    }
}

#[test]
fn a_url_is_read_once_with_what_it_refers_to() {
    let mut server = Server::default();
    let schemas = "{A: {$ref: 'parts/a.yaml#/A'}, B: {$ref: '../b.yaml#/B'}, C: {$ref: 'https://api.example.com/v1/parts/a.yaml#/C'}, D: {$ref: '/b.yaml#/D'}}";
    let text =
        format!("openapi: 3.1.0\ninfo: {{title: T, version: '1'}}\npaths: {{}}\ncomponents:\n  schemas: {schemas}\n");
    server.files.insert("https://api.example.com/v1/openapi?format=yaml", text);
    server.files.insert("https://api.example.com/v1/parts/a.yaml", "A: {type: string}\nC: {type: integer}\n".into());
    server.files.insert("https://api.example.com/b.yaml", "B: {type: number}\nD: {type: 'null'}\n".into());
    let contract = server.load("https://api.example.com/v1/openapi?format=yaml", &[]).unwrap();
    let types: Vec<_> = contract.schemas.values().map(|schema| schema.value["type"].clone()).collect();
    assert_eq!(types, ["string", "number", "integer", "null"]);
    assert_eq!(contract.document.describe(&contract.schemas["B"].at), "https://api.example.com/b.yaml:1:1");
    assert_eq!(server.asked.borrow().len(), 3, "{:?}", server.asked);
}

#[test]
fn nothing_is_read_from_other_servers() {
    let mut server = Server::default();
    let text = "openapi: 3.1.0\ninfo: {title: T, version: '1'}\npaths: {}\ncomponents:\n  schemas:\n    A: {$ref: 'https://other.example.com/a.yaml#/A'}\n    B: {$ref: '//other.example.com/a.yaml#/A'}\n    C: {$ref: '../../../etc/passwd'}\n    D: {$ref: 'file:///etc/passwd'}\n";
    server.files.insert("https://api.example.com/openapi.yaml", text.into());
    let problems = server.load("https://api.example.com/openapi.yaml", &[]).unwrap_err();
    assert_eq!(problems.len(), 4, "{problems}");
    assert_eq!(*server.asked.borrow(), ["https://api.example.com/openapi.yaml"]);
    let problems = server.load("https://api.example.com/none.yaml", &[]).unwrap_err();
    assert_eq!(problems.list[0].title, "`https://api.example.com/none.yaml` cannot be read: 404 Not Found");
    let without = Sources { document: Some(Path::new("http://a.example/x")), ..Sources::default() };
    let problems = Contract::gather(without).unwrap_err();
    assert_eq!(problems.list[0].title, "`http://a.example/x` is a URL, and URLs are not read here");
}

#[test]
fn an_overlay_at_a_url_extends_what_stands_beside_it() {
    let mut server = Server::default();
    server.files.insert("https://api.example.com/v1/openapi.yaml", BASE.into());
    let overlay = "overlay: 1.0.0\ninfo: {title: O, version: '1'}\nextends: ../v1/openapi.yaml\nactions: [{target: $.info, update: {title: Laid}}]\n";
    server.files.insert("https://api.example.com/o/over.yaml", overlay.into());
    let overlays = [PathBuf::from("https://api.example.com/o/over.yaml")];
    let fetch = |url: &str| server.get(url);
    let contract = Contract::gather(Sources { document: None, overlays: &overlays, fetch: Some(&fetch) }).unwrap();
    assert_eq!(contract.title, "Laid");
    assert!(contract.notes.is_empty(), "{:?}", contract.notes);
}

#[test]
fn a_document_that_knows_its_own_uri_is_found_by_it() {
    let text = "openapi: 3.2.0
$self: https://api.example.com/specs/openapi
info: {title: T, version: '1'}
paths: {}
components:
  schemas:
    A: {$ref: 'https://api.example.com/specs/openapi#/components/schemas/B'}
    B: {type: string}
    C: {$ref: 'https://api.example.com/specs/c.yaml#/C'}
";
    let folder = Folder::new(&[("local.yaml", text), ("c.yaml", "C: {type: integer}\n")]);
    let contract = folder.load(Some("local.yaml"), &[]).unwrap();
    assert_eq!(contract.schemas["A"].value["$ref"], json!("#/$defs/B"));
    assert_eq!(contract.schemas["C"].value["type"], json!("integer"));
}

#[test]
fn the_only_document_of_a_folder_is_the_one() {
    let folder = Folder::new(&[
        ("other.yaml", "# A comment.\nopenapi: 3.1.0\ninfo: {title: T, version: '1'}\npaths: {}\n"),
        ("data.json", "{}"),
    ]);
    assert_eq!(Contract::load(folder.0.path()).unwrap().title, "T");
    std::fs::write(folder.path("second.json"), r#"{"swagger": "2.0", "info": {}, "paths": {}}"#).unwrap();
    let problems = Contract::load(folder.0.path()).unwrap_err();
    assert_eq!(problems.list[0].found.as_deref(), Some("other.yaml, second.json"));
    std::fs::rename(folder.path("second.json"), folder.path("swagger.json")).unwrap();
    assert!(Contract::load(folder.0.path()).is_ok());
}
