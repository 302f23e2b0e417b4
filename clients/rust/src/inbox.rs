//! What the gateway has delivered and nobody has taken yet. The stream's task puts in, the subscription
//! takes out. What a subscription may have outstanding bounds it, as the task sees to; what belongs to a
//! stream that has ended is thrown away, so that nobody works on what comes again.

use std::{
    collections::VecDeque,
    mem,
    sync::{Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use crate::{delivery::Delivery, error::Error};

/// The queue between the task and the subscription.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    queue: VecDeque<Delivery>,
    taker: Option<Waker>,
    end: End,
}

#[derive(Debug, Default)]
enum End {
    #[default]
    Open,
    Failed(Error),
    Ended,
}

impl Inbox {
    pub(crate) fn push(&self, delivery: Delivery) {
        let mut state = self.lock();
        state.queue.push_back(delivery);
        wake(state);
    }

    /// Throws away what waits.
    pub(crate) fn clear(&self) {
        let thrown = mem::take(&mut self.lock().queue);
        // Outside the lock: each of them tells its stream.
        drop(thrown);
    }

    /// Nothing will come any more, for this error if there is one.
    pub(crate) fn end(&self, error: Option<Error>) {
        let mut state = self.lock();
        state.end = error.map_or(End::Ended, End::Failed);
        wake(state);
    }

    /// The next delivery, the error once, or the end.
    pub(crate) fn poll_take(
        &self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Delivery, Error>>> {
        let mut state = self.lock();
        if let Some(delivery) = state.queue.pop_front() {
            return Poll::Ready(Some(Ok(delivery)));
        }
        match mem::replace(&mut state.end, End::Ended) {
            End::Open => {
                state.end = End::Open;
                state.taker = Some(context.waker().clone());
                Poll::Pending
            }
            End::Failed(error) => Poll::Ready(Some(Err(error))),
            End::Ended => Poll::Ready(None),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock, and no step leaves the state half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn wake(mut state: MutexGuard<'_, State>) {
    let taker = state.taker.take();
    drop(state);
    if let Some(taker) = taker {
        taker.wake();
    }
}
