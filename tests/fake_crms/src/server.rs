//! The server of a double. In come HTTP/1.1 calls at two loopback ports, one for the host that issues
//! tokens and one for the API, since vendors tell the API's address only with the token. Each call is
//! bounded, journaled, run past the fault plan and handed to the [`Backend`]; out goes its reply, or
//! what a fault made of it. It listens on the loopback only and ends when it is dropped.

mod exchange;
mod request;

use std::{
    io,
    net::Ipv4Addr,
    sync::{Arc, atomic::AtomicU64},
};

use tokio::{net::TcpListener, task::JoinSet};

use crate::{Clock, Faults, Journal, limits::InFlight};

pub use request::{Reply, Request};

/// A CRM: how it answers a call. It keeps its state behind a [`crate::State`] of its own.
pub trait Backend: Send + Sync + 'static {
    /// Carries out one call. It runs on the server's task: it must not block.
    fn handle(&self, request: &Request) -> Reply;

    /// Whose call this is, for the journal, for calls in flight and for faults. It must not take a
    /// call off a token ([`crate::Tokens::tenant`] does not). As it stands: whoever shows one credential.
    fn tenant(&self, request: &Request) -> String {
        let credential = request.header("authorization").or(request.header("x-api-token"));
        credential.unwrap_or_default().to_owned()
    }
}

/// Which of its two addresses a call came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Host {
    /// The one that issues tokens.
    Auth,
    /// The one that serves records.
    Api,
}

/// What a backend knows of its place; given to the closure that makes it.
#[derive(Clone, Debug)]
pub struct Site {
    /// `http://127.0.0.1:PORT` of the host that issues tokens.
    pub auth_url: String,
    /// `http://127.0.0.1:PORT` of the API.
    pub api_url: String,
    /// The double's time.
    pub clock: Clock,
    /// Where the backend records its writes and waits.
    pub journal: Journal,
}

impl Site {
    /// A place without a server, for tests that hand requests straight to a backend.
    pub fn unbound(clock: Clock) -> Site {
        Site {
            auth_url: "http://127.0.0.1:1".to_owned(),
            api_url: "http://127.0.0.1:2".to_owned(),
            journal: Journal::new(clock.clone()),
            clock,
        }
    }
}

/// A running double; dropping it ends it and cuts its connections.
#[must_use]
pub struct Server<B> {
    shared: Arc<Shared<B>>,
    _accepting: JoinSet<()>,
}

struct Shared<B> {
    backend: B,
    site: Site,
    faults: Faults,
    in_flight: InFlight,
    calls: AtomicU64,
}

impl<B: Backend> Server<B> {
    /// Starts on two free ports of the loopback, inside a tokio runtime.
    pub async fn start(clock: Clock, make: impl FnOnce(&Site) -> B) -> io::Result<Server<B>> {
        Server::start_on((0, 0), clock, make).await
    }

    /// Starts on these ports (authorization, API); 0 is any free one.
    pub async fn start_on(
        ports: (u16, u16),
        clock: Clock,
        make: impl FnOnce(&Site) -> B,
    ) -> io::Result<Server<B>> {
        let auth = TcpListener::bind((Ipv4Addr::LOCALHOST, ports.0)).await?;
        let api = TcpListener::bind((Ipv4Addr::LOCALHOST, ports.1)).await?;
        let site = Site {
            auth_url: format!("http://{}", auth.local_addr()?),
            api_url: format!("http://{}", api.local_addr()?),
            journal: Journal::new(clock.clone()),
            clock,
        };
        let shared = Arc::new(Shared {
            backend: make(&site),
            site,
            faults: Faults::default(),
            in_flight: InFlight::default(),
            calls: AtomicU64::new(0),
        });
        let mut accepting = JoinSet::new();
        accepting.spawn(exchange::accept(Arc::clone(&shared), Host::Auth, auth));
        accepting.spawn(exchange::accept(Arc::clone(&shared), Host::Api, api));
        Ok(Server { shared, _accepting: accepting })
    }

    /// The address that issues tokens, without a slash at its end.
    pub fn auth_url(&self) -> &str {
        &self.shared.site.auth_url
    }

    /// The address of the API, without a slash at its end.
    pub fn api_url(&self) -> &str {
        &self.shared.site.api_url
    }

    /// The CRM itself.
    pub fn backend(&self) -> &B {
        &self.shared.backend
    }

    /// What happened so far.
    pub fn journal(&self) -> &Journal {
        &self.shared.site.journal
    }

    /// What is to go wrong.
    pub fn faults(&self) -> &Faults {
        &self.shared.faults
    }

    /// The double's time.
    pub fn clock(&self) -> &Clock {
        &self.shared.site.clock
    }
}

#[cfg(test)]
mod tests;
