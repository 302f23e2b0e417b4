//! What goes wrong at a double, and when: a plan of faults that a test sets up beforehand, each
//! matched against the calls that come in. A test can wait for the very moment a fault strikes, to
//! kill the connector there. A fault never changes what the backend would have done; it only decides
//! whether the backend is asked, and what the client gets to see of its answer.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use http::Method;
use tokio::sync::watch;

use crate::{Host, Reply, Request, State};

/// Whether the call was carried out before the fault struck.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Write {
    /// The backend handled it, and what it wrote stays: the client only lost the answer.
    Applied,
    /// The backend never saw it.
    Lost,
}

/// What a fault does to a call.
#[derive(Clone, Debug)]
pub enum Effect {
    /// The client gets this answer instead of the real one.
    Answer(Write, Reply),
    /// The call is carried out this much later, even if the client has left by then.
    Delay(Duration),
    /// The call is carried out at once and answered this much later.
    DelayAnswer(Duration),
    /// The connection stays open and silent.
    Hang(Write),
    /// The connection is closed without an answer.
    Close(Write),
    /// The real answer announces its length and ends in the middle.
    Truncate,
    /// The real answer says it is of this content type.
    ContentType(&'static str),
    /// The real answer comes in pieces of so many bytes with a pause before each.
    Drip(usize, Duration),
}

/// The page a proxy in front of a CRM gives when the CRM does not answer it.
pub fn bad_gateway(status: u16) -> Reply {
    Reply::html(status, "<html><head><title>Bad Gateway</title></head><body>nginx</body></html>")
}

/// One fault: which calls it strikes, and what it does to them. Without conditions, the next call.
#[derive(Clone, Debug)]
pub struct Fault {
    effect: Effect,
    host: Option<Host>,
    method: Option<Method>,
    path: Option<String>,
    body: Option<String>,
    tenant: Option<String>,
    nth: u64,
    times: u64,
}

impl Fault {
    /// A fault that strikes the next call that matches, once.
    pub fn new(effect: Effect) -> Fault {
        Fault {
            effect,
            host: None,
            method: None,
            path: None,
            body: None,
            tenant: None,
            nth: 1,
            times: 1,
        }
    }

    /// Only calls at this host.
    pub fn at_host(mut self, host: Host) -> Fault {
        self.host = Some(host);
        self
    }

    /// Only calls with this method.
    pub fn method(mut self, method: Method) -> Fault {
        self.method = Some(method);
        self
    }

    /// Only calls with this text in the path as sent.
    pub fn path(mut self, part: &str) -> Fault {
        self.path = Some(part.to_owned());
        self
    }

    /// Only calls with this text, such as a payment id, in the body or in the query.
    pub fn containing(mut self, part: &str) -> Fault {
        self.body = Some(part.to_owned());
        self
    }

    /// Only calls of this tenant.
    pub fn tenant(mut self, tenant: &str) -> Fault {
        self.tenant = Some(tenant.to_owned());
        self
    }

    /// Begins with the nth call that matches, counted from 1.
    pub fn nth(mut self, nth: u64) -> Fault {
        self.nth = nth;
        self
    }

    /// Strikes so many calls.
    pub fn times(mut self, times: u64) -> Fault {
        self.times = times;
        self
    }

    /// Strikes every call until the plan is cleared.
    pub fn always(self) -> Fault {
        self.times(u64::MAX)
    }

    fn matches(&self, request: &Request) -> bool {
        let contains = |part: &String| {
            request.query.iter().any(|(_, value)| value.contains(part.as_str()))
                || request.body.windows(part.len().max(1)).any(|piece| piece == part.as_bytes())
        };
        self.host.is_none_or(|host| host == request.host)
            && self.method.as_ref().is_none_or(|method| *method == request.method)
            && self.path.as_ref().is_none_or(|part| request.path.contains(part.as_str()))
            && self.tenant.as_ref().is_none_or(|tenant| *tenant == request.tenant)
            && self.body.as_ref().is_none_or(contains)
    }
}

/// The plan of one server, in the order in which faults were added; its clones share it.
#[derive(Clone, Debug, Default)]
pub struct Faults(Arc<Plan>);

#[derive(Debug, Default)]
struct Plan {
    faults: State<Vec<Planned>>,
    latency_us: AtomicU64,
}

#[derive(Debug)]
struct Planned {
    fault: Fault,
    seen: u64,
    struck: u64,
    hits: watch::Sender<u64>,
}

/// A fault in a plan, to wait for.
#[derive(Clone, Debug)]
pub struct Armed(watch::Receiver<u64>);

/// A fault that strikes the call at hand.
#[derive(Debug)]
pub(crate) struct Strike {
    pub(crate) effect: Effect,
    hits: watch::Sender<u64>,
}

impl Faults {
    /// Adds a fault to the plan. Of several that strike one call, the one added first does.
    pub fn add(&self, fault: Fault) -> Armed {
        let (hits, armed) = watch::channel(0);
        self.0.faults.lock().push(Planned { fault, seen: 0, struck: 0, hits });
        Armed(armed)
    }

    /// Forgets all faults that have not struck yet.
    pub fn clear(&self) {
        self.0.faults.lock().clear();
    }

    /// Every call takes this long before it is carried out; nothing at first.
    pub fn set_latency(&self, latency: Duration) {
        let us = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        self.0.latency_us.store(us, Ordering::Relaxed);
    }

    pub(crate) fn latency(&self) -> Duration {
        Duration::from_micros(self.0.latency_us.load(Ordering::Relaxed))
    }

    pub(crate) fn strike(&self, request: &Request) -> Option<Strike> {
        let mut faults = self.0.faults.lock();
        let mut strike = None;
        for planned in faults.iter_mut().filter(|planned| planned.fault.matches(request)) {
            planned.seen += 1;
            let due = planned.seen >= planned.fault.nth && planned.struck < planned.fault.times;
            if due && strike.is_none() {
                planned.struck += 1;
                let effect = planned.fault.effect.clone();
                strike = Some(Strike { effect, hits: planned.hits.clone() });
            }
        }
        strike
    }
}

impl Strike {
    /// Tells those who wait: what the fault lets be written is written, nothing is answered yet.
    pub(crate) fn hit(&self) {
        self.hits.send_modify(|hits| *hits += 1);
    }
}

impl Armed {
    /// Waits until the fault has struck: by then a write it lets happen has happened, and the
    /// client has not got its answer.
    pub async fn hit(&self) {
        self.hit_times(1).await;
    }

    /// Waits until the fault has struck so often. Returns at once if the plan was cleared.
    pub async fn hit_times(&self, times: u64) {
        let mut hits = self.0.clone();
        // An error says that the fault is no longer planned: then nothing is left to wait for.
        let _ = hits.wait_for(|hits| *hits >= times).await;
    }

    /// How often it has struck.
    pub fn hits(&self) -> u64 {
        *self.0.borrow()
    }
}
