//! EventService: the log, one event, a page, or a stream from a position that the client keeps.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;

use futures::{Stream, stream};
use tonic::{Request, Response, Status};

use super::auth::{Identity, Scope};
use super::status::{from_delivery, from_store, invalid, not_found};
use super::stream::{Due, Life, caught_up, draining, watch_heartbeat};
use super::{Context, page, proto, request};
use crate::delivery::{EndReason, Reader, Start};
use crate::model::Sequence;
use crate::store::Logged;
use proto::watch_events_response::Message as Out;

/// How many pages a listing looks through before it answers with what it has.
const MAX_PAGES_A_CALL: usize = 8;

/// The service.
pub struct Service {
    context: Context,
}

impl Service {
    /// With what every service has at hand.
    pub fn new(context: Context) -> Service {
        Service { context }
    }
}

#[tonic::async_trait]
impl proto::event_service_server::EventService for Service {
    type WatchEventsStream =
        Pin<Box<dyn Stream<Item = Result<proto::WatchEventsResponse, Status>> + Send>>;

    async fn get_event(
        &self,
        request: Request<proto::GetEventRequest>,
    ) -> Result<Response<proto::GetEventResponse>, Status> {
        Identity::of(&request)?.require(Scope::Read)?;
        let name = &request.get_ref().name;
        let sequence = name.strip_prefix("events/").and_then(|number| number.parse().ok());
        let sequence = sequence.ok_or_else(|| invalid("name", "must read like events/17"))?;
        let store = &self.context.delivery.shared().store;
        let logged = store.event(Sequence(sequence)).await.map_err(from_store)?;
        let logged = logged.ok_or_else(|| not_found("event", name))?;
        Ok(Response::new(proto::GetEventResponse { event: logged.encoded.clone() }))
    }

    async fn list_events(
        &self,
        request: Request<proto::ListEventsRequest>,
    ) -> Result<Response<proto::ListEventsResponse>, Status> {
        const LIST: &str = "events";
        Identity::of(&request)?.require(Scope::Read)?;
        let list = request.into_inner();
        let size = page::size(list.page_size)?;
        let filter = request::filter(list.filter, "filter")?;
        let after = page::after_number(LIST, &list.page_token)?.unwrap_or(list.after_sequence);
        let shared = self.context.delivery.shared().clone();
        let mut reader = Reader::new(shared, filter, Sequence(after.max(0)));
        let mut events: Vec<Arc<Logged>> = Vec::new();
        let mut pages = 0;
        while events.len() < size && reader.is_behind() && pages < MAX_PAGES_A_CALL {
            events.extend(reader.page().await.map_err(from_delivery)?);
            pages += 1;
        }
        let mut passed = reader.position();
        if events.len() > size {
            events.truncate(size);
            passed = events[size - 1].sequence;
        }
        let more = passed < self.context.delivery.shared().tail.head();
        let next_page_token =
            if more { page::token(LIST, &passed.to_string()) } else { String::new() };
        let events = events.iter().map(|logged| logged.encoded.clone()).collect();
        Ok(Response::new(proto::ListEventsResponse { events, next_page_token }))
    }

    async fn watch_events(
        &self,
        request: Request<proto::WatchEventsRequest>,
    ) -> Result<Response<Self::WatchEventsStream>, Status> {
        let identity = Identity::of(&request)?;
        identity.require(Scope::Read)?;
        let watch = request.into_inner();
        let delivery = &self.context.delivery;
        let filter = request::filter(watch.filter, "filter")?;
        let start = request::start(watch.start, Start::Earliest, delivery, "start")?;
        let position = delivery.resolve(start).await.map_err(from_delivery)?;
        let state = Watch {
            life: Life::new(&self.context, identity),
            reader: Reader::new(delivery.shared().clone(), filter, position),
            context: self.context.clone(),
            ready: VecDeque::new(),
            sent: position,
            caught_up: false,
            begun: false,
            over: false,
        };
        Ok(Response::new(Box::pin(stream::unfold(state, |mut state| async move {
            let item = state.next().await?;
            let item = item.map(|message| proto::WatchEventsResponse { message: Some(message) });
            Some((item, state))
        }))))
    }
}

struct Watch {
    context: Context,
    life: Life,
    reader: Reader,
    ready: VecDeque<Arc<Logged>>,
    /// All up to here was sent or passed over.
    sent: Sequence,
    caught_up: bool,
    begun: bool,
    over: bool,
}

impl Watch {
    async fn next(&mut self) -> Option<Result<Out, Status>> {
        if self.over {
            return None;
        }
        if !self.begun {
            self.begun = true;
            return Some(Ok(Out::Heartbeat(watch_heartbeat(&self.context, self.sent))));
        }
        let between = self.life.due_between_messages();
        if let Some(due) = between {
            return Some(Ok(self.due(due)));
        }
        loop {
            if let Some(logged) = self.ready.pop_front() {
                self.sent = logged.sequence;
                return Some(Ok(Out::Event(logged.encoded.clone())));
            }
            self.sent = self.reader.position();
            if !self.reader.is_behind() && !self.caught_up {
                self.caught_up = true;
                return Some(Ok(Out::CaughtUp(caught_up(&self.context, self.sent))));
            }
            tokio::select! {
                biased;
                due = self.life.due() => return Some(Ok(self.due(due))),
                () = self.reader.more() => {}
            }
            match self.reader.page().await {
                Ok(page) => self.ready = page.into(),
                Err(error) => {
                    self.over = true;
                    return Some(Err(from_delivery(error)));
                }
            }
        }
    }

    fn due(&mut self, due: Due) -> Out {
        match due {
            Due::Heartbeat => Out::Heartbeat(watch_heartbeat(&self.context, self.sent)),
            Due::End(reason) => self.end(reason),
        }
    }

    fn end(&mut self, reason: EndReason) -> Out {
        self.over = true;
        Out::Draining(draining(&self.context, self.sent, reason))
    }
}
