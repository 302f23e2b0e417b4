//! Signing in, and that no secret is ever shown.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fake_crms::pipedrive::{Auth, Pipedrive, Settings};
use fake_crms::{Account, Host, Lifetime};
use tollgate_connectors::config::Config;
use tollgate_connectors::crm::{Fault, Target, Write};
use tollgate_connectors::pipedrive::KIND;

use super::{Stage, open, record, text};

fn oauth() -> Settings {
    Settings { auth: Auth::Oauth, ..Settings::default() }
}

fn rows(stage: &Stage, count: usize) -> Vec<Write> {
    let row = |index: usize| {
        let id = stage.server.create(&format!("pay_{index}"));
        stage.row(record(&id), &[("status", text("Paid"))])
    };
    (0..count).map(row).collect()
}

#[tokio::test]
async fn both_ways_to_sign_in_work() {
    for settings in [Settings::default(), oauth()] {
        let auth = settings.auth;
        let stage = Stage::new(settings).await;
        let who = stage.crm.identify().await.expect("signed in");
        assert_eq!(who, "acme.pipedrive.com as Integration");
        let rows = rows(&stage, 3);
        assert!(stage.write(&rows).await.iter().all(Result::is_ok));
        let calls = stage.server.journal().calls();
        let (tokens, api): (Vec<_>, Vec<_>) =
            calls.iter().partition(|call| call.host == Host::Auth);
        let has = |name: &str| api.iter().all(|call| call.headers.contains_key(name));
        match auth {
            Auth::ApiToken => assert!(tokens.is_empty() && has("x-api-token")),
            Auth::Oauth => assert!(tokens.len() == 1 && has("authorization")),
        }
    }
}

#[tokio::test]
async fn a_token_that_dies_mid_run_is_renewed_once_and_nothing_is_lost() {
    let stage = Stage::new(oauth()).await;
    let rows = rows(&stage, 12);
    assert!(stage.write(&rows[..4]).await.iter().all(Result::is_ok));
    stage.server.backend().tokens.kill_all();
    assert!(stage.write(&rows[4..]).await.iter().all(Result::is_ok));
    assert_eq!(stage.server.backend().tokens.issued(), 2);
    assert!(stage.server.records().iter().all(|record| record.writes == 1));
}

#[tokio::test]
async fn a_token_that_dies_during_a_batch_costs_no_row() {
    let life = Lifetime { calls: Some(5), ..Lifetime::default() };
    let stage = Stage::new(Settings { token_life: life, ..oauth() }).await;
    let rows = rows(&stage, 8);
    assert!(stage.write(&rows).await.iter().all(Result::is_ok));
    assert!(stage.server.records().iter().all(|record| record.writes == 1));
    assert_eq!(stage.server.backend().tokens.issued(), 2);
}

#[tokio::test]
async fn a_credential_that_is_refused_stops_and_is_not_tried_at_every_row() {
    let stage = Stage::new(Settings::default()).await;
    let all = rows(&stage, 4);
    stage.server.backend().api_tokens.kill_all();
    for outcome in stage.write(&all).await {
        assert!(matches!(outcome, Err(Fault::Unauthorized { .. })), "{outcome:?}");
    }

    let wrong = |config: String| config.replace("client_id = \"", "client_id = \"x");
    let stage = Stage::with(oauth(), wrong).await;
    for outcome in stage.write(&rows(&stage, 4)).await {
        let Err(Fault::Unauthorized { reason }) = outcome else { panic!("{outcome:?}") };
        assert!(reason.contains("invalid_client"), "{reason}");
    }
    assert_eq!(stage.server.journal().calls_where(|call| call.host == Host::Auth).len(), 1);
    assert_eq!(stage.server.journal().count("/api/"), 0);
}

#[tokio::test]
async fn settings_that_cannot_work_are_refused() {
    let server = Pipedrive::start(Settings::default()).await;
    let config = server.config();
    for (from, to, mistake) in [
        ("api_token = ", "client_id = ", "crm.api_token"),
        ("url = \"http:", "url = \"ftp:", "crm.url"),
        (
            "auth = \"api_token\"",
            "auth = \"api_token\"\nrefresh_token = \"x\"",
            "crm.refresh_token",
        ),
        (
            "auth = \"api_token\"",
            "auth = \"api_token\"\ntimeout_seconds = 0",
            "crm.timeout_seconds",
        ),
        ("auth = \"api_token\"", "auth = \"oauth\"", "crm.api_token"),
        ("auth = \"api_token\"", "auth = \"password\"", "crm"),
        ("\"EUR\"", "\"euro\"", "crm.default_currency"),
        ("auth = ", "max_calls_in_flight = 10\nauth = ", "crm.max_calls_in_flight"),
        ("auth = ", "day_begins_at_utc_hour = 24\nauth = ", "crm.day_begins_at_utc_hour"),
        ("auth = ", "points_per_2_seconds = 0\nauth = ", "crm.points_per_2_seconds"),
        ("auth = ", "colour = 1\nauth = ", "crm"),
    ] {
        let refused = open(&config.replacen(from, to, 1)).err().expect(mistake);
        assert_eq!(refused.key, mistake);
        for secret in server.backend().secrets() {
            assert!(!refused.to_string().contains(&secret), "{refused}");
        }
    }
}

#[test]
fn the_example_is_right_once_its_secrets_are_set() {
    let example = KIND.example.replace("env:", "");
    let config = Config::parse(&example, &KIND).expect("a configuration that is right");
    assert_eq!(config.objects.len(), 2);
    assert!((KIND.open)(config.crm, &Default::default()).is_ok());
}

/// What was logged.
#[derive(Clone, Default)]
struct Logged(Arc<Mutex<Vec<u8>>>);

impl io::Write for Logged {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("not poisoned").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn no_secret_is_logged_or_told() {
    let logged = Logged::default();
    let writer = logged.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let mut told = String::new();
    for settings in [Settings::default(), oauth()] {
        let stage = Stage::new(settings).await;
        told += &format!("{:?}", stage.crm.identify().await);
        let rows = rows(&stage, 2);
        told += &format!("{:?}", stage.write(&rows).await);
        stage.server.backend().close_account(true);
        told += &format!("{:?}", stage.write(&rows).await);
        stage.server.backend().close_account(false);
        stage.server.backend().api_tokens.kill_all();
        stage
            .server
            .backend()
            .tokens
            .set_life(Lifetime { time: Some(Duration::ZERO), ..Lifetime::default() });
        stage.server.backend().tokens.kill_all();
        told += &format!("{:?}", stage.write(&rows).await);
        let row = stage.row(Target::New(stage.payment("pay_9")), &[("title", text("x"))]);
        told += &format!("{:?}", stage.write_one(&row).await);
        let logged = String::from_utf8_lossy(&logged.0.lock().expect("not poisoned")).into_owned();
        assert!(told.contains("Unauthorized") && logged.contains("somebody must act"));
        for secret in stage.server.backend().secrets() {
            assert!(!told.contains(&secret) && !logged.contains(&secret));
        }
    }
}
