//! The accounts host: a refresh token against an access token. In come the four parameters in the query or
//! a form, out goes a token with the API's host, or an error, with status 200 unless tokens were asked for
//! too often. Access tokens are shown in Zoho's own scheme; `Bearer` is refused.

use std::time::Duration;

use http::Method;
use serde_json::json;

use super::{ORG, ZohoCrm};
use crate::{Reply, Request, ids, limits::Window};

/// The one client.
pub const CLIENT_ID: &str = "1000.FAKECLIENTID0123456789ABCDEFGHIJ";
/// Its secret.
pub const CLIENT_SECRET: &str = "fake-client-secret-5b1c7d";
/// Its refresh token.
pub const REFRESH_TOKEN: &str = "1000.fake-refresh-token-90ab.77fe";

const MAX_REFRESHES: u64 = 10;
const REFRESH_SPAN: Duration = Duration::from_secs(10 * 60);

pub(super) fn refreshes() -> Window {
    Window::sliding(REFRESH_SPAN, MAX_REFRESHES)
}

/// The token of an authorization header, if it is in Zoho's scheme to the letter.
pub(super) fn shown_token(header: &str) -> Option<&str> {
    header.strip_prefix("Zoho-oauthtoken ").filter(|token| !token.is_empty())
}

impl ZohoCrm {
    pub(super) fn sign_in(&self, request: &Request) -> Reply {
        if request.path != "/oauth/v2/token" {
            return Reply::html(404, "<html><body>Not found</body></html>");
        }
        if request.method != Method::POST {
            return Reply::json(405, &json!({ "error": "invalid_request_method" }));
        }
        let is_form =
            request.content_type().as_deref() == Some("application/x-www-form-urlencoded");
        if !request.body.is_empty() && !is_form {
            return Reply::json(415, &json!({ "error": "unsupported_content_type" }));
        }
        let mut sent = request.query.clone();
        sent.extend(request.form());
        let value =
            |name: &str| sent.iter().find(|(sent, _)| sent == name).map(|(_, v)| v.as_str());
        if value("grant_type") != Some("refresh_token") {
            return Reply::json(200, &json!({ "error": "unsupported_grant_type" }));
        }
        let client = (value("client_id"), value("client_secret"));
        if client != (Some(CLIENT_ID), Some(CLIENT_SECRET)) {
            return Reply::json(200, &json!({ "error": "invalid_client" }));
        }
        if value("refresh_token") != Some(REFRESH_TOKEN) {
            return Reply::json(200, &json!({ "error": "invalid_code" }));
        }
        if self.refreshes.lock().take(request.arrived, 1).is_err() {
            let description =
                "You have made too many requests continuously. Try again after some time.";
            let body = json!({
                "error": "Access Denied", "error_description": description, "status": "failure",
            });
            return Reply::json(400, &body);
        }
        let token = format!("1000.{}.{}", ids::hex_32(), ids::hex_32());
        self.tokens.insert(&token, ORG);
        let lasts = self.settings.tokens.time.unwrap_or(Duration::from_secs(3_600));
        let body = json!({
            "access_token": token, "api_domain": self.site.api_url,
            "token_type": "Bearer", "expires_in": lasts.as_secs(),
        });
        Reply::json(200, &body)
    }
}
