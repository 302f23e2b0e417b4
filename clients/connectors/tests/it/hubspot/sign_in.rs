//! How the module signs in, and what a configuration may say.

use fake_crms::hubspot::{CLIENT_ID, CLIENT_SECRET, Credential, REFRESH_TOKEN, Settings, TOKEN};
use fake_crms::{Effect, Fault as Planned, Host, Reply, Write as Applied};
use tollgate_connectors::config::Config;

use super::*;

fn oauth() -> Settings {
    Settings { credential: Credential::OAuth, ..Settings::default() }
}

#[tokio::test]
async fn both_credentials_sign_in_and_tell_the_account() {
    for settings in [Settings::default(), oauth()] {
        let (server, crm) = open(settings).await;
        let told = crm.identify().await.expect("signed in");
        assert_eq!(told, "HubSpot account 26111999 (STANDARD) at app-eu1.hubspot.com");
        assert_eq!(server.journal().count("/account-info/2026-09/details"), 1);
    }
}

#[tokio::test]
async fn a_token_is_asked_for_as_hubspot_documents() {
    let (server, crm) = open(oauth()).await;
    crm.identify().await.expect("signed in");
    let call = server.journal().calls_where(|call| call.host == Host::Auth).remove(0);
    assert_eq!((call.method.as_str(), call.path.as_str()), ("POST", "/oauth/v1/token"));
    let form: BTreeMap<String, String> = form_urlencoded::parse(&call.body).into_owned().collect();
    let wanted = [
        ("client_id", CLIENT_ID),
        ("client_secret", CLIENT_SECRET),
        ("grant_type", "refresh_token"),
        ("refresh_token", REFRESH_TOKEN),
    ];
    let sent: Vec<(&str, &str)> = form.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    assert_eq!(sent, wanted);
}

#[tokio::test]
async fn a_token_that_ends_in_a_run_is_renewed_once_and_nothing_is_lost_or_doubled() {
    let (server, crm) = open(oauth()).await;
    ids(&crm.write(&deals(), &rows(5, "pending")).await);
    server.backend().tokens.kill_all();
    let more: Vec<Write> = (5..10).map(|number| row(&format!("pay_{number}"), "paid")).collect();
    let (changed, created) = {
        let changed = rows(5, "paid");
        let (all, deals) = ((changed, more), deals());
        let results = tokio::join!(crm.write(&deals, &all.0), crm.write(&deals, &all.1));
        (results.0, results.1)
    };
    assert_eq!(ids(&changed).len() + ids(&created).len(), 10);
    assert_eq!(server.journal().count("/oauth/v1/token"), 2);
    let payments: Vec<String> = (0..10).map(|number| format!("pay_{number}")).collect();
    has(&server, &payments.iter().map(|id| (id.as_str(), "Paid")).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_token_that_ends_between_calls_by_time_is_renewed_before() {
    let (server, crm) = open(oauth()).await;
    ids(&crm.write(&deals(), &rows(1, "paid")).await);
    server.clock().advance(Duration::from_secs(1_801));
    ids(&crm.write(&deals(), &rows(1, "refunded")).await);
    assert_eq!(server.journal().count("/oauth/v1/token"), 2);
}

#[tokio::test]
async fn a_refused_credential_is_told_and_not_tried_again_at_once() {
    let (server, crm) = open(Settings::default()).await;
    server.backend().tokens.kill_all();
    let results = crm.write(&deals(), &rows(3, "paid")).await;
    assert!(results.iter().all(|row| matches!(row, Err(Fault::Unauthorized { .. }))));
    assert_eq!(server.journal().calls().len(), 1);

    let (server, _) = open(oauth()).await;
    let crm = module(&server.config().replace(REFRESH_TOKEN, "another")).expect("well formed");
    for _ in 0..2 {
        let results = crm.write(&deals(), &rows(3, "paid")).await;
        assert!(results.iter().all(|row| matches!(row, Err(Fault::Unauthorized { .. }))));
    }
    assert_eq!(server.journal().count("/oauth/v1/token"), 1);
}

#[tokio::test]
async fn a_token_endpoint_that_fails_for_a_while_is_no_refusal() {
    let (server, crm) = open(oauth()).await;
    let page = fake_crms::faults::bad_gateway(502);
    let busy = Reply::json(429, &serde_json::json!({})).with_header("retry-after", 7);
    for reply in [page, busy] {
        let fault = Planned::new(Effect::Answer(Applied::Lost, reply)).at_host(Host::Auth);
        server.faults().add(fault);
    }
    let first = crm.identify().await.expect_err("a page");
    assert!(matches!(first, Fault::Transient { .. }), "{first:?}");
    tokio::time::sleep(Duration::from_millis(1_050)).await;
    let second = crm.identify().await.expect_err("busy");
    assert!(matches!(second, Fault::Throttled { wait, .. } if wait.as_secs() == 7), "{second:?}");
}

#[tokio::test]
async fn a_missing_scope_is_told_with_hubspots_code_after_one_call() {
    let (server, crm) = open(Settings::default()).await;
    server.backend().revoke_scope("crm.objects.deals.write");
    let results = crm.write(&deals(), &rows(9, "paid")).await;
    assert!(results.iter().all(|row| code(row) == "MISSING_SCOPES"), "{results:?}");
    assert_eq!(server.journal().calls().len(), 1);
}

#[test]
fn a_wrong_configuration_is_refused_with_its_key() {
    let right = "[crm]\nauth = \"private_app\"\ntoken = \"t0ken\"\n";
    let oauth = "[crm]\nauth = \"oauth\"\nclient_id = \"a\"\nclient_secret = \"b\"\n";
    assert!(module(right).is_ok());
    assert!(module(&format!("{oauth}refresh_token = \"c\"\n")).is_ok());
    let with = |line: &str| format!("{right}{line}\n");
    let wrong = [
        ("[crm]\nauth = \"private_app\"\n".to_owned(), "crm.token"),
        (oauth.to_owned(), "crm.refresh_token"),
        (format!("{oauth}refresh_token = \"c\"\ntoken = \"d\"\n"), "crm.token"),
        (with("client_secret = \"x\""), "crm.client_secret"),
        (with("api_url = \"http://api.hubapi.com\""), "crm.api_url"),
        (with("auth_url = \"ftp://x\""), "crm.auth_url"),
        (with("api_version = \"2026-04\""), "crm.api_version"),
        (with("api_version = \"v2\""), "crm.api_version"),
        (with("calls_per_10_seconds = 0"), "crm.calls_per_10_seconds"),
        (with("search_calls_per_second = 0"), "crm.search_calls_per_second"),
        (with("max_calls_in_flight = 0"), "crm.max_calls_in_flight"),
        (with("timeout_seconds = 0"), "crm.timeout_seconds"),
        (with("time_zone = \"Mars/Olympus\""), "crm.time_zone"),
        (with("no_such_key = 1"), "crm"),
        ("[crm]\nauth = \"basic\"\n".to_owned(), "crm"),
    ];
    for (config, key) in wrong {
        let mistake = module(&config).err().expect("it is wrong");
        assert_eq!(mistake.key, key, "{mistake}");
        assert!(!mistake.to_string().contains("t0ken"));
    }
}

#[test]
fn the_example_is_a_whole_configuration() {
    let text = KIND.example.replace("env:", "the value of ");
    let config = Config::parse(&text, &KIND).expect("the example is right");
    assert_eq!(config.objects.len(), 2);
    assert!((KIND.open)(config.crm, &Orgs::default()).is_ok());
}

#[tokio::test]
async fn the_doubles_configuration_is_a_whole_one() {
    for settings in [Settings::default(), oauth(), Settings::real()] {
        let server = Hubspot::start(settings).await;
        let gateway = "[gateway]\naddress = \"http://127.0.0.1:1\"\nsubscription = \"s\"\n";
        let config = Config::parse(&format!("{gateway}{}", server.config()), &KIND);
        assert_eq!(config.expect("it is right").objects[0].label(), "payment");
    }
}

#[test]
fn the_credential_of_a_double_is_not_in_what_a_mistake_says() {
    let config = format!("[crm]\nauth = \"private_app\"\ntoken = \"{TOKEN}\"\nx = 1\n");
    let mistake = module(&config).err().expect("it is wrong");
    assert!(!mistake.to_string().contains(TOKEN));
}
