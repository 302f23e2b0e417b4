//! Access tokens a double has issued: each belongs to a tenant, dies after so many calls or so much
//! time or when a test kills it, and every issue is counted, so that a test can show that two
//! parallel refusals led to one refresh. It knows neither grants nor wording; those are the vendor's.

use std::{collections::HashMap, time::Duration};

use jiff::Timestamp;

use crate::{
    Clock, State,
    clock::{after, until},
    ids,
};

/// How long a token lives; whichever ends first ends it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Lifetime {
    /// How many calls it is good for; any number if absent.
    pub calls: Option<u64>,
    /// How long it is good for; for ever if absent.
    pub time: Option<Duration>,
    /// How many tokens of one tenant live at once: one more ends the oldest.
    pub active: Option<usize>,
}

/// Why a token is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It was never issued here.
    Unknown,
    /// It outlived its calls, its time or its successors, or it was killed.
    Expired,
}

/// The access tokens of one server.
#[derive(Debug)]
pub struct Tokens {
    clock: Clock,
    inner: State<Inner>,
}

#[derive(Debug)]
struct Inner {
    life: Lifetime,
    tokens: HashMap<String, Token>,
    issued: Vec<String>,
}

#[derive(Debug)]
struct Token {
    tenant: String,
    dead: bool,
    calls_left: Option<u64>,
    ends_at: Option<Timestamp>,
}

impl Tokens {
    /// No tokens yet; those issued live this long.
    pub fn new(clock: Clock, life: Lifetime) -> Tokens {
        let inner = Inner { life, tokens: HashMap::new(), issued: Vec::new() };
        Tokens { clock, inner: State::new(inner) }
    }

    /// Changes how long the tokens issued from now on live.
    pub fn set_life(&self, life: Lifetime) {
        self.inner.lock().life = life;
    }

    /// Issues a new random token to a tenant.
    pub fn issue(&self, tenant: &str) -> String {
        let token = ids::hex_32();
        self.insert(&token, tenant);
        token
    }

    /// Makes this text a valid token of a tenant, as a fixed key from the vendor's settings page is.
    pub fn insert(&self, token: &str, tenant: &str) {
        let now = self.clock.now();
        let mut inner = self.inner.lock();
        let life = inner.life;
        let fresh = Token {
            tenant: tenant.to_owned(),
            dead: false,
            calls_left: life.calls,
            ends_at: life.time.map(|time| after(now, time)),
        };
        inner.tokens.insert(token.to_owned(), fresh);
        inner.issued.push(token.to_owned());
        if let Some(active) = life.active {
            inner.end_oldest(tenant, active);
        }
    }

    /// Takes one call off a token and tells whose it is.
    pub fn check(&self, token: &str) -> Result<String, Refusal> {
        let now = self.clock.now();
        let mut inner = self.inner.lock();
        let token = inner.tokens.get_mut(token).ok_or(Refusal::Unknown)?;
        if token.dead || token.ends_at.is_some_and(|end| end <= now) {
            return Err(Refusal::Expired);
        }
        match &mut token.calls_left {
            Some(0) => return Err(Refusal::Expired),
            Some(left) => *left -= 1,
            None => {}
        }
        Ok(token.tenant.clone())
    }

    /// Whose token it is, dead or alive, without taking a call off it.
    pub fn tenant(&self, token: &str) -> Option<String> {
        self.inner.lock().tokens.get(token).map(|token| token.tenant.clone())
    }

    /// How long a token still has by time; none if it never ends by time or is unknown.
    pub fn ends_in(&self, token: &str) -> Option<Duration> {
        let now = self.clock.now();
        self.inner.lock().tokens.get(token)?.ends_at.map(|end| until(now, end))
    }

    /// How many tokens were ever issued, to all tenants.
    pub fn issued(&self) -> usize {
        self.inner.lock().issued.len()
    }

    /// How many tokens were ever issued to a tenant.
    pub fn issued_to(&self, tenant: &str) -> usize {
        self.inner.lock().tokens.values().filter(|token| token.tenant == tenant).count()
    }

    /// Ends every token: the next call of everybody is refused.
    pub fn kill_all(&self) {
        self.inner.lock().tokens.values_mut().for_each(|token| token.dead = true);
    }

    /// Ends the tokens of one tenant.
    pub fn kill(&self, tenant: &str) {
        let mut inner = self.inner.lock();
        let theirs = inner.tokens.values_mut().filter(|token| token.tenant == tenant);
        theirs.for_each(|token| token.dead = true);
    }
}

impl Inner {
    fn end_oldest(&mut self, tenant: &str, active: usize) {
        let newest_first = self.issued.iter().rev();
        let mut kept = 0;
        for name in newest_first {
            if let Some(token) = self.tokens.get_mut(name)
                && token.tenant == tenant
            {
                token.dead |= kept >= active;
                kept += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_ends_by_calls_by_time_by_successors_and_by_force() {
        let clock = Clock::standing(Timestamp::UNIX_EPOCH);
        let life = Lifetime { calls: Some(2), time: Some(Duration::from_secs(9)), active: Some(2) };
        let tokens = Tokens::new(clock.clone(), life);
        let first = tokens.issue("a");
        assert_eq!(tokens.check(&first), Ok("a".to_owned()));
        assert_eq!(tokens.check(&first), Ok("a".to_owned()));
        assert_eq!(tokens.check(&first), Err(Refusal::Expired));

        let second = tokens.issue("a");
        clock.advance(Duration::from_secs(9));
        assert_eq!(tokens.check(&second), Err(Refusal::Expired));

        let third = tokens.issue("a");
        let (fourth, fifth) = (tokens.issue("a"), tokens.issue("a"));
        assert_eq!(tokens.check(&third), Err(Refusal::Expired));
        assert_eq!(tokens.check(&fourth), Ok("a".to_owned()));
        tokens.kill_all();
        assert_eq!(tokens.check(&fifth), Err(Refusal::Expired));
        assert_eq!(tokens.check("never"), Err(Refusal::Unknown));
        assert_eq!((tokens.issued(), tokens.issued_to("a"), tokens.issued_to("b")), (5, 5, 0));
    }
}
