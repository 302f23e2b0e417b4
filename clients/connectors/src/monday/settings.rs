//! The `[crm]` table of monday.com. In comes what a person wrote, out go checked settings or the mistake in
//! them. The token must never be shown.

use serde::Deserialize;

use crate::api;
use crate::config::{Mistake, Secret};

const API_URL: &str = "https://api.monday.com";
/// The version that this module was written for: stable since October 2026.
const API_VERSION: &str = "2026-10";
/// Before it, `settings` of columns was not there.
const OLDEST_VERSION: &str = "2025-10";

/// What can be set, and what holds where nothing is: the limits of the smallest plan.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Settings {
    /// How it signs in; there is one way.
    #[serde(default)]
    #[expect(dead_code, reason = "it has one value, which only has to be a known one")]
    auth: Auth,
    /// A personal API token (avatar, Developers, My access tokens) or the token of an app's OAuth grant,
    /// bare. It needs the scopes `boards:read`, `boards:write` and `me:read`.
    pub(super) token: Secret,
    /// Where the API is.
    #[serde(default = "api_url")]
    pub(super) api_url: String,
    /// The version of the API: `2026-10`. Without one the API would change under the connector.
    #[serde(default = "api_version")]
    pub(super) api_version: String,
    /// Complexity points a minute: 1,000,000 for trial and free accounts; on paid plans 5,000,000 for
    /// an app's token, of which a personal token may have twice as much.
    #[serde(default = "points_per_minute")]
    pub(super) points_per_minute: u64,
    /// Calls a minute: 1,000; 2,500 on Pro, 5,000 on Enterprise.
    #[serde(default = "calls_per_minute")]
    pub(super) calls_per_minute: u64,
    /// Calls a day, counted anew at midnight UTC: 200 on Free, 1,000 on Basic and Standard, 10,000 on
    /// Pro, 25,000 on Enterprise. Where an answer's headers tell the quota, they count.
    #[serde(default = "calls_per_day")]
    pub(super) calls_per_day: u64,
    /// How many of a day's calls are left to others of the account.
    #[serde(default = "daily_reserve")]
    pub(super) daily_reserve: u64,
    /// Calls at once: the account has 40, 100 on Pro, 250 on Enterprise.
    #[serde(default = "max_calls_in_flight")]
    pub(super) max_calls_in_flight: usize,
    /// How many items are created by one call, at most 20. With 1, the key that makes a create happen
    /// once depends on its event alone: even after a crash, or beside a second connector, and even where
    /// a look-up does not see the item yet. It costs more calls of the day.
    #[serde(default = "creates_per_call")]
    pub(super) creates_per_call: usize,
    /// How long an answer may take.
    #[serde(default = "timeout_seconds")]
    pub(super) timeout_seconds: u64,
}

/// How it signs in.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Auth {
    /// With a token that does not end.
    #[default]
    Token,
}

impl Settings {
    /// Refuses what cannot work.
    pub(super) fn check(&self) -> Result<(), Mistake> {
        api::check_url(&self.api_url).map_err(|reason| Mistake::new("crm.api_url", reason))?;
        if !self.token.expose().bytes().all(|byte| byte.is_ascii_graphic()) {
            let reason = "must be the bare token: no blanks, no `Bearer` before it";
            return Err(Mistake::new("crm.token", reason));
        }
        if !is_version(&self.api_version) {
            let reason =
                format!("must be a version like {API_VERSION}, not before {OLDEST_VERSION}");
            return Err(Mistake::new("crm.api_version", reason));
        }
        let positive = [
            ("crm.points_per_minute", self.points_per_minute),
            ("crm.calls_per_minute", self.calls_per_minute),
            ("crm.calls_per_day", self.calls_per_day),
            ("crm.max_calls_in_flight", self.max_calls_in_flight as u64),
            ("crm.timeout_seconds", self.timeout_seconds),
            ("crm.creates_per_call", self.creates_per_call as u64),
        ];
        if let Some((key, _)) = positive.iter().find(|(_, value)| *value == 0) {
            return Err(Mistake::new(*key, "must be more than 0"));
        }
        if self.creates_per_call > super::MAX_WRITES {
            let reason = format!("must be at most {}", super::MAX_WRITES);
            return Err(Mistake::new("crm.creates_per_call", reason));
        }
        if self.daily_reserve >= self.calls_per_day {
            return Err(Mistake::new("crm.daily_reserve", "leaves nothing of `calls_per_day`"));
        }
        Ok(())
    }
}

/// Quarters as the vendor names them, which sort as text.
fn is_version(text: &str) -> bool {
    let shape = text.split_once('-').is_some_and(|(year, month)| {
        year.len() == 4
            && year.bytes().all(|byte| byte.is_ascii_digit())
            && matches!(month, "01" | "04" | "07" | "10")
    });
    shape && text >= OLDEST_VERSION
}

fn api_url() -> String {
    API_URL.to_owned()
}

fn api_version() -> String {
    API_VERSION.to_owned()
}

fn points_per_minute() -> u64 {
    1_000_000
}

fn calls_per_minute() -> u64 {
    1_000
}

fn calls_per_day() -> u64 {
    200
}

fn daily_reserve() -> u64 {
    20
}

fn max_calls_in_flight() -> usize {
    10
}

fn creates_per_call() -> usize {
    super::MAX_WRITES
}

fn timeout_seconds() -> u64 {
    60
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    fn read(text: &str) -> Result<(), Mistake> {
        let table = text.parse().expect("TOML");
        config::read_crm::<Settings>(table).and_then(|settings| settings.check())
    }

    #[test]
    fn what_cannot_work_is_refused_by_its_key() {
        assert_eq!(read("token = \"abc\""), Ok(()));
        assert_eq!(read("auth = \"token\"\ntoken = \"abc\""), Ok(()));
        for (text, key) in [
            ("token = \"Bearer abc\"", "crm.token"),
            ("token = \"a\"\napi_url = \"http://api.monday.com\"", "crm.api_url"),
            ("token = \"a\"\napi_version = \"2025-07\"", "crm.api_version"),
            ("token = \"a\"\napi_version = \"current\"", "crm.api_version"),
            ("token = \"a\"\ncalls_per_minute = 0", "crm.calls_per_minute"),
            ("token = \"a\"\ncreates_per_call = 21", "crm.creates_per_call"),
            ("token = \"a\"\ndaily_reserve = 200", "crm.daily_reserve"),
            ("token = \"a\"\nsecret = \"b\"", "crm"),
            ("auth = \"basic\"\ntoken = \"a\"", "crm"),
            ("calls_per_day = 5", "crm"),
        ] {
            assert_eq!(read(text).expect_err(text).key, key, "{text}");
        }
    }
}
