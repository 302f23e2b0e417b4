//! Signing in, tokens that end, and what is refused before any call.

use base64::{Engine, engine::general_purpose::STANDARD, engine::general_purpose::URL_SAFE_NO_PAD};
use fake_crms::Host;
use fake_crms::salesforce::PRIVATE_KEY;
use tollgate_connectors::config::Config;

use super::*;

fn tokens(org: &Org) -> usize {
    org.server.backend().tokens.issued()
}

#[tokio::test]
async fn both_grants_sign_in_and_say_as_whom() {
    let server = Salesforce::start(Settings::default()).await;
    let by_key = Salesforce::crm_by_assertion(&server);
    let by_secret = Salesforce::crm_by_secret(&server);
    for config in [by_key, by_secret] {
        let crm = opened(&config, &Orgs::default()).expect("a right configuration");
        let who = crm.identify().await.expect("signed in");
        assert_eq!(who, "127.0.0.1 as payments@acme.example");
    }
    let calls = server.journal().calls_where(|call| call.host == Host::Auth);
    let forms: Vec<String> =
        calls.iter().map(|call| String::from_utf8_lossy(&call.body).into_owned()).collect();
    let grant = "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=";
    let assertion = forms[0].strip_prefix(grant).expect("a signed assertion");
    let claims = assertion.split('.').nth(1).and_then(|part| URL_SAFE_NO_PAD.decode(part).ok());
    let claims: Json = serde_json::from_slice(&claims.expect("base64")).expect("json");
    assert_eq!(claims["aud"], server.auth_url());
    assert_eq!(claims["sub"], "payments@acme.example");
    assert!(forms[1].starts_with("grant_type=client_credentials&client_id="));
}

#[tokio::test]
async fn a_key_in_the_older_form_and_an_audience_of_its_own_are_taken() {
    let server = Salesforce::start(Settings::default()).await;
    let base64: String = PRIVATE_KEY.lines().filter(|line| !line.starts_with('-')).collect();
    let der = STANDARD.decode(base64).expect("base64");
    // A PKCS#8 key of 2048 bits is the PKCS#1 key behind a head of 26 bytes.
    let older = STANDARD.encode(&der[26..]);
    let older =
        format!("-----BEGIN RSA PRIVATE KEY-----\n{older}\n-----END RSA PRIVATE KEY-----\n");
    let config = Salesforce::crm_by_assertion(&server).replace(PRIVATE_KEY, &older);
    let config = config + "audience = \"https://test.salesforce.com\"\n";
    let crm = opened(&config, &Orgs::default()).expect("a right configuration");
    crm.identify().await.expect("signed in");
}

#[tokio::test]
async fn a_refused_credential_is_unauthorized_and_not_tried_again_at_once() {
    let server = Salesforce::start(Settings::default()).await;
    server.backend().approve(false);
    let by_key = Salesforce::crm_by_assertion(&server);
    let wrong = Salesforce::crm_by_secret(&server).replace("fake-consumer", "wrong-consumer");
    let generic = Salesforce::crm_by_secret(&server).replace("127.0.0.1", "localhost");
    for (config, told) in [
        (by_key, "invalid_grant: user hasn't approved this consumer"),
        (wrong, "invalid_client: invalid client credentials"),
        (generic, "invalid_request: request not supported on this domain"),
    ] {
        server.journal().forget();
        let crm = opened(&config, &Orgs::default()).expect("a right configuration");
        for _ in 0..3 {
            let results = crm.write(&object("Opportunity"), &[upsert("pay_1")]).await;
            assert_eq!(results, [Err(Fault::Unauthorized { reason: told.to_owned() })]);
        }
        assert_eq!(server.journal().calls().len(), 1);
    }
}

#[tokio::test]
async fn a_token_that_ends_is_renewed_once_for_all_and_nothing_is_lost_or_doubled() {
    let org = Org::start().await;
    org.write_one(upsert("pay_0")).await.expect("written");
    assert_eq!(tokens(&org), 1);
    for round in 1..=3 {
        org.kill_tokens();
        let ids: Vec<String> = (0..4).map(|n| format!("pay_{round}_{n}")).collect();
        let writes = ids.iter().map(|id| org.write_one(upsert(id)));
        for result in futures::future::join_all(writes).await {
            assert_eq!(result.expect("written").created, Some(true));
        }
        assert_eq!(tokens(&org), 1 + round);
    }
    assert!(org.server.journal().second_creates().is_empty());
    assert_eq!(org.server.journal().commits().len(), 13);
}

#[tokio::test]
async fn a_token_that_is_refused_again_is_unauthorized() {
    let none = fake_crms::Lifetime { calls: Some(0), ..fake_crms::Lifetime::default() };
    let org = Org::with(Settings { token_life: none, ..Settings::default() }).await;
    let result = org.write_one(upsert("pay_1")).await;
    assert!(matches!(result, Err(Fault::Unauthorized { .. })), "{result:?}");
    assert_eq!(tokens(&org), 2);
}

#[tokio::test]
async fn connectors_of_one_credential_share_its_token_and_budget() {
    let server = Salesforce::start(Settings::default()).await;
    let orgs = Orgs::default();
    let open = || {
        let crm = opened(&Salesforce::crm_by_assertion(&server), &orgs);
        crm.expect("a right configuration")
    };
    let (one, other) = (open(), open());
    one.identify().await.expect("signed in");
    other.identify().await.expect("signed in");
    assert_eq!(server.backend().tokens.issued(), 1);
    assert_eq!(one.budget().standing().counts.calls, 4);
    assert_eq!(other.budget().standing().counts.calls, 4);
}

#[tokio::test]
async fn mistakes_are_told_with_their_key() {
    let server = Salesforce::start(Settings::default()).await;
    let by_key = Salesforce::crm_by_assertion(&server);
    let by_secret = Salesforce::crm_by_secret(&server);
    let login = format!("login_url = \"{}\"", server.auth_url());
    for (config, key) in [
        (by_key.replace(PRIVATE_KEY, "not a key"), "crm.private_key"),
        (by_key.replace("username", "audience"), "crm.username"),
        (by_key.clone() + "client_secret = \"s\"\n", "crm.client_secret"),
        (by_secret.clone() + "username = \"u\"\n", "crm.username"),
        (by_secret.replace(&login, ""), "crm.login_url"),
        (by_secret.replace(&login, "login_url = \"http://acme.example\""), "crm.login_url"),
        (by_secret.clone() + "api_url = \"ftp://x\"\n", "crm.api_url"),
        (by_secret.clone() + "api_version = \"66\"\n", "crm.api_version"),
        (by_secret.clone() + "api_version = \"v45.0\"\n", "crm.api_version"),
        (by_secret.clone() + "timeout_seconds = 0\n", "crm.timeout_seconds"),
        (by_secret.replace("flight = 25", "flight = 26"), "crm.max_calls_in_flight"),
        (by_secret.replace("reserve = 0", "reserve = 5000000"), "crm.daily_reserve"),
        (by_secret.clone() + "password = \"p\"\n", "crm"),
        (by_secret.replace("client_credentials", "password"), "crm"),
    ] {
        let mistake = opened(&config, &Orgs::default()).err();
        assert_eq!(mistake.map(|mistake| mistake.key).as_deref(), Some(key), "{config}");
    }
}

#[test]
fn the_example_is_right_once_its_secrets_are_set() {
    let key = format!("\"\"\"\n{PRIVATE_KEY}\"\"\"");
    let example = KIND
        .example
        .replace("\"env:TOLLGATE_TOKEN\"", "\"token\"")
        .replace("\"file:/etc/tollgate/salesforce.pem\"", &key);
    let config = Config::parse(&example, &KIND).expect("a right configuration");
    assert_eq!(config.objects.len(), 2);
    (KIND.open)(config.crm, &Orgs::default()).map(|_| ()).expect("a right [crm]");
}

#[tokio::test]
async fn the_doubles_own_configuration_is_one() {
    let server = Salesforce::start(Settings::real()).await;
    let gateway = "[gateway]\naddress = \"http://127.0.0.1:1\"\nsubscription = \"s\"\n";
    let text = format!("{gateway}{}", fake_crms::Account::config(&server));
    let config = Config::parse(&text, &KIND).expect("a right configuration");
    let mapping = &config.objects[0];
    assert_eq!(mapping.label(), "payment");
    let crm = (KIND.open)(config.crm, &Orgs::default()).expect("a right [crm]");
    let told = crm.describe(&mapping.object()).await.expect("described");
    for (name, rule) in &mapping.fields {
        let field = told.field(name).expect("a field of the org");
        let known = rule.known_values();
        let fits = |value: &Value| field.options.iter().any(|option| option.value == value.text());
        assert!(field.options.is_empty() || known.into_iter().all(fits), "{name}");
    }
    for name in told.fields.iter().filter(|field| field.required) {
        assert!(mapping.fields.contains_key(&name.name), "{}", name.name);
    }
}
