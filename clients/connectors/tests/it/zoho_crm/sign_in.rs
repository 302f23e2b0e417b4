//! Signing in: what is sent, what is refused, and that tokens are neither asked for too often nor shown to
//! anybody else.

use std::time::Duration;

use fake_crms::zoho_crm::{CLIENT_SECRET, REFRESH_TOKEN};
use futures::future::join_all;

use super::*;

fn at_accounts(status: u16, body: &Json) -> Fault {
    answering(status, body).at_host(Host::Auth)
}

fn accounts_calls(server: &Server<ZohoCrm>) -> usize {
    server.journal().calls_where(|call| call.host == Host::Auth).len()
}

fn api_calls(server: &Server<ZohoCrm>) -> usize {
    server.journal().calls_where(|call| call.host == Host::Api).len()
}

#[tokio::test]
async fn a_refresh_token_is_sent_in_a_form_and_its_token_in_zohos_scheme() {
    let server = start().await;
    let told = open(&server).identify().await.expect("signed in");
    assert_eq!(told, "127.0.0.1 as Tollgate Integration");
    let calls = server.journal().calls();
    let [sign_in, users] = &calls[..] else { panic!("two calls") };
    assert_eq!((sign_in.path.as_str(), sign_in.query.len()), ("/oauth/v2/token", 0));
    let form = String::from_utf8_lossy(&sign_in.body);
    assert!(form.starts_with("grant_type=refresh_token&client_id=1000.FAKECLIENT"), "{form}");
    assert_eq!(users.path, "/crm/v8/users");
    let shown = users.headers["authorization"].to_str().expect("text");
    assert!(shown.starts_with("Zoho-oauthtoken 1000."), "{shown}");
}

#[tokio::test]
async fn a_token_without_the_scope_to_tell_as_whom_is_good_for_the_rest() {
    let scopes = vec!["ZohoCRM.modules.ALL", "ZohoCRM.settings.fields.READ"];
    let server = ZohoCrm::start(Settings { scopes, ..Settings::default() }).await;
    let crm = open(&server);
    let told = crm.identify().await.expect("signed in");
    assert!(told.starts_with("127.0.0.1; "), "{told}");
    assert!(write_one(&crm, paid("p")).await.is_ok());
    let found = crm.find(&deals(), &[key("Payment_Id", "p")], &[]).await;
    let fault = found[0].as_ref().expect_err("no scope for queries");
    assert!(matches!(fault, Failure::Permanent { code, .. } if code == "OAUTH_SCOPE_MISMATCH"));
}

#[tokio::test]
async fn a_wrong_credential_is_told_once_and_not_tried_again_at_every_row() {
    for (wrong, code) in [("client_secret", "invalid_client"), ("refresh_token", "invalid_code")] {
        let server = start().await;
        let crm = open_with(&server, wrong, "wr0ng");
        for _ in 0..3 {
            match write_one(&crm, paid("p")).await {
                Err(Failure::Unauthorized { reason }) => {
                    assert!(reason.contains(code) && !reason.contains("wr0ng"), "{reason}");
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!((accounts_calls(&server), api_calls(&server)), (1, 0));
    }
}

#[tokio::test]
async fn a_refresh_token_that_was_used_too_often_rests_for_ten_minutes() {
    let server = start().await;
    let body = json!({ "error": "Access Denied", "error_description": "too many requests" });
    server.faults().add(at_accounts(400, &body));
    let crm = open(&server);
    for _ in 0..3 {
        match write_one(&crm, paid("p")).await {
            Err(Failure::Throttled { wait, .. }) => assert!(wait > Duration::from_secs(590)),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(accounts_calls(&server), 1);
}

#[tokio::test]
async fn no_more_than_ten_tokens_are_asked_for_in_ten_minutes() {
    let server = start().await;
    let crm = open(&server);
    for _ in 0..10 {
        assert!(write_one(&crm, paid("p")).await.is_ok());
        server.backend().tokens.kill_all();
    }
    assert_eq!(code(&write_one(&crm, paid("p")).await), "throttled");
    assert_eq!(accounts_calls(&server), 10);
}

#[tokio::test]
async fn a_token_that_is_for_another_host_is_never_used() {
    for domain in ["https://www.zohoapis.eu.evil.example", "http://10.0.0.1", "ftp://127.0.0.1"] {
        let server = start().await;
        let body = json!({ "access_token": "1000.x.y", "api_domain": domain, "expires_in": 3_600 });
        server.faults().add(at_accounts(200, &body));
        assert_eq!(code(&write_one(&open(&server), paid("p")).await), "unauthorized", "{domain}");
        assert_eq!(api_calls(&server), 0);
    }
}

#[tokio::test]
async fn an_api_host_that_was_set_is_the_one_that_is_called() {
    let server = start().await;
    let body = json!({
        "access_token": "1000.a.b", "api_domain": "https://elsewhere.example", "expires_in": 3_600,
    });
    server.backend().tokens.insert("1000.a.b", "org");
    server.faults().add(at_accounts(200, &body));
    let crm = open_with(&server, "api_url", format!("{}/", server.api_url()));
    assert!(write_one(&crm, paid("p")).await.is_ok());
}

#[tokio::test]
async fn a_token_that_dies_mid_run_is_renewed_once_by_all_who_need_it() {
    let server = start().await;
    let crm = open(&server);
    assert!(write_one(&crm, paid("p0")).await.is_ok());
    server.backend().tokens.kill_all();
    let payments = ["p1", "p2", "p3", "p4", "p5"];
    let written = join_all(payments.map(|payment| write_one(&crm, paid(payment)))).await;
    assert!(written.iter().all(Result::is_ok), "{written:?}");
    assert_eq!(server.backend().tokens.issued(), 2);
    assert_eq!(server.records().len(), 6);
    assert!(server.records().iter().all(|record| record.writes == 1));
}

#[tokio::test]
async fn a_token_that_is_refused_when_it_is_new_means_the_credential_is_bad() {
    let server = start().await;
    server.faults().add(answering(401, &refusal("INVALID_TOKEN")).at_host(Host::Api).always());
    assert_eq!(code(&write_one(&open(&server), paid("p")).await), "unauthorized");
    assert_eq!(server.backend().tokens.issued(), 2);
}

#[tokio::test]
async fn connectors_of_one_org_share_one_token() {
    let server = start().await;
    let orgs = Orgs::default();
    let open = || (KIND.open)(table(&server), &orgs).expect("a right table");
    let (one, other) = (open(), open());
    let written = futures::join!(write_one(&one, paid("p1")), write_one(&other, paid("p2")));
    assert!(written.0.is_ok() && written.1.is_ok());
    assert_eq!(server.backend().tokens.issued(), 1);
}

#[test]
fn a_table_that_cannot_work_is_refused_with_the_key() {
    let good = r#"
        client_id = "1000.A"
        client_secret = "s"
        refresh_token = "r"
        data_center = "eu"
    "#;
    let open = |text: &str| {
        let table = toml::from_str(text).expect("TOML");
        (KIND.open)(table, &Orgs::default()).err()
    };
    assert_eq!(open(good), None);
    let swapped = |from: &str, to: &str| good.replace(from, to);
    let added = |line: &str| format!("{good}\n{line}");
    let cases = [
        (swapped("\"eu\"", "\"mars\""), "crm.data_center"),
        (swapped("data_center = \"eu\"", ""), "crm.data_center"),
        (swapped("client_secret = \"s\"", ""), "crm"),
        (swapped("\"1000.A\"", "\" \""), "crm.client_id"),
        (added("accounts_url = \"http://accounts.zoho.eu\""), "crm.accounts_url"),
        (added("api_url = \"http://www.zohoapis.eu\""), "crm.api_url"),
        (added("auth = \"password\""), "crm"),
        (added("regoin = \"eu\""), "crm"),
        (added("credits_per_day = 0"), "crm.credits_per_day"),
        (added("daily_reserve = 5000"), "crm.daily_reserve"),
        (added("max_calls_in_flight = 26"), "crm.max_calls_in_flight"),
        (added("timeout_seconds = 0"), "crm.timeout_seconds"),
    ];
    for (text, key) in cases {
        let mistake = open(&text).expect(key);
        assert_eq!(mistake.key, key, "{mistake}");
    }
}

#[tokio::test]
async fn no_secret_is_logged_or_told() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let server = start().await;
    let crm = open(&server);
    let mut told = Vec::new();
    told.push(write_one(&crm, paid("p")).await);
    server.backend().tokens.kill_all();
    told.push(write_one(&crm, paid("p")).await);
    server.faults().add(answering(401, &refusal("INVALID_TOKEN")).at_host(Host::Api).times(2));
    told.push(write_one(&crm, paid("p")).await);
    server.faults().add(Fault::new(Effect::Close(Carried::Lost)).at_host(Host::Api));
    told.push(write_one(&crm, paid("p")).await);
    let echoing = json!({ "error": "invalid_code", "error_description": REFRESH_TOKEN });
    server.backend().tokens.kill_all();
    server.faults().add(at_accounts(200, &echoing));
    told.push(write_one(&crm, paid("p")).await);
    assert!(told[0].is_ok() && told[1].is_ok(), "{told:?}");
    assert!(told[2..].iter().all(Result::is_err), "{told:?}");
    let shown = format!("{}{told:?}{:?}", log.text(), crm.budget());
    let mut secrets = vec![CLIENT_SECRET.to_owned(), REFRESH_TOKEN.to_owned()];
    for call in server.journal().calls_where(|call| call.host == Host::Api) {
        let token = call.headers["authorization"].to_str().expect("text");
        secrets.push(token.trim_start_matches("Zoho-oauthtoken ").to_owned());
    }
    assert!(secrets.len() > 4 && !shown.is_empty());
    for secret in secrets {
        assert!(!shown.contains(&secret), "{secret} is shown");
    }
}

#[derive(Clone, Default)]
struct Log(Arc<std::sync::Mutex<Vec<u8>>>);

impl Log {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().expect("no panic")).into_owned()
    }
}

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("no panic").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
