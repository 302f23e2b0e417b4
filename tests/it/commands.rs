//! The commands, as people run them: the real binary, each in a process of its own, against a gateway in
//! this process or one that it serves itself.

use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use sqlx::{ConnectOptions, Connection, Row};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::gateway::{STRIPE_SECRET, TestGateway};

const DEADLINE: Duration = Duration::from_secs(60);

/// What a command printed, and whether it succeeded.
#[derive(Debug)]
pub struct Ran {
    pub ok: bool,
    pub out: String,
    pub err: String,
}

/// A gateway that `tollgate serve` runs; it ends with this.
struct Served {
    _child: Child,
    http: String,
    grpc: String,
}

fn command(directory: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
    command.args(arguments).current_dir(directory).stdin(Stdio::null()).kill_on_drop(true);
    for name in ["CONFIG", "ADDRESS", "TOKEN", "CA"] {
        command.env_remove(format!("TOLLGATE_{name}"));
    }
    command
}

async fn finished(mut command: Command) -> Ran {
    let output = tokio::time::timeout(DEADLINE, command.output()).await;
    let Output { status, stdout, stderr } = output.expect("it ends").expect("it runs");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    Ran { ok: status.success(), out: text(stdout), err: text(stderr) }
}

/// Runs a command in a directory.
pub async fn run(directory: &Path, arguments: &[&str]) -> Ran {
    finished(command(directory, arguments)).await
}

/// Serves the configuration of a directory on free ports, which its log tells. Nobody reads the log after
/// that: what cannot be logged any more must not disturb what is served.
async fn serve(directory: &Path, variables: &[(&str, &str)]) -> Served {
    let mut command = command(directory, &["serve"]);
    for listener in ["HTTP", "GRPC", "ADMIN"] {
        command.env(format!("TOLLGATE_{listener}__LISTEN"), "127.0.0.1:0");
    }
    command.env("TOLLGATE_LOG__FORMAT", "json").envs(variables.iter().copied());
    let mut child = command.stderr(Stdio::piped()).spawn().expect("it starts");
    let mut log = BufReader::new(child.stderr.take().expect("piped")).lines();
    let ready = async {
        let mut before = String::new();
        loop {
            let line = log.next_line().await.expect("readable");
            let line = line.unwrap_or_else(|| panic!("it ended before it was ready: {before}"));
            match serde_json::from_str::<Value>(&line) {
                Ok(entry) if entry["fields"]["message"] == "ready" => return entry,
                Ok(_) | Err(_) => before.push_str(&line),
            }
        }
    };
    let entry = tokio::time::timeout(DEADLINE, ready).await.expect("ready in time");
    let url = |field: &str| format!("http://{}", entry["fields"][field].as_str().expect("told"));
    Served { _child: child, http: url("http"), grpc: url("grpc") }
}

/// A directory with a configuration that `init` wrote, and a Stripe endpoint in it.
async fn initialized() -> TempDir {
    let directory = TempDir::new().expect("a directory");
    let wrote = run(directory.path(), &["init"]).await;
    assert!(wrote.ok && wrote.out.contains("tollgate serve"), "{wrote:?}");
    add_endpoint(directory.path(), STRIPE_SECRET);
    directory
}

fn add_endpoint(directory: &Path, secret: &str) {
    let path = directory.join("tollgate.toml");
    let before = std::fs::read_to_string(&path).unwrap_or_default();
    let endpoint = format!(
        "{before}\n[[endpoints]]\nprovider = \"stripe\"\nname = \"test\"\n\
         secrets.webhook_secret = \"{secret}\"\n"
    );
    std::fs::write(path, endpoint).expect("written");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_init_wrote_is_served_and_what_is_sent_is_tailed() {
    let directory = initialized().await;
    let path = directory.path();
    let served = serve(path, &[("TOLLGATE_AUTH__MODE", "none")]).await;
    let sent = run(path, &["send", "stripe", "--seed", "7", "--url", &served.http]).await;
    assert!(sent.ok && sent.out.starts_with("200"), "{sent:?}");
    let again = ["send", "stripe", "--seed", "8", "--duplicate", "--url", &served.http];
    let again = run(path, &again).await;
    assert!(again.ok && again.out.lines().count() == 2, "{again:?}");
    let many = ["send", "stripe", "--count", "20", "--late", "--json", "--url", &served.http];
    let many = run(path, &many).await;
    let many: Value = serde_json::from_str(&many.out).unwrap_or_else(|_| panic!("{many:?}"));
    assert_eq!((&many["sent"], &many["answers"]["200"]), (&20.into(), &20.into()));

    let tail = ["tail", "--address", &served.grpc, "--from", "earliest", "--count"];
    let lines = run(path, &[&tail[..], &["2"]].concat()).await;
    let lines: Vec<&str> = lines.out.lines().collect();
    assert_eq!(lines.len(), 2, "{lines:?}");
    for part in ["PAID", "EUR", "payments/stripe/test/pi_7", "begins PAID"] {
        assert!(lines[0].contains(part), "{part} is not in {}", lines[0]);
    }
    let json = run(path, &[&tail[..], &["1", "--json"]].concat()).await;
    let event: Value = serde_json::from_str(&json.out).unwrap_or_else(|_| panic!("{json:?}"));
    assert_eq!(event["name"], "events/1");
    assert_eq!(event["payment"]["status"], "PAYMENT_STATUS_PAID");

    // A duplicate is no second event: 1, 1 and 20 payments.
    let all = ["tail", "--address", &served.grpc, "--from", "earliest", "--no-follow"];
    assert_eq!(run(path, &all).await.out.lines().count(), 22);
    let filtered = [&all[..], &["--subject", "payments/stripe/test/pi_8"]].concat();
    assert_eq!(run(path, &filtered).await.out.lines().count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn p10_a_token_allows_what_its_scopes_say_and_nothing_goes_without_one() {
    let directory = initialized().await;
    let path = directory.path();
    let made = run(path, &["token", "create", "--offline", "--scope", "admin"]).await;
    let admin = made.out.trim().to_owned();
    assert!(made.ok && admin.starts_with("tgt_"), "{made:?}");
    let served = serve(path, &[]).await;
    let as_token = async |token: &str, arguments: &[&str]| {
        let mut command = command(path, arguments);
        command.env("TOLLGATE_ADDRESS", &served.grpc).env("TOLLGATE_TOKEN", token);
        finished(command).await
    };

    let offline = run(path, &["token", "create", "--offline", "--scope", "read"]).await;
    assert!(!offline.ok && offline.err.contains("a gateway runs on this store"), "{offline:?}");
    let none = run(path, &["tail", "--no-follow", "--address", &served.grpc]).await;
    assert!(!none.ok && none.err.contains("wants a token"), "{none:?}");
    let wrong = as_token("tgt_wrong", &["tail", "--no-follow"]).await;
    assert!(!wrong.ok && !wrong.err.contains("tgt_wrong"), "{wrong:?}");

    let made = as_token(&admin, &["token", "create", "--scope", "read", "--json"]).await;
    let made: Value = serde_json::from_str(&made.out).unwrap_or_else(|_| panic!("{made:?}"));
    let read = made["secret"].as_str().expect("its text");
    let tailed = as_token(read, &["tail", "--from", "earliest", "--no-follow"]).await;
    assert!(tailed.ok, "{tailed:?}");
    let refused = as_token(read, &["token", "list"]).await;
    assert!(!refused.ok && refused.err.contains("lacks the scope `admin`"), "{refused:?}");
    let refused = as_token(read, &["receipts", "get", "1", "--raw"]).await;
    assert!(!refused.ok && refused.err.contains("lacks the scope `receipts`"), "{refused:?}");

    let id = made["token"]["id"].as_str().expect("an id");
    let revoked = as_token(&admin, &["token", "revoke", id]).await;
    assert!(revoked.ok, "{revoked:?}");
    let refused = as_token(read, &["tail", "--no-follow"]).await;
    assert!(!refused.ok, "{refused:?}");
    let listed = as_token(&admin, &["token", "list"]).await;
    assert!(listed.out.contains("revoked") && !listed.out.contains(&admin), "{listed:?}");
    let unknown = as_token(&admin, &["token", "create", "--scope", "everything"]).await;
    assert!(!unknown.ok && unknown.err.contains("subscribe:NAME"), "{unknown:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn subscriptions_are_made_shown_moved_and_removed() {
    let gateway = TestGateway::start().await;
    for seed in ["one", "two", "three"] {
        gateway.accept("payment_intent.succeeded", seed).await;
    }
    let address = format!("http://{}", gateway.grpc);
    let ask = async |arguments: &[&str]| {
        let ran = run(gateway.directory(), &[arguments, &["--address", &address]].concat()).await;
        assert!(ran.ok, "{arguments:?}: {ran:?}");
        ran.out
    };
    ask(&["subscriptions", "create", "crm", "--from", "earliest", "--headline", "paid"]).await;
    let made = ask(&["subscriptions", "get", "crm", "--json"]).await;
    let made: Value = serde_json::from_str(&made).expect("JSON");
    assert_eq!(made["filter"]["headlines"], serde_json::json!(["HEADLINE_PAID"]));
    let moved = ask(&["subscriptions", "seek", "crm", "3"]).await;
    assert!(moved.contains("2 of 3"), "the next event is 3: {moved}");
    let paused = ask(&["subscriptions", "pause", "crm"]).await;
    assert!(paused.contains("paused"), "{paused}");
    ask(&["subscriptions", "resume", "crm"]).await;
    let listed = ask(&["subscriptions", "list"]).await;
    assert!(listed.contains("crm") && listed.contains("runs"), "{listed}");
    assert_eq!(ask(&["dead-letters", "list", "crm"]).await, "no dead letters\n");
    let replayed = ask(&["dead-letters", "replay", "crm", "--all"]).await;
    assert_eq!(replayed, "0 dead letters replayed\n");
    ask(&["subscriptions", "delete", "crm"]).await;
    assert_eq!(ask(&["subscriptions", "list"]).await, "no subscriptions\n");
    let receipts = ask(&["receipts", "list", "--json"]).await;
    assert_eq!(receipts.lines().count(), 3, "{receipts}");
    let raw = ask(&["receipts", "get", "3", "--raw"]).await;
    assert!(raw.starts_with("POST /webhooks/stripe/test\n") && raw.contains("pi_three"), "{raw}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forged_sample_is_refused_and_a_wrong_secret_is_told() {
    let gateway = TestGateway::start().await;
    let url = format!("http://{}", gateway.http);
    let send = ["send", "stripe", "--url", &url];
    add_endpoint(gateway.directory(), STRIPE_SECRET);
    let forged = run(gateway.directory(), &[&send[..], &["--forge"]].concat()).await;
    assert!(forged.ok && forged.out.starts_with("401"), "{forged:?}");

    let other = TempDir::new().expect("a directory");
    add_endpoint(other.path(), "whsec_of_somebody_else");
    let refused = run(other.path(), &send).await;
    assert!(!refused.ok && refused.out.starts_with("401"), "{refused:?}");
    assert!(refused.err.contains("secrets") && !refused.err.contains("whsec"), "{refused:?}");
    let mistyped = run(other.path(), &["send", "stripe", "payment_intent.suceeded"]).await;
    assert!(mistyped.err.contains("`payment_intent.succeeded`"), "{mistyped:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn p9_verify_finds_whatever_was_changed_in_the_log() {
    let mut gateway = TestGateway::start().await;
    for seed in ["one", "two", "three"] {
        gateway.accept("payment_intent.succeeded", seed).await;
    }
    let running = verify(&gateway.store_path(), &[]).await;
    assert!(!running.ok && running.err.contains("stop it first"), "{running:?}");
    gateway.stop().await;
    let intact = verify(&gateway.store_path(), &[]).await;
    assert!(intact.ok && intact.out.starts_with("3 events verified, head 3:"), "{intact:?}");
    let head = intact.out.trim().rsplit(' ').next().expect("a head").to_owned();
    assert!(verify(&gateway.store_path(), &["--head", &head]).await.ok);
    let other = head.replace("3:", "2:");
    let rewritten = verify(&gateway.store_path(), &["--head", &other]).await;
    assert!(!rewritten.ok && rewritten.err.contains("written anew"), "{rewritten:?}");

    let events = "SELECT rowid, block FROM event_blocks ORDER BY 1 LIMIT 1";
    let receipts = "SELECT rowid, block FROM receipt_blocks ORDER BY 1 LIMIT 1";
    let changes: [(&[&str], &str); 4] = [
        (&[events, "UPDATE event_blocks SET block = ? WHERE rowid = ?"], "event 1"),
        (&[receipts, "UPDATE receipt_blocks SET block = ? WHERE rowid = ?"], "receipts/1"),
        (&["DELETE FROM event_blocks WHERE first_sequence = 3"], "ends with event 2"),
        (&["DELETE FROM event_blocks WHERE first_sequence = 2"], "sequence 2"),
    ];
    for (statements, expected) in changes {
        let copy = TempDir::new().expect("a directory");
        let path = copy.path().join("tollgate.db");
        std::fs::copy(gateway.store_path(), &path).expect("copied");
        tamper(&path, statements).await;
        let found = verify(&path, &[]).await;
        assert!(!found.ok && found.err.contains(expected), "{expected}: {found:?}");
    }
    let missing = verify(&gateway.directory().join("none.db"), &[]).await;
    assert!(!missing.ok && missing.err.contains("no store"), "{missing:?}");
    assert!(!gateway.directory().join("none.db").exists());
}

async fn verify(store: &Path, more: &[&str]) -> Ran {
    let path = store.to_str().expect("text");
    run(store.parent().expect("a directory"), &[&["verify", "--store", path], more].concat()).await
}

/// Runs one statement; or, of two, writes with the second what the first read, with one letter changed.
async fn tamper(path: &Path, statements: &[&str]) {
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path);
    let mut connection = options.connect().await.expect("opened");
    let text = |text: &str| sqlx::AssertSqlSafe(text.to_owned());
    let changed = match statements {
        [read, write] => {
            let row = sqlx::query(text(read)).fetch_one(&mut connection).await.expect("a row");
            let (id, mut block): (i64, Vec<u8>) = (row.get(0), row.get(1));
            let at = block.windows(6).position(|bytes| bytes == b"pi_one").expect("the payment");
            block[at + 5] = b'f';
            let write = sqlx::query(text(write)).bind(block).bind(id);
            write.execute(&mut connection).await.expect("written")
        }
        _ => sqlx::query(text(statements[0])).execute(&mut connection).await.expect("done"),
    };
    assert_eq!(changed.rows_affected(), 1);
    connection.close().await.expect("closed");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_tells_its_whole_story_and_every_step_holds() {
    let directory = TempDir::new().expect("a directory");
    let demo = run(directory.path(), &["demo"]).await;
    assert!(demo.ok, "{demo:?}");
    let steps = [
        "partly refunded",
        "An invoice",
        "Adyen",
        "acked at attempt 2",
        "no new event",
        "late PENDING: stays PARTIALLY_REFUNDED",
        "401",
        "stopped cleanly",
        "does not come again",
        "acked by the CRM as deal-1",
        "events verified",
        "All of it went as promised",
    ];
    let mut rest = demo.out.as_str();
    for step in steps {
        let at = rest.find(step).unwrap_or_else(|| panic!("`{step}` is missing: {demo:?}"));
        rest = &rest[at..];
    }
    let left = std::fs::read_dir(directory.path()).expect("listed").count();
    assert_eq!(left, 0, "it leaves nothing behind where it runs");
}

#[tokio::test]
async fn a_wrong_configuration_is_refused_with_file_key_and_reason() {
    let directory = TempDir::new().expect("a directory");
    let path = directory.path();
    std::fs::write(path.join("tollgate.toml"), "[http]\nlisten = \"somewhere\"\n")
        .expect("written");
    let refused = run(path, &["serve"]).await;
    assert!(!refused.ok, "{refused:?}");
    for part in ["tollgate.toml", "http.listen", "somewhere"] {
        assert!(refused.err.contains(part), "{part} is not in {refused:?}");
    }
    let missing = run(path, &["serve", "--config", "none.toml"]).await;
    assert!(!missing.ok && missing.err.contains("none.toml"), "{missing:?}");
    let nobody = run(path, &["tail", "--address", "http://127.0.0.1:9"]).await;
    assert!(!nobody.ok && nobody.err.contains("no gateway answers"), "{nobody:?}");
}
