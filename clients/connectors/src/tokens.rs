//! Access tokens of one credential, shared by all who call: asked for when first needed, renewed before they
//! end, and once, by one task, when the CRM refuses one. In comes a way to ask for a token, out goes the
//! current one. A token must never be printed.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use secrecy::SecretString;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::crm::Fault;

/// A token is renewed so long before it ends.
const MARGIN: Duration = Duration::from_secs(60);
/// After a refusal nobody asks again for this long: some CRMs lock a credential that asks too often.
const PAUSE_AFTER_REFUSAL: Duration = Duration::from_secs(30);
/// The same after a failure that may be over soon.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(1);
/// No longer time that a CRM tells is believed, of a token or a pause.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// A way to ask for a token.
#[async_trait]
pub trait TokenSource: Send + Sync {
    /// Asks for a new one.
    async fn ask(&self) -> Result<Token, Fault>;
}

/// An access token.
#[derive(Debug)]
pub struct Token {
    /// What is shown to the API.
    pub secret: SecretString,
    /// Where the API is, where the token's answer told: `instance_url`, `api_domain`.
    pub api_url: Option<String>,
    /// After how long it ends, where that is known.
    pub lasts: Option<Duration>,
}

/// The tokens of one credential.
pub struct Tokens {
    source: Box<dyn TokenSource>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    current: Option<(Arc<Token>, Option<Instant>)>,
    refused: Option<(Fault, Instant)>,
}

impl Tokens {
    /// None is asked for yet.
    pub fn new(source: impl TokenSource + 'static) -> Tokens {
        Tokens { source: Box::new(source), state: Mutex::default() }
    }

    /// One that never ends and is never asked for.
    pub fn fixed(secret: SecretString) -> Tokens {
        Tokens::new(Fixed(secret))
    }

    /// The current token, asked for if there is none or it is about to end.
    pub async fn current(&self) -> Result<Arc<Token>, Fault> {
        let mut state = self.state.lock().await;
        if let Some((token, ends)) = &state.current
            && ends.is_none_or(|ends| Instant::now() < ends)
        {
            return Ok(Arc::clone(token));
        }
        self.renewed(&mut state).await
    }

    /// The CRM refused this token: another one. Of all who come with the same token, one asks.
    pub async fn after_refusal(&self, refused: &Arc<Token>) -> Result<Arc<Token>, Fault> {
        let mut state = self.state.lock().await;
        match &state.current {
            Some((current, _)) if !Arc::ptr_eq(current, refused) => Ok(Arc::clone(current)),
            Some(_) | None => self.renewed(&mut state).await,
        }
    }

    async fn renewed(&self, state: &mut State) -> Result<Arc<Token>, Fault> {
        if let Some((fault, until)) = &state.refused
            && Instant::now() < *until
        {
            return Err(fault.clone());
        }
        state.current = None;
        match self.source.ask().await {
            Ok(token) => {
                let lasts = token.lasts.map(|lasts| lasts.min(LONGEST));
                let ends = lasts.map(|lasts| Instant::now() + lasts - MARGIN.min(lasts / 2));
                let token = Arc::new(token);
                state.refused = None;
                state.current = Some((Arc::clone(&token), ends));
                Ok(token)
            }
            Err(fault) => {
                let pause = match &fault {
                    Fault::Throttled { wait, .. } => *wait,
                    Fault::Transient { wait, .. } => wait.unwrap_or(PAUSE_AFTER_FAILURE),
                    Fault::Unauthorized { .. } | Fault::Permanent { .. } => PAUSE_AFTER_REFUSAL,
                    Fault::Gone { .. } | Fault::Raced { .. } => PAUSE_AFTER_FAILURE,
                };
                state.refused = Some((fault.clone(), Instant::now() + pause.min(LONGEST)));
                Err(fault)
            }
        }
    }
}

/// A token that an operator made: there is no other to ask for.
struct Fixed(SecretString);

#[async_trait]
impl TokenSource for Fixed {
    async fn ask(&self) -> Result<Token, Fault> {
        Ok(Token { secret: self.0.clone(), api_url: None, lasts: None })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    struct Counted(Arc<AtomicUsize>, Result<Duration, Fault>);

    #[async_trait]
    impl TokenSource for Counted {
        async fn ask(&self) -> Result<Token, Fault> {
            let number = self.0.fetch_add(1, Ordering::SeqCst);
            let lasts = self.1.clone()?;
            tokio::time::sleep(Duration::from_millis(50)).await;
            Ok(Token { secret: format!("t{number}").into(), api_url: None, lasts: Some(lasts) })
        }
    }

    #[tokio::test(start_paused = true)]
    async fn refused_to_many_at_once_it_is_asked_for_once() {
        let asked = Arc::new(AtomicUsize::new(0));
        let tokens = Tokens::new(Counted(Arc::clone(&asked), Ok(Duration::from_secs(3_600))));
        let first = tokens.current().await.expect("a token");
        let both = tokio::join!(tokens.after_refusal(&first), tokens.after_refusal(&first));
        assert!(Arc::ptr_eq(&both.0.expect("a token"), &both.1.expect("a token")));
        assert_eq!(asked.load(Ordering::SeqCst), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_renewed_before_it_ends() {
        let asked = Arc::new(AtomicUsize::new(0));
        let tokens = Tokens::new(Counted(Arc::clone(&asked), Ok(Duration::from_secs(3_600))));
        let _first = tokens.current().await.expect("a token");
        tokio::time::advance(Duration::from_secs(3_545)).await;
        let _second = tokens.current().await.expect("a token");
        assert_eq!(asked.load(Ordering::SeqCst), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_credential_is_not_tried_at_every_call() {
        let asked = Arc::new(AtomicUsize::new(0));
        let refusal = Fault::Unauthorized { reason: "invalid_client".to_owned() };
        let tokens = Tokens::new(Counted(Arc::clone(&asked), Err(refusal.clone())));
        for _ in 0..5 {
            assert_eq!(tokens.current().await.expect_err("refused"), refusal);
        }
        assert_eq!(asked.load(Ordering::SeqCst), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn times_without_end_are_borne() {
        let asked = Arc::new(AtomicUsize::new(0));
        let tokens = Tokens::new(Counted(Arc::clone(&asked), Ok(Duration::MAX)));
        tokens.current().await.expect("a token");
        let fault = Fault::Throttled { wait: Duration::MAX, reason: "never".to_owned() };
        let tokens = Tokens::new(Counted(asked, Err(fault.clone())));
        assert_eq!(tokens.current().await.expect_err("refused"), fault);
    }
}
