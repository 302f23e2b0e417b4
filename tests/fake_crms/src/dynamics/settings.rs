//! How strict and how patient the double of Dynamics is. As it stands it limits nobody, for tests of other
//! things; [`Settings::real`] has the limits that Dataverse has.

use std::time::Duration;

/// The environment's address; tokens must be asked for this.
pub const ENVIRONMENT: &str = "https://acme.crm4.dynamics.com";

/// How the double behaves.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Requests that the user may make in a window; each part of a batch is one.
    pub requests_per_window: u64,
    /// How long requests of the user may take together in a window.
    pub execution_per_window: Duration,
    /// The length of the window.
    pub window: Duration,
    /// How long one request is taken to be executed.
    pub execution_per_request: Duration,
    /// Calls that the user may have in flight.
    pub max_in_flight: usize,
    /// How much longer a wait becomes with each call that does not heed it.
    pub wait_grows_by: Duration,
    /// How long a token lives.
    pub token_life: Duration,
    /// Whether the application is a user of the environment.
    pub has_app_user: bool,
    /// Whether `Prefer: odata.continue-on-error` is heeded. Where not, a batch stops at its first failure.
    pub continues_on_error: bool,
    /// The application's certificate, beside its secret.
    pub certificate: Option<Certificate>,
}

/// What the directory knows of an application's certificate.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// The SHA-256 thumbprint of its DER form, in base64url without padding.
    pub thumbprint: String,
    /// The public key as `RSAPublicKey` in DER.
    pub public_key: Vec<u8>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            requests_per_window: 10_000_000,
            execution_per_window: Duration::from_secs(1_000_000),
            max_in_flight: 1_000,
            ..Settings::real()
        }
    }
}

impl Settings {
    /// The limits of Dataverse.
    pub fn real() -> Settings {
        Settings {
            requests_per_window: 6_000,
            execution_per_window: Duration::from_secs(20 * 60),
            window: Duration::from_secs(5 * 60),
            execution_per_request: Duration::from_millis(50),
            max_in_flight: 52,
            wait_grows_by: Duration::from_secs(5),
            token_life: Duration::from_secs(3_599),
            has_app_user: true,
            continues_on_error: true,
            certificate: None,
        }
    }
}
