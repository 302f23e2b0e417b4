//! Tracked payment links from the outside: who may make them and where they may lead, what a visit answers
//! and when it counts, and what becomes of visitors while the disk is full.

use std::sync::Arc;

use http::{HeaderMap, Method};
use jiff::{SignedDuration, Timestamp};
use tollgate::store::Store;
use tollgate_client::Client;
use tollgate_client::proto::event::Fact;
use tollgate_client::proto::{
    CreatePaymentLinkRequest, CreatePaymentLinkResponse, CustomerAction, Event, GetPaymentRequest,
    GetTimelineRequest, ListEventsRequest, References,
};
use tonic::Code;
use tonic_types::StatusExt;

use crate::faulty_store::{Commits, FaultyStore};
use crate::gateway::{TestGateway, config, open_store};
use crate::subscriber::soon;

const LINKS: &str = "[links]\nallowed_hosts = [\"pay.example.com\"]\n";
const TARGET: &str = "https://pay.example.com/c/pay/cs_1?a=b#fid";

fn order() -> CreatePaymentLinkRequest {
    CreatePaymentLinkRequest {
        target_url: TARGET.to_owned(),
        references: Some(References { order: "order-7".to_owned(), ..References::default() }),
        ..CreatePaymentLinkRequest::default()
    }
}

async fn create(client: &Client, order: CreatePaymentLinkRequest) -> CreatePaymentLinkResponse {
    let created = soon(client.payments().create_payment_link(order)).await;
    created.expect("created").into_inner()
}

/// The path of a link: its host is that of the configuration.
fn path(link: &CreatePaymentLinkResponse) -> String {
    let at = link.url.find("/l/").expect("the path of links");
    link.url[at..].to_owned()
}

async fn visit(gateway: &TestGateway, path: &str) -> reqwest::Response {
    visit_as(gateway, Method::GET, path, &[]).await
}

async fn visit_as(
    gateway: &TestGateway,
    method: Method,
    path: &str,
    headers: &[(&'static str, &str)],
) -> reqwest::Response {
    let client = reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .expect("an HTTP client");
    let mut all = HeaderMap::new();
    for (name, value) in headers {
        all.insert(*name, value.parse().expect("a value"));
    }
    let url = format!("http://{}{path}", gateway.http);
    soon(client.request(method, url).headers(all).send()).await.expect("an answer")
}

async fn events(client: &Client) -> Vec<Event> {
    let request = ListEventsRequest::default();
    let listed = soon(client.events().list_events(request)).await.expect("listed");
    listed.into_inner().events
}

#[tokio::test(flavor = "multi_thread")]
async fn a_visit_leads_on_and_is_an_event_once_a_window() {
    let gateway = TestGateway::with(config(LINKS)).await;
    let start: Timestamp = "2026-11-24T12:00:00Z".parse().expect("a time");
    gateway.clock().set(start);
    let client = gateway.client().await;
    let link = create(&client, order()).await;
    assert!(link.url.starts_with("http://127.0.0.1:8080/l/"), "{}", link.url);
    let token = link.url.rsplit('/').next().expect("a token");
    assert_eq!(token.len(), 43);

    let answer = visit(&gateway, &path(&link)).await;
    assert_eq!(answer.status(), 302);
    assert_eq!(answer.headers()["location"], TARGET);
    assert_eq!(answer.headers()["cache-control"], "no-store");
    assert_eq!(answer.headers()["referrer-policy"], "no-referrer");
    let all = events(&client).await;
    let [event] = &all[..] else { panic!("one event: {all:?}") };
    assert_eq!(event.subject, link.subject);
    assert!(event.subject.starts_with("paymentRequests/tollgate/links/"));
    assert_eq!((event.endpoint.as_str(), event.receipt.as_str()), ("tollgate/links", ""));
    assert_eq!(event.references.as_ref().expect("references").order, "order-7");
    assert!(event.live);
    let Some(Fact::CustomerAction(fact)) = &event.fact else { panic!("an action: {event:?}") };
    assert_eq!(fact.action(), CustomerAction::LinkOpened);

    // Neither a second look, nor one that only looks ahead, nor a HEAD counts.
    for (method, headers) in [
        (Method::GET, &[][..]),
        (Method::HEAD, &[]),
        (Method::GET, &[("sec-purpose", "prefetch")]),
        (Method::GET, &[("user-agent", "Slackbot-LinkExpanding 1.0")]),
    ] {
        let answer = visit_as(&gateway, method, &path(&link), headers).await;
        assert_eq!(
            (answer.status().as_u16(), &answer.headers()["location"]),
            (302, &TARGET.parse().expect("a value"))
        );
    }
    assert_eq!(events(&client).await.len(), 1);

    // The next window, after a restart that forgets what was counted.
    let gateway = gateway.restart().await;
    let client = gateway.client().await;
    visit(&gateway, &path(&link)).await;
    assert_eq!(events(&client).await.len(), 1, "the log knows the window");
    gateway.clock().set(start + SignedDuration::from_mins(10));
    for _ in 0..2 {
        assert_eq!(visit(&gateway, &path(&link)).await.status(), 302);
    }
    assert_eq!(events(&client).await.len(), 2);
    let name = link.subject.clone();
    let timeline = GetTimelineRequest { name, ..GetTimelineRequest::default() };
    let timeline = soon(client.payments().get_timeline(timeline)).await.expect("a timeline");
    assert_eq!(timeline.into_inner().entries.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_link_is_not_found_and_what_is_over_is_gone() {
    let gateway =
        TestGateway::with(config(&format!("{LINKS}max_visits_per_minute = 1000\n"))).await;
    let start: Timestamp = "2026-11-24T12:00:00Z".parse().expect("a time");
    gateway.clock().set(start);
    let client = gateway.client().await;
    let in_an_hour = prost_types::Timestamp { seconds: start.as_second() + 3600, nanos: 0 };
    let link =
        create(&client, CreatePaymentLinkRequest { expires_at: Some(in_an_hour), ..order() }).await;
    let good = path(&link);
    let token = &good["/l/".len()..];
    let mut forged = vec!["".to_owned(), "x".to_owned(), "A".repeat(43), "%00".to_owned()];
    // Every letter of it counts.
    for at in 0..token.len() - 1 {
        let other = if token.as_bytes()[at] == b'A' { "B" } else { "A" };
        let mut changed = token.to_owned();
        changed.replace_range(at..=at, other);
        forged.push(changed);
    }
    for token in forged {
        assert_eq!(visit(&gateway, &format!("/l/{token}")).await.status(), 404, "{token}");
    }
    let posted = visit_as(&gateway, Method::POST, &good, &[]).await;
    assert_eq!(
        (posted.status().as_u16(), &posted.headers()["allow"]),
        (405, &"GET, HEAD".parse().expect("a value"))
    );
    assert!(events(&client).await.is_empty());
    assert_eq!(visit(&gateway, &good).await.status(), 302);
    gateway.clock().set(start + SignedDuration::from_hours(1));
    let over = visit(&gateway, &good).await;
    assert_eq!((over.status().as_u16(), over.headers().get("location")), (410, None));
    assert_eq!(events(&client).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn links_are_made_by_those_who_may_and_lead_where_they_may() {
    let gateway = TestGateway::with({
        let mut config = config(LINKS);
        config.auth.mode = tollgate::config::AuthMode::Token;
        config
    })
    .await;
    let (reader, _) = gateway.client_for(&["read", "receipts", "subscribe:*"]).await;
    let refused = soon(reader.payments().create_payment_link(order())).await.expect_err("no scope");
    assert_eq!(refused.code(), Code::PermissionDenied);
    let (client, _) = gateway.client_for(&["links"]).await;
    create(&client, order()).await;
    let no_read = soon(client.payments().get_payment(GetPaymentRequest::default())).await;
    assert_eq!(no_read.expect_err("only links").code(), Code::PermissionDenied);

    for (wrong, field) in [
        (
            CreatePaymentLinkRequest {
                target_url: "http://pay.example.com/".to_owned(),
                ..order()
            },
            "target_url",
        ),
        (
            CreatePaymentLinkRequest {
                target_url: "https://evil.example.com/".to_owned(),
                ..order()
            },
            "target_url",
        ),
        (
            CreatePaymentLinkRequest {
                subject: "bankTransactions/stripe/test/1".to_owned(),
                ..order()
            },
            "subject",
        ),
        (CreatePaymentLinkRequest { subject: "nothing".to_owned(), ..order() }, "subject"),
        (
            CreatePaymentLinkRequest {
                expires_at: Some(prost_types::Timestamp { seconds: 1, nanos: 0 }),
                ..order()
            },
            "expires_at",
        ),
    ] {
        let refused = soon(client.payments().create_payment_link(wrong)).await.expect_err(field);
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
        let details = refused.get_details_bad_request().expect("a field");
        assert_eq!(details.field_violations[0].field, field);
    }

    let unconfigured = TestGateway::start().await;
    let client = unconfigured.client().await;
    let refused = soon(client.payments().create_payment_link(order())).await.expect_err("no hosts");
    assert_eq!(refused.code(), Code::FailedPrecondition);
    let info = refused.get_details_error_info().expect("a reason");
    assert_eq!(info.reason, "LINKS_NOT_CONFIGURED");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_about_a_payment_request_tells_in_its_lane_and_takes_no_end_back() {
    let gateway = TestGateway::with(config(LINKS)).await;
    let client = gateway.client().await;
    gateway.accept("quote.canceled", "1").await;
    let about = events(&client).await.into_iter().map(|event| event.subject);
    let about = about.into_iter().find(|subject| subject.starts_with("paymentRequests/"));
    let about = about.expect("a quote");
    let link =
        create(&client, CreatePaymentLinkRequest { subject: about.clone(), ..order() }).await;
    assert_eq!(link.subject, about);
    visit(&gateway, &path(&link)).await;
    let all = events(&client).await;
    let opened = all.last().expect("events");
    let change = opened.change.as_ref().expect("a change");
    assert_eq!(
        (opened.subject.as_str(), change.current.as_str()),
        (about.as_str(), "REQUEST_CANCELED")
    );

    // Of a payment only the id is taken.
    let subject = "payments/stripe/test/pi_9".to_owned();
    let link = create(&client, CreatePaymentLinkRequest { subject, ..order() }).await;
    visit(&gateway, &path(&link)).await;
    let all = events(&client).await;
    let opened = all.last().expect("events");
    assert!(opened.subject.starts_with("paymentRequests/tollgate/links/"));
    assert_eq!(opened.references.as_ref().expect("references").payment, "pi_9");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_visitor_is_led_on_while_nothing_can_be_committed() {
    let (sender, faults) = tokio::sync::oneshot::channel();
    let gateway = TestGateway::over_store(config(LINKS), |path| async move {
        let (store, faults) = FaultyStore::over(open_store(&path).await);
        let _ = sender.send(faults);
        store as Arc<dyn Store>
    })
    .await;
    let faults = faults.await.expect("it was opened");
    let client = gateway.client().await;
    let link = create(&client, order()).await;
    for commits in [Commits::Full, Commits::Wait] {
        faults.send(commits).expect("the store listens");
        assert_eq!(visit(&gateway, &path(&link)).await.status(), 302, "{commits:?}");
    }
    faults.send(Commits::Pass).expect("the store listens");
    assert_eq!(visit(&gateway, &path(&link)).await.status(), 302);
    assert_eq!(events(&client).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn visits_are_limited_for_each_address() {
    let limited =
        format!("{LINKS}max_visits_per_minute = 3\ntrusted_proxies = [\"127.0.0.0/8\"]\n");
    let gateway = TestGateway::with(config(&limited)).await;
    let from = async |addresses: &str| {
        let headers = [("x-forwarded-for", addresses)];
        visit_as(&gateway, Method::GET, "/l/nothing", &headers).await.status().as_u16()
    };
    let mut answers = Vec::new();
    for _ in 0..4 {
        answers.push(from("203.0.113.7").await);
    }
    assert_eq!(answers, [404, 404, 404, 429]);
    // What stands before the last address that is no proxy's is the visitor's own word.
    assert_eq!(from("198.51.100.1, 203.0.113.7, 127.0.0.9").await, 429);
    assert_eq!(from("203.0.113.7:4711").await, 429);
    assert_eq!(from("198.51.100.1").await, 404);
}
