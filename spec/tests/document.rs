//! Documents: text to values, positions, references between files, and everything that can be wrong with a text.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use trueline_spec::contract::Direction;
use trueline_spec::document::{Document, Location};
use trueline_spec::{Contract, Problems};

fn value(text: &str) -> Value {
    let document = Document::from_text("doc.yaml", text).unwrap_or_else(|problems| panic!("{problems}"));
    document.files[0].value.clone()
}

fn refused(text: &str) -> String {
    Document::from_text("doc.yaml", text).expect_err("must be refused").list[0].title.clone()
}

fn at(pointer: &str) -> Location {
    Location { file: 0, pointer: pointer.into() }
}

#[test]
fn scalars_follow_the_core_schema() {
    let table = [
        ("~", json!(null)),
        ("null", json!(null)),
        ("true", json!(true)),
        ("FALSE", json!(false)),
        ("yes", json!("yes")),
        ("on", json!("on")),
        ("12", json!(12)),
        ("-7", json!(-7)),
        ("+3", json!(3)),
        ("007", json!(7)),
        ("0x1F", json!(31)),
        ("0o17", json!(15)),
        ("1.50", json!(1.5)),
        (".5", json!(0.5)),
        ("3.", json!(3.0)),
        ("1e3", json!(1000.0)),
        ("18446744073709551615", json!(18446744073709551615u64)),
        ("-9223372036854775808", json!(-9223372036854775808i64)),
        ("92233720368547758070", json!(92233720368547758070.0)),
        ("1_000", json!("1_000")),
        ("2020-01-01", json!("2020-01-01")),
        ("0000-00-00", json!("0000-00-00")),
        ("1.2.3", json!("1.2.3")),
        ("12:30", json!("12:30")),
        ("-", json!([null])),
        ("'12'", json!("12")),
        ("\"a\\u00e9\"", json!("aé")),
        ("!!str 200", json!("200")),
        ("! 200", json!("200")),
        ("!!int '5'", json!(5)),
        ("!!float '5'", json!(5)),
        ("!!timestamp 2020-01-01", json!("2020-01-01")),
    ];
    for (text, expected) in table {
        let text = if text == "-" { "a:\n  -\n".to_owned() } else { format!("a: {text}\n") };
        assert_eq!(value(&text), json!({"a": expected}), "{text}");
    }
}

#[test]
fn keys_are_text_whatever_they_look_like() {
    let text = "200: a\n4XX: b\ntrue: c\nnull: d\n1.0: e\n? f\n: g\n";
    assert_eq!(value(text), json!({"200": "a", "4XX": "b", "true": "c", "null": "d", "1.0": "e", "f": "g"}));
}

#[test]
fn anchors_aliases_and_merge_keys() {
    let text = "
base: &base {type: string, minLength: 1}
more: &more {minLength: 2, maxLength: 9}
alias: *base
one: {<<: *base, minLength: 3}
two: {maxLength: 4, <<: [*more, *base]}
quoted: {'<<': text}
";
    let value = value(text);
    assert_eq!(value["alias"], json!({"type": "string", "minLength": 1}));
    assert_eq!(value["one"], json!({"minLength": 3, "type": "string"}));
    assert_eq!(value["two"], json!({"maxLength": 4, "minLength": 2, "type": "string"}));
    assert_eq!(value["quoted"], json!({"<<": "text"}));
    let document = Document::from_text("doc.yaml", text).unwrap();
    let position = |pointer| document.position(&at(pointer)).to_string();
    assert_eq!(position("/alias/minLength"), "2:28", "an alias stands where its anchor stands");
    assert_eq!(position("/one/minLength"), "5:18");
    assert_eq!(position("/one/type"), "2:14", "a merged key stands where it was merged from");
    assert_eq!(position("/two/minLength"), "3:14");
}

#[test]
fn json_is_read_as_json() {
    // A surrogate pair, tabs and an escaped slash: JSON has them, YAML does not.
    let text = "{\n\t\"a\": \"\\ud83d\\ude00\\/\",\n\t\"größe\" : [1, -2.5e3, true, null, {}],\t\"z\": []}\n";
    assert_eq!(value(text), json!({"a": "😀/", "größe": [1, -2500.0, true, null, {}], "z": []}));
    let document = Document::from_text("doc.json", text).unwrap();
    let position = |pointer| document.position(&at(pointer)).to_string();
    assert_eq!(position("/a"), "2:2");
    assert_eq!(position("/größe"), "3:2");
    assert_eq!(position("/größe/1"), "3:16");
    assert_eq!(position("/z"), "3:41", "columns count characters, not bytes");
    // A key longer than YAML allows for an implicit key.
    let long = "k".repeat(5000);
    assert_eq!(value(&format!("{{\"{long}\": 1}}")), json!({long: 1}));
    // What starts with a brace and is not JSON may still be YAML.
    assert_eq!(value("{a: b, c: [d]}"), json!({"a": "b", "c": ["d"]}));
}

#[test]
fn positions_are_those_of_keys_and_items() {
    let text = "openapi: 3.0.3\npaths:\n  /a~b/{id}:\n    get:\n      tags: [x, yy]\n      list:\n        - one\n        - two: 2\n";
    let document = Document::from_text("doc.yaml", text).unwrap();
    let position = |pointer| document.position(&at(pointer)).to_string();
    assert_eq!(position(""), "1:1");
    assert_eq!(position("/paths"), "2:1");
    assert_eq!(position("/paths/~1a~0b~1{id}"), "3:3");
    assert_eq!(position("/paths/~1a~0b~1{id}/get/tags"), "5:7");
    assert_eq!(position("/paths/~1a~0b~1{id}/get/tags/1"), "5:17");
    assert_eq!(position("/paths/~1a~0b~1{id}/get/list/0"), "7:11");
    assert_eq!(position("/paths/~1a~0b~1{id}/get/list/1/two"), "8:11");
    assert_eq!(position("/paths/~1a~0b~1{id}/get/missing/deeper"), "4:5", "the deepest part that exists");
    assert_eq!(document.describe(&at("/paths")), "doc.yaml:2:1");
    assert_eq!(document.line(0, 5), "      tags: [x, yy]");
    assert_eq!(document.value(&at("/paths/~1a~0b~1{id}/get/tags/1")), Some(&json!("yy")));
    assert_eq!(document.value(&at("/paths/nowhere")), None);
}

#[test]
fn a_byte_order_mark_and_windows_line_ends_change_nothing() {
    let document = Document::from_text("doc.yaml", "\u{feff}a: 1\r\nb:\r\n  c: x\r\n").unwrap();
    assert_eq!(document.files[0].value, json!({"a": 1, "b": {"c": "x"}}));
    assert_eq!(document.position(&at("/b/c")).to_string(), "3:3");
    assert_eq!(document.line(0, 3), "  c: x");
}

#[test]
fn broken_texts_are_refused_with_a_reason() {
    let table = [
        ("", "the file is empty"),
        ("# only a comment\n", "the file is empty"),
        ("a: 1\na: 2\n", "duplicate key `a`: first on line 1"),
        ("{\"a\": 1,\n \"a\": 2}", "duplicate key `a`: first on line 1"),
        ("a: 1\n---\nb: 2\n", "a second YAML document starts here"),
        ("a: .nan\n", "`.nan` is a number that JSON does not have"),
        ("a: -.inf\n", "`-.inf` is a number that JSON does not have"),
        ("a: 1e999\n", "`1e999` is too large a number"),
        ("{\"a\": 1e999}", "`1e999` is too large a number"),
        ("a: !!python/object x\n", "the tag `!!python/object` has no meaning here"),
        ("a: !custom x\n", "the tag `!custom` has no meaning here"),
        ("a: !!int x\n", "`x` is not of the type `!!int`"),
        ("? [a, b]\n: c\n", "a key must be text, not a list or a mapping"),
        ("? {a: b}\n: c\n", "a key must be text, not a list or a mapping"),
        ("a: &x [*x]\n", "an alias inside its own anchor has no end"),
        ("a: {<<: 5}\n", "`<<` merges a mapping or a list of mappings"),
        ("{\"a\": [1, 2", "not valid JSON: `,` or `]` expected, but the file ends"),
        ("{\"a\": \"b", "not valid JSON: this string has no end"),
        ("{\"a\": \"\\ud800\"}", "not valid JSON: unexpected end of hex escape"),
    ];
    for (text, expected) in table {
        assert_eq!(refused(text), expected, "{text}");
    }
    assert!(refused("a: [1, 2\nb: 3\n").starts_with("not valid YAML: "));
    assert!(refused("a: *nowhere\n").starts_with("not valid YAML: "));
}

#[test]
fn depth_and_aliases_have_limits() {
    let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(refused(&deep), "nested more than 200 levels deep");
    let deep: String = (0..1000).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect();
    assert_eq!(refused(&deep), "nested more than 200 levels deep");
    let fits = format!("{}1{}", "[".repeat(150), "]".repeat(150));
    assert!(Document::from_text("doc.json", &fits).is_ok());
    let mut laughs = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..12 {
        let before = format!("*a{}", level - 1);
        laughs += &format!("a{level}: &a{level} [{}]\n", vec![before; 10].join(", "));
    }
    assert!(refused(&laughs).ends_with("more than 1000000 values"), "{}", refused(&laughs));
}

#[test]
fn invalid_utf8_names_the_byte() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("doc.yaml");
    fs::write(&file, b"a: 1\nb: \xC3\x28\n").unwrap();
    let problems = Document::open(&file).unwrap_err();
    assert_eq!(problems.list[0].title, "not valid UTF-8: byte 8 is 0xC3");
    assert_eq!(problems.list[0].position(&problems.document).unwrap().to_string(), "2:4");
    fs::write(&file, b"\xFF\xFEa\0:\0").unwrap();
    assert_eq!(Document::open(&file).unwrap_err().list[0].title, "the file is UTF-16, not UTF-8");
}

/// Writes files into a new folder and loads its `openapi.yaml`.
fn load(files: &[(&str, &str)]) -> (tempfile::TempDir, Result<Contract, Problems>) {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let contract = Contract::load(folder.path());
    (folder, contract)
}

const HEAD: &str = "openapi: 3.0.3\ninfo: {title: T, version: 1.0.0}\n";

#[test]
fn references_lead_through_files() {
    let entry = format!(
        "{HEAD}paths:
  /agents:
    $ref: './paths/agents.yaml#/agents'
components:
  schemas:
    Agent:
      $ref: './schemas/agents.yaml#/Agent'
    Bot:
      $ref: './schemas/agents.yaml#/Agent'
"
    );
    let (folder, contract) = load(&[
        ("openapi.yaml", &entry),
        (
            "paths/agents.yaml",
            "agents:
  get:
    operationId: listAgents
    responses:
      200:
        description: All.
        content:
          application/json:
            schema:
              type: array
              items: {$ref: '../openapi.yaml#/components/schemas/Agent'}
",
        ),
        (
            "schemas/agents.yaml",
            "Agent:
  type: object
  properties:
    parent: {$ref: '#/Agent'}
    kind: {$ref: '#/Kind'}
    odd: {$ref: 'odd%20names.json#/a~1b/c~0d'}
    whole: {$ref: 'whole.yaml'}
Kind: {enum: [a, b]}
",
        ),
        ("schemas/odd names.json", r#"{"a/b": {"c~d": {"type": "integer"}}}"#),
        ("schemas/whole.yaml", "type: boolean\n"),
    ]);
    let contract = contract.unwrap_or_else(|problems| panic!("{problems}"));
    let names: Vec<&str> = contract.schemas.keys().map(String::as_str).collect();
    assert_eq!(names, ["Agent", "Bot", "Kind", "a_b_c_d", "whole"]);
    assert_eq!(contract.schemas["Bot"].name(), Some("Agent"), "one schema, one name");
    assert_eq!(contract.schemas["Agent"].value["properties"]["parent"], json!({"$ref": "#/$defs/Agent"}));
    let operation = contract.operation("listAgents").unwrap();
    let schema = operation.responses[0].media[0].schema.as_ref().unwrap();
    assert_eq!(*schema.value, json!({"type": "array", "items": {"$ref": "#/$defs/Agent"}}));
    let place = contract.document.describe(&operation.at);
    assert_eq!(Path::new(&place), folder.path().join("paths/agents.yaml:2:3"));
    assert_eq!(contract.document.describe(&contract.schemas["Agent"].at).rsplit('/').next(), Some("agents.yaml:1:1"));
}

#[test]
fn files_may_refer_to_each_other() {
    let entry = format!("{HEAD}paths: {{}}\ncomponents: {{schemas: {{A: {{$ref: 'a.yaml#/A'}}}}}}\n");
    let (_folder, contract) = load(&[
        ("openapi.yaml", &entry),
        ("a.yaml", "A: {properties: {b: {$ref: 'b.yaml#/B'}}}\n"),
        ("b.yaml", "B: {properties: {a: {$ref: 'a.yaml#/A'}}}\n"),
    ]);
    let contract = contract.unwrap();
    assert_eq!(contract.schemas["B"].value["properties"]["a"], json!({"$ref": "#/$defs/A"}));
    // Nothing but references all the way round says nothing.
    let (_folder, contract) = load(&[
        ("openapi.yaml", &entry),
        ("a.yaml", "A: {$ref: 'b.yaml#/B'}\n"),
        ("b.yaml", "B: {$ref: 'a.yaml#/A'}\n"),
    ]);
    assert_eq!(contract.unwrap_err().list[0].title, "references go round in a circle");
}

#[test]
fn references_stay_in_the_contracts_folder() {
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("secret.yaml"), "A: {type: string}\n").unwrap();
    for (reference, title) in [
        ("../secret.yaml#/A", "`../secret.yaml#/A` leads out of the contract's folder"),
        ("a/../../secret.yaml", "`a/../../secret.yaml` leads out of the contract's folder"),
        ("/etc/passwd", "`/etc/passwd` is an absolute path"),
        (
            "https://example.com/a.yaml#/A",
            "`https://example.com/a.yaml#/A` is a URL: references to other places are not fetched",
        ),
        ("file:///etc/passwd", "`file:///etc/passwd` is a URL: references to other places are not fetched"),
        ("linked.yaml#/A", "`linked.yaml` leads out of the contract's folder"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let entry = format!("{HEAD}paths: {{}}\ncomponents: {{schemas: {{A: {{$ref: '{reference}'}}}}}}\n");
        fs::write(folder.path().join("openapi.yaml"), entry).unwrap();
        #[cfg(unix)]
        std::os::unix::fs::symlink(outside.path().join("secret.yaml"), folder.path().join("linked.yaml")).unwrap();
        let problems = Contract::load(folder.path()).unwrap_err();
        assert_eq!(problems.list[0].title, title);
        assert_eq!(problems.list[0].at.as_ref().unwrap().pointer.as_ref(), "/components/schemas/A/$ref");
    }
}

#[test]
fn a_broken_file_is_named_with_its_line() {
    let entry = format!("{HEAD}paths: {{}}\ncomponents: {{schemas: {{A: {{$ref: 'a.yaml#/A'}}}}}}\n");
    let (_folder, contract) = load(&[("openapi.yaml", &entry), ("a.yaml", "A:\n  type: string\n  type: object\n")]);
    let text = contract.unwrap_err().to_string();
    assert!(text.starts_with("duplicate key `type`: first on line 2\n"), "{text}");
    assert!(text.contains("a.yaml:3:3"), "{text}");
    assert!(text.contains("3 |   type: object"), "{text}");
}

#[test]
fn what_only_looks_like_a_reference_is_left_alone() {
    let text = format!(
        "{HEAD}paths:
  /a:
    get:
      responses:
        200:
          description: A.
          content:
            application/json:
              schema: {{type: object}}
              example: {{$ref: 'not-a-file.yaml#/x'}}
"
    );
    let contract = Contract::from_text("doc.yaml", &text).unwrap();
    let media = &contract.operations[0].responses[0].media[0];
    assert_eq!(media.examples[0].value, json!({"$ref": "not-a-file.yaml#/x"}));
}

#[test]
fn folders_and_missing_files_say_what_they_lack() {
    let folder = tempfile::tempdir().unwrap();
    let problems = Contract::load(folder.path()).unwrap_err();
    assert!(problems.list[0].title.ends_with("has no document"));
    fs::write(
        folder.path().join("openapi.json"),
        r#"{"openapi": "3.1.0", "info": {"title": "T", "version": "1"}, "paths": {}}"#,
    )
    .unwrap();
    assert_eq!(Contract::load(folder.path()).unwrap().title, "T");
    let problems = Contract::load(&folder.path().join("nothing.yaml")).unwrap_err();
    assert!(problems.list[0].title.starts_with("`nothing.yaml` cannot be read"), "{problems}");
}

#[test]
fn equal_documents_have_equal_digests() {
    let entry = format!("{HEAD}paths: {{}}\n");
    let (first, second) = (load(&[("openapi.yaml", &entry)]).1.unwrap(), load(&[("openapi.yaml", &entry)]).1.unwrap());
    assert_eq!(first.digest, second.digest);
    assert_eq!(first.digest, Contract::from_text("other.yaml", &entry).unwrap().digest);
    assert_eq!(first.digest.len(), 64);
    assert_ne!(first.digest, Contract::from_text("doc.yaml", &format!("{entry}\n")).unwrap().digest);
}

const SAMPLE: &str = "openapi: 3.0.3
info: {title: Sample, version: '1.0'}
x-contract: {name: sample, error-codes: {gone: {status: 404, retry: never, 'on': every-operation}}}
security: [{key: [], other: &scopes [a, b]}, {}]
paths:
  /things/{id}:
    parameters: [{name: id, in: path, required: true, schema: {type: integer, nullable: true, minimum: 1, exclusiveMinimum: true}}]
    get:
      operationId: getThing
      x-error-codes: [gone]
      x-required-scopes: *scopes
      responses:
        200:
          description: \"A \\u0074hing\"
          content:
            application/json:
              schema: {$ref: '#/components/schemas/Thing'}
              examples: {one: {value: {name: x, ratio: 1.5e2}}}
          links: {self: {operationId: getThing, parameters: {path.id: $response.body#/id}}}
        4XX: {$ref: '#/components/responses/Error'}
components:
  securitySchemes: {key: {type: apiKey, in: header, name: X-Key}, other: {type: http, scheme: Bearer}}
  responses: {Error: {description: |
    Text
     more}}
  schemas:
    Thing: {allOf: [{$ref: '#/components/schemas/Base'}], discriminator: {propertyName: kind, mapping: {a: Base}}}
    Base: {type: object, required: [name], properties: {name: {type: string}, next: {$ref: '#/components/schemas/Thing'}}}
";

/// Everything that the reader does with a text must end in a contract or in problems that can be printed.
fn survives(text: &str) {
    match Contract::from_text("doc.yaml", text) {
        Ok(contract) => {
            for problem in &contract.notes {
                problem.render(&contract.document);
            }
            for schema in contract.schemas.values() {
                for direction in [Direction::Request, Direction::Response] {
                    let Ok(validator) = contract.validator(schema, direction) else { continue };
                    for value in [json!(null), json!({"name": "x", "next": {"next": 5}}), json!([1])] {
                        let _ = validator.is_valid(&value);
                    }
                }
            }
            trueline_spec::lint::lint(&contract).unwrap();
        }
        Err(problems) => {
            assert!(!problems.is_empty());
            assert!(!problems.to_string().is_empty());
        }
    }
}

#[test]
fn a_document_cut_anywhere_does_no_harm() {
    for end in 0..=SAMPLE.len() {
        survives(&SAMPLE[..end]);
    }
    let json = serde_json::to_string_pretty(&value(&SAMPLE.replace("|\n    Text\n     more", "Text"))).unwrap();
    for end in 0..=json.len() {
        survives(&json[..end]);
    }
}

#[test]
fn any_value_anywhere_does_no_harm() {
    fn pointers(value: &Value, at: String, found: &mut Vec<String>) {
        match value {
            Value::Object(map) => map.iter().for_each(|(key, value)| {
                pointers(value, format!("{at}/{}", key.replace('~', "~0").replace('/', "~1")), found);
            }),
            Value::Array(items) => {
                items.iter().enumerate().for_each(|(index, value)| pointers(value, format!("{at}/{index}"), found));
            }
            _ => {}
        }
        found.push(at);
    }
    let thing = json!({"$ref": "#/components/schemas/Thing"});
    let values = [
        json!(null),
        json!(true),
        json!(-5),
        json!(1.5e300),
        json!(""),
        json!("$response.body#/x/y"),
        json!([]),
        json!([null, [], {}]),
        json!({}),
        json!({"": {"x": null}}),
        json!({"$ref": "#"}),
        json!({"$ref": "#/paths/~1things~1{id}/get/responses/200/content/application~1json/schema"}),
        json!({"$ref": "#/components/schemas/Thing/allOf/0/properties/next/properties/name"}),
        json!({"allOf": [thing, thing, thing, {"anyOf": [thing, thing]}], "properties": {"a": thing}}),
        thing,
    ];
    for sample in [SAMPLE, SWAGGER, NEWEST] {
        let sample = value(sample);
        let mut places = Vec::new();
        pointers(&sample, String::new(), &mut places);
        for place in &places {
            for new in &values {
                let mut mutated = sample.clone();
                *mutated.pointer_mut(place).unwrap() = new.clone();
                survives(&mutated.to_string());
            }
        }
    }
}

const SWAGGER: &str = "swagger: '2.0'
info: {title: T, version: '1'}
host: api.example.com
basePath: /v1
schemes: [https]
consumes: [application/json]
produces: [application/json]
paths:
  /things/{id}:
    parameters: [{name: id, in: path, required: true, type: integer}, {$ref: '#/parameters/Shared'}]
    get:
      parameters: [{name: list, in: query, type: array, items: {type: string}, collectionFormat: pipes}]
      responses:
        200: {description: Fine., schema: {$ref: '#/definitions/Thing'}, headers: {X-A: {type: array, items: {type: integer}}}, examples: {application/json: {name: a}}}
        404: {$ref: '#/responses/None'}
    post:
      consumes: [multipart/form-data]
      parameters: [{name: file, in: formData, type: file}, {name: tags, in: formData, type: array, items: {type: string}}]
    put:
      parameters: [{name: body, in: body, schema: {$ref: '#/definitions/Thing'}}]
parameters: {Shared: {name: X-Shared, in: header, type: string, x-example: a}}
responses: {None: {description: None.}}
securityDefinitions: {basic: {type: basic}, oauth: {type: oauth2, flow: implicit, scopes: {a: A.}}}
security: [{oauth: [a]}, {basic: []}]
definitions:
  Thing: {type: object, discriminator: kind, required: [kind], properties: {kind: {type: string, x-nullable: true}, next: {$ref: '#/definitions/Thing'}}}
";

const NEWEST: &str = "openapi: 3.2.0
$self: https://api.example.com/openapi
info: {title: T, version: '1'}
tags: [{name: a, parent: b}, {name: b}]
paths:
  /things:
    query: {requestBody: {content: {application/json: {schema: {$ref: '#/components/schemas/Thing'}}}}}
    additionalOperations: {COPY: {responses: {200: {$ref: 'https://api.example.com/openapi#/components/responses/Events'}}}}
    get:
      parameters:
        - {name: q, in: querystring, content: {application/x-www-form-urlencoded: {schema: {type: object, properties: {a: {type: integer}}}, encoding: {a: {style: form}}}}}
        - {name: c, in: cookie, style: cookie, schema: {type: string}, examples: {a: {dataValue: x, serializedValue: x}}}
components:
  mediaTypes: {Events: {itemSchema: {type: object, properties: {data: {contentMediaType: application/json, contentSchema: {type: object}}}}}}
  responses: {Events: {description: Events., content: {text/event-stream: {$ref: '#/components/mediaTypes/Events'}}}}
  schemas: {Thing: {type: object, discriminator: {propertyName: kind, defaultMapping: Thing}}}
";

#[test]
fn mutated_documents_do_no_harm() {
    // xorshift: the same documents on every machine and every day.
    let mut state = 0x2545_F491_4F6C_DD1Du64;
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    let tokens = [
        "\n",
        " ",
        "  ",
        ":",
        "-",
        "[",
        "]",
        "{",
        "}",
        ",",
        "'",
        "\"",
        "*scopes",
        "&a ",
        "<<",
        "$ref",
        "#/components/schemas/Thing",
        "null",
        "true",
        "0",
        "-1",
        "1e400",
        "\t",
        "%",
        "|",
        ">",
        "?",
        "!!str ",
        "é",
        "\u{0}",
        "\u{feff}",
        "~",
        "/",
        "type",
        "enum",
        "nullable",
        "x-secret",
        "allOf",
        "{}",
        "[]",
    ];
    for _ in 0..3000 {
        let mut text = SAMPLE.to_owned();
        for _ in 0..=random(3) {
            let start = (0..=random(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or_default();
            let end = (start..text.len()).take(1 + random(12)).rfind(|at| text.is_char_boundary(*at)).unwrap_or(start);
            text.replace_range(start..end, tokens[random(tokens.len())]);
        }
        survives(&text);
    }
}
