//! Makes STYLE and LAYOUT true: reads the sources as text and refuses an arrow that points upwards, a
//! crate named where it must not be, a provider that is half there, a file without a head or too long.
//! It reads what rustfmt made of the code, so it needs no parser; what a lint can see is left to lints.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use tollgate::providers::PROVIDERS;

/// The longest file, without its tests.
const MAX_LINES: usize = 400;
const MAX_MAIN_LINES: usize = 40;

/// Names that say nothing about what is in a file.
const BANNED_NAMES: &[&str] = &["utils", "util", "helpers", "helper", "common", "misc", "types"];

/// Which parts of the gateway each may use, beside itself. The first row that fits a file counts.
const ARROWS: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("receipt", &["model"]),
    ("providers", &["model", "receipt"]),
    ("config", &["model", "providers"]),
    ("store", &["model", "receipt"]),
    ("ingest", &["model", "receipt", "providers", "store"]),
    ("http/admin", &["model", "receipt", "providers", "store", "ingest", "config", "http"]),
    ("http", &["model", "receipt", "providers", "ingest", "config"]),
    ("delivery/window", &["model", "store/rows"]),
    ("delivery", &["model", "store", "ingest"]),
    ("grpc", &["model", "store", "ingest", "delivery", "config"]),
    ("commands", &[""]),
    ("main", &[""]),
    ("lib", &[]),
];

/// Crates that only these parts may name.
const CRATES: &[(&str, &[&str])] = &[
    ("axum", &["http"]),
    ("tonic", &["grpc"]),
    ("tonic_health", &["grpc"]),
    ("tonic_prost", &["grpc"]),
    ("tonic_reflection", &["grpc"]),
    ("tonic_types", &["grpc"]),
    ("prost", &["grpc"]),
    ("prost_types", &["grpc"]),
    ("sqlx", &["store"]),
    ("reqwest", &["ingest/fetch", "commands/send"]),
    ("anyhow", &["commands", "main"]),
    ("clap", &["commands", "main"]),
    ("tollgate_client", &["commands"]),
    ("toml", &["config"]),
];

/// Where connectors are.
const CONNECTORS: &str = "clients/connectors/src/";

/// What a CRM's module may use of the connectors: it knows its API and nothing of events or the gateway.
const OF_A_CRM: &[&str] = &["api", "budget", "config", "crm", "crms", "orgs", "tokens", "value"];

/// Crates that only these parts of the connectors may name.
const CONNECTOR_CRATES: &[(&str, &[&str])] = &[
    ("axum", &["operations"]),
    ("sqlx", &["memory"]),
    ("anyhow", &["commands", "main"]),
    ("clap", &["commands", "main"]),
    ("tollgate_client", OF_EVENTS),
];

/// The connectors' parts that know the gateway and its events; the rest sees rows and records.
const OF_EVENTS: &[&str] = &[
    // It holds a mapping against every status that events can have.
    "check/statuses",
    "collapse",
    "commands",
    "config",
    "connector",
    "gateway",
    "intake",
    "mapping",
    "plan",
    "report",
    "trace",
];

/// What pure parts must not name: time is handed to them and they do no I/O.
const PURE: &[&str] = &["model", "receipt", "providers", "delivery/window"];
const IMPURE_WORDS: &[&str] = &[
    "tokio::",
    "std::fs",
    "std::net",
    "std::env",
    "Timestamp::now",
    "Zoned::now",
    "Instant::now",
    "SystemTime",
    "async fn",
];

/// A file of Rust, and what of it is not a test.
struct Source {
    /// From the workspace on: `src/http/admin.rs`.
    path: String,
    text: String,
    /// Its lines up to the tests, without comments.
    code: String,
    /// How many lines it has up to the tests.
    lines: usize,
}

#[test]
fn the_provider_table_is_sorted_and_complete() {
    let names: Vec<&str> = PROVIDERS.iter().map(|provider| provider.name).collect();
    assert!(names.is_sorted_by(|before, after| before < after), "not sorted: {names:?}");
    let declared: BTreeSet<String> = sources(&["src/providers"])
        .iter()
        .filter(|source| source.code.contains("pub const PROVIDER: Provider"))
        .map(|source| module_of(&source.path).trim_start_matches("providers/").to_owned())
        .collect();
    let listed: BTreeSet<String> = names.iter().map(|&name| name.to_owned()).collect();
    assert_eq!(declared, listed, "src/providers/NAME.rs against the table PROVIDERS");
}

#[test]
fn each_provider_has_vectors() {
    let missing: Vec<String> = PROVIDERS
        .iter()
        .map(|provider| format!("tests/vectors/{}.json", provider.name))
        .filter(|path| !root().join(path).is_file())
        .collect();
    assert!(missing.is_empty(), "missing: {missing:?}");
    for path in files("tests/vectors", "json") {
        let name = path.file_stem().and_then(|stem| stem.to_str()).expect("a name");
        assert!(tollgate::providers::find(name).is_some(), "{} is of no provider", path.display());
    }
}

#[test]
fn each_provider_has_a_readme_row() {
    let readme = fs::read_to_string(root().join("README.md")).expect("README.md is there");
    for provider in PROVIDERS {
        let is_row = |line: &str| {
            line.starts_with('|')
                && line.contains(provider.title)
                && line.contains(&format!("`{}`", provider.name))
        };
        assert!(readme.lines().any(is_row), "README.md has no table row with `{}`", provider.name);
    }
}

#[test]
fn modules_use_only_what_stands_before_them() {
    let mut wrong = Vec::new();
    for source in sources(&["src"]) {
        let module = module_of(&source.path);
        let Some((part, allowed)) = ARROWS.iter().find(|(part, _)| is_part(module, part)) else {
            wrong.push(format!("{}: its module has no row in ARROWS", source.path));
            continue;
        };
        for used in used_modules(module, &source.code) {
            let may = |other: &&str| other.is_empty() || is_part(&used, other);
            if !is_part(&used, part) && !allowed.iter().any(may) {
                wrong.push(format!("{}: {part} must not know {used}", source.path));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn providers_do_not_know_each_other() {
    let mut wrong = Vec::new();
    for source in sources(&["src/providers"]) {
        for used in used_modules(module_of(&source.path), &source.code) {
            let other = PROVIDERS.iter().find(|provider| {
                is_part(&used, &format!("providers/{}", provider.name))
                    && !is_part(module_of(&source.path), &format!("providers/{}", provider.name))
            });
            if let Some(other) = other {
                wrong.push(format!("{} knows {}", source.path, other.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn crates_are_named_only_where_they_belong() {
    let mut wrong = Vec::new();
    for source in sources(&["src"]) {
        let module = module_of(&source.path);
        for (name, parts) in CRATES {
            let belongs = parts.iter().any(|part| is_part(module, part));
            if !belongs && names_crate(&source.code, name) {
                wrong.push(format!("{} names {name}", source.path));
            }
        }
    }
    for source in sources(&["clients", "tests/bench"]) {
        if names_crate(&source.code, "tollgate") {
            wrong.push(format!("{} names the gateway's own crate", source.path));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn each_crm_is_whole() {
    let readme = fs::read_to_string(root().join("README.md")).expect("README.md is there");
    let mut missing = Vec::new();
    for crm in crms() {
        for path in [
            format!("{CONNECTORS}{crm}.rs"),
            format!("tests/fake_crms/src/{crm}.rs"),
            format!("clients/connectors/tests/it/{crm}.rs"),
            format!("clients/connectors/examples/{crm}.toml"),
        ] {
            if !root().join(&path).is_file() {
                missing.push(path);
            }
        }
        let is_row = |line: &str| {
            line.starts_with('|')
                && line.contains(&format!(" `{crm}` | "))
                && line.matches('|').count() == 7
        };
        if !readme.lines().any(is_row) {
            missing.push(format!("the row of `{crm}` in README.md"));
        }
    }
    assert!(missing.is_empty(), "missing: {missing:?}");
}

#[test]
fn a_crms_module_knows_its_api_alone() {
    let mut wrong = Vec::new();
    let crms = crms();
    for source in sources(&["clients/connectors/src"]) {
        let module = connector_module(&source.path);
        let Some(crm) = crms.iter().find(|crm| is_part(module, crm)) else { continue };
        for used in used_modules(module, &source.code) {
            let is_own = is_part(&used, crm);
            if !is_own && !OF_A_CRM.iter().any(|part| is_part(&used, part)) {
                wrong.push(format!("{} knows {used}", source.path));
            }
        }
        for name in ["tollgate_client", "prost_types"] {
            if names_crate(&source.code, name) {
                wrong.push(format!("{} names {name}", source.path));
            }
        }
    }
    for source in sources(&["clients/connectors/src"]) {
        let module = connector_module(&source.path);
        for (name, parts) in CONNECTOR_CRATES {
            let belongs = parts.iter().any(|part| is_part(module, part));
            if !belongs && names_crate(&source.code, name) {
                wrong.push(format!("{} names {name}", source.path));
            }
        }
        let calls_out = module == "api" || crms.iter().any(|crm| is_part(module, crm));
        if !calls_out && names_crate(&source.code, "reqwest") {
            wrong.push(format!("{} names reqwest", source.path));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn pure_parts_have_no_clock_and_do_no_io() {
    let mut wrong = Vec::new();
    for source in sources(&["src"]) {
        if !PURE.iter().any(|part| is_part(module_of(&source.path), part)) {
            continue;
        }
        for word in IMPURE_WORDS.iter().filter(|word| source.code.contains(**word)) {
            wrong.push(format!("{} has `{word}`", source.path));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn files_are_named_for_what_they_do() {
    let mut wrong = Vec::new();
    for folder in ["src", "clients", "tests", "proto"] {
        for path in files(folder, "") {
            let relative = path.strip_prefix(root()).expect("below the root");
            let banned = relative.iter().filter_map(|part| Path::new(part).file_stem()?.to_str());
            if banned.into_iter().any(|part| BANNED_NAMES.contains(&part)) {
                wrong.push(relative.display().to_string());
            }
        }
    }
    assert!(wrong.is_empty(), "say what is in: {wrong:?}");
}

#[test]
fn files_stay_short() {
    let mut wrong = Vec::new();
    for source in sources(&["src", "clients", "tests/bench", "tests/fake_crms"]) {
        let max_lines = if source.path == "src/main.rs" { MAX_MAIN_LINES } else { MAX_LINES };
        if source.lines > max_lines {
            let (path, lines) = (&source.path, source.lines);
            wrong.push(format!("{path} has {lines} lines without its tests; at most {max_lines}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_file_says_what_it_is() {
    let mut wrong = Vec::new();
    for source in sources(&["src", "clients", "tests", "build.rs"]) {
        let head = source.text.lines().next().unwrap_or_default();
        if head.strip_prefix("//! ").is_none_or(|words| words.len() < 20) {
            wrong.push(source.path);
        }
    }
    assert!(wrong.is_empty(), "must open with `//!` and a sentence: {wrong:#?}");
}

#[test]
fn nothing_is_unwrapped_outside_tests() {
    let mut wrong = Vec::new();
    for source in sources(&["src", "clients", "tests/bench", "tests/fake_crms", "build.rs"]) {
        if source.path.contains("/tests/") && !source.path.starts_with("tests/bench/") {
            continue;
        }
        if source.code.contains(".unwrap()") {
            wrong.push(source.path);
        }
    }
    assert!(wrong.is_empty(), "`expect` says why it cannot fail: {wrong:#?}");
}

#[test]
fn tests_stand_last() {
    const ITEMS: &[&str] = &[
        "use ", "fn ", "pub", "impl", "struct ", "enum ", "const ", "static ", "trait ", "async ",
    ];
    let mut wrong = Vec::new();
    for source in sources(&["src", "clients", "tests/bench", "tests/fake_crms"]) {
        let tests = &source.text[split_tests(&source.text).0.len()..];
        let item = tests.lines().find(|line| ITEMS.iter().any(|item| line.starts_with(item)));
        if let Some(item) = item {
            wrong.push(format!("{}: `{item}` stands below the tests", source.path));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The checks themselves: what they would overlook, nobody would see.
#[test]
fn the_reader_of_sources_sees_every_way_of_naming_a_module() {
    let code = without_comments_and_tests(
        "use crate::{\n    model::{Event, ids::Key},\n    store,\n};\nuse super::{adyen, stripe::PROVIDER};\n\
         // use crate::grpc;\nfn f() { crate::http::serve(); super::super::delivery::run::<u8>() }\n\
         pub(crate) mod x {}\n#[cfg(test)]\nmod tests {\n    use crate::ingest;\n}\n",
    );
    let used = used_modules("providers/square", &code);
    let used: Vec<&str> = used.iter().map(String::as_str).collect();
    assert_eq!(
        used,
        [
            "delivery/run",
            "http/serve",
            "model",
            "model/ids",
            "providers/adyen",
            "providers/stripe",
            "store"
        ]
    );
    assert!(used_modules("model/event", "use super::*;").contains("model"));

    assert!(names_crate("use tonic::Status;", "tonic"));
    assert!(names_crate("fn f(_: ::axum::Router) {}", "axum"));
    assert!(names_crate("use {axum, bytes};", "axum"));
    assert!(names_crate("pub use sqlx;", "sqlx"));
    assert!(names_crate("#[derive(prost::Message)]", "prost"));
    assert!(!names_crate("use crate::http::axum_like;", "axum"));
    assert!(!names_crate("crate::toml::read(); let sqlx = 1;", "toml"));
    assert!(!names_crate("tonic_types::pb()", "tonic"));

    let (code, lines) = split_tests("a\nb\n#[cfg(test)]\nmod tests {\n}\n");
    assert_eq!((code, lines), ("a\nb\n", 2));
    assert!(is_part("delivery/window/lane", "delivery/window"));
    assert!(!is_part("delivery/windows", "delivery/window"));
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The CRMs' modules, as the table of CRMs names them.
fn crms() -> Vec<String> {
    let table = fs::read_to_string(root().join(CONNECTORS).join("crms.rs")).expect("the table");
    let rows = table.lines().filter_map(|line| {
        line.trim().strip_prefix("crate::")?.strip_suffix("::KIND,").map(str::to_owned)
    });
    let rows: Vec<String> = rows.collect();
    assert!(!rows.is_empty(), "crms.rs has no table");
    rows
}

/// `clients/connectors/src/hubspot/batch.rs` is `hubspot/batch`.
fn connector_module(path: &str) -> &str {
    path.trim_start_matches(CONNECTORS).trim_end_matches(".rs")
}

/// Files below a folder that end so; folders with code that others made are left out.
fn files(below: &str, ending: &str) -> Vec<PathBuf> {
    const NOT_OURS: &[&str] = &["target", ".venv", "__pycache__", "node_modules", "generated"];
    let start = root().join(below);
    let mut found = Vec::new();
    let mut folders = vec![start.clone()];
    if start.is_file() {
        return vec![start];
    }
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries {
            let path = entry.expect("the folder can be listed").path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if path.is_dir() {
                if !NOT_OURS.contains(&name) {
                    folders.push(path);
                }
            } else if ending.is_empty() || path.extension().is_some_and(|found| found == ending) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn sources(below: &[&str]) -> Vec<Source> {
    let paths: Vec<PathBuf> = below.iter().flat_map(|folder| files(folder, "rs")).collect();
    paths
        .into_iter()
        .map(|path| {
            let text = fs::read_to_string(&path).expect("a source is text");
            let relative = path.strip_prefix(root()).expect("below the root");
            let path = relative.to_str().expect("names are text").to_owned();
            // A whole file of tests has no code.
            let is_test = path.ends_with("/tests.rs")
                || path.ends_with("/testing.rs")
                || path.contains("/tests/") && !path.starts_with("tests/bench/");
            let code = if is_test { String::new() } else { without_comments_and_tests(&text) };
            let lines = if is_test { 0 } else { split_tests(&text).1 };
            Source { path, text, code, lines }
        })
        .collect()
}

/// What stands before the tests, and its number of lines.
fn split_tests(text: &str) -> (&str, usize) {
    let code = text.find("#[cfg(test)]\nmod tests").map_or(text, |at| &text[..at]);
    (code, code.lines().count())
}

fn without_comments_and_tests(text: &str) -> String {
    split_tests(text)
        .0
        .lines()
        .map(|line| match line.trim_start().starts_with("//") {
            true => "\n".to_owned(),
            false => format!("{}\n", line.split(" // ").next().unwrap_or(line)),
        })
        .collect()
}

/// `src/http/admin.rs` is `http/admin`; `src/http.rs` is `http`.
fn module_of(path: &str) -> &str {
    path.trim_start_matches("src/").trim_end_matches(".rs")
}

fn is_part(module: &str, part: &str) -> bool {
    module.strip_prefix(part).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The modules that `crate::` and `super::` paths lead to: `http/admin`. What a path ends in may be a
/// function, which reads like one more module and changes nothing; a capital letter ends it.
fn used_modules(module: &str, code: &str) -> BTreeSet<String> {
    let mut used = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        if starts_a_path(code, at) {
            collect("", &code[at + "crate::".len()..], &mut used);
        }
    }
    for (at, _) in code.match_indices("super::") {
        if !starts_a_path(code, at) {
            continue;
        }
        let mut rest = &code[at..];
        let mut base = module;
        while let Some(after) = rest.strip_prefix("super::") {
            base = base.rsplit_once('/').map_or("", |(parent, _)| parent);
            rest = after;
        }
        collect(base, rest, &mut used);
    }
    used
}

/// Adds what a path, or each path of a group in braces, names below `base`.
fn collect(base: &str, rest: &str, used: &mut BTreeSet<String>) {
    if let Some(group) = rest.strip_prefix('{') {
        for path in group_members(group) {
            collect(base, path, used);
        }
        return;
    }
    let is_word = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let end = rest.find(|letter| !is_word(letter)).unwrap_or(rest.len());
    let (word, after) = rest.split_at(end);
    if !word.starts_with(|letter: char| letter.is_ascii_lowercase()) || word == "self" {
        if !base.is_empty() {
            used.insert(base.to_owned());
        }
        return;
    }
    let path = if base.is_empty() { word.to_owned() } else { format!("{base}/{word}") };
    match after.strip_prefix("::") {
        Some(rest) => collect(&path, rest, used),
        None => {
            used.insert(path);
        }
    }
}

/// The members of a `use` group, up to its closing brace.
fn group_members(group: &str) -> Vec<&str> {
    let mut members = Vec::new();
    let (mut depth, mut start) = (0, 0);
    for (at, letter) in group.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                members.push(group[start..at].trim());
                start = at + 1;
                if letter == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    members.retain(|member| !member.is_empty());
    members
}

/// Whether a path begins here, rather than going on.
fn starts_a_path(code: &str, at: usize) -> bool {
    let before = code[..at].chars().next_back();
    !before.is_some_and(|letter| letter.is_ascii_alphanumeric() || letter == '_' || letter == ':')
}

/// Whether a crate is named: at the start of a path, or alone in a `use`.
fn names_crate(code: &str, name: &str) -> bool {
    code.match_indices(name).any(|(at, _)| {
        let (before, after) = (&code[..at], &code[at + name.len()..]);
        let goes_on = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
        if before.ends_with(goes_on) || after.starts_with(goes_on) {
            return false;
        }
        // `::axum` is the crate, `http::axum` is not.
        let outer = before.strip_suffix("::").unwrap_or(before);
        if outer.len() < before.len() && outer.ends_with(|c: char| goes_on(c) || c == '>') {
            return false;
        }
        let statement = before.rsplit([';', '}']).next().unwrap_or(before);
        let in_use = statement.split_whitespace().any(|word| word == "use");
        after.starts_with("::") || (in_use && after.starts_with([';', ',', '}', ' ']))
    })
}
