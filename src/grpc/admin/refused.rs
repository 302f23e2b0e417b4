//! `ListRefusedRequests`: what was refused of late, where the gateway keeps it, and why it did not verify.

use std::sync::Arc;

use tonic::{Code, Status};

use crate::grpc::status::{invalid, with_reason};
use crate::grpc::{Context, convert, proto};
use crate::ingest::Registered;
use crate::ingest::refused::{Diagnosis, Refused};
use crate::model::EndpointName;

/// How many bytes of bodies one answer has.
const MAX_ANSWER_BYTES: usize = 2 * 1024 * 1024;
/// How many are diagnosed in one call: each takes a moment of a processor.
const MAX_DIAGNOSED: usize = 20;

pub(super) async fn list(
    context: &Context,
    list: proto::ListRefusedRequestsRequest,
) -> Result<proto::ListRefusedRequestsResponse, Status> {
    if !context.settings.keep_refused {
        return Err(with_reason(
            Code::FailedPrecondition,
            "REFUSED_REQUESTS_NOT_KEPT",
            "refused requests are not kept; set `http.keep_refused = true` and start the gateway again",
        ));
    }
    let name = match list.endpoint.as_str() {
        "" => None,
        text => {
            let name = text.parse::<EndpointName>();
            Some(name.map_err(|error| invalid("endpoint", error.to_string()))?)
        }
    };
    let wanted = |registered: &Arc<Registered>| {
        let endpoint = &registered.endpoint.name;
        name.as_ref().is_none_or(|name| name == endpoint)
            && (list.provider.is_empty() || list.provider == endpoint.provider())
    };
    let all: Vec<(Arc<Registered>, Arc<Refused>)> = context
        .ingest
        .endpoints()
        .all()
        .into_iter()
        .filter(wanted)
        .flat_map(|registered| {
            let kept = registered.health.refused_requests().all();
            kept.into_iter().map(move |refused| (registered.clone(), refused))
        })
        .collect();
    let mut requests = Vec::with_capacity(all.len());
    let mut bytes = 0;
    for (at, (registered, refused)) in all.into_iter().enumerate() {
        let mut told = to_proto(&registered, &refused);
        if list.diagnose && at < MAX_DIAGNOSED && !refused.body_left_out {
            let endpoints = context.ingest.endpoints().clone();
            let diagnosed =
                tokio::task::spawn_blocking(move || refused.diagnose(&registered, &endpoints));
            tell(&mut told, diagnosed.await.ok());
        }
        if let Some(raw) = &mut told.raw {
            bytes += raw.body.len();
            if bytes > MAX_ANSWER_BYTES {
                raw.body.clear();
                told.body_left_out = true;
            }
        }
        requests.push(told);
    }
    Ok(proto::ListRefusedRequestsResponse { requests })
}

fn to_proto(registered: &Registered, refused: &Refused) -> proto::RefusedRequest {
    let shown = refused.redacted(registered);
    let headers = shown.headers.into_iter().map(|(name, value)| proto::Header { name, value });
    proto::RefusedRequest {
        endpoint: registered.endpoint.name.to_string(),
        refused_at: Some(convert::timestamp(refused.at)),
        reason: refused.reason.clone(),
        raw: Some(proto::RawRequest {
            method: shown.method,
            path: shown.path,
            headers: headers.collect(),
            body: shown.body,
        }),
        body_left_out: refused.body_left_out,
        findings: Vec::new(),
        verdict: String::new(),
    }
}

fn tell(told: &mut proto::RefusedRequest, diagnosis: Option<Diagnosis>) {
    let verdict = match diagnosis {
        Some(Diagnosis::Verified(by)) => {
            format!("it verifies by now, by {by}: the configuration has changed")
        }
        Some(Diagnosis::Explained(findings)) => {
            told.findings = findings
                .into_iter()
                .map(|finding| proto::RefusalFinding {
                    cause: finding.cause.word().to_owned(),
                    found: finding.found,
                    advice: finding.advice,
                })
                .collect();
            "it would have verified so".to_owned()
        }
        Some(Diagnosis::NeedsKey(key)) => format!("the provider's key `{key}` is needed to tell"),
        Some(Diagnosis::Unexplained { attempts, .. }) => {
            format!("none of {attempts} known mistakes explains it: it may be forged")
        }
        None => "the diagnosis broke off".to_owned(),
    };
    told.verdict = verdict;
}
