//! Tests of the configuration: defaults, layers, and every refusal with its words. The providers here
//! are made up, so that no provider's own keys decide them.

use secrecy::ExposeSecret;

use super::*;
use crate::providers::{
    REPLIES, SecretKey, TranslateError, no_check, no_example, no_fetch, no_poll,
};
use crate::receipt::{Redaction, VerifyError};

const KEYED: Provider = Provider {
    name: "acme_pay",
    title: "Acme Pay",
    secrets: &[
        SecretKey { name: "webhook_secret", required: true },
        SecretKey { name: "api_key", required: false },
    ],
    settings: &["merchant_id", "tolerance_seconds", "strict"],
    structured: &[],
    events: &[],
    redaction: Redaction { headers: &[], query: &[], body_members: &[] },
    hosts: &[],
    check: no_check,
    verify: |_, _, _, _| Err(VerifyError::NotConfigured("webhook_secret")),
    translate: |_, _| Err(TranslateError(String::new())),
    fetch: no_fetch,
    poll: no_poll,
    replies: REPLIES,
    sample: |_, _| None,
    example: no_example,
};
const EITHER: Provider = Provider {
    name: "borealis",
    title: "Borealis",
    secrets: &[
        SecretKey { name: "password", required: false },
        SecretKey { name: "token", required: false },
    ],
    settings: &[],
    ..KEYED
};
const KNOWN: &[Provider] = &[KEYED, EITHER];

fn load_with(text: &str, variables: &[(&str, &str)]) -> Result<Config, Error> {
    let environment =
        variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    parse_for(KNOWN, text, "t.toml", environment)
}

fn load(text: &str) -> Config {
    load_with(text, &[]).expect("valid")
}

/// All mistakes, a line each.
fn refusal(text: &str) -> String {
    load_with(text, &[]).expect_err("must be refused").to_string()
}

fn endpoint(rest: &str) -> String {
    format!("[[endpoints]]\nprovider = \"acme_pay\"\nname = \"eu\"\n{rest}\n")
}

#[test]
fn an_empty_file_gives_the_defaults() {
    let config = load("");
    assert_eq!(config.store.path, Path::new("tollgate.db"));
    assert_eq!(config.http.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(config.http.public_url, "http://127.0.0.1:8080");
    assert_eq!(config.http.max_body_bytes, 1_048_576);
    assert_eq!(config.http.max_requests_per_second_per_endpoint, None);
    assert_eq!(config.grpc.listen.to_string(), "127.0.0.1:50051");
    assert_eq!(config.grpc.heartbeat, Duration::from_secs(10));
    assert_eq!(config.grpc.tls, None);
    assert_eq!(config.admin.listen.to_string(), "127.0.0.1:9090");
    assert_eq!(config.auth.mode, AuthMode::Token);
    assert_eq!(config.log.format, LogFormat::Pretty);
    assert!(config.endpoints.is_empty());
}

#[test]
fn a_variable_goes_before_the_file_for_every_key() {
    let text = "[grpc]\nlisten = \"127.0.0.1:1\"\nplaintext = false\nmax_connections = 7\n";
    let variables = [
        ("TOLLGATE_GRPC__LISTEN", "127.0.0.1:2"),
        ("TOLLGATE_GRPC__PLAINTEXT", "true"),
        ("TOLLGATE_GRPC__HEARTBEAT_SECONDS", "5"),
        ("TOLLGATE_ADMIN__ALLOWED_HOSTS", "a.example, b.example"),
    ];
    let config = load_with(text, &variables).expect("valid");
    assert_eq!(config.grpc.listen.port(), 2);
    assert!(config.grpc.plaintext);
    assert_eq!(config.grpc.max_connections, 7);
    assert_eq!(config.grpc.heartbeat, Duration::from_secs(5));
    assert_eq!(config.admin.allowed_hosts, ["a.example", "b.example"]);
    for key in known_keys() {
        let name = format!("TOLLGATE_{}", key.to_ascii_uppercase().replace('.', "__"));
        let refused = load_with("", &[(name.as_str(), "\u{1}?=[")]).expect_err(key).to_string();
        let place = format!("environment variable {name}: {key}: ");
        assert!(refused.starts_with(&place), "{key}: {refused}");
    }
}

#[test]
fn variables_that_are_no_keys_are_refused_and_others_left_alone() {
    let refused = load_with(
        "",
        &[
            ("TOLLGATE_GRPC__LISTN", "127.0.0.1:1"),
            ("TOLLGATE_ENDPOINTS__0__NAME", "eu"),
            ("TOLLGATE_TOKEN", "tok"),
            ("HOME", "/"),
        ],
    );
    assert_eq!(
        refused.expect_err("unknown").to_string(),
        "environment variable TOLLGATE_ENDPOINTS__0__NAME: endpoints.0.name: endpoints stand in the \
         file; only their secrets can be variables, as `env:NAME`\n\
         environment variable TOLLGATE_GRPC__LISTN: grpc.listn: unknown key; did you mean \
         `grpc.listen`?"
    );
    let text = endpoint("secrets.webhook_secret = \"env:TOLLGATE_ACME__SECRET\"");
    load_with(&text, &[("TOLLGATE_ACME__SECRET", "s")]).expect("named by a secret");
}

#[test]
fn all_mistakes_are_reported_with_file_line_key_and_reason() {
    let text = "[http]\nlisten = \"localhost:80\"\nmax_body_bytes = 12\n\n[grcp]\nlisten = 3\n\n\
                [log]\nformat = true\nfilter = \"a=b=c\"\n";
    let refused = refusal(text);
    let lines: Vec<&str> = refused.lines().collect();
    assert_eq!(lines.len(), 5, "{refused}");
    assert_eq!(
        lines[..3],
        [
            "t.toml:2: http.listen: `localhost:80` is not an IP address with port like \
             `127.0.0.1:8080`",
            "t.toml:3: http.max_body_bytes: 12 is not from 1024 to 67108864",
            "t.toml:9: log.format: expected a text in quotes, found true or false",
        ]
    );
    assert!(lines[3].starts_with("t.toml:10: log.filter: `a=b=c` is not a filter"), "{refused}");
    assert_eq!(lines[4], "t.toml:6: grcp.listen: unknown key; did you mean `grpc.listen`?");
}

#[test]
fn each_refusal_says_what_to_do() {
    for (text, expected) in [
        (
            "[fetch]\nmin_backoff_ms = 5000\nmax_backoff_seconds = 2",
            "t.toml:2: fetch.min_backoff_ms: is longer than `fetch.max_backoff_seconds`",
        ),
        (
            "store.url = \"postgres://u:hunter2@h/d\"",
            "t.toml:1: store.url: this build has no PostgreSQL store; use `sqlite://PATH`",
        ),
        (
            "store.url = \"mysql://u:hunter2@h/d\"",
            "t.toml:1: store.url: is not of the form `sqlite://PATH`",
        ),
        (
            "store.url = \"sqlite://a.db?mode=memory\"",
            "t.toml:1: store.url: takes no parameters: how the file is opened and synced is fixed",
        ),
        (
            "http.public_url = \"https://u:hunter2@h\"",
            "t.toml:1: http.public_url: is not of the form `https://hooks.example.com`",
        ),
        ("http = 3", "t.toml:1: http: is a section; write `[http]` and its keys below"),
        ("qwertyuiop = 3", "t.toml:1: qwertyuiop: unknown key"),
        (
            "\"http.listen\" = 3",
            "t.toml:1: \"http.listen\": unknown key; did you mean `http.listen`?",
        ),
        ("auth.mode = \"tokens\"", "t.toml:1: auth.mode: `tokens` is not one of `token`, `none`"),
        ("grpc.heartbeat_seconds = 16", "t.toml:1: grpc.heartbeat_seconds: 16 is not from 1 to 15"),
        (
            "grpc.drain_seconds = 1.5",
            "t.toml:1: grpc.drain_seconds: expected a whole number, found a decimal number",
        ),
        (
            "grpc.plaintext = 1",
            "t.toml:1: grpc.plaintext: expected `true` or `false`, found a whole number",
        ),
        (
            "grpc.listen = \"127.0.0.1:8080\"",
            "t.toml:1: grpc.listen: `127.0.0.1:8080` is taken by `http.listen` already",
        ),
        (
            "admin.allowed_hosts = [\"a.example:80\"]",
            "t.toml:1: admin.allowed_hosts: `a.example:80` is not a host name or address without port",
        ),
        (
            "links.allowed_hosts = [\"https://pay.example.com\"]",
            "t.toml:1: links.allowed_hosts: `https://pay.example.com` is not a host name like \
             `checkout.example.com`",
        ),
        ("links.key = \"hunter2\"", "t.toml:1: links.key: has fewer than 32 characters"),
        (
            "links.trusted_proxies = [\"10.0.0.0/33\"]",
            "t.toml:1: links.trusted_proxies: `10.0.0.0/33` is neither an IP address nor a network like \
             `10.0.0.0/8`",
        ),
        (
            "grpc.tls.key = \"/nonexistent/key.pem\"",
            "t.toml:1: grpc.tls.key: `/nonexistent/key.pem` cannot be read: No such file or directory \
             (os error 2)",
        ),
        (
            "http.listen = ",
            "t.toml:1: not valid TOML: string values must be quoted, expected literal string",
        ),
        (
            "endpoints = 3",
            "t.toml:1: endpoints: expected tables that begin with `[[endpoints]]`, found a whole number",
        ),
    ] {
        assert_eq!(refusal(text), expected, "{text}");
    }
    let missing = Config::load(Path::new("/nonexistent/tollgate.toml"), []);
    assert_eq!(
        missing.expect_err("no file").to_string(),
        "/nonexistent/tollgate.toml: cannot be read: No such file or directory (os error 2)"
    );
}

#[test]
fn p10_without_auth_every_listener_must_be_on_loopback() {
    load("auth.mode = \"none\"");
    for key in ["http", "grpc", "admin"] {
        let text = format!(
            "auth.mode = \"none\"\ngrpc.plaintext = true\n{key}.listen = \"0.0.0.0:7000\"\n"
        );
        let expected = format!(
            "t.toml:1: auth.mode: `none` lets anyone in, so every listener must be on loopback, but \
             `{key}.listen` is `0.0.0.0:7000`"
        );
        assert_eq!(refusal(&text), expected);
    }
}

#[test]
fn p10_grpc_beyond_loopback_needs_tls_or_a_word_for_plaintext() {
    let open = "grpc.listen = \"[::]:50051\"\n";
    let refused = refusal(open);
    assert!(
        refused
            .starts_with("t.toml:1: grpc.listen: `[::]:50051` is not on loopback and has no TLS")
    );
    assert!(refused.contains("`grpc.plaintext = true`"), "{refused}");
    load(&format!("{open}grpc.plaintext = true\n"));

    let directory = tempfile::tempdir().expect("a directory");
    let pem = directory.path().join("a.pem");
    std::fs::write(&pem, "PEM").expect("written");
    let tls = format!("grpc.tls.certificate = {pem:?}\ngrpc.tls.key = {pem:?}\n");
    let config = load(&format!("{open}{tls}"));
    assert_eq!(config.grpc.tls.map(|tls| (tls.key, tls.client_ca)), Some((pem.clone(), None)));

    assert_eq!(
        refusal(&format!("grpc.plaintext = true\n{tls}")),
        "t.toml:1: grpc.plaintext: contradicts `[grpc.tls]`; remove one of them"
    );
    assert_eq!(
        refusal(&format!("grpc.tls.certificate = {pem:?}")),
        "t.toml:1: grpc.tls.certificate: needs `grpc.tls.key` too"
    );
    assert_eq!(
        refusal(&format!("grpc.tls.key = {pem:?}")),
        "t.toml:1: grpc.tls.key: needs `grpc.tls.certificate` too"
    );
    assert_eq!(
        refusal(&format!("grpc.tls.client_ca = {pem:?}")),
        "t.toml:1: grpc.tls.client_ca: needs `grpc.tls.certificate` and `grpc.tls.key` too"
    );
}

#[test]
fn an_endpoint_has_its_path_url_settings_and_rotating_secrets() {
    let directory = tempfile::tempdir().expect("a directory");
    let old = directory.path().join("old");
    std::fs::write(&old, "from file\r\n").expect("written");
    let text = format!(
        "http.public_url = \"https://hooks.example.com/\"\n{}\n\
         [[endpoints]]\nprovider = \"borealis\"\nname = \"b\"\npath = \"/in/b\"\nsecrets.token = \"t\"\n",
        endpoint(&format!(
            "merchant_id = \"m1\"\ntolerance_seconds = 60\nstrict = true\n\
             secrets.webhook_secret = [\"env:NEW\", \"file:{}\", \"literal\"]",
            old.display()
        ))
    );
    let config = load_with(&text, &[("NEW", "from env")]).expect("valid");
    let [acme, borealis] = &config.endpoints[..] else { panic!("two endpoints") };
    assert_eq!(acme.name.as_str(), "acme_pay/eu");
    assert_eq!(acme.path, "/webhooks/acme_pay/eu");
    assert_eq!(acme.url, "https://hooks.example.com/webhooks/acme_pay/eu");
    let values: Vec<&str> =
        acme.secrets["webhook_secret"].iter().map(|secret| secret.expose_secret()).collect();
    assert_eq!(values, ["from env", "from file", "literal"]);
    let settings: Vec<(&str, &str)> =
        acme.settings.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(settings, [("merchant_id", "m1"), ("strict", "true"), ("tolerance_seconds", "60")]);
    assert_eq!(borealis.url, "https://hooks.example.com/in/b");
}

#[test]
fn p10_no_endpoint_is_accepted_that_could_not_verify() {
    for (rest, expected) in [
        (
            "",
            "t.toml:1: endpoints[0].secrets.webhook_secret: is missing; acme_pay requests cannot be verified without it",
        ),
        (
            "secrets.webhook_secret = []",
            "t.toml:4: endpoints[0].secrets.webhook_secret: must have 1 to 8 values",
        ),
        (
            "secrets.webhook_secret = \"\"",
            "t.toml:4: endpoints[0].secrets.webhook_secret: is empty",
        ),
        (
            "secrets.webhook_secret = [\"a\", \"\"]",
            "t.toml:4: endpoints[0].secrets.webhook_secret: is empty",
        ),
        (
            "secrets.webhook_secret = \"env:EMPTY\"",
            "t.toml:4: endpoints[0].secrets.webhook_secret: is empty",
        ),
        (
            "secrets.webhook_secret = \"env:NOT_SET\"",
            "t.toml:4: endpoints[0].secrets.webhook_secret: environment variable `NOT_SET` is not set",
        ),
        (
            "secrets.webhook_secret = \"file:/nonexistent\"",
            "t.toml:4: endpoints[0].secrets.webhook_secret: `/nonexistent` cannot be read: No such file or directory (os error 2)",
        ),
        (
            "secrets.webhook_secret = 3",
            "t.toml:4: endpoints[0].secrets.webhook_secret: expected a text or a list of texts, found a whole number",
        ),
        (
            "secrets = \"x\"",
            "t.toml:4: endpoints[0].secrets: expected names with values, `secrets.NAME = VALUE`, found a text",
        ),
    ] {
        let refused = load_with(&endpoint(rest), &[("EMPTY", "")]);
        assert_eq!(refused.expect_err(rest).to_string(), expected);
    }
    assert_eq!(
        refusal("[[endpoints]]\nprovider = \"borealis\"\nname = \"b\"\n"),
        "t.toml:1: endpoints[0].secrets: is missing; borealis requests cannot be verified without one \
         of `password`, `token`"
    );
}

#[test]
fn an_endpoint_with_wrong_keys_is_refused_with_the_nearest() {
    let secret = "secrets.webhook_secret = \"s\"\n";
    for (text, expected) in [
        (
            "[[endpoints]]\nprovider = \"acmepay\"\nname = \"eu\"\n".to_owned(),
            "t.toml:2: endpoints[0].provider: unknown provider `acmepay`; did you mean `acme_pay`?",
        ),
        (
            "[[endpoints]]\nname = \"eu\"\n".to_owned(),
            "t.toml:1: endpoints[0].provider: is missing",
        ),
        (
            "[[endpoints]]\nprovider = \"acme_pay\"\nname = \"E U\"\n".to_owned(),
            "t.toml:3: endpoints[0].name: must have 1 to 63 of `a-z`, `0-9`, `-`, `_`, `.`",
        ),
        (
            endpoint(&format!("{secret}secrets.webook_secret = \"s\"")),
            "t.toml:5: endpoints[0].secrets.webook_secret: unknown secret of acme_pay; did you mean \
             `webhook_secret`?",
        ),
        (
            endpoint(&format!("{secret}merchantid = \"m\"")),
            "t.toml:5: endpoints[0].merchantid: unknown key of acme_pay endpoints; did you mean \
             `merchant_id`?",
        ),
        (
            endpoint(&format!("{secret}strict = []")),
            "t.toml:5: endpoints[0].strict: expected a text, a whole number, true or false, found a \
             list",
        ),
        (
            endpoint(&format!("{secret}path = \"in\"")),
            "t.toml:5: endpoints[0].path: `in` does not begin with `/`",
        ),
        (
            endpoint(&format!("{secret}path = \"/l/stripe\"")),
            "t.toml:5: endpoints[0].path: `/l/stripe` is where payment links are visited",
        ),
        (
            endpoint(&format!("{secret}path = \"/a/../b\"")),
            "t.toml:5: endpoints[0].path: `/a/../b` is not a plain path like \
             `/webhooks/stripe/acme-eu`",
        ),
        (
            format!("{}{}", endpoint(secret), endpoint(&format!("{secret}path = \"/other\""))),
            "t.toml:8: endpoints[1].name: there is another endpoint `acme_pay/eu`",
        ),
        (
            format!(
                "{}[[endpoints]]\nprovider = \"borealis\"\nname = \"b\"\nsecrets.token = \"t\"\n\
                 path = \"/webhooks/acme_pay/eu\"\n",
                endpoint(secret)
            ),
            "t.toml:10: endpoints[1].path: `/webhooks/acme_pay/eu` is the path of `acme_pay/eu` already",
        ),
    ] {
        assert_eq!(refusal(&text), expected, "{text}");
    }
}

#[test]
fn p10_secrets_show_neither_in_debug_nor_in_mistakes() {
    const SECRET: &str = "whsec_hunter2";
    let good = endpoint(&format!("secrets.webhook_secret = [\"{SECRET}\", \"env:S\"]"));
    let config = load_with(&good, &[("S", SECRET)]).expect("valid");
    assert!(!format!("{config:?} {config:#?}").contains("hunter2"));

    for rest in [
        format!("secrets.webhook_secret = \"env:{SECRET}\""),
        format!("secrets.webhook_secret = \"file:{SECRET}\""),
        format!("secrets.webhook_secret = \"{SECRET}"),
        format!("secrets.webhook_secret = {SECRET}"),
        format!("secrets.webhook_secret = \"{SECRET}\\q\""),
        format!("secrets.webhook_secret = [\"{SECRET}\", 3]"),
        format!("secrets.webhook_secret = {{ value = \"{SECRET}\" }}"),
        format!("secrets.webhook_sekret = \"{SECRET}\""),
        format!("secrets = [\"{SECRET}\"]"),
        format!("webhook_secret = \"{SECRET}\""),
        format!("secrets.webhook_secret = \"{SECRET}\"\nsecrets.webhook_secret = \"{SECRET}\""),
    ] {
        let refused = load_with(&endpoint(&rest), &[]).expect_err(&rest);
        assert!(!format!("{refused} {refused:?}").contains("hunter2"), "{rest}: {refused}");
    }
}
